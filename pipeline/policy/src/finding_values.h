// The values of the policy variables for one finding, borrowed from the evaluation's inputs.
#pragma once

#include <optional>

#include "policy_variables.h"
#include "stella/base/time.h"
#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/pipeline/policy/cel.h"
#include "stella/pipeline/policy/cvss.h"

namespace stella::pipeline {

class FindingValues : public cel::Activation {
 public:
  FindingValues(const contracts::Component& component, const contracts::Exposure& exposure, const contracts::VexOutcome* vex,
                const Severity& severity, Timestamp as_of, std::string_view as_of_text)
      : component_(component), exposure_(exposure), vex_(vex), severity_(severity), as_of_(as_of), as_of_text_(as_of_text) {}

  cel::Value get(std::size_t variable) const override;

 private:
  cel::Value days_since(const std::string& time) const;

  const contracts::Component& component_;
  const contracts::Exposure& exposure_;
  const contracts::VexOutcome* vex_;
  const Severity& severity_;
  Timestamp as_of_;
  std::string_view as_of_text_;
  mutable cel::List ids_;             // made when first asked for
  mutable cel::List fixed_versions_;
};

}  // namespace stella::pipeline
