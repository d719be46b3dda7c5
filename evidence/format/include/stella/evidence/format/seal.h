// The seal: the one small document of a bundle that is signed. An in-toto statement about evidence/root.merkle; nothing in it changes when
// items are withheld later, so redaction never breaks a signature.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/time.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/sealed_events.h"

namespace stella::evidence {

inline constexpr std::string_view kSealPredicate = "https://stellaops.dev/evidence-seal/v1";

// Empty texts are left out of the seal.
struct SealFacts {
  BundleId bundle_id;
  TenantId tenant_id;
  std::string project_id;
  CaseId case_id;
  std::string kind;         // eval, job or export
  std::string resource_id;  // what the bundle is about: evaluation, job or export id
  std::string trace_id;     // of the request that caused it
  Timestamp sealed_at;      // the control plane's clock: not a proof of time
  Sha256 request_sha256;    // of the canonical snapshot request

  std::string product_version;       // of the control plane that sealed
  std::string engine_version;        // of the pure functions whose outputs are inside
  std::string engine_config_sha256;  // hex
  std::string runner_sha256;         // hex digest of the runner's program

  struct Parent {
    BundleId bundle_id;
    Sha256 root;
  };
  std::vector<Parent> parents;

  std::string worm_level = "W0";  // W0 … W4, as the last probe saw it
  std::string worm_probe_sha256;
  Timestamp retain_until;  // zero = not stated
  std::string log_origin;  // of the tenant's log, where the sealing is recorded
  std::optional<std::uint64_t> log_size;  // the log had a checkpoint of that size when the seal was signed
  std::string platform_origin;  // of the log with the events of the keys and of the knowledge base: no other one may stand in its place
  // The history of the signing keys (custody/keys.jsonl) when it was signed: its events are part of what is signed, so none can be left out.
  std::uint64_t key_events = 0;      // 0 = not stated
  std::string key_history_sha256;    // hex, of the lines

  // A statement beside the seal.
  struct Attested {
    std::string path;       // attest/…
    Sha256 payload_sha256;  // of what it says; whoever signs it again says the same
    bool operator==(const Attested&) const = default;
  };
  // All of them, by path: none can be dropped, added or exchanged. nullopt: not stated, as in seals of before.
  std::optional<std::vector<Attested>> attestations;

  // The events of the chain of custody that were in the logs when it was signed: none can be left out. nullopt: not stated, as in seals of before.
  std::optional<SealedCustody> custody;
};

// The statements among the files (path, bytes) that go beside a seal. kMalformed where one is no attestation.
Result<std::vector<SealFacts::Attested>> attested_in(const std::vector<std::pair<std::string, std::string>>& files);

// SHA-256 over the lines "<sha256>  <path>\n" of the items with that role, in path order: two runs with equal outputs have equal digests.
Sha256 role_digest(const std::vector<Item>& items, std::string_view role);

// RFC 8785 text of the seal. The subject is SHA-256 of root_text(head).
Result<std::string> make_seal(const SealFacts& facts, const TreeHead& head, const std::vector<Item>& items);

// A seal as read.
struct Seal {
  SealFacts facts;
  TreeHead head;
  Sha256 subject;         // digest of evidence/root.merkle
  Sha256 replay_inputs;   // role_digest of "input"
  Sha256 replay_outputs;  // role_digest of "output"
};
// kMalformed for anything but a seal of version 1.
Result<Seal> parse_seal(std::string_view bytes);

}  // namespace stella::evidence
