// Recording and exposition of metrics.
#include "stella/telemetry/metrics.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <set>
#include <sstream>
#include <thread>

#include "stella/telemetry/context.h"

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

TEST(Metrics, ExpositionIsOpenMetrics) {
  kDuration.record(0.2, "GET", "/format");
  kRequests.add(1, "GET", "/format", "2xx");
  const std::string text = openmetrics();
  ASSERT_TRUE(text.ends_with("# EOF\n"));
  const std::string labels = R"((\{[a-z_]+="(?:[^"\\]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\]|\\["\\n])*")*\})?)";
  const std::string number = R"((?:[-+]?[0-9.]+(?:e[-+]?[0-9]+)?|\+Inf))";
  const RE2 line_re("# (?:TYPE|UNIT|HELP) stella_[a-z_]+ .+|# EOF|stella_[a-z_]+" + labels + " " + number +
                    "(?: # \\{trace_id=\"[0-9a-f]{32}\",span_id=\"[0-9a-f]{16}\"\\} " + number + " [0-9]+\\.[0-9]{6})?");
  std::istringstream lines(text);
  std::set<std::string> families;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(RE2::FullMatch(line, line_re)) << line;
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(families.insert(line).second) << line;
    }
  }
}

}  // namespace
}  // namespace stella::telemetry
