// INCLUSION, CONSISTENCY and CUSTODY: the enclosed events are in the tenant's log, that log continues the one the verifier knew, and the events
// form a chain. The events are not covered by the seal (custody goes on after sealing): only the log makes them evidence.
#include <algorithm>

#include "contents.h"
#include "stella/evidence/format/custody.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kCheckpoint = "custody/checkpoint";

struct Events {
  std::vector<CustodyEvent> events;
  std::vector<Sha256> leaves;
  std::string problem;
};

Events read_events(const Contents& contents, const Verdict& verdict) {
  Events out;
  const std::string tenant = verdict.seal ? verdict.seal->facts.tenant_id.str() : std::string();
  for (std::string_view text = contents.bytes("custody/events.jsonl"); !text.empty();) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view entry = text.substr(0, end);
    const std::string where = "line " + std::to_string(out.events.size() + 1) + " of custody/events.jsonl";
    auto event = parse_custody_event(entry);
    if (!event) return out.problem = where + " is no event", out;
    if (!tenant.empty() && !event->tenant_id.empty() && event->tenant_id != tenant) return out.problem = where + " is an event of another tenant", out;
    out.events.push_back(std::move(*event));
    out.leaves.push_back(timeline::leaf_hash(entry));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string check_proofs(const Contents& contents, const Events& events, const timeline::Checkpoint& head, std::uint64_t& last_index) {
  const std::string_view note = contents.bytes(kCheckpoint);
  std::optional<std::uint64_t> before;
  for (std::size_t i = 0; i < events.leaves.size(); ++i) {
    const std::string path = custody_proof_path(i);
    const auto proof = timeline::parse_tlog_proof(contents.bytes(path));
    if (!proof) return path + (contents.files.contains(path) ? " is malformed" : " is missing: nothing proves that event " + events.events[i].event_id + " is in the log");
    if (proof->checkpoint != note) return path + " rests on another checkpoint than " + std::string(kCheckpoint);
    if (before && proof->index <= *before) return path + " is out of order: events are doubled or swapped";
    if (!timeline::verify_inclusion(events.leaves[i], proof->index, head.size, proof->hashes, head.root))
      return "event " + events.events[i].event_id + " is not in the log at " + std::to_string(proof->index);
    before = last_index = proof->index;
  }
  return {};
}

void check_inclusion(const Contents& contents, const VerifyOptions& options, const Events& events, const Verdict& verdict, const std::optional<timeline::OpenedCheckpoint>& opened, DimensionVerdict& out) {
  if (contents.bytes(kCheckpoint).empty()) {
    out.reason = "no checkpoint of the tenant's log is enclosed";
    return;
  }
  const auto claimed = timeline::parse_note(contents.bytes(kCheckpoint));
  if (options.log_keys.empty()) {
    out.reason = "no key of a log was given; the checkpoint claims to be of " + (claimed && !claimed->signatures.empty() ? claimed->signatures.front().name : std::string("(nobody)")) +
                 ". Give it from a source you trust: --trust LOG.vkey, or stella login";
    return;
  }
  const std::string source(options.log_source);
  const auto fail = [&](std::string reason) { out = {.outcome = Outcome::kFail, .reason = std::move(reason), .trust_input = source}; };
  if (!opened) return fail("custody/checkpoint is not signed by a trusted key of the log");
  if (verdict.seal && !verdict.seal->facts.log_origin.empty() && verdict.seal->facts.log_origin != opened->checkpoint.origin)
    return fail("the seal names the log " + verdict.seal->facts.log_origin + ", the checkpoint is of " + opened->checkpoint.origin);
  std::uint64_t last = 0;
  if (auto problem = check_proofs(contents, events, opened->checkpoint, last); !problem.empty()) return fail(std::move(problem));
  if (verdict.seal && verdict.seal->facts.log_size && opened->checkpoint.size < *verdict.seal->facts.log_size)
    return fail("the seal was made at log size " + std::to_string(*verdict.seal->facts.log_size) + ", the checkpoint is older: " + std::to_string(opened->checkpoint.size));
  out = {.outcome = Outcome::kPass,
         .reason = std::to_string(events.events.size()) + " events are in the log " + opened->checkpoint.origin + " of size " + std::to_string(opened->checkpoint.size),
         .trust_input = source};
}

void check_consistency(const VerifyOptions& options, const std::optional<timeline::OpenedCheckpoint>& opened, DimensionVerdict& out) {
  if (options.kept == nullptr) {
    out.reason = "no checkpoint that you kept was given: --checkpoint FILE";
    return;
  }
  const std::string source(options.kept->source);
  const auto fail = [&](std::string reason) { out = {.outcome = Outcome::kFail, .reason = std::move(reason), .trust_input = source}; };
  if (!opened) {
    out.reason = "the enclosed checkpoint is absent, or signed by no log key that is trusted";
    return;
  }
  const auto kept = timeline::open_checkpoint(options.kept->note, opened->checkpoint.origin, options.log_keys);
  if (!kept) return fail("the kept checkpoint is not one of " + opened->checkpoint.origin + " signed by a trusted key");
  const bool older = kept->checkpoint.size <= opened->checkpoint.size;
  const auto& from = older ? kept->checkpoint : opened->checkpoint;
  const auto& to = older ? opened->checkpoint : kept->checkpoint;
  if (from.size != to.size && from.size != 0 && options.kept->consistency.empty()) {
    out.reason = "no proof leads from size " + std::to_string(from.size) + " to " + std::to_string(to.size) + "; get it: stella timeline proof --from " + std::to_string(from.size) +
                 " --to " + std::to_string(to.size);
    return;
  }
  if (!timeline::verify_growth(from, to, options.kept->consistency))
    return fail("size " + std::to_string(to.size) + " does not continue size " + std::to_string(from.size) + ": the log has two histories");
  out = {.outcome = Outcome::kPass, .reason = "the log of size " + std::to_string(to.size) + " continues that of size " + std::to_string(from.size), .trust_input = source};
}

void check_custody(const Events& events, const DimensionVerdict& inclusion, DimensionVerdict& out) {
  if (!events.problem.empty()) {
    out = {.outcome = Outcome::kFail, .reason = events.problem, .trust_input = {}};
    return;
  }
  const Custody custody = walk_custody(events.events);
  if (!custody.broken.empty()) {
    const CustodyLink& first = custody.broken.front();
    out = {.outcome = Outcome::kFail,
           .reason = std::to_string(custody.broken.size()) + " of " + std::to_string(custody.links.size()) + " links are broken: nothing put out " + first.name + " (" + first.sha256.hex().substr(0, 12) +
                     "…), which " + events.events[first.consumer].kind + " took in",
           .trust_input = {}};
    return;
  }
  const std::string chain = std::to_string(custody.steps.size()) + " steps, " + std::to_string(custody.links.size()) + " links, none broken";
  if (inclusion.outcome == Outcome::kPass) out = {.outcome = Outcome::kPass, .reason = chain, .trust_input = inclusion.trust_input};
  else out.reason = chain + "; without proof that the events are in the tenant's log: believe them as you believe the sender";
}

}  // namespace

void check_log(const Contents& contents, const VerifyOptions& options, Verdict& verdict) {
  const Events events = read_events(contents, verdict);
  std::optional<timeline::OpenedCheckpoint> opened;
  if (const auto note = timeline::parse_note(contents.bytes(kCheckpoint)); note && !options.log_keys.empty()) {
    const std::string origin = note->text.substr(0, note->text.find('\n'));
    if (auto checkpoint = timeline::open_checkpoint(contents.bytes(kCheckpoint), origin, options.log_keys)) opened = std::move(*checkpoint);
  }
  auto& inclusion = verdict.of(Dimension::kInclusion);
  check_inclusion(contents, options, events, verdict, opened, inclusion);
  if (!events.problem.empty() && inclusion.outcome == Outcome::kPass) inclusion = {.outcome = Outcome::kFail, .reason = events.problem, .trust_input = {}};
  check_consistency(options, opened, verdict.of(Dimension::kConsistency));
  check_custody(events, inclusion, verdict.of(Dimension::kCustody));
}

}  // namespace stella::evidence
