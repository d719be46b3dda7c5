// AUTHENTICITY, COMPLETENESS and RETENTION-STATE.
#include <algorithm>
#include <set>

#include "contents.h"
#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/statement.h"
#include "statement_keys.h"

namespace stella::evidence {
namespace {

// What the name of an attestation promises: the type of its predicate, and what it is about.
struct Promise {
  std::string_view name, predicate_type, role, folder;
};
constexpr Promise kPromises[] = {{"provenance", kProvenancePredicate, "output", "data/"},
                                 {"vsa", kVsaPredicate, "input", "data/inputs/sbom/"},
                                 {"svr", kSvrPredicate, "input", "data/inputs/sbom/"},
                                 {"vulns", kVulnsPredicate, "input", "data/inputs/sbom/"},
                                 {"left-out", kLeftOutPredicate, "output", "data/outputs/"}};

const Promise* promise_of(std::string_view path) {
  path.remove_prefix(std::min(path.size(), path.find('/') + 1));
  const std::string_view name = path.substr(0, path.find('.'));
  const auto found = std::find_if(std::begin(kPromises), std::end(kPromises), [&](const Promise& p) { return p.name == name; });
  return found == std::end(kPromises) ? nullptr : found;
}

// Whether a statement is about a file of the bundle, one as its name promises.
bool is_about(const Statement& statement, const Promise* promise, const std::vector<Item>& items) {
  return std::any_of(items.begin(), items.end(), [&](const Item& item) {
    if (promise != nullptr && (item.role != promise->role || !item.path.starts_with(promise->folder))) return false;
    return std::any_of(statement.subjects.begin(), statement.subjects.end(), [&](const Subject& s) { return s.sha256 == item.sha256; });
  });
}

struct Attestations {
  std::string problem;
  std::size_t count = 0;
  std::string unplaced;  // one that may be about a file that is withheld
};

// The attestations beside the seal (provenance, …) must be signed by trusted keys too, be what their names promise, and about what lies in this bundle:
// it does not lend them its credibility. Whether those were good keys then says KEY-STATUS; that all are there which the seal names, INTEGRITY.
Attestations check_attestations(const Contents& contents, std::span<const crypto::PublicKey> trust, const Verdict& verdict) {
  Attestations out;
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("attest/") || path.starts_with("attest/seal.")) continue;
    const auto verified = verify_statement(bytes, {.trust = trust});
    const Promise* promise = promise_of(path);
    if (!verified) out.problem = path + " is not a statement signed by a trusted key";
    else if (promise != nullptr && verified->statement.predicate_type != promise->predicate_type) out.problem = path + " is a statement of another type: " + verified->statement.predicate_type.substr(0, 200);
    else if (!is_about(verified->statement, promise, verdict.items)) (verdict.disclosure.withheld > 0 ? out.unplaced : out.problem) = path + (verdict.disclosure.withheld > 0 ? "" : " is about something that is not in this bundle");
    if (!out.problem.empty()) return out;
    ++out.count;
  }
  return out;
}

std::string key_ids_of(const crypto::DsseEnvelope& envelope) {
  std::string out;
  for (const auto& s : envelope.signatures) {
    const bool plain = std::all_of(s.keyid.begin(), s.keyid.end(), [](char c) { return c > ' ' && c < 0x7f; });
    out.append(out.empty() ? "" : ", ").append(s.keyid.empty() || !plain || s.keyid.size() > 100 ? "(unnamed key)" : s.keyid);
  }
  return out.empty() ? "nobody" : out;
}

}  // namespace

void check_authenticity(const Contents& contents, const VerifyOptions& options, Verdict& verdict) {
  auto& out = verdict.of(Dimension::kAuthenticity);
  const auto envelope = crypto::dsse_parse(contents.bytes("attest/seal.dsse.json"));
  if (!envelope) {
    out = {.outcome = Outcome::kFail, .reason = "attest/seal.dsse.json is malformed", .trust_input = {}};
    return;
  }
  const auto trust = keys_of(options);
  if (trust.empty()) {
    out.reason = "no key to trust was given; the seal claims to be signed by " + key_ids_of(*envelope) +
                 ". Give a key from a source you trust: --trust KEY.pub, or stella login";
    return;
  }
  const std::string source(options.trust_source.empty() ? "keys given by the caller" : options.trust_source);
  const auto signers = crypto::dsse_verify(*envelope, trust, options.threshold);
  if (!signers) {
    const auto count = crypto::dsse_signers(*envelope, trust).size();
    out = {.outcome = Outcome::kFail,
           .reason = count == 0 ? "the seal is not signed by a trusted key; it claims " + key_ids_of(*envelope)
                                : std::to_string(count) + " of " + std::to_string(options.threshold) + " trusted keys signed the seal",
           .trust_input = source};
    return;
  }
  for (const auto& key : *signers) verdict.signers.push_back(key.id().str());
  // The signature vouches for the payload of the envelope; that this is what the rest was compared with is part of the claim.
  if (envelope->payload_type != kInTotoPayloadType || envelope->payload != contents.bytes("evidence/seal.json")) {
    out = {.outcome = Outcome::kFail, .reason = "what was signed is not evidence/seal.json", .trust_input = source};
    return;
  }
  Attestations attestations = check_attestations(contents, trust, verdict);
  if (!attestations.problem.empty()) {
    out = {.outcome = Outcome::kFail, .reason = std::move(attestations.problem), .trust_input = source};
    return;
  }
  std::string reason = "the seal is signed by " + verdict.signers.front();
  for (std::size_t i = 1; i < verdict.signers.size(); ++i) reason.append(", ").append(verdict.signers[i]);
  if (attestations.count > 0) reason.append("; so are ").append(std::to_string(attestations.count)).append(" attestations");
  if (verdict.seal && verdict.seal->facts.attestations) {
    // Named by the seal, each: INTEGRITY compares them.
  } else if (verdict.seal && (attestations.count > 0 || verdict.seal->facts.kind == "eval")) {
    reason.append("; NOT-CHECKED whether attestations were taken out: this seal does not name them");
    if (!attestations.unplaced.empty()) reason.append("; nor whether ").append(attestations.unplaced).append(" is about this bundle: files are withheld");
  }
  out = {.outcome = Outcome::kPass, .reason = std::move(reason), .trust_input = source};
}

namespace {

// What the statements that count say of what is withheld.
struct Authorised {
  std::size_t most = 0;        // of the withheld, by the one that covers most
  std::set<std::uint64_t> by_any;
  std::string doubts;          // names the statements whose key does not count
};

// A statement counts that a trusted key has signed for this very root; nobody can have authorised anything before the bundle was sealed. Each speaks for
// the copy that it was made with and for no more, so one must cover all: else two copies could be made into a third from which more is gone.
Authorised authorised(const StatementKeys& keys, Timestamp sealed_at, const std::set<std::uint64_t>& withheld) {
  Authorised out;
  const Contents& contents = keys.contents;
  const Sha256 subject = crypto::sha256(contents.bytes("evidence/root.merkle"));
  const auto trust = keys_of(keys.options);
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("redaction/")) continue;
    const auto verified = verify_statement(bytes, {.trust = trust, .subject = &subject, .predicate_type = kRedactionPredicate});
    if (!verified) continue;
    MadeBetween made{sealed_at, {}};
    if (const auto claimed = Timestamp::parse(verified->statement.predicate.str("redacted_at"))) made.claimed = *claimed;
    if (const std::string doubt = doubt_about(keys, *verified, bytes, made); !doubt.empty()) {
      out.doubts.append("; ").append(path).append(" does not count: ").append(doubt);
      continue;
    }
    std::set<std::uint64_t> covered;
    for (const auto& index : verified->statement.predicate.items("withheld"))
      if (index.is_int() && index.as_int() >= 0 && withheld.contains(static_cast<std::uint64_t>(index.as_int()))) covered.insert(static_cast<std::uint64_t>(index.as_int()));
    out.most = std::max(out.most, covered.size());
    out.by_any.merge(covered);
  }
  return out;
}

}  // namespace

void check_completeness(const Contents& contents, const VerifyOptions& options, const LogEvidence& log, const std::optional<crypto::KeyHistory>& enclosed, Verdict& verdict) {
  auto& out = verdict.of(Dimension::kCompleteness);
  auto& d = verdict.disclosure;
  if (!verdict.seal) {
    out.reason = "the seal cannot be read";
    return;
  }
  StatementKeys keys{contents, options, log, {}};
  if (options.key_history != nullptr) keys.histories.push_back(options.key_history);
  if (enclosed) keys.histories.push_back(&*enclosed);
  Authorised found;
  // Lines that cannot be read are INTEGRITY's, and nothing is authorised.
  if (const auto withheld = withheld_indices(contents.bytes("evidence/items.jsonl")); withheld && d.withheld > 0)
    found = authorised(keys, verdict.seal->facts.sealed_at, {withheld->begin(), withheld->end()});
  d.authorised = found.most;
  const std::string counts = "disclosed " + std::to_string(d.disclosed) + ", withheld " + std::to_string(d.withheld) + " (authorised " +
                             std::to_string(d.authorised) + "), unaccounted " + std::to_string(d.unaccounted);
  if (const std::string omitted = omitted_events(contents, verdict.seal->facts); !omitted.empty()) {
    out = {.outcome = Outcome::kFail, .reason = counts + "; " + omitted, .trust_input = {}};
  } else if (d.unaccounted > 0 || d.authorised < d.withheld) {
    const bool parts = found.by_any.size() > found.most;
    const std::string_view why = parts ? "; no one statement covers all of it, and they do not add up: make the copy again from its original" : "";
    out = {.outcome = Outcome::kFail, .reason = counts + std::string(why) + found.doubts, .trust_input = {}};
  } else if (verdict.of(Dimension::kIntegrity).outcome == Outcome::kFail) {
    out.reason = counts + "; says little while INTEGRITY fails";
  } else {
    out = {.outcome = Outcome::kPass, .reason = counts, .trust_input = d.withheld > 0 ? std::string(options.trust_source) : std::string()};
  }
}

void check_retention(const VerifyOptions& options, Verdict& verdict) {
  auto& out = verdict.of(Dimension::kRetentionState);
  if (options.store == nullptr) {
    out.reason = "offline: the state of the store is not known";
    return;
  }
  const StoreState& store = *options.store;
  const Timestamp promised = verdict.seal ? verdict.seal->facts.retain_until : Timestamp();
  const std::string until = store.retain_until.micros() == 0 ? std::string("locked by nothing") : "locked until " + store.retain_until.rfc3339_seconds();
  out = {.outcome = Outcome::kPass, .reason = until + (store.held ? ", under legal hold" : ""), .trust_input = std::string(store.source)};
  if (promised.micros() == 0 || store.held || store.retain_until >= promised) return;
  out.outcome = Outcome::kFail;
  out.reason = "the seal promises " + promised.rfc3339_seconds() + "; the object is " + until;
}

}  // namespace stella::evidence
