// Which entries of a log go when their retention has ended. Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/time.h"

namespace stella::evidence {

// Entries of one disposition: their rows go in one transaction.
inline constexpr std::int64_t kExpiryBatch = 65'536;
// Runs of kept entries that one disposition names: its own entry stays far below 64 KiB. More of them end it earlier.
inline constexpr std::size_t kExpiryRuns = 1000;

// Kinds that later proofs rest on, and which stay for good: what was sealed, held and deleted, under which keys; and where documents came from,
// because a bundle that is sealed tomorrow may rest on an advisory that was received a year ago, or on a policy that was published then.
inline bool stays_for_good(std::string_view kind) {
  constexpr std::string_view kAreas[] = {"hold.", "disposition.", "key.", "evidence.", "case.", "retention."};
  constexpr std::string_view kKinds[] = {"source.fetched", "sbom.received", "sbom.computed", "advisory.ingested", "vex.ingested", "policy.published"};
  return std::any_of(std::begin(kAreas), std::end(kAreas), [&](std::string_view area) { return kind.starts_with(area); }) || std::find(std::begin(kKinds), std::end(kKinds), kind) != std::end(kKinds);
}

// What is older has expired. A whole UTC day, so that a log has one disposition a day and not one a minute: each leaves two entries for good.
inline Timestamp expiry_cutoff(Timestamp now, std::chrono::days keep) {
  const auto day = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::days(1)).count();
  const std::int64_t at = (now - keep).micros();
  return Timestamp::from_micros(at - (at % day + day) % day);
}

// Runs of consecutive indexes, as they come.
class Runs {
 public:
  void add(std::int64_t index) {
    if (!runs_.empty() && runs_.back().second == index) runs_.back().second = index + 1;
    else runs_.emplace_back(index, index + 1);
  }
  std::size_t size() const { return runs_.size(); }
  // As events name them: "7", "12-40".
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [first, end] : runs_) out.push_back(end - first == 1 ? std::to_string(first) : std::to_string(first) + "-" + std::to_string(end - 1));
    return out;
  }
  // As PostgreSQL writes an int8multirange.
  std::string multirange() const {
    std::string out = "{";
    for (const auto& [first, end] : runs_) out += (out.size() > 1 ? ",[" : "[") + std::to_string(first) + "," + std::to_string(end) + ")";
    return out + "}";
  }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> runs_;  // first, and one after the last
};

}  // namespace stella::evidence
