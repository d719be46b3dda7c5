// Rows back into the shape of the request (otlp_rows_json.h).
#include "otlp_rows_json.h"

#include "stella/base/encoding.h"

namespace stella::telemetry {
namespace {

json::Value any(const OtlpRows& rows, const AnyValue& value);

json::Value pairs(const OtlpRows& rows, std::span<const Attribute> attributes) {
  json::Value out = json::Value::array();
  for (const Attribute& a : attributes) {
    json::Value pair = json::Value::object({{"key", a.key}});
    if (a.value.kind() != AnyValue::Kind::kEmpty) pair.set("value", any(rows, a.value));
    out.push(std::move(pair));
  }
  return out;
}

json::Value any(const OtlpRows& rows, const AnyValue& value) {
  switch (value.kind()) {
    case AnyValue::Kind::kEmpty: return json::Value::object();
    case AnyValue::Kind::kString: return json::Value::object({{"stringValue", value.text()}});
    case AnyValue::Kind::kBool: return json::Value::object({{"boolValue", value.boolean()}});
    case AnyValue::Kind::kInt: return json::Value::object({{"intValue", std::to_string(value.integer())}});
    case AnyValue::Kind::kDouble: return json::Value::object({{"doubleValue", value.number()}});
    case AnyValue::Kind::kBytes: return json::Value::object({{"bytesValue", base64_encode(value.text())}});
    case AnyValue::Kind::kMap: return json::Value::object({{"kvlistValue", json::Value::object({{"values", pairs(rows, slice(rows.nested, value.items()))}})}});
    case AnyValue::Kind::kArray: break;
  }
  json::Value items = json::Value::array();
  for (const Attribute& a : slice(rows.nested, value.items())) items.push(any(rows, a.value));
  return json::Value::object({{"arrayValue", json::Value::object({{"values", std::move(items)}})}});
}

json::Value attributes(const OtlpRows& rows, Range range) { return pairs(rows, slice(rows.attributes, range)); }
std::string number(std::uint64_t value) { return std::to_string(value); }
json::Value count(std::uint32_t value) { return static_cast<std::int64_t>(value); }

// The layers around the records; item(i) is record i, scope_of(i) its scope.
template <class ScopeOf, class Item>
json::Value layers(const OtlpRows& rows, const char* outer, const char* scopes, const char* records, std::size_t n, ScopeOf&& scope_of, Item&& item) {
  json::Value out = json::Value::array();
  for (std::size_t r = 0; r < rows.resources.size(); ++r) {
    const ResourceRow& row = rows.resources[r];
    json::Value refs = json::Value::array();
    for (const EntityRefRow& ref : slice(rows.entity_refs, row.entity_refs)) {
      json::Value ids = json::Value::array(), descriptions = json::Value::array();
      for (const std::string_view key : slice(rows.texts, ref.id_keys)) ids.push(key);
      for (const std::string_view key : slice(rows.texts, ref.description_keys)) descriptions.push(key);
      refs.push(json::Value::object({{"schemaUrl", ref.schema_url}, {"type", ref.type}, {"idKeys", ids}, {"descriptionKeys", descriptions}}));
    }
    json::Value in_scopes = json::Value::array();
    for (std::size_t s = 0; s < rows.scopes.size(); ++s) {
      const ScopeRow& scope = rows.scopes[s];
      if (scope.resource != r) continue;
      json::Value list = json::Value::array();
      for (std::size_t i = 0; i < n; ++i)
        if (scope_of(i) == s) list.push(item(i));
      in_scopes.push(json::Value::object({{"scope", json::Value::object({{"name", scope.name},
                                                                        {"version", scope.version},
                                                                        {"attributes", attributes(rows, scope.attributes)},
                                                                        {"droppedAttributesCount", count(scope.dropped_attributes)}})},
                                          {records, std::move(list)},
                                          {"schemaUrl", scope.schema_url}}));
    }
    json::Value resource = json::Value::object({{"attributes", attributes(rows, row.attributes)}, {"droppedAttributesCount", count(row.dropped_attributes)}, {"entityRefs", std::move(refs)}});
    out.push(json::Value::object({{"resource", std::move(resource)}, {scopes, std::move(in_scopes)}, {"schemaUrl", row.schema_url}}));
  }
  return json::Value::object({{outer, std::move(out)}});
}

json::Value exemplar(const MetricRows& rows, const ExemplarRow& row) {
  json::Value out = json::Value::object({{"filteredAttributes", attributes(rows, row.attributes)},
                                         {"timeUnixNano", number(row.time_ns)},
                                         {"traceId", base64_encode(row.trace_id)},
                                         {"spanId", base64_encode(row.span_id)}});
  if (row.value.kind == NumberValue::Kind::kInt) out.set("asInt", std::to_string(row.value.integer));
  if (row.value.kind == NumberValue::Kind::kDouble) out.set("asDouble", row.value.number);
  return out;
}

json::Value counts(const MetricRows& rows, Range range) {
  json::Value out = json::Value::array();
  for (const std::uint64_t n : slice(rows.counts, range)) out.push(number(n));
  return out;
}
json::Value buckets(const MetricRows& rows, const BucketsRow& row) {
  return json::Value::object({{"offset", static_cast<std::int64_t>(row.offset)}, {"bucketCounts", counts(rows, row.counts)}});
}

json::Value point(const MetricRows& rows, const PointRow& row, MetricRow::Kind kind) {
  using Kind = MetricRow::Kind;
  json::Value out = json::Value::object({{"attributes", attributes(rows, row.attributes)}, {"startTimeUnixNano", number(row.start_ns)}, {"timeUnixNano", number(row.time_ns)}, {"flags", count(row.flags)}});
  if (row.value.kind == NumberValue::Kind::kInt) out.set("asInt", std::to_string(row.value.integer));
  if (row.value.kind == NumberValue::Kind::kDouble) out.set("asDouble", row.value.number);
  if (kind != Kind::kGauge && kind != Kind::kSum) out.set("count", number(row.count));
  if (row.sum) out.set("sum", *row.sum);
  if (row.min) out.set("min", *row.min);
  if (row.max) out.set("max", *row.max);
  if (kind == Kind::kHistogram) {
    out.set("bucketCounts", counts(rows, row.bucket_counts));
    json::Value bounds = json::Value::array();
    for (const double b : slice(rows.bounds, row.explicit_bounds)) bounds.push(b);
    out.set("explicitBounds", std::move(bounds));
  }
  if (kind == Kind::kExponentialHistogram) {
    out.set("scale", static_cast<std::int64_t>(row.scale)).set("zeroCount", number(row.zero_count)).set("zeroThreshold", row.zero_threshold);
    out.set("positive", buckets(rows, row.positive)).set("negative", buckets(rows, row.negative));
  }
  if (kind == Kind::kSummary) {
    json::Value quantiles = json::Value::array();
    for (const QuantileRow& q : slice(rows.quantiles, row.quantiles)) quantiles.push(json::Value::object({{"quantile", q.quantile}, {"value", q.value}}));
    out.set("quantileValues", std::move(quantiles));
  } else {
    json::Value exemplars = json::Value::array();
    for (const ExemplarRow& e : slice(rows.exemplars, row.exemplars)) exemplars.push(exemplar(rows, e));
    out.set("exemplars", std::move(exemplars));
  }
  return out;
}

}  // namespace

json::Value to_json(const TraceRows& rows) {
  return layers(rows, "resourceSpans", "scopeSpans", "spans", rows.spans.size(), [&](std::size_t i) { return rows.spans[i].scope; }, [&](std::size_t i) {
    const SpanRow& span = rows.spans[i];
    json::Value events = json::Value::array(), links = json::Value::array();
    for (const EventRow& e : slice(rows.events, span.events))
      events.push(json::Value::object({{"timeUnixNano", number(e.time_ns)}, {"name", e.name}, {"attributes", attributes(rows, e.attributes)}, {"droppedAttributesCount", count(e.dropped_attributes)}}));
    for (const LinkRow& l : slice(rows.links, span.links)) {
      links.push(json::Value::object({{"traceId", base64_encode(l.trace_id)},
                                      {"spanId", base64_encode(l.span_id)},
                                      {"traceState", l.trace_state},
                                      {"attributes", attributes(rows, l.attributes)},
                                      {"droppedAttributesCount", count(l.dropped_attributes)},
                                      {"flags", count(l.flags)}}));
    }
    return json::Value::object({{"traceId", base64_encode(span.trace_id)},
                                {"spanId", base64_encode(span.span_id)},
                                {"traceState", span.trace_state},
                                {"parentSpanId", base64_encode(span.parent_span_id)},
                                {"flags", count(span.flags)},
                                {"name", span.name},
                                {"kind", span.kind},
                                {"startTimeUnixNano", number(span.start_ns)},
                                {"endTimeUnixNano", number(span.end_ns)},
                                {"attributes", attributes(rows, span.attributes)},
                                {"droppedAttributesCount", count(span.dropped_attributes)},
                                {"events", std::move(events)},
                                {"droppedEventsCount", count(span.dropped_events)},
                                {"links", std::move(links)},
                                {"droppedLinksCount", count(span.dropped_links)},
                                {"status", json::Value::object({{"message", span.status_message}, {"code", span.status}})}});
  });
}

json::Value to_json(const LogRows& rows) {
  return layers(rows, "resourceLogs", "scopeLogs", "logRecords", rows.records.size(), [&](std::size_t i) { return rows.records[i].scope; }, [&](std::size_t i) {
    const LogRow& log = rows.records[i];
    return json::Value::object({{"timeUnixNano", number(log.time_ns)},
                                {"observedTimeUnixNano", number(log.observed_ns)},
                                {"severityNumber", log.severity_number},
                                {"severityText", log.severity_text},
                                {"body", any(rows, log.body)},
                                {"attributes", attributes(rows, log.attributes)},
                                {"droppedAttributesCount", count(log.dropped_attributes)},
                                {"flags", count(log.flags)},
                                {"traceId", base64_encode(log.trace_id)},
                                {"spanId", base64_encode(log.span_id)},
                                {"eventName", log.event_name}});
  });
}

json::Value to_json(const MetricRows& rows) {
  return layers(rows, "resourceMetrics", "scopeMetrics", "metrics", rows.metrics.size(), [&](std::size_t i) { return rows.metrics[i].scope; }, [&](std::size_t i) {
    const MetricRow& metric = rows.metrics[i];
    json::Value out = json::Value::object({{"name", metric.name}, {"description", metric.description}, {"unit", metric.unit}, {"metadata", attributes(rows, metric.metadata)}});
    json::Value points = json::Value::array();
    for (const PointRow& p : slice(rows.points, metric.points)) points.push(point(rows, p, metric.kind));
    json::Value data = json::Value::object({{"dataPoints", std::move(points)}});
    constexpr const char* kNames[] = {"", "gauge", "sum", "histogram", "exponentialHistogram", "summary"};
    if (metric.kind != MetricRow::Kind::kGauge && metric.kind != MetricRow::Kind::kSummary) data.set("aggregationTemporality", metric.temporality);
    if (metric.kind == MetricRow::Kind::kSum) data.set("isMonotonic", metric.monotonic);
    out.set(kNames[static_cast<int>(metric.kind)], std::move(data));
    return out;
  });
}

}  // namespace stella::telemetry
