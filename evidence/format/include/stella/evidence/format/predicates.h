// What is stated about decisions: SLSA Verification Summary (VSA), in-toto Simple Verification Result (SVR), in-toto vulns. Makers and the
// rules that readers hold them to. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/evidence/format/statement.h"

namespace stella::evidence {

inline constexpr std::string_view kVsaPredicate = "https://slsa.dev/verification_summary/v1";
inline constexpr std::string_view kSvrPredicate = "https://in-toto.io/attestation/svr/v0.2";
inline constexpr std::string_view kVulnsPredicate = "https://in-toto.io/attestation/vulns/v0.2";
// What a bundle says of statements that it could not enclose: its subjects are the decision and the stored
// documents that are missing.
inline constexpr std::string_view kLeftOutPredicate = "https://stellaops.dev/left-out/v1";
inline constexpr std::string_view kVerifierId = "https://stellaops.dev/policy-engine/v1";

// VSA v1: a policy was applied to an artifact, with this result.
struct VerificationSummary {
  std::string verifier_id = std::string(kVerifierId);
  std::vector<std::pair<std::string, std::string>> verifier_versions;  // name → version
  Timestamp time_verified;
  std::string resource_uri;            // of the artifact; required
  Resource policy;                     // uri and digest; required
  std::vector<Resource> inputs;        // if any, all of them (the specification's rule)
  bool passed = false;
  std::vector<std::string> levels;     // verifiedLevels, at least one; ours never begin with "SLSA_"
};
// kInvalid with field: a required part is missing, or a level of our own that begins with SLSA_.
Result<std::string> make_vsa(std::span<const Subject> subjects, const VerificationSummary& summary);
Result<void> check_vsa(const json::Value& predicate);

// SVR v0.2: the properties that the verifier found to hold.
struct VerificationResult {
  std::string verifier_id = std::string(kVerifierId);
  std::vector<Resource> policies;      // may be empty
  Timestamp time_created;
  std::vector<std::string> properties;
};
Result<std::string> make_svr(std::span<const Subject> subjects, const VerificationResult& result);
Result<void> check_svr(const json::Value& predicate);

// vulns v0.2: what a scan of the subject found.
struct Vulnerability {
  std::string id;                                                 // advisory or vulnerability id; required
  std::vector<std::pair<std::string, std::string>> severities;   // method, score
  json::Value annotations;                                        // an object or null
};
struct VulnerabilityScan {
  std::string scanner_uri;             // required
  std::string scanner_version;
  std::string db_uri, db_version;      // "" where there is none
  Timestamp db_last_update;            // required
  std::vector<Vulnerability> result;   // may be empty: nothing was found
  Timestamp started, finished;         // required
};
Result<std::string> make_vulns(std::span<const Subject> subjects, const VulnerabilityScan& scan);
Result<void> check_vulns(const json::Value& predicate);

// The rules of the predicate types above and of SLSA provenance; other types pass (consumers ignore what they do not know).
Result<void> check_predicate(std::string_view predicate_type, const json::Value& predicate);

}  // namespace stella::evidence
