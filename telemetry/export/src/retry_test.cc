// When it is tried again, with a clock that only the test moves: backoff, what a target asks for, and a batch that no target ever takes.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "stella/telemetry/otlp_response.h"
#include "stella/testing/temp_dir.h"
#include "test_targets.h"
#include "timing.h"

namespace stella::telemetry {
namespace {

using testing::TempDir;
using std::chrono::hours;
using std::chrono::seconds;
constexpr std::int64_t kStart = 1'764'054'000;  // Tue, 25 Nov 2025 07:00:00 GMT

class ManualTiming final : public Timing {
 public:
  Steady::time_point now() override {
    const std::lock_guard lock(mutex_);
    ++looks_;
    return Steady::time_point(hours(1000) + passed_);
  }
  std::int64_t unix_seconds() override {
    const std::lock_guard lock(mutex_);
    return kStart + std::chrono::duration_cast<seconds>(passed_).count();
  }
  // Always the most there may be; what was asked is kept.
  std::int64_t random(std::int64_t most) override {
    const std::lock_guard lock(mutex_);
    asked_.push_back(most);
    return most;
  }
  void on_move(std::function<void()> look) override {
    const std::lock_guard lock(mutex_);
    look_ = std::move(look);
  }
  void move(milliseconds by) {
    std::function<void()> look;
    {
      const std::lock_guard lock(mutex_);
      passed_ += by;
      look = look_;
    }
    if (look) look();
  }
  // Every thread of the exporter has seen the time as it is now: each looks at least once in a second, and now as it was woken.
  void wait_until_seen() {
    const int from = looks();
    while (looks() < from + 6) look_();
  }
  // Time passes no faster than the exporter works.
  void step(milliseconds by) {
    move(by);
    wait_until_seen();
  }
  int looks() {
    const std::lock_guard lock(mutex_);
    return looks_;
  }
  std::vector<std::int64_t> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  std::mutex mutex_;
  int looks_ = 0;
  milliseconds passed_{0};
  std::vector<std::int64_t> asked_;
  std::function<void()> look_;
};

struct Rig {
  std::shared_ptr<ManualTiming> timing = std::make_shared<ManualTiming>();
  std::unique_ptr<Exporter> exporter;
  explicit Rig(ExporterOptions options) {
    options.backoff = {};  // as it is by default
    for (const Signal signal : {Signal::kTraces, Signal::kMetrics}) options.target(signal).enabled = false;
    exporter = *make_otlp_exporter(std::move(options), timing);
  }
  SignalStats logs() const { return exporter->stats().of(Signal::kLogs); }
  // Waits for what the exporter does by itself, without time passing.
  template <typename Condition>
  ::testing::AssertionResult until(Condition&& condition) {
    const Deadline deadline = soon();
    while (!condition(logs())) {
      if (deadline.passed()) return ::testing::AssertionFailure() << "attempts " << logs().attempts << ", sent " << logs().sent << ", " << logs().away_because;
      std::this_thread::yield();
    }
    return ::testing::AssertionSuccess();
  }
  ::testing::AssertionResult until_attempts(std::uint64_t n) {
    return until([n](const SignalStats& s) { return s.attempts >= n && s.away; });
  }
  // Nothing happens until `wait` is over, and then at once.
  ::testing::AssertionResult expect_attempt_after(milliseconds wait) {
    const std::uint64_t before = logs().attempts;
    timing->move(wait - milliseconds(1));
    timing->wait_until_seen();
    if (logs().attempts != before) return ::testing::AssertionFailure() << "an attempt before " << wait.count() << " ms";
    timing->move(milliseconds(1));
    return until([&](const SignalStats& s) { return s.attempts == before + 1; });
  }
};

TEST(Retry, BackoffDoublesUpToItsMost) {
  std::atomic<int> answered{0};
  HttpTarget target([&](const auto&) {
    ++answered;
    return reply(503);
  });
  Rig rig(options_for(target.url()));
  rig.exporter->offer(batch("x"));
  int n = 0;
  for (const int wait : {1'000, 2'000, 4'000, 8'000, 16'000, 30'000, 30'000}) {
    ++n;
    ASSERT_TRUE(rig.until([&](const auto&) { return rig.timing->asked().size() == static_cast<std::size_t>(n); }));
    EXPECT_EQ(rig.timing->asked().back(), wait);
    ASSERT_TRUE(rig.expect_attempt_after(milliseconds(wait))) << wait;
  }
  expect_balanced(rig.exporter->stats());
}

TEST(Retry, AfterASuccessItBeginsAnew) {
  std::atomic<int> n{0};
  HttpTarget target([&](const auto&) { return reply(n++ == 2 ? 200 : 502); });
  Rig rig(options_for(target.url()));
  rig.exporter->offer(batch("1"));
  rig.exporter->offer(batch("2"));
  for (const int wait : {1'000, 2'000}) {
    ASSERT_TRUE(rig.until([&](const auto&) { return !rig.timing->asked().empty() && rig.timing->asked().back() == wait; }));
    rig.timing->move(milliseconds(wait));
  }
  ASSERT_TRUE(rig.until([&](const auto&) { return rig.timing->asked().size() == 3; }));
  EXPECT_EQ(rig.timing->asked(), (std::vector<std::int64_t>{1'000, 2'000, 1'000}));
  EXPECT_EQ(rig.logs().sent, 2u);
}

TEST(Retry, WhatTheTargetAsksForIsWaitedFor) {
  const struct {
    const char* header;
    milliseconds wait;
  } cases[] = {
      {"retry-after: 120\r\n", seconds(120)},
      {"retry-after: Tue, 25 Nov 2025 07:01:30 GMT\r\n", seconds(90)},
      {"retry-after: Tuesday, 25-Nov-25 07:01:30 GMT\r\n", seconds(90)},
      {"retry-after: Tue Nov 25 07:01:30 2025\r\n", seconds(90)},
      {"retry-after: 0\r\n", seconds(1)},                             // not less than we would wait ourselves
      {"retry-after: Tue, 25 Nov 2025 06:00:00 GMT\r\n", seconds(1)},  // past
      {"retry-after: 100000\r\n", seconds(600)},                      // bounded
      {"retry-after: tomorrow\r\n", seconds(1)},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.header);
    HttpTarget target([&](const auto&) { return reply(503, "", c.header); });
    Rig rig(options_for(target.url()));
    rig.exporter->offer(batch("x"));
    ASSERT_TRUE(rig.until([&](const auto&) { return rig.timing->asked().size() == 1; }));
    EXPECT_TRUE(rig.expect_attempt_after(c.wait));
  }
}

TEST(Retry, RetryInfoOfGrpcIsWaitedFor) {
  for (const auto& [delay, wait] : {std::pair(milliseconds(45'000), milliseconds(45'000)), {milliseconds(-5'000), milliseconds(1'000)}, {milliseconds(3'600'000), milliseconds(600'000)}}) {
    GrpcTarget target([&](int) { return std::pair(grpc::Status(grpc::StatusCode::UNAVAILABLE, "later", encode_status({14, "later", delay})), std::string()); });
    ExporterOptions options = options_for("http://127.0.0.1:" + std::to_string(target.port));
    options.target(Signal::kLogs).protocol = OtlpProtocol::kGrpc;
    Rig rig(std::move(options));
    rig.exporter->offer(batch("x"));
    ASSERT_TRUE(rig.until([&](const auto&) { return rig.timing->asked().size() == 1; }));
    EXPECT_TRUE(rig.expect_attempt_after(wait)) << delay.count();
  }
}

TEST(Retry, FlushDoesNotOverruleWhatTheTargetAskedFor) {
  HttpTarget target([](const auto&) { return reply(429, "", "retry-after: 120\r\n"); });
  Rig rig(options_for(target.url()));
  rig.exporter->offer(batch("x"));
  ASSERT_TRUE(rig.until_attempts(1));
  EXPECT_FALSE(rig.exporter->flush(Deadline::after(milliseconds(1))));
  rig.timing->wait_until_seen();
  EXPECT_EQ(rig.logs().attempts, 1u);
}

// The ways in which a target may fail over one batch.
const std::vector<std::pair<const char*, std::string>> kPoison{
    {"503", reply(503)}, {"504", reply(504)}, {"an answer that is none", reply(200, "<html>", "", "text/html")}, {"an answer that cannot be read", reply(200, "\xff\xff garbage")}, {"a cut connection", ""}};

TEST(Retry, OneBatchThatNobodyTakesHoldsUpNoOther) {
  for (const auto& [what, answer] : kPoison) {
    SCOPED_TRACE(what);
    const TempDir dir;
    HttpTarget target([&answer = answer](const HttpTarget::Request& r) { return r.body.starts_with("poison") ? answer : reply(200); });
    Rig rig(options_for(target.url(), dir.path()));
    for (const char* text : {"1", "poison", "2", "3", "4", "5"}) rig.exporter->offer(batch(text));
    const Deadline deadline = soon();
    while (rig.logs().sent < 10 && !deadline.passed()) rig.timing->step(seconds(1));
    SignalStats stats = rig.logs();
    ASSERT_EQ(stats.sent, 10u);
    ASSERT_TRUE(rig.until([](const SignalStats& s) { return s.aside == 2; }));
    std::string order;
    std::set<std::string> seen;
    for (const auto& request : target.requests()) {
      if (seen.insert(request.body).second) order += request.body;
    }
    EXPECT_EQ(order, "1poison2345");
    EXPECT_LE(rig.logs().attempts, 5u + 7);  // of it: five, the one that tells, and perhaps one more since
    expect_balanced(rig.exporter->stats());
    // From now on the others go at once, without a moment's passing.
    rig.exporter->offer(batch("6"));
    ASSERT_TRUE(rig.until([](const SignalStats& s) { return s.sent == 12; }));
    // It is tried again, ever more seldom, and in the end dropped and counted.
    const std::uint64_t before = rig.logs().attempts;
    rig.timing->move(seconds(60));
    ASSERT_TRUE(rig.until([&](const SignalStats& s) { return s.attempts == before + 1; }));
    rig.timing->move(hours(24));
    ASSERT_TRUE(rig.until([](const SignalStats& s) { return s.dropped[static_cast<std::size_t>(DropReason::kExpired)] == 2; }));
    stats = rig.logs();
    EXPECT_EQ(stats.queued + stats.spooled + stats.aside, 0u);
    EXPECT_EQ(stats.sent, 12u);
    expect_balanced(rig.exporter->stats());
  }
}

TEST(Retry, TwoOfThemHoldUpNoOtherEither) {
  HttpTarget target([](const HttpTarget::Request& r) { return reply(r.body.starts_with("poison") ? 504 : 200); });
  Rig rig(options_for(target.url()));
  for (const char* text : {"poison a", "poison b", "1", "2"}) rig.exporter->offer(batch(text));
  const Deadline deadline = soon();
  while (rig.logs().sent < 4 && !deadline.passed()) rig.timing->step(seconds(5));
  EXPECT_EQ(rig.logs().sent, 4u);
  rig.exporter->offer(batch("3"));
  while ((rig.logs().aside < 4 || rig.logs().sent < 6) && !deadline.passed()) rig.timing->step(seconds(5));
  EXPECT_EQ(rig.logs().sent, 6u);
  expect_balanced(rig.exporter->stats());
}

TEST(Retry, WhatATargetTakesAfterAllIsSentFromWhereItLies) {
  const TempDir dir;
  std::atomic<bool> mended{false};
  HttpTarget target([&](const HttpTarget::Request& r) { return reply(r.body == "poison" && !mended ? 503 : 200); });
  Rig rig(options_for(target.url(), dir.path()));
  for (const char* text : {"poison", "1", "2"}) rig.exporter->offer(batch(text));
  const Deadline deadline = soon();
  while (rig.logs().aside < 2 && !deadline.passed()) rig.timing->step(seconds(1));
  ASSERT_TRUE(rig.until([](const SignalStats& s) { return s.sent == 4; }));
  mended = true;
  ASSERT_TRUE(rig.exporter->flush(soon()));
  EXPECT_EQ(rig.logs().sent, 6u);
  EXPECT_EQ(rig.logs().aside, 0u);
  rig.exporter.reset();
  Rig next(options_for(target.url(), dir.path()));
  EXPECT_EQ(next.logs().recovered, 0u);
}

// All of them fail: it is the target, and the order stays, but for the one that was tried when it came back.
TEST(Retry, ATargetThatIsOutOfOrderCostsNoOrder) {
  std::atomic<bool> back{false};
  HttpTarget target([&](const auto&) { return reply(back ? 200 : 503); });
  Rig rig(options_for(target.url()));
  for (const char* text : {"1", "2", "3", "4", "5", "6"}) rig.exporter->offer(batch(text));
  const Deadline deadline = soon();
  while (rig.logs().attempts < 20 && !deadline.passed()) rig.timing->step(seconds(30));
  EXPECT_EQ(rig.logs().sent + rig.logs().aside, 0u);
  const std::size_t before = target.requests().size();
  back = true;
  while (rig.logs().sent < 12 && !deadline.passed()) rig.timing->step(seconds(30));
  std::vector<std::string> order;
  const auto requests = target.requests();
  for (std::size_t i = before; i < requests.size(); ++i) order.push_back(requests[i].body);
  while (order.size() > 6) order.erase(order.begin());  // attempts that were under way when it came back
  std::string sorted;
  for (std::size_t i = 1; i < order.size(); ++i) sorted += order[i];
  EXPECT_TRUE(std::is_sorted(sorted.begin(), sorted.end())) << sorted;
  EXPECT_EQ(rig.logs().aside, 0u);
}

// Nobody is there, or it asks all to slow down: nothing is tried out of turn.
TEST(Retry, WhoIsNotThereIsAskedInOrder) {
  HttpTarget target([](const auto&) { return reply(429); });
  for (const std::string& url : {target.url(), std::string("http://127.0.0.1:1/v1/logs")}) {
    Rig rig(options_for(url));
    for (const char* text : {"1", "2", "3"}) rig.exporter->offer(batch(text));
    const Deadline deadline = soon();
    while (rig.logs().attempts < 12 && !deadline.passed()) rig.timing->step(seconds(30));
    EXPECT_GE(rig.logs().attempts, 12u);
  }
  for (const auto& request : target.requests()) EXPECT_EQ(request.body, "1");
}

TEST(Retry, WithoutADiskWhatIsSetAsideTakesAQuarterOfTheQueue) {
  HttpTarget target([](const HttpTarget::Request& r) { return reply(r.body.starts_with("p") ? 503 : 200); });
  ExporterOptions options = options_for(target.url());
  options.queue_bytes = 1000;
  Rig rig(std::move(options));
  std::uint64_t good = 0;
  const Deadline deadline = soon();
  for (int i = 0; i < 5; ++i) {
    rig.exporter->offer(batch(std::string(100, 'p')));
    rig.exporter->offer(batch("good"));
    good += 2;
    while (rig.logs().sent < good && !deadline.passed()) rig.timing->step(seconds(1));
    while (rig.logs().aside + rig.logs().dropped[static_cast<std::size_t>(DropReason::kExpired)] < good && !deadline.passed()) rig.timing->step(seconds(1));
  }
  EXPECT_EQ(rig.logs().aside, 4u);
  EXPECT_EQ(rig.logs().dropped[static_cast<std::size_t>(DropReason::kExpired)], 6u);
  EXPECT_EQ(rig.logs().unspooled, 4u);
  expect_balanced(rig.exporter->stats());
}

}  // namespace
}  // namespace stella::telemetry
