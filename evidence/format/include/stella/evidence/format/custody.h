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
  std::string job_id, job_kind;                                 // of an event about a job, or of what a job made
  bool cached = false;                                          // a stored result answered: no runner started
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
// A transition of a job that the events name and none of them tells of.
struct MissingTransition {
  std::string job_id;
  std::string transition;                 // the kind of the event: job.scheduled, job.started or job.finished
  std::optional<std::size_t> named_by;    // position of the step that names the job; nullopt: the seal does
  bool may_have_expired = false;          // nothing of the log that expires is enclosed from before it; else the event was left out

  // "job.finished of job <id>, which policy.evaluated (event <id>) names"
  std::string text(std::span<const CustodyEvent> events) const;
};
struct Custody {
  std::vector<MissingTransition> missing = {};  // as missing_transitions() finds them
  std::vector<std::size_t> steps;         // events that put something out, in their order
  std::vector<CustodyLink> links;         // one for each input of a step that is no origin, in order
  std::vector<CustodyLink> broken;        // those of them without producer

  // Whether every link leads somewhere, and nothing was left out of what a job went through.
  bool complete() const;
  // {"complete", "missing":[{job_id, transition, named_by, may_have_expired}], "steps":[{event_id, ts, kind, actor, resource, inputs:[{name, sha256, from}], outputs:[…]}], "broken":[{event_id, kind, name, sha256}]}
  json::Value json(std::span<const CustodyEvent> events) const;
};
// `events` in the order of the log. `known`: digests vouched for from elsewhere (the knowledge base's own log, a parent bundle); they end a chain.
Custody walk_custody(std::span<const CustodyEvent> events, std::span<const Sha256> known = {});

// Every job that a step of the bundle's own traces names was scheduled, started (unless a stored result answered) and finished, each by an event of that
// trace. What others brought in is enclosed without its trace: of its jobs only those are asked for that have an event here. `bundle`: whose
// evidence.snapshot counts, others of the same trace may still be under way. `job`: of a job capsule, "" of other bundles; it may have ended otherwise.
std::vector<MissingTransition> missing_transitions(std::span<const CustodyEvent> events, std::string_view bundle, std::string_view job);

}  // namespace stella::evidence
