// What is stated about a policy decision: a VSA and an SVR over the SBOM, and its findings as a vulns statement. Pure; attest.h signs them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/decision.h"
#include "stella/evidence/format/stated.h"

namespace stella::attest {

// A finished evaluation, as its row and outputs know it.
struct DecisionFacts {
  evidence::Subject sbom;        // the document as it was received
  std::string sbom_id;           // resourceUri is urn:stellaops:sbom:<id>
  Sha256 policy;
  std::string policy_version;    // "<label>@<12 hex>"
  Sha256 advisory_set;           // names the advisories in force: the scanner's data base
  Timestamp advisories_as_of;    // when they were put together
  std::string engine_version;
  Timestamp started_at, finished_at;
};

// Purls named per vulnerability; the rest is counted ("more"), findings.ndjson has all.
inline constexpr std::size_t kPurlsPerVulnerability = 20;
// The vulnerability id under which components stand that could not be judged: they are never left out silently.
inline constexpr std::string_view kNotJudged = "stella:not-judged";

// VSA: PASSED for allow and warn; verifiedLevels STELLA_POLICY_<EFFECT>, with the standard's FAILED before it where it did not pass.
// SVR: STELLA_POLICY_EVALUATED, STELLA_POLICY_<EFFECT>, and what the counts prove (STELLA_NO_AFFECTED, STELLA_NO_UNKNOWN).
// vulns: one entry per vulnerability, in the order of ids: severity, verdicts, effects, purls.
Result<std::vector<evidence::Stated>> decision_statements(const DecisionFacts& facts, const contracts::Decision& decision, std::span<const contracts::Finding> findings);

}  // namespace stella::attest
