// Two evaluations side by side: which inputs differ, which findings came, went or changed, and what made them.
#pragma once

#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/contracts/decision.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::ledger {

// One side of a comparison.
struct EvaluationSide {
  std::string evaluation_id, sbom_id, policy_version, as_of, effect, reason;
  // Inputs by name: sbom, components, policy, advisories, vex.
  std::vector<std::pair<std::string, Sha256>> inputs;
  std::vector<contracts::Finding> findings;
  std::unordered_set<std::string> purls;  // of every component, with or without findings
};

// {"before","after","inputs":[{name, before, after, changed}],"findings":[{change, cause, purl, advisory_id, before, after}],"counts",
//  "explained"}. `change`: opened, closed, changed. `cause`, the first that holds:
//   component_added, component_removed   the component is in one of the SBOMs only
//   advisory_changed                     another revision of the advisory, or one that only one side knew
//   vex_changed                          another VEX status
//   policy_changed                       the policies differ
//   time                                 only as_of differs: a waiver or a statement began or ended
//   unexplained                          equal inputs gave other results: replay both
// Pure; the order is that of (purl, advisory).
json::Value compare_sides(const EvaluationSide& before, const EvaluationSide& after);

// kNotFound, kNotReady (one has not finished).
Result<json::Value> compare_evaluations(pg::TenantTx& tx, objects::Store& store, const EvaluationId& before, const EvaluationId& after);

}  // namespace stella::ledger
