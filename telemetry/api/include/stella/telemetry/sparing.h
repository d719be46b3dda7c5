// Lines that somebody else can cause as often as he likes: one in a while, which says how many there were.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace stella::telemetry {

//   static telemetry::Sparing told{std::chrono::seconds(10)};
//   if (const std::int64_t times = told.due()) kLog.error("a runner sent nonsense", {f::error(error), f::count(times)});
// Errors are exempt from every limit of a tenant, so what is not ours to prevent needs this one. Any number of threads.
class Sparing {
 public:
  explicit constexpr Sparing(std::chrono::nanoseconds every) : every_(every.count()) {}

  // 0: no line now. Else how often it happened since the last line, this time included.
  std::int64_t due(std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now()) noexcept {
    times_.fetch_add(1, std::memory_order_relaxed);
    const std::int64_t now = at.time_since_epoch().count();
    std::int64_t next = next_.load(std::memory_order_relaxed);
    if (now < next || !next_.compare_exchange_strong(next, now + every_, std::memory_order_relaxed)) return 0;
    return times_.exchange(0, std::memory_order_relaxed);
  }

 private:
  std::int64_t every_;
  std::atomic<std::int64_t> times_{0}, next_{0};
};

}  // namespace stella::telemetry
