// Output of policy.evaluate: the decision over one SBOM, its findings, and the full trace.
//
// Three objects, deterministic functions of (components, exposures, VEX result, policy set, as_of):
//   decision.json    {"format":"stella.decision/v1",…}: this struct without findings
//   findings.ndjson  one line per finding, sorted by (component, advisory id)
//   trace.ndjson     per finding every rule that was looked at, its truth value and its operands
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"

namespace stella::contracts {

inline constexpr std::string_view kDecisionFormat = "stella.decision/v1";

// Fold order: deny > warn > defer > allow.
enum class Effect : std::uint8_t { kAllow, kDefer, kWarn, kDeny };
std::string_view to_string(Effect effect);  // "allow", "defer", "warn", "deny"
Result<Effect> parse_effect(std::string_view text);

struct Finding {
  std::uint32_t component = 0;
  std::string purl;
  std::string advisory_id;       // "" for a component-level unknown
  Sha256 advisory_sha256;
  Verdict verdict = Verdict::kUnknown;
  std::string severity;          // "critical","high","medium","low","none","unknown"
  double score = -1;             // computed base score, -1 where unknown
  VexStatus vex = VexStatus::kNone;
  Effect effect = Effect::kAllow;
  std::string rule_id;           // the first rule that matched, "default" where none did
  std::string reason;            // of that rule; for unknowns the verdict's reason
  Clause clause;
  std::vector<std::string> fixed_versions;
};

struct DecisionCounts {
  std::uint32_t components = 0;
  std::uint32_t findings = 0;    // affected + unknown pairs that were evaluated
  std::uint32_t affected = 0;
  std::uint32_t not_affected = 0;
  std::uint32_t withdrawn = 0;
  std::uint32_t unknown = 0;     // component- and pair-level unknown verdicts
  std::uint32_t allow = 0, warn = 0, defer = 0, deny = 0;
};

struct Decision {
  std::string as_of;             // RFC 3339
  std::string policy_version;    // "<label>@<first 12 hex>" of the policy set's digest
  Sha256 policy_sha256;
  Effect effect = Effect::kAllow;
  std::string reason;            // of the finding that decided, or "no finding"
  std::vector<std::string> rule_ids;  // every rule that decided a finding, sorted
  DecisionCounts counts;
};

std::string encode(const Decision& decision);                 // canonical JSON
Result<Decision> decode_decision(std::string_view text);
std::string encode(const std::vector<Finding>& findings);     // NDJSON
Result<std::vector<Finding>> decode_findings(std::string_view ndjson);

}  // namespace stella::contracts
