// policy.evaluate as a pure function: (components, exposures, VEX result, policy set, as_of) to decision, findings and trace.
//
// Findings are the exposures whose verdict is affected or unknown; not_affected and withdrawn ones are counted only. Each finding meets the
// rules in order of priority: a rule outside its scope or expired (expires <= as_of) is passed over, the first whose expression is true
// decides; where none is, the set's default does. A rule whose expression fails counts as not matched, and because it might have been
// the one that denies, the finding becomes at least `defer`. The overall effect is the fold deny > warn > defer > allow; allow without findings.
#pragma once

#include <string>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/components.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/pipeline/policy/policy_set.h"

namespace stella::pipeline {

inline constexpr std::string_view kTraceFormat = "stella.trace/v1";

struct EvaluateOptions {
  bool trace = true;                              // false: decision and findings only
  std::size_t max_trace_bytes = 256u << 20;       // beyond it the evaluation is refused (kLimit): a record is whole or it is none
  std::uint64_t max_steps = 2'000'000'000;        // of all expressions together (some ten seconds); beyond it kLimit
};

struct Evaluation {
  contracts::Decision decision;
  std::vector<contracts::Finding> findings;  // sorted by (component, advisory id, advisory digest)
  // NDJSON. Line 1: {"format":"stella.trace/v1","as_of":…,"policy_sha256":…,"policy_version":…,"rules":[{"id":…,"priority":…,"effect":…,"when":…}…]};
  // then per finding {"component":…,"purl":…,"advisory_id":…,"advisory_sha256":…,"verdict":…,"vex":{"status":…,"considered":[…]},
  //  "operands":{"severity":"high",…},"rules":[{"id":…,"result":"true|false|error|expired|out_of_scope","reads":["severity"],"error":…}…],
  //  "rule_id":…,"effect":…,"reason":…}. Operands are exactly the variables that were read.
  std::string trace;
};

// kInvalid where the inputs contradict each other (a component index out of range, exposures or outcomes out of order); kLimit for trace and steps.
Result<Evaluation> evaluate(const contracts::ComponentTable& components, const contracts::ExposureSet& exposures,
                            const contracts::VexResultSet& vex, const PolicySet& policy, Timestamp as_of, const EvaluateOptions& options = {});

}  // namespace stella::pipeline
