// What /readyz sees, as events: a part that goes away is service.degraded, one that comes back service.restored.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/platform/pg.h"

namespace stella::controls {

// Thread-safe. Each web process tells what it sees itself.
class PartsWatch {
 public:
  using Parts = std::vector<std::pair<std::string, std::string>>;  // name and problem, "" where there is none

  // One look at all parts. Whatever is not there yet when the process starts is no event: only what had been there can go.
  void note(const Parts& parts, Timestamp now);
  // Puts what was noted onto the platform's timeline, in order. What cannot be written now (PostgreSQL is a part) is kept for the next call;
  // of more than kKept, the oldest are given up.
  Result<void> tell(pg::SystemPool<pg::TelemetryRole>& pool);
  std::size_t waiting() const;

  static constexpr std::size_t kKept = 256;

 private:
  struct Change {
    std::uint64_t number = 0;  // counts all that were ever noted
    std::string part, reason;  // "" = restored
    std::chrono::milliseconds lasted{0};
  };
  struct State {
    bool good = false;
    Timestamp since;
  };
  mutable Mutex mutex_;
  std::map<std::string, State, std::less<>> states_ STELLA_GUARDED_BY(mutex_);  // of parts that were there once
  std::vector<Change> changes_ STELLA_GUARDED_BY(mutex_);  // ascending by number
  std::uint64_t noted_ STELLA_GUARDED_BY(mutex_) = 0;
};

}  // namespace stella::controls
