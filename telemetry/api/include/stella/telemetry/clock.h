// Time for records: nanoseconds, from the time stamp counter where the CPU's is constant and the kernel itself trusts it, else from
// clock_gettime. A reading costs a few ns instead of a call.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace stella::telemetry::detail {

// One instant on both scales.
struct Instant {
  std::int64_t mono = 0;   // like CLOCK_MONOTONIC: measures; never steps back by more than the error of a reading (tens of ns)
  std::int64_t epoch = 0;  // since 1970, UTC: says when; steps where somebody sets the clock
};

// A straight line from ticks to ns, re-drawn by recalibrate(). A reader takes it whole (sequence lock).
struct ClockLine {
  std::atomic<std::uint32_t> sequence{0};
  std::atomic<std::uint64_t> ticks{0};
  std::atomic<std::int64_t> mono{0};
  std::atomic<std::uint64_t> scale{0};   // ns per tick, times 2^32
  std::atomic<std::int64_t> offset{0};   // epoch - mono
  std::atomic<std::uint64_t> reach{0};   // ticks for which the line holds; 0: there is no line
};
extern ClockLine g_clock;
Instant slow_instant() noexcept;

inline Instant instant() noexcept {
#if defined(__x86_64__)
  const std::uint32_t before = g_clock.sequence.load(std::memory_order_acquire);
  const std::uint64_t now = __rdtsc();
  const std::uint64_t passed = now - g_clock.ticks.load(std::memory_order_acquire);
  const std::int64_t mono = g_clock.mono.load(std::memory_order_acquire);
  const std::uint64_t scale = g_clock.scale.load(std::memory_order_acquire);
  const std::int64_t offset = g_clock.offset.load(std::memory_order_acquire);
  const std::uint64_t reach = g_clock.reach.load(std::memory_order_acquire);
  if (passed < reach && before == g_clock.sequence.load(std::memory_order_relaxed) && (before & 1) == 0) [[likely]] {
    const std::int64_t at = mono + static_cast<std::int64_t>((static_cast<unsigned __int128>(passed) * scale) >> 32);
    return {at, at + offset};
  }
#endif
  return slow_instant();
}
inline std::int64_t now_ns() noexcept { return instant().epoch; }

// Draws the line anew so that it meets the kernel's clocks again. The backend calls it about once a second; without a backend the readers
// do it themselves when the line has become old. Thread-safe, never blocks.
void recalibrate() noexcept;
// False: every reading is a clock_gettime.
bool clock_uses_tsc() noexcept;

}  // namespace stella::telemetry::detail
