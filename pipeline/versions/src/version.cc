// Dispatch from an ecosystem to its order.
#include "stella/pipeline/versions/version.h"

#include "orders.h"
#include "stella/pipeline/versions/ecosystem.h"

namespace stella::pipeline {

VersionOrder version_order(std::string_view ecosystem) {
  const Ecosystem* row = find_ecosystem(ecosystem);
  return row == nullptr ? VersionOrder::kNone : row->order;
}

bool parsable(VersionOrder order, std::string_view version) {
  switch (order) {
    case VersionOrder::kSemver: return orders::semver_parsable(version);
    case VersionOrder::kPep440: return orders::pep440_parsable(version);
    case VersionOrder::kMaven: return orders::maven_parsable(version);
    case VersionOrder::kNone: break;
  }
  return false;
}

Result<std::strong_ordering> compare_versions(VersionOrder order, std::string_view a, std::string_view b) {
  std::optional<std::strong_ordering> result;
  switch (order) {
    case VersionOrder::kSemver: result = orders::compare_semver(a, b); break;
    case VersionOrder::kPep440: result = orders::compare_pep440(a, b); break;
    case VersionOrder::kMaven: result = orders::compare_maven(a, b); break;
    case VersionOrder::kNone: break;
  }
  if (result) return *result;
  return Error(base_errors::kMalformed, "not a version in this order").with("expected", "two versions of this ecosystem");
}

}  // namespace stella::pipeline
