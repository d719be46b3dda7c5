// Random families and points, and in the same breath what a reader of the request must find.
#include "otlp_metrics_sample.h"

#include <cmath>
#include <cstdio>
#include <limits>

namespace stella::telemetry {
namespace {

using contracts::MetricType;

std::string exact(double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%a", value);
  return buffer;
}

}  // namespace

MetricsSample::MetricsSample(std::mt19937_64& random) : random_(random) {
  snapshot.temporality = below(2) == 0 ? Temporality::kCumulative : Temporality::kDelta;
  snapshot.ns = 1'700'000'000'000'000'000 + static_cast<std::int64_t>(below(1'000'000'000));
  for (const MetricType type : {MetricType::kCounter, MetricType::kCounter, MetricType::kUpDownCounter, MetricType::kGauge, MetricType::kHistogram, MetricType::kHistogram}) family(type);
}

std::string MetricsSample::text() {
  static constexpr const char* kPieces[] = {"a", "word", "Größe ", "\"quoted\" ", "line\n", "日本 ", "/sboms/:id", "\\"};
  std::string out;
  for (std::size_t n = 1 + below(below(10) == 0 ? 200 : 6); n > 0; --n) out += kPieces[below(8)];
  return out;
}

double MetricsSample::number() {
  switch (below(8)) {
    case 0: return 0;
    case 1: return -0.0;
    case 2: return std::numeric_limits<double>::infinity();
    case 3: return -1e300;
    case 4: return std::numeric_limits<double>::denorm_min();
    default: return std::ldexp(static_cast<double>(random_() >> 11), static_cast<int>(below(60)) - 50);
  }
}

const MetricsSample::Declared& MetricsSample::declare(MetricType type) {
  Declared& d = declared_.emplace_back();
  d.name = "metric_" + std::to_string(declared_.size()) + "_" + std::to_string(below(1000));
  d.help = below(5) == 0 ? "" : text();
  for (std::size_t n = below(4), i = 0; i < n; ++i) d.label_names.push_back("label_" + std::to_string(i));
  for (const std::string& name : d.label_names) d.labels.push_back({name});
  if (type == MetricType::kHistogram) {
    double bound = -1;
    for (std::size_t n = below(15); n > 0; --n) d.buckets.push_back(bound += 0.1 + static_cast<double>(below(1000)) / 7);
  }
  static constexpr std::string_view kUnits[] = {"", "seconds", "bytes", "ratio", "requests"};
  const bool integral = (type == MetricType::kCounter || type == MetricType::kUpDownCounter) && below(2) == 0;
  d.spec = {.name = d.name, .type = type, .unit = kUnits[below(5)], .help = d.help, .buckets = d.buckets, .labels = d.labels, .integral = integral};
  return d;
}

json::Value MetricsSample::labels(MetricPoint& point, const Declared& declared) {
  json::Value out = json::Value::object();
  if (below(5) == 0) {
    point.overflow = true;
    out.set("otel.metric.overflow", true);
    return out;
  }
  std::vector<std::string>& values = values_.emplace_back();
  for (const std::string& name : declared.label_names) {
    values.push_back(below(6) == 0 ? "" : text());
    out.set(name, values.back());
  }
  point.labels = &values;
  return out;
}

json::Value MetricsSample::exemplars(MetricPoint& point, std::size_t most, bool integral) {
  json::Value out = json::Value::array();
  for (std::uint32_t bucket = 0; bucket < most; ++bucket) {
    if (below(3) == 0) continue;
    MetricExemplar e;
    e.ns = snapshot.ns - static_cast<std::int64_t>(below(1'000'000'000));
    e.value = integral ? static_cast<double>(static_cast<std::int64_t>(below(2000)) - 1000) : number();
    if (below(4) != 0) {
      e.trace_id = TraceId::generate();
      e.span_id = SpanId::generate();
    }
    json::Value value = json::Value::object();
    if (integral) value.set("int", std::to_string(static_cast<std::int64_t>(e.value)));
    else value.set("double", exact(e.value));
    out.push(json::Value::object({{"time", std::to_string(e.ns)}, {"value", std::move(value)}, {"trace_id", e.trace_id.empty() ? "" : e.trace_id.hex()}, {"span_id", e.trace_id.empty() ? "" : e.span_id.hex()}}));
    point.exemplars.emplace_back(bucket, e);
  }
  return out;
}

json::Value MetricsSample::number_point(MetricPoint& point, bool gauge) {
  json::Value value = json::Value::object();
  if (point.integral) {
    point.whole = below(5) == 0 ? 0 : static_cast<std::int64_t>(random_());
    value.set("int", std::to_string(point.whole));
  } else {
    point.value = number();
    value.set("double", exact(point.value));
  }
  return json::Value::object({{"value", std::move(value)}, {"start", gauge ? "0" : std::to_string(point.start_ns)}, {"exemplars", exemplars(point, gauge ? 0 : 1, point.integral)}});
}

json::Value MetricsSample::histogram_point(MetricPoint& point, const Declared& declared) {
  for (std::size_t i = 0; i <= declared.buckets.size(); ++i) point.counts.push_back(below(3) == 0 ? 0 : below(1ull << 40));
  for (const std::uint64_t count : point.counts) point.count += count;
  point.sum = number();
  json::Value counts = json::Value::array(), bounds = json::Value::array();
  for (const std::uint64_t count : point.counts) counts.push(std::to_string(count));
  for (const double bound : declared.buckets) bounds.push(exact(bound));
  return json::Value::object({{"start", std::to_string(point.start_ns)}, {"count", std::to_string(point.count)}, {"sum", exact(point.sum)}, {"counts", std::move(counts)},
                              {"bounds", std::move(bounds)}, {"exemplars", exemplars(point, point.counts.size(), false)}});
}

void MetricsSample::family(MetricType type) {
  const Declared& declared = declare(type);
  const contracts::MetricSpec& spec = declared.spec;
  MetricFamily family{&spec, {}};
  json::Value points = json::Value::array();
  const bool gauge = type == MetricType::kGauge, histogram = type == MetricType::kHistogram;
  for (std::size_t n = below(4); n > 0; --n) {
    MetricPoint point;
    point.start_ns = snapshot.ns - static_cast<std::int64_t>(1 + below(1'000'000'000'000));
    point.integral = spec.integral;
    json::Value told = histogram ? histogram_point(point, declared) : number_point(point, gauge);
    told.set("attributes", labels(point, declared));
    family.points.push_back(std::move(point));
    points.push(std::move(told));
  }
  if (!family.points.empty()) {
    // A gauge has no temporality; an up-down counter stays cumulative whatever the rest is.
    const int temporality = gauge ? 0 : snapshot.temporality == Temporality::kDelta && type != MetricType::kUpDownCounter ? 1 : 2;
    expected.set(declared.name, json::Value::object({{"help", declared.help}, {"unit", spec.unit}, {"kind", gauge ? "gauge" : histogram ? "histogram" : "sum"},
                                                     {"temporality", temporality}, {"monotonic", type == MetricType::kCounter}, {"time", std::to_string(snapshot.ns)}, {"points", std::move(points)}}));
  }
  snapshot.families.push_back(std::move(family));
}

}  // namespace stella::telemetry
