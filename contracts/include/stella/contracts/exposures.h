// Output of advisory.link: one verdict per (component, candidate advisory), with the clause that decided.
//
// Wire form (`exposures.ndjson`): header line {"format":"stella.exposures/v1","counts":{…}}, then one line per exposure,
// sorted by (component index, advisory id, advisory digest). A function of the component table and the candidate advisories
// alone: no index digest, no id of a run, no time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::contracts {

inline constexpr std::string_view kExposuresFormat = "stella.exposures/v1";

enum class Verdict : std::uint8_t { kAffected, kNotAffected, kWithdrawn, kUnknown };
std::string_view to_string(Verdict verdict);  // "affected", "not_affected", "withdrawn", "unknown"
Result<Verdict> parse_verdict(std::string_view text);

struct SeverityVector {
  std::string type;   // "CVSS_V2", "CVSS_V3", "CVSS_V4", "Ubuntu", …, as the record says
  std::string score;  // the vector string, as the record says
};

// What of the advisory later stages need; the document itself is the object named by `sha256`.
struct AdvisoryRef {
  std::string id;
  Sha256 sha256;                      // of the document as received
  std::vector<std::string> aliases;   // as the record says, sorted, unique
  std::vector<std::string> upstream;
  std::string summary;                // first 200 bytes, whole characters; text, never markup
  std::string published;              // RFC 3339 as the record says, "" where absent
  std::string modified;
  std::string withdrawn;              // "" where not withdrawn
  std::vector<SeverityVector> severity;  // affected[].severity where present, else the record's
  std::string database_severity;      // database_specific.severity ("HIGH" …), "" where absent
};

// Why the verdict is what it is: the "why is this red" answer.
struct Clause {
  std::string by;             // "versions", "range", "none" (no clause covers the version), "reason" (verdict unknown)
  int affected_index = -1;    // affected[i]
  int range_index = -1;       // ranges[j] of it
  std::string range_type;     // SEMVER, ECOSYSTEM
  std::string introduced;     // the event at or below the version
  std::string fixed;          // the first event above it that clears, "" where none
  std::string last_affected;
};

struct Exposure {
  std::uint32_t component = 0;  // index into the component table
  std::string purl;             // of that component, for readers
  std::string ecosystem;
  std::string name;
  std::string version;
  Verdict verdict = Verdict::kUnknown;
  AdvisoryRef advisory;         // advisory.id is "" for a component-level unknown
  Clause clause;
  std::string reason;           // for kUnknown: "ecosystem not supported yet", "no version", "version not parsable", "malformed purl", …
  std::vector<std::string> fixed_versions;  // upgrade targets of the affected entry that matched, ascending
};

struct ExposureSet {
  std::vector<Exposure> exposures;
};

std::string encode(const ExposureSet& set);
Result<ExposureSet> decode_exposures(std::string_view ndjson);

}  // namespace stella::contracts
