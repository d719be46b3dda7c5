// Recording and exposition of metrics.
#include "stella/telemetry/metrics.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <sstream>
#include <thread>

#include "stella/telemetry/context.h"
#include "stella/telemetry/metric_snapshot.h"

namespace stella::telemetry {
namespace {

constexpr Counter kRequests{contracts::metrics::kHttpRequests};
constexpr Histogram kDuration{contracts::metrics::kHttpRequestDurationSeconds};
constexpr Gauge kQueue{contracts::metrics::kHttpQueueDepth};

std::string sample(std::string_view prefix) {
  std::istringstream lines(openmetrics());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(prefix)) return line.substr(prefix.size());
  }
  return "(absent)";
}

TEST(Metrics, CountersCountAcrossThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      const BoundCounter handle = kRequests.bind("GET", "/threads", "2xx");
      for (int i = 0; i < 10'000; ++i) handle.add();
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(sample("stella_http_requests_total{method=\"GET\",route=\"/threads\",status=\"2xx\"} "), "40000");
}

TEST(Metrics, AStrangerOfAnEnumIsOther) {
  kRequests.add(2, "BREW\"\n", "/pot", "4xx");
  EXPECT_EQ(sample("stella_http_requests_total{method=\"_OTHER\",route=\"/pot\",status=\"4xx\"} "), "2");
}

TEST(Metrics, BeyondItsBoundABoundedLabelGoesToOneSeries) {
  static constexpr Counter kRetries{contracts::metrics::kJobRetries};  // bound 64
  for (int i = 0; i < 100; ++i) kRetries.add(1, "kind" + std::to_string(i), "failed");
  EXPECT_EQ(sample("stella_job_retries_total{otel_metric_overflow=\"true\"} "), "36");
  EXPECT_EQ(sample("stella_metric_overflow_total "), "36");
}

TEST(Metrics, HistogramBucketsAreCumulativeAndCarryExemplars) {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  kDuration.record(0.005, "PUT", "/h");  // a bound belongs to its bucket
  {
    ContextScope scope(context);
    kDuration.record(0.03, "PUT", "/h");
  }
  kDuration.record(99, "PUT", "/h");
  const std::string labels = "{method=\"PUT\",route=\"/h\"";
  EXPECT_EQ(sample("stella_http_request_duration_seconds_bucket" + labels + ",le=\"0.005\"} "), "1");
  EXPECT_EQ(sample("stella_http_request_duration_seconds_bucket" + labels + ",le=\"0.025\"} "), "1");
  const std::string with_exemplar = sample("stella_http_request_duration_seconds_bucket" + labels + ",le=\"0.05\"} ");
  EXPECT_TRUE(with_exemplar.starts_with("2 # {trace_id=\"" + context.trace_id.hex() + "\",span_id=\"" + context.span_id.hex() + "\"} 0.03 "))
      << with_exemplar;
  EXPECT_EQ(sample("stella_http_request_duration_seconds_bucket" + labels + ",le=\"+Inf\"} "), "3");
  EXPECT_EQ(sample("stella_http_request_duration_seconds_count" + labels + "} "), "3");
  EXPECT_EQ(sample("stella_http_request_duration_seconds_sum" + labels + "} "), "99.035");
}

TEST(Metrics, GaugesAreReadAtCollection) {
  static double depth = 3;
  on_collect([] { kQueue.set(depth); });
  EXPECT_EQ(sample("stella_http_queue_depth "), "3");
  depth = 7.5;
  EXPECT_EQ(sample("stella_http_queue_depth "), "7.5");
}

// What another service declares for itself.
using contracts::MetricLabel, contracts::MetricSpec, contracts::MetricType;
constexpr std::array<std::string_view, 2> kOutcomes{"found", "unknown"};
constexpr MetricLabel kTenantLabels[] = {{"tenant_id", {}, 100}, {"key", {}, 100}};
constexpr MetricLabel kOutcomeLabels[] = {{"outcome", kOutcomes, 0}};
constexpr double kBounds[] = {1, 2, 4};
constexpr MetricSpec kForeign[] = {
    {"pricing_requests", MetricType::kCounter, "", "Prices.", {}, kTenantLabels, true, 20, 5},
    {"pricing_open", MetricType::kUpDownCounter, "", "Open.", {}, {}, true},
    {"pricing_size", MetricType::kHistogram, "", "Sizes.", kBounds, kOutcomeLabels},
    {"pricing_open", MetricType::kGauge, "", "The same name with another shape.", {}, {}},
};
constexpr Counter kPrices{contracts::CounterDef<2>{&kForeign[0]}};
constexpr UpDownCounter kOpen{contracts::UpDownCounterDef<0>{&kForeign[1]}};
constexpr Histogram kSizes{contracts::HistogramDef<1>{&kForeign[2]}};
constexpr Gauge kClash{contracts::GaugeDef<0>{&kForeign[3]}};

const MetricPoint* point(const MetricSnapshot& snapshot, const MetricSpec& spec, const std::vector<std::string>& labels) {
  for (const MetricFamily& family : snapshot.families) {
    for (const MetricPoint& p : family.points) {
      if (family.spec == &spec && *p.labels == labels && !p.overflow) return &p;
    }
  }
  return nullptr;
}

TEST(Metrics, AnotherServiceDeclaresItsOwn) {
  kSizes.record(3, "found");
  kOpen.add(3);
  kClash.set(5);
  std::thread([] { kOpen.add(-2); }).join();
  EXPECT_EQ(sample("pricing_size_bucket{outcome=\"found\",le=\"4.0\"} "), "1");
  EXPECT_EQ(sample("pricing_open "), "1") << "the shape that came first; the other is not recorded";
  EXPECT_EQ(sample("# TYPE pricing_open "), "gauge");
}

TEST(Metrics, ATenantOverItsCapLeavesRoomForOthers) {
  for (int i = 0; i < 8; ++i) kPrices.add(1, "loud", "k" + std::to_string(i));
  kPrices.add(1, "quiet", "k0");
  EXPECT_EQ(sample("pricing_requests_total{tenant_id=\"loud\",key=\"k4\"} "), "1");
  EXPECT_EQ(sample("pricing_requests_total{tenant_id=\"loud\",key=\"k5\"} "), "(absent)");
  EXPECT_EQ(sample("pricing_requests_total{tenant_id=\"quiet\",key=\"k0\"} "), "1");
  EXPECT_EQ(sample("pricing_requests_total{otel_metric_overflow=\"true\"} "), "3");
  for (int i = 0; i < 30; ++i) kPrices.add(1, "t" + std::to_string(i), "k");
  EXPECT_EQ(sample("pricing_requests_total{tenant_id=\"t13\",key=\"k\"} "), "1");
  EXPECT_EQ(sample("pricing_requests_total{tenant_id=\"t14\",key=\"k\"} "), "(absent)") << "the instrument's cap of 20";
}

TEST(Metrics, SecretsDoNotBecomeLabels) {
  kRequests.add(1, "GET", "password=hunter2hunter2", "2xx");
  kRequests.add(1, "GET", "\xff\xfe", "2xx");
  const std::string text = openmetrics();
  EXPECT_EQ(text.find("hunter2"), text.npos);
  EXPECT_NE(sample("stella_http_requests_total{method=\"GET\",route=\"_OTHER\",status=\"2xx\"} "), "(absent)");
}

TEST(Metrics, ACounterNeverFallsAndKeepsFractions) {
  static constexpr Counter kCpu{contracts::metrics::kProcessCpuSeconds};
  kCpu.add(0.25), kCpu.add(0.5), kCpu.add(-3), kCpu.add(std::nan("")), kCpu.add(2.0);
  EXPECT_EQ(sample("stella_process_cpu_seconds_total "), "2.75");
  kRequests.add(-5, "GET", "/falls", "2xx");
  kRequests.add(7u, "GET", "/falls", "2xx");
  EXPECT_EQ(sample("stella_http_requests_total{method=\"GET\",route=\"/falls\",status=\"2xx\"} "), "7");
}

TEST(Metrics, WhatIsObservedAtCollectionIsNobodysWork) {
  static constexpr Counter kSwitches{contracts::metrics::kProcessContextSwitches};
  on_collect([] { kSwitches.add(1, "voluntary"); });
  Context scrape;
  scrape.trace_id = TraceId::generate();
  scrape.span_id = SpanId::generate();
  scrape.flags = TraceParent::kSampled;
  const ContextScope scope(scrape);
  EXPECT_EQ(openmetrics().find(scrape.trace_id.hex()), std::string::npos) << "the scrape did not cause what passed since the last one";
}

TEST(Metrics, OnlySampledTracesLeaveExemplars) {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  context.flags = 0;
  {
    const ContextScope scope(context);
    kDuration.record(0.2, "GET", "/sampled");
  }
  EXPECT_EQ(openmetrics().find(context.trace_id.hex()), std::string::npos);
  context.flags = TraceParent::kSampled;
  const ContextScope scope(context);
  kDuration.record(0.2, "GET", "/sampled");
  EXPECT_NE(openmetrics().find(context.trace_id.hex()), std::string::npos) << "an unsampled one did not take its place";
}

TEST(Metrics, AnExemplarIsReplacedAtMostOnceBetweenSnapshots) {
  Context context;
  context.span_id = SpanId::generate();
  std::vector<std::string> ids;
  (void)snapshot();
  for (int i = 0; i < 3; ++i) {
    context.trace_id = TraceId::generate();
    ids.push_back(context.trace_id.hex());
    const ContextScope scope(context);
    kDuration.record(0.2, "GET", "/renewed");
    if (i == 1) {
      const std::string text = openmetrics();
      EXPECT_NE(text.find(ids[0]), text.npos);
      EXPECT_EQ(text.find(ids[1]), text.npos);
    }
  }
  EXPECT_NE(openmetrics().find(ids[2]), std::string::npos);
}

// Threads come and go while somebody reads: nothing is lost, nothing counted twice, and a histogram's count and sum always fit.
TEST(Metrics, TotalsAreExactWhileThreadsComeAndGo) {
  constexpr int kThreads = 12, kEach = 20'000;
  std::atomic<bool> done{false};
  std::uint64_t delta_total = 0, delta_count = 0;
  DeltaReader reader;
  std::thread watcher([&] {
    std::uint64_t before = 0;
    for (bool last = false; !last;) {
      last = done.load();
      const MetricSnapshot now = snapshot();
      if (const MetricPoint* p = point(now, kForeign[2], {"unknown"})) {
        EXPECT_GE(p->count, before);
        EXPECT_EQ(p->sum, 2.0 * static_cast<double>(p->count));
        before = p->count;
      }
      const MetricSnapshot delta = reader.collect();
      if (const MetricPoint* p = point(delta, *contracts::metrics::kHttpRequests.spec, {"PUT", "/exact", "2xx"})) delta_total += static_cast<std::uint64_t>(p->whole);
      if (const MetricPoint* p = point(delta, kForeign[2], {"unknown"})) delta_count += p->count;
    }
  });
  for (int round = 0; round < kThreads / 3; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < kEach; ++i) {
          kRequests.add(1, "PUT", "/exact", "2xx");
          kSizes.record(2, "unknown");
        }
      });
    }
    for (auto& t : threads) t.join();
  }
  done = true;
  watcher.join();
  EXPECT_EQ(sample("stella_http_requests_total{method=\"PUT\",route=\"/exact\",status=\"2xx\"} "), std::to_string(kThreads * kEach));
  EXPECT_EQ(delta_total, static_cast<std::uint64_t>(kThreads * kEach));
  EXPECT_EQ(delta_count, static_cast<std::uint64_t>(kThreads * kEach));
}

TEST(Metrics, RecordingFromThreadLocalDestructorsCounts) {
  struct Late {
    ~Late() { kRequests.add(1, "DELETE", "/late", "2xx"); }
    void touch() {}
  };
  std::thread([] {
    static thread_local Late late;
    late.touch();  // made first: destroyed after the metrics' own
    kRequests.add(1, "DELETE", "/late", "2xx");
  }).join();
  EXPECT_EQ(sample("stella_http_requests_total{method=\"DELETE\",route=\"/late\",status=\"2xx\"} "), "2");
}

TEST(Metrics, AReaderOfTheProcessTellsWhatCameBeforeIt) {
  kRequests.add(5, "GET", "/before", "2xx");
  DeltaReader later, all(DeltaReader::Since::kProcess);
  const MetricSnapshot now = snapshot(), none = later.collect(), first = all.collect();
  EXPECT_EQ(point(none, *contracts::metrics::kHttpRequests.spec, {"GET", "/before", "2xx"}), nullptr);
  const MetricPoint* told = point(first, *contracts::metrics::kHttpRequests.spec, {"GET", "/before", "2xx"});
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->whole, 5);
  EXPECT_EQ(told->start_ns, point(now, *contracts::metrics::kHttpRequests.spec, {"GET", "/before", "2xx"})->start_ns);
  const MetricSnapshot again = all.collect();
  EXPECT_EQ(point(again, *contracts::metrics::kHttpRequests.spec, {"GET", "/before", "2xx"}), nullptr);
}

TEST(Metrics, ACounterAtZeroIsToldOfOnce) {
  DeltaReader reader;
  declare_series(*contracts::metrics::kTelemetryMasked.spec);
  const auto& spec = *contracts::metrics::kTelemetryMasked.spec;
  const MetricSnapshot first = reader.collect();
  for (const char* kind : {"secret", "pii"}) {
    const MetricPoint* zero = point(first, spec, {kind});
    ASSERT_NE(zero, nullptr) << kind;
    EXPECT_EQ(zero->value, 0);
  }
  EXPECT_EQ(point(reader.collect(), spec, {"secret"}), nullptr) << "once is enough";
  Counter{contracts::metrics::kTelemetryMasked}.add(1, "secret");
  const MetricSnapshot moved = reader.collect();
  ASSERT_NE(point(moved, spec, {"secret"}), nullptr);
  EXPECT_EQ(point(moved, spec, {"secret"})->whole, 1);
  EXPECT_EQ(point(moved, spec, {"pii"}), nullptr);
}

TEST(Metrics, DeltasLeaveOutWhatDidNotMoveAndStartWhereTheLastOneEnded) {
  DeltaReader reader;
  kRequests.add(3, "GET", "/delta", "2xx");
  kQueue.set(4);
  kOpen.add(1);
  const MetricSnapshot first = reader.collect();
  const MetricPoint* moved = point(first, *contracts::metrics::kHttpRequests.spec, {"GET", "/delta", "2xx"});
  ASSERT_NE(moved, nullptr);
  EXPECT_TRUE(moved->integral);
  EXPECT_EQ(moved->whole, 3);
  EXPECT_EQ(first.temporality, Temporality::kDelta);
  const MetricSnapshot second = reader.collect();
  EXPECT_EQ(point(second, *contracts::metrics::kHttpRequests.spec, {"GET", "/delta", "2xx"}), nullptr);
  EXPECT_NE(point(second, *contracts::metrics::kHttpQueueDepth.spec, {}), nullptr) << "gauges are told always";
  kOpen.add(1);
  kRequests.add(2, "GET", "/delta", "2xx");
  const MetricSnapshot third = reader.collect();
  moved = point(third, *contracts::metrics::kHttpRequests.spec, {"GET", "/delta", "2xx"});
  ASSERT_NE(moved, nullptr);
  EXPECT_EQ(moved->whole, 2);
  EXPECT_EQ(moved->start_ns, second.ns);
  EXPECT_GE(point(third, kForeign[1], {})->whole, 2) << "up-down counters stay cumulative";
}

}  // namespace
}  // namespace stella::telemetry
