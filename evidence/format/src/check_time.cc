// TIME: RFC 3161 timestamps over the bytes of the seal's signatures. They say "no later than": who stamped a signature has seen it.
#include <algorithm>
#include <set>

#include "contents.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"

namespace stella::evidence {
namespace {

bool is_token(std::string_view path) { return path.starts_with("time/") && path.ends_with(".tsr"); }

struct Stamps {
  std::vector<crypto::VerifiedTimestamp> good;  // one for each certificate: its earliest
  std::string first_problem;
  std::size_t enclosed = 0;
};

void add(Stamps& stamps, crypto::VerifiedTimestamp stamp) {
  const auto same = std::find_if(stamps.good.begin(), stamps.good.end(), [&](const auto& s) { return s.signer == stamp.signer; });
  if (same == stamps.good.end()) stamps.good.push_back(std::move(stamp));
  else if (stamp.gen_time < same->gen_time) *same = std::move(stamp);
}

// Each token against each signature: names of files are hints.
Stamps verify_tokens(const Contents& contents, std::span<const crypto::DsseSignature> signatures, const crypto::TimestampTrust& trust) {
  Stamps out;
  for (const auto& [path, bytes] : contents.kept) {
    if (!is_token(path)) continue;
    ++out.enclosed;
    std::string problem;
    bool good = false;
    for (const auto& signature : signatures) {
      auto stamp = crypto::verify_timestamp(bytes, crypto::TimestampSubject::message(signature.sig), trust);
      if (stamp) {
        add(out, std::move(*stamp));
        good = true;
        break;
      }
      if (problem.empty()) problem = path + ": " + stamp.error().describe();
    }
    if (!good && out.first_problem.empty()) out.first_problem = std::move(problem);
  }
  std::sort(out.good.begin(), out.good.end(), [](const auto& a, const auto& b) { return a.gen_time < b.gen_time; });
  return out;
}

}  // namespace

std::optional<Timestamp> stamped_at(const Contents& contents, const VerifyOptions& options, const std::string& signature) {
  if (options.time_trust == nullptr || options.time_threshold == 0) return std::nullopt;
  const crypto::DsseSignature only{.keyid = {}, .sig = signature};
  const Stamps stamps = verify_tokens(contents, std::span(&only, 1), *options.time_trust);
  if (stamps.good.size() < options.time_threshold) return std::nullopt;
  return stamps.good[options.time_threshold - 1].gen_time;
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
  const auto envelope = crypto::dsse_parse(contents.bytes("attest/seal.dsse.json"));
  if (!envelope) {
    out = {.outcome = Outcome::kFail, .reason = "attest/seal.dsse.json is malformed", .trust_input = {}};
    return;
  }
  const Stamps stamps = verify_tokens(contents, envelope->signatures, *options.time_trust);
  const std::string source(options.time_source);
  if (stamps.good.size() < options.time_threshold) {
    out = {.outcome = Outcome::kFail,
           .reason = std::to_string(stamps.good.size()) + " of " + std::to_string(options.time_threshold) + " trusted authorities stamped a signature of the seal" +
                     (stamps.first_problem.empty() ? "" : "; " + stamps.first_problem),
           .trust_input = source};
    return;
  }
  // As many as are demanded agree on the latest of the earliest.
  verdict.proven_at = stamps.good[options.time_threshold - 1].gen_time;
  for (const auto& stamp : stamps.good) verdict.time_authorities.push_back(stamp.signer_name);
  out = {.outcome = Outcome::kPass,
         .reason = "signed no later than " + verdict.proven_at.rfc3339_seconds() + ", stamped by " + std::to_string(stamps.good.size()) + " of " + std::to_string(options.time_threshold) + " demanded",
         .trust_input = source};
}

}  // namespace stella::evidence
