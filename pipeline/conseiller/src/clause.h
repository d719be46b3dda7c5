// OSV's evaluation of one affected entry for one version, and the clause that decided it.
#pragma once

#include <string_view>
#include <vector>

#include "segment_records.h"
#include "stella/contracts/exposures.h"
#include "stella/pipeline/versions/version.h"

namespace stella::pipeline {

struct Outcome {
  contracts::Verdict verdict = contracts::Verdict::kNotAffected;  // never kWithdrawn: that is the record's matter
  contracts::Clause clause;
  std::string_view reason;  // a literal; of kUnknown
};

// `version` is not empty; `order` is the ecosystem's, not kNone.
Outcome evaluate(const AffectedView& entry, VersionOrder order, std::string_view version);

// The `fixed` versions above `version`, ascending, each once; those that do not parse are left out.
std::vector<std::string> fixed_versions(const AffectedView& entry, VersionOrder order, std::string_view version);

}  // namespace stella::pipeline
