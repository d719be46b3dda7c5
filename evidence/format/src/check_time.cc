// TIME: RFC 3161 timestamps over the bytes of the seal's signatures. They say "no later than": who stamped a signature has seen it.
#include <algorithm>
#include <set>

#include "contents.h"
#include "statement_keys.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/time_renewal.h"

namespace stella::evidence {
namespace {

bool is_token(std::string_view path) { return path.starts_with("time/") && path.ends_with(".tsr"); }

std::optional<TimeEvidence> evidence_of(const Contents& contents) {
  const auto envelope = crypto::dsse_parse(contents.bytes("attest/seal.dsse.json"));
  if (!envelope) return std::nullopt;
  TimeEvidence out;
  for (const auto& signature : envelope->signatures) out.signatures.push_back(signature.sig);
  for (const auto& [path, bytes] : contents.kept)
    if (path.starts_with("time/")) out.files.emplace(path, bytes);
  return out;
}

// The signatures of each key that counts and signed the seal. An envelope may hold others, of anybody or of other bytes: a stamp over one of those
// says nothing about this seal.
std::vector<std::vector<std::string>> signatures_that_count(const Contents& contents, const VerifyOptions& options) {
  std::vector<std::vector<std::string>> out;
  auto envelope = crypto::dsse_parse(contents.bytes("attest/seal.dsse.json"));
  if (!envelope) return out;
  const auto signatures = std::move(envelope->signatures);
  for (const crypto::PublicKey& key : keys_of(options)) {
    std::vector<std::string> own;
    for (const auto& signature : signatures) {
      envelope->signatures = {signature};
      if (!crypto::dsse_signers(*envelope, std::span(&key, 1)).empty()) own.push_back(signature.sig);
    }
    if (!own.empty()) out.push_back(std::move(own));
  }
  return out;
}

std::string ended(const Stamp& stamp) {
  const auto& verified = stamp.verified;
  if (verified.ends() < verified.chain_ends) return "a certificate of its authority was revoked at " + verified.revoked->rfc3339_seconds();
  return "the certificate of its authority expired at " + verified.chain_ends.rfc3339_seconds();
}

// Why a stamp that has ended is carried by nothing; the renewals that came too late are named.
std::string why_ended(const TimeChain& chain, const Stamp& stamp, const VerifyOptions& options) {
  std::string out = stamp.file + ": " + ended(stamp);
  const Timestamp until = stands_until(chain, stamp, options.time_threshold);
  std::set<Sha256> in_time;
  for (const Stamp& renewal : chain.renewals)
    if (renewal.verified.gen_time <= stamp.verified.ends()) in_time.insert(renewal.verified.signer);
  if (until > stamp.verified.ends()) out += ", and its renewals stand until " + until.rfc3339_seconds() + " only";
  else if (in_time.size() >= std::max<std::size_t>(1, options.time_threshold)) out += ", and what renewed it has ended, too";
  else if (!in_time.empty()) out += ", and " + std::to_string(in_time.size()) + " of " + std::to_string(options.time_threshold) + " authorities renewed it before";
  else out += std::string(", and nobody renewed it before") + (options.renewals.empty() ? " (--renewals FILE)" : "");
  for (const Stamp& renewal : chain.renewals)
    if (renewal.verified.gen_time > until) out += "; " + renewal.file + " was made at " + renewal.verified.gen_time.rfc3339_seconds() + ", after that, and proves nothing";
  if (!chain.renewal_problem.empty()) out += "; " + chain.renewal_problem;
  return out;
}

// What carries a stamp that has ended.
std::string carried_by(const TimeChain& chain, const Stamp& stamp, const VerifyOptions& options) {
  const auto renewal = std::find_if(chain.renewals.begin(), chain.renewals.end(), [&](const Stamp& r) { return r.verified.gen_time <= stamp.verified.ends(); });
  return "; " + ended(stamp) + ", after it was renewed at " + renewal->verified.gen_time.rfc3339_seconds() + ", which stands until " +
         stands_until(chain, stamp, options.time_threshold).rfc3339_seconds();
}

// The stamps that stand at the time of the verdict.
struct Standing {
  std::vector<Stamp> stamps;
  std::string carried;  // by what the first of them is that has ended itself
  std::string problem;  // of the first one that does not stand
};

Standing standing(TimeChain chain, const VerifyOptions& options) {
  Standing out{.stamps = {}, .carried = {}, .problem = std::move(chain.stamp_problem)};
  for (const Stamp& stamp : chain.stamps) {
    // Without a time of the verdict only what was revoked has ended for sure.
    const Timestamp ends = stamp.verified.ends(), at = options.at.value_or(ends < stamp.verified.chain_ends ? ends + std::chrono::microseconds(1) : ends);
    const bool over = at > ends;
    if (over && at > stands_until(chain, stamp, options.time_threshold)) {
      if (out.problem.empty()) out.problem = why_ended(chain, stamp, options);
      continue;
    }
    if (over && out.carried.empty()) out.carried = carried_by(chain, stamp, options);
    out.stamps.push_back(stamp);
  }
  return out;
}

}  // namespace

std::optional<Timestamp> stamped_at(const Contents& contents, const VerifyOptions& options, const std::string& signature) {
  if (options.time_trust == nullptr || options.time_threshold == 0) return std::nullopt;
  const auto evidence = evidence_of(contents);
  if (!evidence) return std::nullopt;
  const Standing found = standing(read_time_chain(*evidence, std::span(&signature, 1), options.renewals, *options.time_trust), options);
  if (found.stamps.size() < options.time_threshold) return std::nullopt;
  return found.stamps[options.time_threshold - 1].verified.gen_time;
}

void check_time(const Contents& contents, const VerifyOptions& options, Verdict& verdict) {
  auto& out = verdict.of(Dimension::kTime);
  const auto enclosed = std::count_if(contents.kept.begin(), contents.kept.end(), [](const auto& file) { return is_token(file.first); });
  if (enclosed == 0) {
    out.reason = "local clock only: no timestamp of an authority is enclosed";
    return;
  }
  if (options.time_trust == nullptr) {
    out.reason = "local clock only: " + std::to_string(enclosed) + " timestamps are enclosed, and no authority is trusted: --trust-time ROOTS.pem";
    return;
  }
  const auto evidence = evidence_of(contents);
  if (!evidence) {
    out = {.outcome = Outcome::kFail, .reason = "attest/seal.dsse.json is malformed", .trust_input = {}};
    return;
  }
  const auto signers = signatures_that_count(contents, options);
  if (signers.empty()) {
    out.reason = std::to_string(enclosed) + " timestamps are enclosed, and no trusted key signed the seal: there is no signature whose time would count";
    return;
  }
  const std::string source(options.time_source);
  Standing latest;
  for (const auto& signatures : signers) {
    Standing found = standing(read_time_chain(*evidence, signatures, options.renewals, *options.time_trust), options);
    if (found.stamps.size() < options.time_threshold) {
      out = {.outcome = Outcome::kFail,
             .reason = std::to_string(found.stamps.size()) + " of " + std::to_string(options.time_threshold) + " trusted authorities stamped a signature of the seal" +
                       (found.problem.empty() ? "" : "; " + found.problem),
             .trust_input = source};
      return;
    }
    // As many as are demanded agree on the latest of the earliest; where several keys signed, all of them had by the last one's time.
    const Timestamp proven = found.stamps[options.time_threshold - 1].verified.gen_time;
    if (proven < verdict.proven_at) continue;
    verdict.proven_at = proven;
    verdict.proven_within = found.stamps[options.time_threshold - 1].verified.accuracy.value_or(std::chrono::microseconds(0));
    latest = std::move(found);
  }
  for (const auto& stamp : latest.stamps) verdict.time_authorities.push_back(stamp.verified.signer_name);
  out = {.outcome = Outcome::kPass,
         .reason = "signed no later than " + verdict.proven_at.rfc3339_seconds() + ", stamped by " + std::to_string(latest.stamps.size()) + " of " + std::to_string(options.time_threshold) + " demanded" + latest.carried,
         .trust_input = source};
}

}  // namespace stella::evidence
