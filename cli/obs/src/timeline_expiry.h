// Entries of which a log shows the hash alone, and the dispositions in the same log that say so.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/time.h"

namespace stella::cli {

// Whoever walks a log reports here what it sees, in the log's order.
class Expiry {
 public:
  using Run = std::pair<std::int64_t, std::int64_t>;  // first, and one after the last

  // The entry at `index` was shown as its hash.
  void expired(std::int64_t index);
  // One that was shown, and hashed by the caller: only what the log itself has committed to counts. A record of a deletion is believed where the
  // plan of it stands before it, its range begins where the one before ended, and no entry that is still there contradicts what it says about time.
  void entry(std::int64_t index, const json::Value& entry);

  std::int64_t count() const;
  // Of the expired ones, those that no disposition covers.
  std::vector<Run> uncovered() const;
  // Why not: that there is none, or which one is not believed.
  std::string why(Run uncovered) const;
  // What the dispositions that are believed deleted is older than that, as they say; nullopt where there is none.
  std::optional<Timestamp> until() const { return until_; }

 private:
  struct Hidden {
    Run run;
    std::optional<Timestamp> newest;  // of all entries shown before it
  };
  struct Refused {
    std::int64_t index;
    Run range;
    std::string reason;
  };
  std::string contradiction(const json::Value& entry, Run range) const;

  std::vector<Hidden> expired_;
  std::vector<Run> deleted_;  // by the dispositions, in the order of the log
  std::map<std::string, Run, std::less<>> plans_;  // ranges, by disposition
  std::vector<Refused> refused_;
  std::int64_t decided_ = 0;  // all entries below were decided about
  std::optional<Timestamp> newest_, until_;
};

}  // namespace stella::cli
