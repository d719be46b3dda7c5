// The text formats: the public OpenMetrics cases against the tests' parser, and the parser against what we expose.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "openmetrics_parser.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/metrics.h"
#include "stella/testing/shared_data.h"

namespace stella::telemetry {
namespace {

using openmetrics_text::ParsedFamily;
using openmetrics_text::ParsedSample;
using openmetrics_text::Parser;

TEST(OpenMetrics, EveryPublicCaseIsJudgedAsItShould) {
  const std::filesystem::path root = STELLA_SHARED_OR_SKIP("vectors/openmetrics");
  int good = 0, bad = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const auto text = read_file((entry.path() / "metrics").string(), 1 << 20);
    const auto about = read_file((entry.path() / "test.json").string(), 1 << 16);
    ASSERT_TRUE(text && about) << entry.path();
    const auto expected = json::parse(*about);
    ASSERT_TRUE(expected);
    const bool should_parse = expected->find("shouldParse")->as_bool();
    Parser parser;
    parser.parse(*text);
    EXPECT_EQ(parser.error().empty(), should_parse) << entry.path().filename() << " " << parser.error() << "\n" << *text;
    ++(should_parse ? good : bad);
  }
  EXPECT_GE(good, 20);
  EXPECT_GE(bad, 80);
}

constexpr Counter kRequests{contracts::metrics::kHttpRequests};
constexpr Histogram kDuration{contracts::metrics::kHttpRequestDurationSeconds};
constexpr Counter kCpu{contracts::metrics::kProcessCpuSeconds};
constexpr Gauge kLag{contracts::metrics::kOutboxLagSeconds};

// Series of every type, with exemplars in every bucket.
void fill() {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  const ContextScope scope(context);
  const contracts::MetricSpec& spec = *contracts::metrics::kHttpRequestDurationSeconds.spec;
  double below = 0;
  for (const double bound : spec.buckets) kDuration.record((below + bound) / 2, "GET", "/exemplars"), below = bound;
  kDuration.record(1e9, "GET", "/exemplars");
  kRequests.add(std::uint64_t{1} << 60, "GET", "/a\"b\\c\nd", "2xx");
  kCpu.add(0.125);
  kLag.set(1.5);
}

// An exemplar's value lies in its bucket, which the format demands and the public cases do not.
void check_exemplars(const ParsedFamily& family) {
  double below = -HUGE_VAL;
  for (const ParsedSample& s : family.samples) {
    if (!s.name.ends_with("_bucket")) {
      below = -HUGE_VAL;
      continue;
    }
    const double le = s.label("le") == "+Inf" ? HUGE_VAL : std::stod(s.label("le"));
    if (s.exemplar) {
      EXPECT_GT(s.exemplar->value, below) << s.name;
      EXPECT_LE(s.exemplar->value, le) << s.name;
      EXPECT_TRUE(s.exemplar->ts) << s.name;
    }
    below = std::isinf(le) ? -HUGE_VAL : le;
  }
}

TEST(OpenMetrics, OurExpositionIsStrictlyValid) {
  fill();
  const std::string text = openmetrics();
  Parser parser;
  const auto families = parser.parse(text);
  ASSERT_EQ(parser.error(), "") << text;
  std::size_t exemplars = 0;
  std::map<std::string, const ParsedFamily*> by_name;
  for (const ParsedFamily& family : families) {
    by_name[family.name] = &family;
    check_exemplars(family);
    for (const ParsedSample& s : family.samples) exemplars += s.exemplar ? 1 : 0;
  }
  EXPECT_GE(exemplars, 16u);
  ASSERT_TRUE(by_name.contains("stella_http_requests"));
  const ParsedFamily& requests = *by_name["stella_http_requests"];
  EXPECT_EQ(requests.type, "counter");
  EXPECT_TRUE(std::ranges::any_of(requests.samples, [](const ParsedSample& s) {
    return s.label("route") == "/a\"b\\c\nd" && s.value == static_cast<double>(std::uint64_t{1} << 60);
  }));
  EXPECT_NE(text.find(" 1152921504606846976 # {"), text.npos) << "a whole number is written exactly";
  EXPECT_EQ(by_name["stella_http_request_duration_seconds"]->unit, "seconds");
  EXPECT_EQ(by_name["stella_outbox_lag_seconds"]->type, "gauge");
}

TEST(OpenMetrics, EveryDeclaredMetricCanBeExposed) {
  std::set<std::string> names;
  for (const contracts::MetricSpec& spec : contracts::metric_specs()) {
    std::vector<std::string_view> values;
    for (const contracts::MetricLabel& label : spec.labels) values.push_back(label.values.empty() ? "x" : label.values.front());
    detail::Series& series = detail::series(spec, values.data(), values.size());
    switch (spec.type) {
      case contracts::MetricType::kHistogram: detail::observe(series, 0.5); break;
      case contracts::MetricType::kGauge: detail::set(series, 2); break;
      default: detail::add(series, std::int64_t{1});
    }
    names.insert(std::string(spec.name));
  }
  Parser parser;
  for (const ParsedFamily& family : parser.parse(openmetrics())) names.erase(family.name);
  EXPECT_EQ(parser.error(), "");
  EXPECT_TRUE(names.empty()) << *names.begin();
}

TEST(OpenMetrics, TheAcceptHeaderChooses) {
  const auto type = [](std::string_view accept) { return expose(accept).content_type; };
  EXPECT_EQ(type(""), kOpenMetricsType);
  EXPECT_EQ(type("*/*"), kOpenMetricsType);
  EXPECT_EQ(type("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
            kOpenMetricsType);
  EXPECT_EQ(type("text/plain;version=0.0.4;q=1,*/*;q=0.1"), kPrometheusType);
  EXPECT_EQ(type("text/plain, application/openmetrics-text;q=0.5"), kPrometheusType);
  EXPECT_EQ(type("application/json"), kOpenMetricsType);
}

TEST(OpenMetrics, TheClassicFormatHasNeitherExemplarsNorUnits) {
  fill();
  const std::string text = prometheus_text();
  EXPECT_NE(text.find("# TYPE stella_http_requests_total counter\n"), text.npos);
  EXPECT_EQ(text.find("# UNIT"), text.npos);
  EXPECT_EQ(text.find("# EOF"), text.npos);
  EXPECT_EQ(text.find(" # {"), text.npos);
  EXPECT_NE(text.find("stella_http_request_duration_seconds_bucket{method=\"GET\",route=\"/exemplars\",le=\"+Inf\"} "), text.npos);
}

}  // namespace
}  // namespace stella::telemetry
