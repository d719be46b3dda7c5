// The variables of policy expressions by index, in the order of policy_variables().
#pragma once

#include <cstddef>

namespace stella::pipeline {

enum Variable : std::size_t {
  kComponentPurl, kComponentType, kComponentEcosystem, kComponentName, kComponentVersion, kComponentLabel, kComponentProblem,
  kAdvisoryId, kAdvisoryIds, kAdvisorySummary, kAdvisoryPublished, kAdvisoryModified,
  kExposureVerdict, kExposureReason, kExposureClause, kExposureRangeType, kExposureIntroduced, kExposureFixed, kExposureLastAffected, kExposureFixedVersions,
  kSeverity, kScore, kCvssVersion, kCvssVector,
  kVexStatus, kVexJustification, kVexConflict, kVexStatements,
  kFixAvailable, kAgeDays, kModifiedDays, kAsOf,
  kVariableCount,
};

}  // namespace stella::pipeline
