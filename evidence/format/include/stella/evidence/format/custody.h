// The chain of custody as a walk over digests. Every event that consumes or produces an object names it by SHA-256 (details.inputs,
// details.outputs), so who made what from what does not rest on names. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::evidence {

// One event of the timeline, as far as custody goes.
struct CustodyEvent {
  std::string event_id, ts, kind, tenant_id, actor, resource_type, resource_id;
  std::vector<std::pair<std::string, Sha256>> inputs, outputs;  // name, digest; names are for people
};
// kMalformed for anything but an event's entry (timeline.md §1).
Result<CustodyEvent> parse_custody_event(std::string_view entry);

// What a bundle may enclose of logs: events of its tenant's, and of the platform's those of the public knowledge base that the tenant's events took
// something from, and those of the signing keys.
enum class CustodyLog : std::uint8_t { kTenant, kKnowledgeBase, kKeys };
// "custody/", "custody/kb-" and "custody/keys-": what the names of a log's files begin with, before "events.jsonl", "checkpoint" and "000012.tlog-proof".
std::string_view custody_prefix(CustodyLog log);
// Where the proof for event `number` of that log's events.jsonl is.
std::string custody_proof_path(CustodyLog log, std::size_t number);
// The proof that the log's checkpoint is in the deployment log: "custody/deployment.tlog-proof".
std::string custody_deployment_path(CustodyLog log);
// The history of the signing keys when the seal was signed, as crypto/key_log.h writes it. The events of CustodyLog::kKeys prove its lines.
inline constexpr std::string_view kKeyHistoryPath = "custody/keys.jsonl";

// An event has room for a number of digests; more of them travel as one, named "list:<how many>": that of the compact JSON
// [{"name","sha256"},…]. The bundle encloses the list, so that the walk can follow each entry.
// Where the list of that digest is in a bundle: "custody/list-<hex>.json".
std::string custody_list_path(const Sha256& list);
bool is_custody_list_path(std::string_view path);
// The lists that events with outputs name (the others take no part in the walk), each once.
std::vector<Sha256> custody_lists(std::span<const CustodyEvent> events);
// Puts the entries of those lists in their place. `find` gives a list's bytes, "" where there are none: then the one digest stays, and a link
// to it is broken. kInvalid where the bytes have another digest, kMalformed where they are no list of that length, kLimit for more than
// kMaxListed entries in all.
Result<void> expand_custody_lists(std::span<CustodyEvent> events, const std::function<std::string_view(const Sha256&)>& find);
inline constexpr std::size_t kMaxListed = 2'000'000;

// Events that bring something in from outside: what they put out needs no producer, and what they take in is somebody else's.
bool is_custody_origin(std::string_view kind);

struct CustodyLink {
  std::size_t consumer = 0;               // position in the events
  std::string name;
  Sha256 sha256;
  std::optional<std::size_t> producer;    // the latest earlier event that put out this digest; nullopt: the link is broken here
};
struct Custody {
  std::vector<std::size_t> steps;         // events that put something out, in their order
  std::vector<CustodyLink> links;         // one for each input of a step that is no origin, in order
  std::vector<CustodyLink> broken;        // those of them without producer

  // {"complete", "steps":[{event_id, ts, kind, actor, resource, inputs:[{name, sha256, from}], outputs:[…]}], "broken":[{event_id, kind, name, sha256}]}
  json::Value json(std::span<const CustodyEvent> events) const;
};
// `events` in the order of the log. `known`: digests vouched for from elsewhere (the knowledge base's own log, a parent bundle); they end a chain.
Custody walk_custody(std::span<const CustodyEvent> events, std::span<const Sha256> known = {});

}  // namespace stella::evidence
