// A rule's scope, ready to be held against findings: names and purls in the spelling that components have.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/pipeline/policy/policy_set.h"

namespace stella::pipeline {

// The purl, or the beginning of one before a trailing `*`, in canonical spelling; "" where a purl without `*` does not parse. The
// beginning of one stays as it is where no purl can begin so.
std::string canonical_purl_pattern(std::string_view pattern);

// Immutable, thread-safe. The scope must outlive it.
class ScopeMatch {
 public:
  explicit ScopeMatch(const RuleScope& scope);
  bool covers(const contracts::Exposure& exposure, const contracts::Component& component) const;

 private:
  const RuleScope* scope_;
  // By NameRule: which one counts depends on the component's ecosystem.
  std::array<std::vector<std::string>, 3> packages_;
  std::vector<std::string> purls_;
};

}  // namespace stella::pipeline
