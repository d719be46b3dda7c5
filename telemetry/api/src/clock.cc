// The line from ticks to nanoseconds: measured against the kernel, corrected by slope instead of by steps.
#include "stella/telemetry/clock.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace stella::telemetry::detail {

constinit ClockLine g_clock;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kFirstBaseline = 20'000'000;  // ns between the two readings that give the first slope
constexpr std::int64_t kReach = 2 * kSecond;         // beyond it a reader draws the line anew itself

std::int64_t read_clock(clockid_t id) noexcept {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

bool trusted_tsc() noexcept {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0x80000007, &a, &b, &c, &d) == 0 || (d & (1u << 8)) == 0) return false;
  const int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[8] = {};
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  return size >= 3 && std::strncmp(text, "tsc", 3) == 0 && (text[3] == '\n' || text[3] == '\0');
#else
  return false;
#endif
}

struct Reading {
  std::uint64_t ticks = 0;
  std::int64_t mono = 0, epoch = 0;
};

// The kernel's clocks with the ticks around them: of a few tries the one with the least between.
Reading measure() noexcept {
  Reading best;
#if defined(__x86_64__)
  std::uint64_t least = ~std::uint64_t{0};
  for (int i = 0; i < 4; ++i) {
    const std::uint64_t before = __rdtsc();
    const std::int64_t mono = read_clock(CLOCK_MONOTONIC);
    const std::uint64_t after = __rdtsc();
    if (after - before >= least) continue;
    least = after - before;
    best = {before + (after - before) / 2, mono, 0};
  }
  // The wall clock runs with the monotonic one: their distance is what counts.
  std::int64_t distance = 0;
  least = ~std::uint64_t{0};
  for (int i = 0; i < 4; ++i) {
    const std::int64_t before = read_clock(CLOCK_MONOTONIC), wall = read_clock(CLOCK_REALTIME), after = read_clock(CLOCK_MONOTONIC);
    if (static_cast<std::uint64_t>(after - before) >= least) continue;
    least = static_cast<std::uint64_t>(after - before);
    distance = wall - (before + (after - before) / 2);
  }
  best.epoch = best.mono + distance;
#endif
  return best;
}

struct Writer {
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  std::atomic<int> tsc{-1};  // unknown yet
  Reading first, last;       // guarded by busy
  double rate = 0;           // ns per tick, measured
};
constinit Writer g_writer;

void publish(std::uint64_t ticks, std::int64_t mono, double ns_per_tick, std::int64_t offset) noexcept {
  ClockLine& line = g_clock;
  const std::uint32_t sequence = line.sequence.load(std::memory_order_relaxed);
  line.sequence.store(sequence + 1, std::memory_order_relaxed);
  line.ticks.store(ticks, std::memory_order_release);
  line.mono.store(mono, std::memory_order_release);
  line.scale.store(static_cast<std::uint64_t>(ns_per_tick * 4294967296.0), std::memory_order_release);
  line.offset.store(offset, std::memory_order_release);
  line.reach.store(static_cast<std::uint64_t>(static_cast<double>(kReach) / ns_per_tick), std::memory_order_release);
  line.sequence.store(sequence + 2, std::memory_order_release);
}

// What the line in force says at `ticks`.
std::int64_t line_at(std::uint64_t ticks) noexcept {
  const std::uint64_t passed = ticks - g_clock.ticks.load(std::memory_order_relaxed);
  return g_clock.mono.load(std::memory_order_relaxed) +
         static_cast<std::int64_t>((static_cast<unsigned __int128>(passed) * g_clock.scale.load(std::memory_order_relaxed)) >> 32);
}

void redraw(Writer& w) noexcept {
  if (w.first.ticks != 0 && read_clock(CLOCK_MONOTONIC) - w.last.mono < kFirstBaseline) return;
  const Reading now = measure();
  if (w.first.ticks == 0) {
    w.first = w.last = now;
    return;
  }
  const std::int64_t baseline = now.mono - w.last.mono;
  if (baseline < kFirstBaseline || now.ticks <= w.last.ticks) return;
  const double rate = static_cast<double>(baseline) / static_cast<double>(now.ticks - w.last.ticks);
  const bool first = w.rate == 0;
  w.rate = rate;
  w.last = now;
  const std::int64_t offset = now.epoch - now.mono;
  if (first) return publish(now.ticks, now.mono, rate, offset);
  // From where the line stands now towards the kernel's clock one second from here; a line that is far behind (a stopped machine) jumps forward.
  std::int64_t from = line_at(now.ticks);
  if (now.mono - from > kSecond / 100) from = now.mono;
  const double slope = rate * std::max(0.5, 1.0 + static_cast<double>(now.mono - from) / static_cast<double>(kSecond));
  const std::int64_t old = g_clock.offset.load(std::memory_order_relaxed);
  publish(now.ticks, from, slope, std::abs(offset - old) < 1000 ? old : offset);
}

bool tsc_known_good() noexcept {
  int tsc = g_writer.tsc.load(std::memory_order_relaxed);
  if (tsc < 0) {
    tsc = trusted_tsc() ? 1 : 0;
    g_writer.tsc.store(tsc, std::memory_order_relaxed);
  }
  return tsc == 1;
}

}  // namespace

bool clock_uses_tsc() noexcept { return tsc_known_good(); }

void recalibrate() noexcept {
  if (!tsc_known_good() || g_writer.busy.test_and_set(std::memory_order_acquire)) return;
  redraw(g_writer);
  g_writer.busy.clear(std::memory_order_release);
}

Instant slow_instant() noexcept {
  recalibrate();
  return {read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME)};
}

}  // namespace stella::telemetry::detail
