// A snapshot becomes an export request: every kind of metric, both temporalities.
#include <gtest/gtest.h>

#include "stella/telemetry/otlp.h"
#include "stella/telemetry/otlp_rows.h"

namespace stella::telemetry {
namespace {

using contracts::MetricType;

constexpr contracts::MetricLabel kLabels[] = {{"route"}, {"outcome"}};
constexpr double kBuckets[] = {0.5, 1, 2.5};

MetricFamily family(const contracts::MetricSpec& spec, std::vector<MetricPoint> points) { return {&spec, std::move(points)}; }

TEST(EncodeMetrics, EveryKindOfMetric) {
  const contracts::MetricSpec counter{.name = "requests", .type = MetricType::kCounter, .help = "Requests.", .labels = kLabels, .integral = true};
  const contracts::MetricSpec pool{.name = "pool_use", .type = MetricType::kUpDownCounter};
  const contracts::MetricSpec gauge{.name = "memory_bytes", .type = MetricType::kGauge, .unit = "bytes"};
  const contracts::MetricSpec histogram{.name = "request_seconds", .type = MetricType::kHistogram, .unit = "seconds", .buckets = kBuckets, .labels = kLabels};
  const contracts::MetricSpec silent{.name = "silent", .type = MetricType::kCounter};
  const std::vector<std::string> labels{"/sboms/:id", "ok"};
  const MetricExemplar exemplar{TraceId::generate(), SpanId::generate(), 0.75, 1500};

  MetricSnapshot snapshot{.temporality = Temporality::kDelta, .ns = 2000, .families = {}};
  MetricPoint whole{.labels = &labels, .start_ns = 1000, .integral = true, .whole = 9'007'199'254'740'993, .exemplars = {{0, {exemplar.trace_id, exemplar.span_id, 1, 1500}}}};
  MetricPoint over{.overflow = true, .start_ns = 1000, .integral = true, .whole = 3};
  snapshot.families.push_back(family(counter, {whole, over}));
  snapshot.families.push_back(family(pool, {{.start_ns = 1000, .value = -2.5}}));
  snapshot.families.push_back(family(gauge, {{.start_ns = 1000, .value = 4096}}));
  snapshot.families.push_back(family(histogram, {{.labels = &labels, .start_ns = 1000, .counts = {1, 2, 0, 3}, .count = 6, .sum = 12.5, .exemplars = {{1, exemplar}}}}));
  snapshot.families.push_back(family(silent, {}));

  const std::string bytes = encode_metrics(snapshot, {.service = "stellad"});
  const auto rows = decode_metrics(bytes);
  ASSERT_TRUE(rows) << rows.error().describe();
  ASSERT_EQ(rows->metrics.size(), 4u);
  EXPECT_EQ(rows->scopes[0].name, "stella");
  EXPECT_EQ(slice(rows->attributes, rows->resources[0].attributes)[0].value.text(), "stellad");

  const MetricRow& sum = rows->metrics[0];
  EXPECT_EQ(sum.name, "requests");
  EXPECT_EQ(sum.description, "Requests.");
  EXPECT_EQ(sum.kind, MetricRow::Kind::kSum);
  EXPECT_EQ(sum.temporality, 1);
  EXPECT_TRUE(sum.monotonic);
  const auto points = slice(rows->points, sum.points);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].value.kind, NumberValue::Kind::kInt);
  EXPECT_EQ(points[0].value.integer, 9'007'199'254'740'993);
  EXPECT_EQ(points[0].start_ns, 1000u);
  EXPECT_EQ(points[0].time_ns, 2000u);
  const auto attributes = slice(rows->attributes, points[0].attributes);
  ASSERT_EQ(attributes.size(), 2u);
  EXPECT_EQ(attributes[0].key, "route");
  EXPECT_EQ(attributes[0].value.text(), "/sboms/:id");
  EXPECT_EQ(attributes[1].value.text(), "ok");
  EXPECT_EQ(slice(rows->exemplars, points[0].exemplars)[0].value.integer, 1);
  const auto overflow = slice(rows->attributes, points[1].attributes);
  ASSERT_EQ(overflow.size(), 1u);
  EXPECT_EQ(overflow[0].key, "otel.metric.overflow");
  EXPECT_TRUE(overflow[0].value.boolean());

  EXPECT_EQ(rows->metrics[1].kind, MetricRow::Kind::kSum);
  EXPECT_EQ(rows->metrics[1].temporality, 2);
  EXPECT_FALSE(rows->metrics[1].monotonic);
  EXPECT_EQ(rows->points[rows->metrics[1].points.first].value.number, -2.5);

  EXPECT_EQ(rows->metrics[2].kind, MetricRow::Kind::kGauge);
  EXPECT_EQ(rows->metrics[2].unit, "By");
  EXPECT_EQ(rows->points[rows->metrics[2].points.first].start_ns, 0u);

  EXPECT_EQ(rows->metrics[3].kind, MetricRow::Kind::kHistogram);
  EXPECT_EQ(rows->metrics[3].unit, "s");
  EXPECT_EQ(rows->metrics[3].temporality, 1);
  const PointRow& h = rows->points[rows->metrics[3].points.first];
  EXPECT_EQ(h.count, 6u);
  EXPECT_EQ(h.sum, 12.5);
  const auto counts = slice(rows->counts, h.bucket_counts);
  EXPECT_EQ((std::vector<std::uint64_t>(counts.begin(), counts.end())), (std::vector<std::uint64_t>{1, 2, 0, 3}));
  const auto bounds = slice(rows->bounds, h.explicit_bounds);
  EXPECT_EQ((std::vector<double>(bounds.begin(), bounds.end())), (std::vector<double>{0.5, 1, 2.5}));
  const ExemplarRow& e = slice(rows->exemplars, h.exemplars)[0];
  EXPECT_EQ(e.value.number, 0.75);
  EXPECT_EQ(e.time_ns, 1500u);
  EXPECT_EQ(e.trace_id, std::string_view(reinterpret_cast<const char*>(exemplar.trace_id.bytes().data()), 16));
  EXPECT_EQ(e.span_id, std::string_view(reinterpret_cast<const char*>(exemplar.span_id.bytes().data()), 8));

  snapshot.temporality = Temporality::kCumulative;
  const std::string cumulative = encode_metrics(snapshot, {});
  const auto again = decode_metrics(cumulative);
  ASSERT_TRUE(again);
  for (const MetricRow& metric : again->metrics) EXPECT_EQ(metric.temporality, metric.kind == MetricRow::Kind::kGauge ? 0 : 2) << metric.name;
}

TEST(EncodeMetrics, NothingRecordedIsNoRequest) { EXPECT_EQ(encode_metrics({}, {}), ""); }

}  // namespace
}  // namespace stella::telemetry
