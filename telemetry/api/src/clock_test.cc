// The clock of records: it agrees with the kernel's, never runs back, and follows a wall clock that somebody sets.
#include "stella/telemetry/clock.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "capture_outlet.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

using detail::g_clock;
using detail::instant;
using detail::Instant;

constexpr std::int64_t kSecond = 1'000'000'000, kHour = 3600 * kSecond;
// What a reading may be off: far over its real error (tens of ns), far under any mistake in the arithmetic.
constexpr std::int64_t kError = 5'000'000;

std::int64_t kernel(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// Reads until `true_now` holds; false where it never does.
template <class F>
bool reads_until(F&& true_now) {
  const std::int64_t end = kernel(CLOCK_MONOTONIC) + 60 * kSecond;
  while (!true_now()) {
    if (kernel(CLOCK_MONOTONIC) > end) return false;
    detail::recalibrate();
    (void)instant();
  }
  return true;
}
bool line_is_drawn() {
  return reads_until([] { return g_clock.reach.load() != 0; });
}

// As if the wall clock had been set since the line was drawn: the line holds the distance that was right before.
void step_wall_clock(std::int64_t ns) {
  g_clock.sequence.fetch_add(1);
  g_clock.offset.fetch_sub(ns);
  g_clock.sequence.fetch_add(1);
}

TEST(Clock, AgreesWithTheKernel) {
  if (detail::clock_uses_tsc()) {
    ASSERT_TRUE(line_is_drawn());
  }
  for (int i = 0; i < 10'000; ++i) {
    if (i % 100 == 0) detail::recalibrate();
    const std::int64_t mono_before = kernel(CLOCK_MONOTONIC), wall_before = kernel(CLOCK_REALTIME);
    const Instant now = instant();
    const std::int64_t wall_after = kernel(CLOCK_REALTIME), mono_after = kernel(CLOCK_MONOTONIC);
    ASSERT_GE(now.mono, mono_before - kError);
    ASSERT_LE(now.mono, mono_after + kError);
    ASSERT_GE(now.epoch, wall_before - kError);
    ASSERT_LE(now.epoch, wall_after + kError);
  }
}

TEST(Clock, NeverRunsBackWhileItIsDrawnAnew) {
  std::atomic<bool> done{false};
  std::thread writer([&] {
    while (!done.load()) detail::recalibrate();
  });
  std::vector<std::thread> readers;
  std::atomic<std::int64_t> worst{0};
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      std::int64_t last = instant().mono, back = 0;
      for (int i = 0; i < 300'000; ++i) {
        const std::int64_t now = instant().mono;
        back = std::max(back, last - now);
        last = now;
      }
      std::int64_t seen = worst.load();
      while (back > seen && !worst.compare_exchange_weak(seen, back)) {
      }
    });
  }
  for (std::thread& t : readers) t.join();
  done = true;
  writer.join();
  EXPECT_LE(worst.load(), kError);
}

TEST(Clock, FollowsAWallClockThatIsSetAndMeasuresOnThroughIt) {
  if (!detail::clock_uses_tsc()) GTEST_SKIP() << "this machine's time stamp counter is not trusted: every reading is the kernel's own";
  ASSERT_TRUE(line_is_drawn());
  for (const std::int64_t step : {kHour, -kHour}) {
    const std::int64_t mono_before = instant().mono;
    step_wall_clock(step);
    ASSERT_TRUE(reads_until([] { return std::abs(detail::now_ns() - kernel(CLOCK_REALTIME)) < kError; })) << step;
    const std::int64_t mono = instant().mono;
    EXPECT_GE(mono, mono_before - kError);
    EXPECT_LE(std::abs(mono - kernel(CLOCK_MONOTONIC)), kError);
  }
}

TEST(Clock, ASpanLastsAsLongAsItLastsWhateverTheWallClockDoes) {
  if (!detail::clock_uses_tsc()) GTEST_SKIP() << "this machine's time stamp counter is not trusted: every reading is the kernel's own";
  ASSERT_TRUE(line_is_drawn());
  CaptureOutlet out;
  for (const std::int64_t step : {kHour, -kHour}) {
    const std::int64_t before = kernel(CLOCK_MONOTONIC);
    {
      Span span("stepped");
      step_wall_clock(step);
    }
    const std::int64_t most = kernel(CLOCK_MONOTONIC) - before + kError;
    const RecordHead head = out.last().head();
    EXPECT_GE(head.end_ns, head.ns);
    EXPECT_LE(head.end_ns - head.ns, most) << step;
    ASSERT_TRUE(reads_until([] { return std::abs(detail::now_ns() - kernel(CLOCK_REALTIME)) < kError; }));
  }
}

}  // namespace
}  // namespace stella::telemetry
