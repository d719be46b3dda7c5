// Entries of which a log shows the hash alone, and the dispositions in the same log that say so.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/json.h"

namespace stella::cli {

// Whoever walks a log reports here what it sees, in the log's order.
class Expiry {
 public:
  using Run = std::pair<std::int64_t, std::int64_t>;  // first, and one after the last

  // The entry at `index` was shown as its hash.
  void expired(std::int64_t index);
  // One that was shown, and hashed by the caller: only what the log itself has committed to counts.
  void entry(std::int64_t index, const json::Value& entry);

  std::int64_t count() const;
  // Of the expired ones, those that no disposition covers.
  std::vector<Run> uncovered() const;

 private:
  std::vector<Run> expired_;
  std::vector<Run> deleted_;  // by the dispositions, in the order of the log
};

}  // namespace stella::cli
