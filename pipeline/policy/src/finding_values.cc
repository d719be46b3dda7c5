// The values of the policy variables for one finding.
#include "finding_values.h"

namespace stella::pipeline {

using cel::Value;

// Whole days before as_of; 0 for later times, -1 where the record gives no usable time.
Value FindingValues::days_since(const std::string& time) const {
  const auto at = Timestamp::parse(time);
  if (!at) return Value::integer(-1);
  const auto micros = (as_of_ - *at).count();
  return Value::integer(micros < 0 ? 0 : micros / (86'400ll * 1'000'000));
}

Value FindingValues::get(std::size_t variable) const {
  const auto& advisory = exposure_.advisory;
  switch (variable) {
    case kComponentPurl: return Value::string(component_.purl);
    case kComponentType: return Value::string(component_.type);
    case kComponentEcosystem: return Value::string(component_.ecosystem);
    case kComponentName: return Value::string(component_.name);
    case kComponentVersion: return Value::string(component_.version);
    case kComponentLabel: return Value::string(component_.label);
    case kComponentProblem: return Value::string(component_.problem);
    case kAdvisoryId: return Value::string(advisory.id);
    case kAdvisoryIds:
      if (ids_.empty() && !advisory.id.empty()) {
        ids_.push_back(Value::string(advisory.id));
        for (const auto& alias : advisory.aliases) ids_.push_back(Value::string(alias));
      }
      return Value::list(&ids_);
    case kAdvisorySummary: return Value::string(advisory.summary);
    case kAdvisoryPublished: return Value::string(advisory.published);
    case kAdvisoryModified: return Value::string(advisory.modified);
    case kExposureVerdict: return Value::string(to_string(exposure_.verdict));
    case kExposureReason: return Value::string(exposure_.reason);
    case kExposureClause: return Value::string(exposure_.clause.by);
    case kExposureRangeType: return Value::string(exposure_.clause.range_type);
    case kExposureIntroduced: return Value::string(exposure_.clause.introduced);
    case kExposureFixed: return Value::string(exposure_.clause.fixed);
    case kExposureLastAffected: return Value::string(exposure_.clause.last_affected);
    case kExposureFixedVersions:
      if (fixed_versions_.empty())
        for (const auto& version : exposure_.fixed_versions) fixed_versions_.push_back(Value::string(version));
      return Value::list(&fixed_versions_);
    case kSeverity: return Value::string(severity_.word);
    case kScore: return Value::number(severity_.score);
    case kCvssVersion: return Value::string(severity_.version);
    case kCvssVector: return Value::string(severity_.vector);
    case kVexStatus: return Value::string(to_string(vex_ != nullptr ? vex_->status : contracts::VexStatus::kNone));
    case kVexJustification: return Value::string(vex_ != nullptr ? std::string_view(vex_->justification) : std::string_view());
    case kVexConflict: return Value::boolean(vex_ != nullptr && vex_->conflict);
    case kVexStatements: return Value::integer(vex_ != nullptr ? static_cast<std::int64_t>(vex_->considered.size()) : 0);
    case kFixAvailable: return Value::boolean(!exposure_.fixed_versions.empty());
    case kAgeDays: return days_since(advisory.published);
    case kModifiedDays: return days_since(advisory.modified);
    case kAsOf: return Value::string(as_of_text_);
    default: return Value::null();
  }
}

}  // namespace stella::pipeline
