// Traces that the head did not choose are kept for error, latency or by wish, else forgotten; every limit is counted. And the rate limit.
#include "tail_keep.h"

#include <gtest/gtest.h>

#include "rate_limit.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kMs = 1'000'000, kS = 1000 * kMs, kEpoch = 1'795'000'000 * kS;

struct Fixture {
  explicit Fixture(TailKeepOptions options = {})
      : tail(options, [](std::string_view route) { return route == "/slow" ? 10 * kS : route == "/never" ? -1 : 100 * kMs; },
             [this](const RecordView& record, SamplingReason reason) {
               EXPECT_EQ(record.head().sampling, reason);
               kept.push_back(std::string(record.name()) + ":" + std::string(to_string(reason)));
             }) {}
  void add(const SpanSpec& spec, std::int64_t now_ns = 0) {
    const std::string bytes = span_bytes(spec);
    tail.add(*RecordView::parse(bytes), now_ns);
  }
  std::vector<std::string> take() { return std::exchange(kept, {}); }
  std::vector<std::string> kept;
  TailKeep tail;
};
using Kept = std::vector<std::string>;

TEST(TailKeep, DecidesAtTheLocalRoot) {
  struct Case {
    const char* what;
    bool child_error, root_error, child_keep, root_keep;
    std::int64_t ns;
    const char* route;
    Kept kept;
  };
  const Case cases[] = {
      {"nothing speaks for it", false, false, false, false, kMs, "/a", {}},
      {"the root failed", false, true, false, false, kMs, "/a", {"child:error", "root:error"}},
      {"a child failed", true, false, false, false, kMs, "/a", {"child:error", "root:error"}},
      {"slow", false, false, false, false, 101 * kMs, "/a", {"child:latency", "root:latency"}},
      {"exactly the threshold", false, false, false, false, 100 * kMs, "/a", {}},
      {"a slow route", false, false, false, false, 101 * kMs, "/slow", {}},
      {"a route without a threshold", false, false, false, false, 3600 * kS, "/never", {}},
      {"a callee wants it", false, false, true, false, kMs, "/a", {"child:incident", "root:incident"}},
      {"the root wants it", false, false, false, true, kMs, "/a", {"child:incident", "root:incident"}},
      {"an error says more than latency", false, true, false, false, 200 * kMs, "/a", {"child:error", "root:error"}},
      {"latency says more than a wish", false, false, true, false, 200 * kMs, "/a", {"child:latency", "root:latency"}},
  };
  std::uint8_t trace = 1;
  for (const Case& c : cases) {
    Fixture f;
    ++trace;
    f.add({.trace = trace, .span = 2, .error = c.child_error, .keep = c.child_keep, .name = "child"});
    EXPECT_TRUE(f.kept.empty()) << c.what;
    f.add({.trace = trace, .span = 1, .root = true, .error = c.root_error, .keep = c.root_keep, .ns = c.ns, .route = c.route, .name = "root"});
    EXPECT_EQ(f.kept, c.kept) << c.what;
    EXPECT_EQ(f.tail.totals().kept, c.kept.size());
    EXPECT_EQ(f.tail.totals().forgotten, 2 - c.kept.size());
    EXPECT_EQ(f.tail.totals().dropped, 0u);
    EXPECT_EQ(f.tail.traces(), 0u);
    EXPECT_EQ(f.tail.bytes(), 0u);
  }
}

TEST(TailKeep, TracesDoNotSpeakForEachOther) {
  Fixture f;
  f.add({.trace = 1, .name = "a"});
  f.add({.trace = 2, .error = true, .name = "b"});
  f.add({.trace = 1, .root = true, .name = "ra"});
  EXPECT_EQ(f.take(), Kept{});
  f.add({.trace = 2, .root = true, .name = "rb"});
  EXPECT_EQ(f.take(), (Kept{"b:error", "rb:error"}));
}

TEST(TailKeep, SpansThatComeAfterTheirRootFollowItsTrace) {
  Fixture f;
  f.add({.trace = 1, .root = true, .error = true, .name = "root"});
  f.add({.trace = 1, .name = "late"});
  EXPECT_EQ(f.take(), (Kept{"root:error", "late:error"}));
  f.add({.trace = 2, .root = true, .name = "root"});
  f.add({.trace = 2, .name = "late"});
  EXPECT_EQ(f.take(), Kept{});
}

TEST(TailKeep, ASecondLocalRootOfAForgottenTraceDecidesForItself) {
  Fixture f;
  f.add({.trace = 1, .root = true, .name = "first"});
  f.add({.trace = 1, .name = "inner"});
  f.add({.trace = 1, .root = true, .error = true, .name = "second"});
  EXPECT_EQ(f.take(), (Kept{"inner:error", "second:error"}));
}

TEST(TailKeep, EveryLimitIsCounted) {
  const std::size_t one = span_bytes({.padding = 500}).size();
  {
    Fixture f({.max_traces = 3});
    for (std::uint8_t t = 1; t <= 5; ++t) f.add({.trace = t});
    EXPECT_EQ(f.tail.traces(), 3u);
    EXPECT_EQ(f.tail.totals().dropped, 2u);
    f.add({.trace = 1, .root = true, .error = true, .name = "root"});  // of an evicted trace: only the root is left
    EXPECT_EQ(f.take(), (Kept{"root:error"}));
  }
  {
    Fixture f({.max_trace_bytes = 2 * one});
    for (std::uint8_t s = 0; s < 5; ++s) f.add({.trace = 1, .span = s, .padding = 500});
    EXPECT_EQ(f.tail.totals().dropped, 3u);
    f.add({.trace = 1, .root = true, .error = true, .name = "root"});
    EXPECT_EQ(f.kept.size(), 3u);
  }
  {
    Fixture f({.max_bytes = 4 * one});
    for (std::uint8_t t = 1; t <= 6; ++t) f.add({.trace = t, .padding = 500});
    EXPECT_LE(f.tail.bytes(), 4 * one);
    EXPECT_EQ(f.tail.totals().dropped, 2u);
  }
  {
    Fixture f({.max_age = std::chrono::seconds(10)});
    f.add({.trace = 1, .start_ns = -3600 * kS}, 50 * kS);  // however long ago it was made
    f.add({.trace = 2, .start_ns = -3600 * kS}, 55 * kS);
    f.tail.expire(59 * kS);
    EXPECT_EQ(f.tail.traces(), 2u);
    f.tail.expire(62 * kS);
    EXPECT_EQ(f.tail.traces(), 1u);
    f.tail.expire(150 * kS);
    EXPECT_EQ(f.tail.traces(), 0u);
    EXPECT_EQ(f.tail.totals().dropped, 2u);
    EXPECT_EQ(f.tail.bytes(), 0u);
  }
}

TEST(TailKeep, OfADeadProcessEverythingIsKept) {
  Fixture f;
  f.add({.trace = 1, .name = "a"});
  f.add({.trace = 2, .name = "b"});
  f.tail.keep_all(SamplingReason::kError);
  EXPECT_EQ(f.kept.size(), 2u);
  EXPECT_EQ(f.tail.bytes(), 0u);
}

TEST(RateLimit, ABucketPerTenantInTheTimeOfTheRecords) {
  RateLimit limit(10, 0);
  std::int64_t now = kEpoch;
  int passed = 0;
  for (int i = 0; i < 100; ++i) passed += limit.take("acme", now) ? 1 : 0;
  EXPECT_EQ(passed, 10);
  EXPECT_TRUE(limit.take("globex", now));
  now += kS / 2;
  passed = 0;
  for (int i = 0; i < 100; ++i) passed += limit.take("acme", now) ? 1 : 0;
  EXPECT_EQ(passed, 5);
  EXPECT_FALSE(limit.take("acme", now - 10 * kS));  // a clock that goes back gives nothing
  now += 1000 * kS;
  passed = 0;
  for (int i = 0; i < 100; ++i) passed += limit.take("acme", now) ? 1 : 0;
  EXPECT_EQ(passed, 10);  // no more than the burst
}

TEST(RateLimit, AClockThatIsSetBackSilencesNobody) {
  RateLimit limit(10, 0);
  for (int i = 0; i < 20; ++i) limit.take("acme", kEpoch);
  int passed = 0;
  for (int i = 0; i < 20; ++i) passed += limit.take("acme", kEpoch - 3600 * kS + i * kS / 10) ? 1 : 0;
  EXPECT_EQ(passed, 19);  // it refills from the first record on
  EXPECT_EQ(limit.due(kEpoch - 3590 * kS, false).size(), 1u);  // and the loss is told
}

TEST(RateLimit, SaysOnceInAWhileWhatItCost) {
  RateLimit limit(1, 1);
  for (int i = 0; i < 8; ++i) limit.take("acme", kEpoch);
  EXPECT_TRUE(limit.due(kEpoch + kS, false).empty());
  const auto bites = limit.due(kEpoch + 10 * kS, false);
  ASSERT_EQ(bites.size(), 1u);
  EXPECT_EQ(bites[0].tenant, "acme");
  EXPECT_EQ(bites[0].lost, 7u);
  EXPECT_TRUE(limit.due(kEpoch + 100 * kS, true).empty());
}

TEST(RateLimit, CanBeOff) {
  RateLimit limit(0, 0);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(limit.take("acme", kEpoch));
}

}  // namespace
}  // namespace stella::telemetry
