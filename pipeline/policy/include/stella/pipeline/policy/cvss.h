// CVSS scores from vector strings (FIRST: CVSS v2, v3.0, v3.1, v4.0), and the severity words of the platform. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/contracts/exposures.h"

namespace stella::pipeline {

struct CvssScore {
  std::string_view version;  // "2.0", "3.0", "3.1", "4.0"
  double score = 0;          // v2, v3: the base score; v4: the score of all metrics the vector states (v4.0 specification §8)
};

// "CVSS:4.0/…", "CVSS:3.x/…" or a bare v2 vector. kMalformed with metric and expected where a metric is unknown, doubled, out of its
// values, or a mandatory one is missing.
Result<CvssScore> cvss_score(std::string_view vector);

// "none", "low", "medium", "high", "critical" (v3 and v4 §6 qualitative scale; v2 as NVD rates it: low, medium, high).
std::string_view cvss_severity(const CvssScore& score);

// What the policy sees of an advisory's severity.
struct Severity {
  std::string word = "unknown";  // critical, high, medium, low, none, unknown
  double score = -1;             // -1 where no vector could be computed
  std::string version;           // of the vector that decided; "" without one
  std::string vector;
};

// The newest CVSS version that the record states decides (v4 over v3 over v2), of several vectors of that version the highest score.
// Without a usable vector the database's word (GitHub: LOW MODERATE HIGH CRITICAL), then the distribution's (Ubuntu: negligible … critical).
Severity severity_of(const std::vector<contracts::SeverityVector>& vectors, std::string_view database_severity);

}  // namespace stella::pipeline
