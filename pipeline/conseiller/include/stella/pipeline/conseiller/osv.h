// One OSV record (ossf/osv-schema), as far as linking needs it. Unknown members are ignored, wrong ones are refused. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/contracts/exposures.h"

namespace stella::pipeline {

enum class RangeType : std::uint8_t { kSemver, kEcosystem };  // GIT ranges are counted and skipped: we compare versions, not commits
enum class EventKind : std::uint8_t { kIntroduced, kFixed, kLastAffected, kLimit };

struct RangeEvent {
  EventKind kind = EventKind::kIntroduced;
  std::string version;
};

struct AffectedRange {
  std::uint32_t index = 0;  // ranges[index] of the document
  RangeType type = RangeType::kEcosystem;
  std::vector<RangeEvent> events;  // document order; they need not come sorted
};

struct AffectedPackage {
  std::uint32_t index = 0;  // affected[index] of the document
  std::string ecosystem;    // with release, as the record says
  std::string name;         // as the record says
  std::vector<AffectedRange> ranges;
  std::vector<std::string> versions;
  std::vector<contracts::SeverityVector> severity;
};

struct AdvisoryRecord {
  contracts::AdvisoryRef ref;  // `sha256` is not set here; `severity` is the record's own, not a package's
  std::vector<AffectedPackage> affected;  // entries that name a package
  std::uint32_t git_ranges = 0;           // skipped
};

// kMalformed with line, column, expected (and pointer where the JSON itself is well-formed); kLimit over limits::kAdvisoryBytes.
Result<AdvisoryRecord> parse_osv(std::string_view document);

}  // namespace stella::pipeline
