// INCLUSION, CONSISTENCY and CUSTODY: the enclosed events are in the tenant's log, that log continues the one the verifier knew, and the events
// form a chain. The events are not covered by the seal (custody goes on after sealing): only the log makes them evidence.
#include <algorithm>
#include <unordered_set>

#include "contents.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/custody.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kSnapshotEvent = "evidence.snapshot";
constexpr std::string_view kPlatformTenant = "platform";  // whose log has the events of the knowledge base and of the keys

// What the bundle says of one log.
struct LogPart {
  CustodyLog log = CustodyLog::kTenant;
  std::string events_path, checkpoint_path;
  std::vector<CustodyEvent> events;
  std::vector<std::string_view> entries;
  std::vector<Sha256> leaves;
  std::vector<LoggedEvent> logged;                       // the first events, as far as they are proved
  std::string problem;                                   // of the events
  std::string origin;                                    // as the checkpoint claims
  bool key_known = false;                                // a key of a log of that name was given
  std::optional<timeline::OpenedCheckpoint> checkpoint;  // signed by a trusted key
};

void read_events(const Contents& contents, const std::string& tenant, LogPart& part) {
  for (std::string_view text = contents.bytes(part.events_path); !text.empty();) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view entry = text.substr(0, end);
    const std::string where = "line " + std::to_string(part.events.size() + 1) + " of " + part.events_path;
    auto event = parse_custody_event(entry);
    if (!event) part.problem = where + " is no event";
    else if (!tenant.empty() && !event->tenant_id.empty() && event->tenant_id != tenant) part.problem = where + " is an event of another tenant";
    if (!part.problem.empty()) return;
    part.events.push_back(std::move(*event));
    part.entries.push_back(entry);
    part.leaves.push_back(timeline::leaf_hash(entry));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::vector<timeline::VerifierKey> keys_for(const VerifyOptions& options, const std::string& origin) {
  return timeline::keys_of_log(origin, options.log_signers, options.log_keys);
}

bool has_key_of(const std::vector<timeline::VerifierKey>& keys, const std::string& origin) {
  return std::any_of(keys.begin(), keys.end(), [&](const timeline::VerifierKey& key) { return key.name() == origin; });
}

LogPart read_part(const Contents& contents, const VerifyOptions& options, CustodyLog log, const std::string& tenant) {
  LogPart part;
  part.log = log;
  part.events_path = std::string(custody_prefix(log)) + "events.jsonl";
  part.checkpoint_path = std::string(custody_prefix(log)) + "checkpoint";
  read_events(contents, tenant, part);
  const std::string_view text = contents.bytes(part.checkpoint_path);
  if (const auto note = timeline::parse_note(text)) {
    part.origin = note->text.substr(0, note->text.find('\n'));
    const auto keys = keys_for(options, part.origin);
    part.key_known = has_key_of(keys, part.origin);
    if (auto checkpoint = timeline::open_checkpoint(text, part.origin, keys)) part.checkpoint = std::move(*checkpoint);
  }
  return part;
}

// "" where every event is proved to be in the log of the part's checkpoint.
std::string check_proofs(const Contents& contents, LogPart& part) {
  const std::string_view note = contents.bytes(part.checkpoint_path);
  const timeline::Checkpoint& head = part.checkpoint->checkpoint;
  std::optional<std::uint64_t> before;
  for (std::size_t i = 0; i < part.leaves.size(); ++i) {
    const std::string path = custody_proof_path(part.log, i);
    const std::string& id = part.events[i].event_id;
    const auto proof = timeline::parse_tlog_proof(contents.bytes(path));
    if (!proof) return path + (contents.files.contains(path) ? " is malformed" : " is missing: nothing proves that event " + id + " is in the log");
    if (proof->checkpoint != note) return path + " rests on another checkpoint than " + part.checkpoint_path;
    if (before && proof->index <= *before) return path + " is out of order: events are doubled or swapped";
    if (!timeline::verify_inclusion(part.leaves[i], proof->index, head.size, proof->hashes, head.root)) return "event " + id + " is not in the log at " + std::to_string(proof->index);
    before = proof->index;
    part.logged.push_back({proof->index, part.entries[i]});
  }
  return {};
}

// "" where the part's checkpoint is a leaf of the deployment log, as far as the verifier asks for it; `found` says more.
std::string check_deployment(const Contents& contents, const VerifyOptions& options, const LogPart& part, std::string& found) {
  const std::string path = custody_deployment_path(part.log);
  if (!contents.files.contains(path)) return options.witnesses == nullptr ? "" : path + " is missing: no witness stands for " + part.checkpoint_path;
  const auto proof = timeline::parse_tlog_proof(contents.bytes(path));
  if (!proof) return path + " is malformed";
  const std::string origin = proof->checkpoint.substr(0, proof->checkpoint.find('\n'));
  // Else a log could prove itself.
  if (origin == part.checkpoint->checkpoint.origin) return path + " rests on the log itself, not on a deployment log";
  const auto keys = keys_for(options, origin);
  const Sha256 leaf = timeline::leaf_hash(contents.bytes(part.checkpoint_path));
  if (options.witnesses != nullptr) {
    const auto accepted = timeline::verify_tlog_proof(*proof, leaf, *options.witnesses, keys);
    if (!accepted) return path + " does not lead to a checkpoint that the policy's witnesses cosigned: " + std::string(accepted.error().message());
    found = "leaf " + std::to_string(proof->index) + " of the deployment log " + origin + ", cosigned by " + std::to_string(accepted->cosigners.size()) + (accepted->cosigners.size() == 1 ? " witness" : " witnesses");
    return {};
  }
  if (!has_key_of(keys, origin)) {
    // A key of the tenant's log alone was given, not that of the installation.
    found = "the deployment log " + origin + " is not checked: no key of it was given";
    return {};
  }
  if (!timeline::open_checkpoint(proof->checkpoint, origin, keys)) return "the checkpoint in " + path + " is not signed by a trusted key of the deployment log";
  if (!timeline::verify_tlog_proof(*proof, leaf, origin, keys)) return path + " does not prove that " + part.checkpoint_path + " is in the deployment log";
  found = "leaf " + std::to_string(proof->index) + " of the deployment log " + origin;
  return {};
}

// Whether this part can be said nothing of: it names a log of which no key was given. Nobody forged it, and nobody proved it.
bool is_unknown(const LogPart& part) { return !part.origin.empty() && !part.key_known; }

std::string no_key_of(const LogPart& part) { return "no key of the log " + part.origin + " was given (--trust-log takes a key for each log)"; }

// A proof that stands for no event; "" where there is none. Of lists that do not parse nobody can say what stands for what.
std::string stray_proof(const Contents& contents, const std::vector<const LogPart*>& parts) {
  std::unordered_set<std::string> expected;
  for (const LogPart* part : parts) {
    if (!part->problem.empty()) return {};
    for (std::size_t i = 0; i < part->events.size(); ++i) expected.insert(custody_proof_path(part->log, i));
    if (!contents.bytes(part->checkpoint_path).empty()) expected.insert(custody_deployment_path(part->log));
  }
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("custody/") || !path.ends_with(".tlog-proof") || expected.contains(path)) continue;
    const bool deployment = path.ends_with("deployment.tlog-proof");
    return path + (deployment ? " stands for no checkpoint" : " stands for no event");
  }
  return {};
}

// "" where the part is what it claims.
std::string check_part(const Contents& contents, LogPart& part) {
  if (!part.problem.empty()) return part.problem;
  if (part.events.empty() && contents.bytes(part.checkpoint_path).empty()) return {};
  if (!part.checkpoint) return part.checkpoint_path + " is not signed by a trusted key of the log";
  return check_proofs(contents, part);
}

// What the seal says of the tenant's log.
std::string check_seal_log(const Verdict& verdict, const LogPart& tenant) {
  if (!verdict.seal) return {};
  const SealFacts& facts = verdict.seal->facts;
  if (!facts.log_origin.empty() && facts.log_origin != tenant.origin) return "the seal names the log " + facts.log_origin + ", the checkpoint is of " + tenant.origin;
  if (!tenant.checkpoint) return {};
  const std::uint64_t size = tenant.checkpoint->checkpoint.size;
  if (facts.log_size && size < *facts.log_size) return "the seal was made at log size " + std::to_string(*facts.log_size) + ", the checkpoint is older: " + std::to_string(size);
  return {};
}

// What it says of the platform's. Nobody needs a key to see that another log stands in its place.
std::string check_seal_platform(const Verdict& verdict, const std::vector<const LogPart*>& parts) {
  if (!verdict.seal || verdict.seal->facts.platform_origin.empty()) return {};
  const std::string& named = verdict.seal->facts.platform_origin;
  for (const LogPart* part : parts)
    if (!part->origin.empty() && part->origin != named) return "the seal names the log " + named + " as that of the installation, " + part->checkpoint_path + " is of " + part->origin;
  return {};
}

// A seal that names a log was told to it, so there are events.
bool names_log(const Verdict& verdict) { return verdict.seal && verdict.seal->facts.log_size; }

void check_inclusion(const Contents& contents, const VerifyOptions& options, LogPart& tenant, LogPart& kb, LogPart& keys, const Verdict& verdict, DimensionVerdict& out) {
  const auto fail = [&](std::string reason) { out = {.outcome = Outcome::kFail, .reason = std::move(reason), .trust_input = std::string(options.log_source)}; };
  const std::string_view note = contents.bytes(tenant.checkpoint_path);
  // Whoever took out what came with the seal has something to hide.
  if (note.empty() && names_log(verdict)) return fail("the seal names a checkpoint of the log, and it was removed");
  if (tenant.events.empty() && tenant.problem.empty() && names_log(verdict)) return fail("the seal names the log " + verdict.seal->facts.log_origin + ", and its events were removed");
  if (auto stray = stray_proof(contents, {&tenant, &kb, &keys}); !stray.empty()) return fail(std::move(stray));
  if (auto other = check_seal_platform(verdict, {&kb, &keys}); !other.empty()) return fail(std::move(other));
  if (note.empty()) {
    out.reason = "no checkpoint of the tenant's log is enclosed";
    return;
  }
  if (options.log_keys.empty() && options.log_signers.empty()) {
    const auto claimed = timeline::parse_note(note);
    out.reason = "no key of a log was given; the checkpoint claims to be of " + (claimed ? claimed->signatures.front().name : std::string("(nobody)")) +
                 ". Give it from a source you trust: --trust-log KEY, or stella login";
    return;
  }
  for (LogPart* part : {&tenant, &kb, &keys}) {
    if (part->problem.empty() && is_unknown(*part)) continue;
    if (auto problem = check_part(contents, *part); !problem.empty()) return fail(std::move(problem));
  }
  if (auto problem = check_seal_log(verdict, tenant); !problem.empty()) return fail(std::move(problem));
  std::string deployment;
  for (const LogPart* part : {&kb, &keys, &tenant}) {  // the tenant's is what is shown
    if (!part->checkpoint) continue;
    if (auto problem = check_deployment(contents, options, *part, deployment); !problem.empty()) return fail(std::move(problem));
  }
  if (is_unknown(tenant)) {
    out.reason = no_key_of(tenant);
    return;
  }
  if (tenant.events.empty()) {
    out.reason = "no event of the tenant's log is enclosed";
    return;
  }
  const timeline::Checkpoint& head = tenant.checkpoint->checkpoint;
  std::string reason = std::to_string(tenant.events.size()) + " events are in the log " + head.origin + " of size " + std::to_string(head.size);
  const auto also = [&](const LogPart& part, std::string_view what) {
    if (part.events.empty()) return;
    if (is_unknown(part)) reason.append("; ").append(std::to_string(part.events.size())).append(what).append(" are not checked: ").append(no_key_of(part));
    else reason.append(", ").append(std::to_string(part.events.size())).append(what).append(" in ").append(part.origin);
  };
  also(kb, " of the knowledge base");
  also(keys, " of the signing keys");
  if (!deployment.empty()) reason += "; " + deployment;
  out = {.outcome = Outcome::kPass, .reason = std::move(reason), .trust_input = std::string(options.log_source)};
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
  const auto kept = timeline::open_checkpoint(options.kept->note, opened->checkpoint.origin, keys_for(options, opened->checkpoint.origin));
  if (!kept) return fail("the kept checkpoint is not one of " + opened->checkpoint.origin + " signed by a trusted key");
  const bool older = kept->checkpoint.size <= opened->checkpoint.size;
  const auto& from = older ? kept->checkpoint : opened->checkpoint;
  const auto& to = older ? opened->checkpoint : kept->checkpoint;
  if (from.size != to.size && from.size != 0 && options.kept->consistency.empty()) {
    out.reason = "no proof leads from size " + std::to_string(from.size) + " to " + std::to_string(to.size) + "; get it: stella timeline proof --from " + std::to_string(from.size) +
                 " --to " + std::to_string(to.size) + " --out PROOF.json, and give it: --consistency PROOF.json";
    return;
  }
  if (!timeline::verify_growth(from, to, options.kept->consistency))
    return fail("size " + std::to_string(to.size) + " does not continue size " + std::to_string(from.size) + ": the log has two histories");
  out = {.outcome = Outcome::kPass, .reason = "the log of size " + std::to_string(to.size) + " continues that of size " + std::to_string(from.size), .trust_input = source};
}

// What events say of digests.
struct Digests {
  std::unordered_set<Sha256> named;  // taken in or put out
  std::unordered_set<Sha256> made;   // put out
  std::unordered_set<Sha256> at_work;  // put out by anybody but the snapshot, which collects what others made
};

Digests digests_of(const std::vector<CustodyEvent>& events) {
  Digests out;
  for (const CustodyEvent& event : events) {
    if (event.outputs.empty()) continue;  // no step
    for (const auto& [name, digest] : event.inputs) out.named.insert(digest);
    for (const auto& [name, digest] : event.outputs) {
      out.named.insert(digest);
      out.made.insert(digest);
      if (event.kind != kSnapshotEvent) out.at_work.insert(digest);
    }
  }
  return out;
}

// "" where the chain is that of this very bundle: it ends in its payload, or in the snapshot for it (where files were withheld the payload cannot be
// computed); and it names each file that was taken in or made.
std::string check_ends_here(const Verdict& verdict, const std::vector<CustodyEvent>& events, const Digests& digests) {
  for (const Item& item : verdict.items) {
    const bool output = item.role == "output";
    if (!output && item.role != "input") continue;
    if (!(output ? digests.made : digests.named).contains(item.sha256)) return "no event " + std::string(output ? "put out " : "took in or put out ") + item.path + " (" + item.sha256.hex().substr(0, 12) + "…): the chain is that of something else";
  }
  if (verdict.disclosure.withheld == 0 && digests.made.contains(crypto::sha256(items_ndjson(verdict.items)))) return {};
  const std::string id = verdict.seal->facts.bundle_id.str();
  const auto of_it = [&](const CustodyEvent& event) { return event.kind == kSnapshotEvent && event.resource_type == "bundle" && event.resource_id == id; };
  if (std::any_of(events.begin(), events.end(), of_it)) return {};
  return "no event put out the payload that was sealed, or is the snapshot for the bundle " + id + ": the chain is that of something else";
}

// A file that was made of others, and of whose making no event tells.
std::string first_unmade(const Verdict& verdict, const Digests& digests) {
  for (const Item& item : verdict.items)
    if (item.role == "output" && !digests.at_work.contains(item.sha256)) return item.path;
  return {};
}

void check_custody(const Contents& contents, const Verdict& verdict, const LogPart& tenant, const LogPart& kb, const DimensionVerdict& inclusion, DimensionVerdict& out) {
  const auto fail = [&](std::string reason) { out = {.outcome = Outcome::kFail, .reason = std::move(reason), .trust_input = {}}; };
  for (const LogPart* part : {&tenant, &kb})
    if (!part->problem.empty()) return fail(part->problem);
  // What the tenant took from the knowledge base was there before.
  std::vector<CustodyEvent> events = kb.events;
  events.insert(events.end(), tenant.events.begin(), tenant.events.end());
  // The seal does not cover the lists: the events, by their digests, do. One that no event names is nobody's.
  const auto named = custody_lists(events);
  for (const auto& [path, bytes] : contents.kept)
    if (is_custody_list_path(path) && std::none_of(named.begin(), named.end(), [&, p = &path](const Sha256& d) { return custody_list_path(d) == *p; })) return fail("no event names " + path);
  const auto expanded = expand_custody_lists(events, [&](const Sha256& list) { return contents.bytes(custody_list_path(list)); });
  if (!expanded) return fail(std::string(expanded.error().message()) + ": " + std::string(expanded.error().field("path")));
  const Custody custody = walk_custody(events);
  if (custody.steps.empty()) {
    if (names_log(verdict)) return fail("the seal names a log, and no step of the chain is enclosed");
    out.reason = "no step of a chain is enclosed";
    return;
  }
  if (!custody.broken.empty()) {
    const CustodyLink& first = custody.broken.front();
    return fail(std::to_string(custody.broken.size()) + " of " + std::to_string(custody.links.size()) + " links are broken: nothing put out " + first.name + " (" + first.sha256.hex().substr(0, 12) +
                "…), which " + events[first.consumer].kind + " took in");
  }
  std::string expired;
  if (verdict.seal) {
    const SealFacts& facts = verdict.seal->facts;
    for (const MissingTransition& m : missing_transitions(events, facts.bundle_id.str(), facts.kind == "job" ? facts.resource_id : std::string())) {
      if (!m.may_have_expired) return fail("the chain is broken: nothing tells of " + m.text(events));
      expired.append(expired.empty() ? "; not enclosed, since they had expired or were left out: " : ", ").append(m.transition).append(" of job ").append(m.job_id);
    }
  }
  const std::string chain = std::to_string(custody.steps.size()) + " steps, " + std::to_string(custody.links.size()) + " links, none broken";
  if (!verdict.seal) {
    out.reason = chain + "; the seal cannot be read, so it cannot be said whose chain this is";
    return;
  }
  const Digests digests = digests_of(events);
  if (auto problem = check_ends_here(verdict, events, digests); !problem.empty()) return fail(std::move(problem));
  if (auto omitted = omitted_events(contents, verdict.seal->facts); !omitted.empty()) return fail(std::move(omitted));
  if (inclusion.outcome != Outcome::kPass) {
    out.reason = chain + "; without proof that the events are in the tenant's log: believe them as you believe the sender";
  } else if (is_unknown(kb)) {
    out.reason = chain + "; without proof of the knowledge base's events: " + no_key_of(kb);
  } else if (const std::string unmade = first_unmade(verdict, digests); !unmade.empty()) {
    // Entries of a log expire, and what they led to may be sealed afterwards.
    out.reason = chain + "; it begins with the snapshot: the events that made " + unmade + " are not enclosed, they had expired or were left out";
  } else if (!verdict.seal->facts.custody) {
    out.reason = chain + "; whether events were left out that break no link cannot be said: this seal names none, as seals of before 2026-12";
  } else {
    out = {.outcome = Outcome::kPass, .reason = chain + expired, .trust_input = inclusion.trust_input};
  }
}

}  // namespace

std::string omitted_events(const Contents& contents, const SealFacts& facts) {
  if (!facts.custody) return {};
  const std::pair<CustodyLog, const SealedEvents*> logs[] = {{CustodyLog::kTenant, &facts.custody->tenant}, {CustodyLog::kKnowledgeBase, &facts.custody->knowledge_base}};
  for (const auto& [log, sealed] : logs) {
    const std::string path = std::string(custody_prefix(log)) + "events.jsonl";
    const std::string_view lines = contents.bytes(path);
    if (begins_with(lines, *sealed)) continue;
    // The proofs are read only to name what is gone.
    std::vector<std::optional<std::uint64_t>> indexes;
    for (auto n = std::count(lines.begin(), lines.end(), '\n'); n > 0; --n) {
      const auto proof = timeline::parse_tlog_proof(contents.bytes(custody_proof_path(log, indexes.size())));
      indexes.push_back(proof ? std::optional(proof->index) : std::nullopt);
    }
    return "the seal names " + std::to_string(sealed->count) + " events of " + path + ", and they are not all there as they were: " + differs_from_sealed(*sealed, lines, indexes);
  }
  return {};
}

LogEvidence check_log(const Contents& contents, const VerifyOptions& options, Verdict& verdict) {
  LogPart tenant = read_part(contents, options, CustodyLog::kTenant, verdict.seal ? verdict.seal->facts.tenant_id.str() : std::string());
  LogPart kb = read_part(contents, options, CustodyLog::kKnowledgeBase, std::string(kPlatformTenant));
  LogPart keys = read_part(contents, options, CustodyLog::kKeys, std::string(kPlatformTenant));
  auto& inclusion = verdict.of(Dimension::kInclusion);
  check_inclusion(contents, options, tenant, kb, keys, verdict, inclusion);
  check_consistency(options, tenant.checkpoint, verdict.of(Dimension::kConsistency));
  check_custody(contents, verdict, tenant, kb, inclusion, verdict.of(Dimension::kCustody));
  if (inclusion.outcome != Outcome::kPass) return {};
  return {.proven = true, .keys_proven = !is_unknown(keys), .tenant_origin = tenant.checkpoint->checkpoint.origin, .tenant = std::move(tenant.logged), .keys = std::move(keys.logged)};
}

}  // namespace stella::evidence
