// Output of vex.reconcile: the status of each (component, advisory) pair that any statement speaks about, with every statement
// that was considered, its rank, and why it did or did not apply.
//
// Wire form (`vex.ndjson`): header {"format":"stella.vex-result/v1","rule":"<precedence rule version>","counts":{…}}, then one line
// per pair sorted by (component index, advisory id).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::contracts {

inline constexpr std::string_view kVexResultFormat = "stella.vex-result/v1";

// Canonical statuses (OpenVEX words). kNone: statements were considered, none applies.
enum class VexStatus : std::uint8_t { kNone, kNotAffected, kAffected, kFixed, kUnderInvestigation };
std::string_view to_string(VexStatus status);  // "none", "not_affected", "affected", "fixed", "under_investigation"
Result<VexStatus> parse_vex_status(std::string_view text);

struct ConsideredStatement {
  Sha256 document;          // VEX document as received
  std::string pointer;      // JSON pointer of the statement in it
  VexStatus status = VexStatus::kNone;
  std::string source_label; // the document's own word for status and justification
  std::string justification;
  std::string timestamp;    // statement's, else document's; "" where neither is usable
  int rank = 0;             // 4 exact purl with version and qualifiers, 3 exact version, 2 version range, 1 no version, 0 does not apply
  bool applies = false;
  std::string why;          // in one sentence, for people and the trace
};

struct VexOutcome {
  std::uint32_t component = 0;
  std::string purl;
  std::string advisory_id;
  VexStatus status = VexStatus::kNone;
  std::string justification;
  bool conflict = false;    // statements of equal rank, tier and time disagreed; the least favourable won
  std::vector<ConsideredStatement> considered;
};

struct VexResultSet {
  std::string rule;         // "stella.vex-precedence/2"
  std::vector<VexOutcome> outcomes;
};

std::string encode(const VexResultSet& set);
Result<VexResultSet> decode_vex_result(std::string_view ndjson);

}  // namespace stella::contracts
