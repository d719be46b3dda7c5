// A snapshot of all metrics as one ExportMetricsServiceRequest.
#include <array>
#include <cmath>
#include <protozero/pbf_writer.hpp>

#include "resource.h"
#include "stella/telemetry/otlp.h"

namespace stella::telemetry {
namespace {

using protozero::pbf_writer;

void add_attribute(pbf_writer& point, std::uint32_t field, std::string_view key, std::string_view value) {
  pbf_writer pair(point, field);
  pair.add_string(1, key.data(), key.size());
  pbf_writer any(pair, 2);
  any.add_string(1, value.data(), value.size());
}

void add_labels(pbf_writer& point, std::uint32_t field, const contracts::MetricSpec& spec, const MetricPoint& from) {
  if (from.overflow) {
    pbf_writer pair(point, field);
    pair.add_string(1, "otel.metric.overflow");
    pbf_writer any(pair, 2);
    any.add_bool(2, true);
  } else if (from.labels != nullptr) {
    for (std::size_t i = 0; i < spec.labels.size() && i < from.labels->size(); ++i) add_attribute(point, field, spec.labels[i].name, (*from.labels)[i]);
  }
}

void add_exemplars(pbf_writer& point, std::uint32_t field, const MetricPoint& from, bool integral) {
  for (const auto& [bucket, exemplar] : from.exemplars) {
    pbf_writer out(point, field);
    out.add_fixed64(2, static_cast<std::uint64_t>(exemplar.ns));
    if (integral)
      out.add_sfixed64(6, std::llround(exemplar.value));
    else
      out.add_double(3, exemplar.value);
    if (exemplar.trace_id.empty()) continue;
    out.add_bytes(4, reinterpret_cast<const char*>(exemplar.span_id.bytes().data()), 8);
    out.add_bytes(5, reinterpret_cast<const char*>(exemplar.trace_id.bytes().data()), 16);
  }
}

void add_number(pbf_writer& data, const contracts::MetricSpec& spec, const MetricPoint& from, std::int64_t now, bool starts) {
  pbf_writer point(data, 1);
  if (starts) point.add_fixed64(2, static_cast<std::uint64_t>(from.start_ns));
  point.add_fixed64(3, static_cast<std::uint64_t>(now));
  if (from.integral)
    point.add_sfixed64(6, from.whole);
  else
    point.add_double(4, from.value);
  add_exemplars(point, 5, from, from.integral);
  add_labels(point, 7, spec, from);
}

void add_histogram(pbf_writer& data, const contracts::MetricSpec& spec, const MetricPoint& from, std::int64_t now) {
  pbf_writer point(data, 1);
  point.add_fixed64(2, static_cast<std::uint64_t>(from.start_ns));
  point.add_fixed64(3, static_cast<std::uint64_t>(now));
  point.add_fixed64(4, from.count);
  point.add_double(5, from.sum);
  point.add_bytes(6, reinterpret_cast<const char*>(from.counts.data()), from.counts.size() * sizeof(std::uint64_t));  // packed
  point.add_bytes(7, reinterpret_cast<const char*>(spec.buckets.data()), spec.buckets.size() * sizeof(double));
  add_exemplars(point, 8, from, false);
  add_labels(point, 9, spec, from);
}

// UCUM, which OTLP's units are; others as they are declared.
std::string_view unit_of(std::string_view unit) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kUnits{
      {{"seconds", "s"}, {"milliseconds", "ms"}, {"microseconds", "us"}, {"nanoseconds", "ns"}, {"bytes", "By"}, {"ratio", "1"}}};
  for (const auto& [ours, ucum] : kUnits)
    if (unit == ours) return ucum;
  return unit;
}

// The name without the unit that OpenMetrics wants in it stays: a receiver shows what our documents say.
void add_family(std::string& out, const MetricFamily& family, Temporality temporality, std::int64_t now) {
  const contracts::MetricSpec& spec = *family.spec;
  pbf_writer scope(out);
  pbf_writer metric(scope, 2);
  metric.add_string(1, spec.name.data(), spec.name.size());
  metric.add_string(2, spec.help.data(), spec.help.size());
  if (const std::string_view unit = unit_of(spec.unit); !unit.empty()) metric.add_string(3, unit.data(), unit.size());
  const bool gauge = spec.type == contracts::MetricType::kGauge, histogram = spec.type == contracts::MetricType::kHistogram;
  const bool counter = spec.type == contracts::MetricType::kCounter;
  pbf_writer data(metric, gauge ? 5 : histogram ? 9 : 7);
  for (const MetricPoint& point : family.points) {
    if (histogram)
      add_histogram(data, spec, point, now);
    else
      add_number(data, spec, point, now, !gauge);
  }
  if (gauge) return;
  const bool delta = temporality == Temporality::kDelta && (counter || histogram);
  data.add_int32(2, delta ? 1 : 2);
  if (counter) data.add_bool(3, true);
}

}  // namespace

std::string encode_metrics(const MetricSnapshot& snapshot, const Resource& resource, ResourceAttributes extra) {
  std::string families;
  for (const MetricFamily& family : snapshot.families)
    if (family.spec != nullptr && !family.points.empty()) add_family(families, family, snapshot.temporality, snapshot.ns);
  std::string out;
  if (families.empty()) return out;
  const otlp_detail::ScopeBytes scope{"stella", families};
  otlp_detail::append_resource(out, resource, extra, otlp_detail::kPlatformTenant, {&scope, 1});
  return out;
}

}  // namespace stella::telemetry
