// Head sampling: thresholds, shares and their consistency over rates and services, incidents, tenants that become known late.
#include "stella/telemetry/sampler.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "capture_outlet.h"
#include "sampling_policy.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

using detail::kKeepNothing;

class Sampler : public ::testing::Test {
 protected:
  void SetUp() override { set_sampling({}); }
  void TearDown() override { set_sampling({}); }
  static Timestamp from_now(std::chrono::seconds s) { return Timestamp::from_micros(Timestamp::now().micros() + std::chrono::microseconds(s).count()); }
  static Context in(std::string_view tenant) {
    Context context;
    context.tenant_id = *TenantId::parse(tenant);
    return context;
  }
  static TraceId trace(std::mt19937_64& random) { return TraceId(std::bit_cast<std::array<std::uint8_t, 16>>(std::array<std::uint64_t, 2>{random(), random()})); }
  // The decision for a trace that begins in this process.
  static Context decided(const TraceId& id, std::string_view tenant = "acme") {
    Context context = in(tenant);
    context.trace_id = id;
    detail::decide(context);
    return context;
  }
  static bool sampled(const Context& context) { return (context.flags & TraceParent::kSampled) != 0; }
  // What another service makes of a call from `context`: its span's own context.
  static Context callee(const Context& context) {
    Context mine = Context::continue_from(context.traceparent(), context.tracestate);
    EXPECT_EQ(mine.trace_id, context.trace_id);
    mine.tenant_id = context.tenant_id;
    return ManualSpan("callee", SpanKind::kServer, mine).context();
  }
};

TEST_F(Sampler, ThresholdsSayTheShareThatIsKept) {
  EXPECT_EQ(sampling_threshold(1), 0u);
  EXPECT_EQ(sampling_threshold(0.75), 0x40000000000000u);
  EXPECT_EQ(sampling_threshold(0.5), 0x80000000000000u);
  EXPECT_EQ(sampling_threshold(0.25), 0xc0000000000000u);
  EXPECT_EQ(sampling_threshold(0.1), 0xe6666000000000u);
  EXPECT_EQ(sampling_threshold(0.01), 0xfd70a400000000u);
  for (const double none : {0.0, -1.0, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) EXPECT_EQ(sampling_threshold(none), kKeepNothing);
  for (const double all : {1.0, 2.0, std::numeric_limits<double>::infinity()}) EXPECT_EQ(sampling_threshold(all), 0u);
  EXPECT_LT(sampling_threshold(1e-30), kKeepNothing);  // next to nothing is not nothing
  // Whoever counts by the threshold counts right: the share it says is the rate that was set.
  for (double rate = 1; rate > 1e-9; rate *= 0.83) {
    const double share = static_cast<double>(kKeepNothing - sampling_threshold(rate)) / static_cast<double>(kKeepNothing);
    EXPECT_NEAR(share / rate, 1, 1e-5) << rate;
  }
}

TEST_F(Sampler, KeepsTheShareThatWasSet) {
  constexpr int kTraces = 200'000;
  for (const double rate : {0.9, 0.5, 0.1, 0.01}) {
    set_sampling_rate(rate);
    std::mt19937_64 random(20261130);
    int kept = 0;
    for (int i = 0; i < kTraces; ++i) {
      const Context context = decided(trace(random));
      kept += sampled(context) ? 1 : 0;
      EXPECT_NE(context.flags & TraceParent::kRandom, 0);
      EXPECT_EQ(context.sampling, SamplingReason::kHead);
      // Kept ones say by how much to scale; the others say nothing.
      ASSERT_EQ(detail::threshold_of(context.tracestate), sampled(context) ? sampling_threshold(rate) : kSampleAll) << context.tracestate;
    }
    const double sigma = std::sqrt(kTraces * rate * (1 - rate));
    EXPECT_NEAR(kept, kTraces * rate, 5 * sigma) << rate;
  }
}

TEST_F(Sampler, WhatALowerRateKeepsAHigherOneKeepsToo) {
  std::mt19937_64 random(7);
  std::vector<TraceId> traces(20'000);
  for (TraceId& id : traces) id = trace(random);
  std::vector<bool> before(traces.size(), false);
  for (const double rate : {0.001, 0.02, 0.3, 0.5, 0.99, 1.0}) {
    set_sampling_rate(rate);
    for (std::size_t i = 0; i < traces.size(); ++i) {
      const bool now = sampled(decided(traces[i]));
      ASSERT_TRUE(now || !before[i]) << traces[i].hex() << " at " << rate;
      before[i] = now;
    }
  }
}

TEST_F(Sampler, StateIsWrittenAsTheConventionSays) {
  const struct { double rate; const char* state; } cases[] = {{1, ""}, {0.5, "ot=th:8"}, {0.25, "ot=th:c"}, {0.1, "ot=th:e6666"}, {0.01, "ot=th:fd70a4"}};
  std::mt19937_64 random(1);
  for (const auto& c : cases) {
    set_sampling_rate(c.rate);
    Context context;
    do context = decided(trace(random));
    while (!sampled(context));
    EXPECT_EQ(context.tracestate, c.state);
  }
}

TEST_F(Sampler, ReadsThresholdAndRandomnessOfOthers) {
  const TraceId id = *TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(detail::randomness_of(id, ""), 0xce929d0e0e4736u);  // the last 56 bits
  EXPECT_EQ(detail::randomness_of(id, "a=b,ot=th:8;rv:0123456789abcd"), 0x0123456789abcdu);
  for (const char* bad : {"ot=rv:0123456789abc", "ot=rv:0123456789abcde", "ot=rv:0123456789ABCD", "xot=rv:0123456789abcd", "ot=rv"}) EXPECT_EQ(detail::randomness_of(id, bad), 0xce929d0e0e4736u) << bad;
  EXPECT_EQ(detail::threshold_of("ot=th:8"), 0x80000000000000u);
  EXPECT_EQ(detail::threshold_of("v=1,ot=rv:0123456789abcd;th:fd70a4"), 0xfd70a400000000u);
  for (const char* bad : {"", "ot=", "ot=th:", "ot=th:xyz", "ot=th:123456789012345", "other=th:8"}) EXPECT_EQ(detail::threshold_of(bad), kSampleAll) << bad;
}

TEST_F(Sampler, EveryServiceOfATraceDecidesTheSame) {
  CaptureOutlet out;
  set_tail_keep(false);
  std::mt19937_64 random(11);
  int kept = 0;
  for (const double here : {0.5, 0.0}) {
    for (int i = 0; i < 500; ++i) {
      set_sampling_rate(0.5);
      Context first = decided(trace(random));
      first.span_id = SpanId::generate();
      set_sampling_rate(here);  // the callee's own rate has no say
      const Context second = callee(first), third = callee(second);
      for (const Context& context : {second, third}) {
        ASSERT_EQ(context.trace_id, first.trace_id);
        ASSERT_EQ(sampled(context), sampled(first));
        ASSERT_EQ(context.tracestate, first.tracestate);
        ASSERT_EQ(context.threshold, sampled(first) ? first.threshold : kSampleAll);
      }
      kept += sampled(first) ? 1 : 0;
    }
  }
  EXPECT_GT(kept, 400);
  EXPECT_LT(kept, 600);
  EXPECT_EQ(out.size(), static_cast<std::size_t>(2 * kept));  // and only those are recorded
}

TEST_F(Sampler, ATenantThatBecomesKnownDecidesAgain) {
  CaptureOutlet out;
  set_sampling_rate(0);
  set_tail_keep(false);
  set_tenant_sampling("acme", 1.0);
  for (const char* tenant : {"acme", "globex"}) {
    ContextScope scope{Context()};
    Span span("request", SpanKind::kServer);
    Context::edit([&](Context& c) { c.tenant_id = *TenantId::parse(tenant); });
    EXPECT_EQ(sampled(Context::current()), std::string_view(tenant) == "acme") << tenant;
  }
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out.last().tenant(), "acme");
  EXPECT_EQ(out.last().head().sampling, SamplingReason::kHead);
  EXPECT_EQ(out.last().head().threshold, kSampleAll);
  set_tenant_sampling("acme", std::nullopt);
  EXPECT_FALSE(sampled(decided(TraceId::generate())));
}

TEST_F(Sampler, AnIncidentBoostsItsTenantUntilItIsOver) {
  set_sampling_rate(0);
  std::mt19937_64 random(3);
  const TraceId id = trace(random);
  EXPECT_FALSE(sampled(decided(id)));
  set_incident_sampling("acme", 1, from_now(std::chrono::hours(1)));
  const Context boosted = decided(id);
  EXPECT_TRUE(sampled(boosted));
  EXPECT_EQ(boosted.sampling, SamplingReason::kIncident);
  EXPECT_EQ(boosted.threshold, kSampleAll);  // weight 1: counts are not scaled
  EXPECT_EQ(boosted.tracestate, "");
  EXPECT_FALSE(sampled(decided(id, "globex")));
  set_incident_sampling("acme", 1, from_now(std::chrono::seconds(-1)));  // ended by hand
  EXPECT_FALSE(sampled(decided(id)));
  EXPECT_TRUE(sampling().incidents.empty());
  SamplingPolicy over;  // ended by itself
  over.rate = 0;
  over.incident = SamplingPolicy::Incident{1, from_now(std::chrono::seconds(-1))};
  over.incidents["acme"] = {1, from_now(std::chrono::seconds(-1))};
  set_sampling(over);
  EXPECT_FALSE(sampled(decided(id)));
  set_incident_sampling("", 1, from_now(std::chrono::hours(1)));  // everybody
  EXPECT_TRUE(sampled(decided(id)));
  EXPECT_TRUE(sampled(decided(id, "globex")));
}

TEST_F(Sampler, AnIncidentRaisesTheShareAndScalesNothing) {
  constexpr int kTraces = 50'000;
  set_sampling_rate(0.1);
  set_incident_sampling("acme", 0.6, from_now(std::chrono::hours(1)));
  std::mt19937_64 random(5);
  int head = 0, incident = 0;
  for (int i = 0; i < kTraces; ++i) {
    const Context context = decided(trace(random));
    if (sampled(context)) ++(context.sampling == SamplingReason::kHead ? head : incident);
  }
  EXPECT_NEAR(head, kTraces * 0.1, 5 * std::sqrt(kTraces * 0.1 * 0.9));
  EXPECT_NEAR(incident, kTraces * 0.5, 5 * std::sqrt(kTraces * 0.5 * 0.5));
}

TEST_F(Sampler, AnIncidentAlsoChoosesWhatAnotherServiceLeftOut) {
  CaptureOutlet out;
  set_tail_keep(false);
  Context remote = in("acme");
  remote.trace_id = TraceId::generate();
  remote.span_id = SpanId::generate();
  remote.flags = TraceParent::kRandom;
  EXPECT_FALSE(sampled(callee(remote)));
  set_incident_sampling("acme", 1, from_now(std::chrono::hours(1)));
  const Context boosted = callee(remote);
  EXPECT_TRUE(sampled(boosted));
  EXPECT_EQ(boosted.sampling, SamplingReason::kIncident);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out.last().head().sampling, SamplingReason::kIncident);
}

TEST_F(Sampler, TailKeepAndItsThresholdGoByRoute) {
  set_route_tail_keep("/exports", {.tail_keep = std::nullopt, .slow = std::chrono::seconds(30)});
  set_route_tail_keep("/healthz", {.tail_keep = false, .slow = std::nullopt});
  EXPECT_EQ(tail_keep_threshold("/exports"), 30'000'000'000);
  EXPECT_EQ(tail_keep_threshold("/sboms"), 1'000'000'000);
  EXPECT_EQ(tail_keep_threshold("/healthz"), 1'000'000'000);
  EXPECT_FALSE(tail_keep("/healthz"));
  EXPECT_TRUE(tail_keep("/exports"));
  set_tail_keep(false);
  EXPECT_FALSE(tail_keep("/exports"));
  EXPECT_EQ(tail_keep_threshold("/exports"), 30'000'000'000);
}

}  // namespace
}  // namespace stella::telemetry
