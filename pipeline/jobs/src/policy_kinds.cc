// policy.evaluate: the decision over one SBOM, as of a stated time.
#include "kinds.h"
#include "stella/contracts/components.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/pipeline/policy/evaluate.h"

namespace stella::pipeline {

Result<void> policy_evaluate(const json::Value& params, JobIo& io) {
  const auto as_of_text = STELLA_TRY(params.require_string("as_of"));
  const auto as_of = STELLA_TRY(Timestamp::parse(as_of_text));
  const auto table = STELLA_TRY(io.bytes("components.ndjson"));
  const auto components = STELLA_TRY(contracts::decode_components(table));
  const auto exposure_lines = STELLA_TRY(io.bytes("exposures.ndjson"));
  const auto exposures = STELLA_TRY(contracts::decode_exposures(exposure_lines));
  const auto vex_lines = STELLA_TRY(io.bytes("vex.ndjson"));
  const auto vex = STELLA_TRY(contracts::decode_vex_result(vex_lines));
  const auto document = STELLA_TRY(io.bytes("policy"));
  const auto policy = STELLA_TRY(parse_policy_set(document, PolicyText::kStored));
  const auto evaluation = STELLA_TRY(evaluate(components, exposures, vex, policy, as_of));
  STELLA_TRY_VOID(io.put("decision.json", kJson, contracts::encode(evaluation.decision)));
  STELLA_TRY_VOID(io.put("findings.ndjson", kNdjson, contracts::encode(evaluation.findings)));
  return io.put("trace.ndjson", kNdjson, evaluation.trace);
}

}  // namespace stella::pipeline
