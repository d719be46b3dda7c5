// OTLP export requests as rows: every field of opentelemetry-proto 1.11 but those of profiles. Rows are flat; what belongs to one is a Range
// in the pools beside them. Texts are views of the request: it must outlive the rows (a JSON request is kept by the rows themselves).
// Texts are as they were sent: not scrubbed (scrub_otlp does that), and not necessarily UTF-8 (scrub_otlp's result is).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/telemetry/signal.h"

namespace stella::telemetry {

struct Range {
  std::uint32_t first = 0, count = 0;
};
template <class T>
std::span<const T> slice(const std::vector<T>& pool, Range range) {
  return std::span<const T>(pool).subspan(range.first, range.count);
}

class AnyValue {
 public:
  enum class Kind : std::uint8_t { kEmpty, kString, kBool, kInt, kDouble, kArray, kMap, kBytes };
  AnyValue() : integer_(0) {}
  static AnyValue of_text(Kind kind, std::string_view text) { AnyValue v; v.kind_ = kind; v.text_ = text; return v; }
  static AnyValue of_bool(bool value) { AnyValue v; v.kind_ = Kind::kBool; v.integer_ = value; return v; }
  static AnyValue of_int(std::int64_t value) { AnyValue v; v.kind_ = Kind::kInt; v.integer_ = value; return v; }
  static AnyValue of_double(double value) { AnyValue v; v.kind_ = Kind::kDouble; v.number_ = value; return v; }
  static AnyValue of_items(Kind kind, Range items) { AnyValue v; v.kind_ = kind; v.items_ = items; return v; }

  Kind kind() const { return kind_; }
  // Of another kind: "", false, 0, none.
  std::string_view text() const { return kind_ == Kind::kString || kind_ == Kind::kBytes ? text_ : std::string_view(); }
  bool boolean() const { return kind_ == Kind::kBool && integer_ != 0; }
  std::int64_t integer() const { return kind_ == Kind::kInt ? integer_ : 0; }
  double number() const { return kind_ == Kind::kDouble ? number_ : 0; }
  Range items() const { return kind_ == Kind::kArray || kind_ == Kind::kMap ? items_ : Range(); }  // in OtlpRows::nested; of an array without keys

 private:
  Kind kind_ = Kind::kEmpty;
  union {
    std::string_view text_;
    std::int64_t integer_;
    double number_;
    Range items_;
  };
};
struct Attribute {
  std::string_view key;
  AnyValue value;
};

struct EntityRefRow {
  std::string_view schema_url, type;
  Range id_keys, description_keys;  // in OtlpRows::texts
};
struct ResourceRow {
  Range attributes, entity_refs;
  std::uint32_t dropped_attributes = 0;
  std::string_view schema_url;
};
struct ScopeRow {
  std::uint32_t resource = 0;  // its row
  std::string_view name, version, schema_url;
  Range attributes;
  std::uint32_t dropped_attributes = 0;
};
// What the three kinds of request share.
struct OtlpRows {
  std::vector<ResourceRow> resources;
  std::vector<EntityRefRow> entity_refs;
  std::vector<ScopeRow> scopes;
  std::vector<Attribute> attributes;  // of resources, scopes, records, events, links, points, exemplars
  std::vector<Attribute> nested;      // items of arrays and maps
  std::vector<std::string_view> texts;
  std::shared_ptr<const std::string> owned;  // the protobuf form of a JSON request
};

// Ids are as long as they were sent: 16 and 8 bytes, or the record is not acceptable.
struct EventRow {
  std::uint64_t time_ns = 0;
  std::string_view name;
  Range attributes;
  std::uint32_t dropped_attributes = 0;
};
struct LinkRow {
  std::string_view trace_id, span_id, trace_state;
  Range attributes;
  std::uint32_t dropped_attributes = 0, flags = 0;
};
struct SpanRow {
  std::uint32_t scope = 0;  // its row
  std::int32_t kind = 0;    // opentelemetry.proto.trace.v1.Span.SpanKind
  std::string_view trace_id, span_id, parent_span_id, trace_state, name;
  std::uint64_t start_ns = 0, end_ns = 0;
  Range attributes, events, links;
  std::uint32_t dropped_attributes = 0, dropped_events = 0, dropped_links = 0, flags = 0;
  std::int32_t status = 0;  // 0 unset, 1 ok, 2 error
  std::string_view status_message;
};
struct TraceRows : OtlpRows {
  std::vector<SpanRow> spans;
  std::vector<EventRow> events;
  std::vector<LinkRow> links;
};

struct LogRow {
  std::uint32_t scope = 0;
  std::int32_t severity_number = 0;
  std::uint64_t time_ns = 0, observed_ns = 0;
  std::string_view severity_text, trace_id, span_id, event_name;
  AnyValue body;
  Range attributes;
  std::uint32_t dropped_attributes = 0, flags = 0;
};
struct LogRows : OtlpRows {
  std::vector<LogRow> records;
};

struct NumberValue {
  enum class Kind : std::uint8_t { kNone, kInt, kDouble } kind = Kind::kNone;
  std::int64_t integer = 0;
  double number = 0;
};
struct ExemplarRow {
  Range attributes;
  std::uint64_t time_ns = 0;
  NumberValue value;
  std::string_view trace_id, span_id;
};
struct BucketsRow {
  std::int32_t offset = 0;
  Range counts;  // in MetricRows::counts
};
struct QuantileRow {
  double quantile = 0, value = 0;
};
// A data point of any kind; members of other kinds stay empty.
struct PointRow {
  Range attributes, exemplars;
  std::uint64_t start_ns = 0, time_ns = 0;
  std::uint32_t flags = 0;
  NumberValue value;                     // gauge, sum
  std::uint64_t count = 0;               // histograms, summary
  std::optional<double> sum, min, max;
  Range bucket_counts, explicit_bounds;  // histogram: in MetricRows::counts, bounds
  std::int32_t scale = 0;                // exponential histogram
  std::uint64_t zero_count = 0;
  double zero_threshold = 0;
  BucketsRow positive, negative;
  Range quantiles;                       // summary
};
struct MetricRow {
  enum class Kind : std::uint8_t { kNone, kGauge, kSum, kHistogram, kExponentialHistogram, kSummary };
  std::uint32_t scope = 0;
  Kind kind = Kind::kNone;
  bool monotonic = false;
  std::int32_t temporality = 0;  // 0 unspecified, 1 delta, 2 cumulative
  std::string_view name, description, unit;
  Range metadata;  // in OtlpRows::attributes
  Range points;
};
struct MetricRows : OtlpRows {
  std::vector<MetricRow> metrics;
  std::vector<PointRow> points;
  std::vector<ExemplarRow> exemplars;
  std::vector<std::uint64_t> counts;
  std::vector<double> bounds;
  std::vector<QuantileRow> quantiles;
};

// What a request may cost, whatever it says. The defaults bound the memory of a 64 MiB request to about 1 GiB.
struct OtlpLimits {
  std::size_t bytes = 64u << 20;          // of the request, decompressed
  std::size_t records = 1'000'000;        // resources, scopes, spans, events, links, log records, metrics, points, exemplars: each
  std::size_t attributes = 4'000'000;     // of all records; nested items count alike, and so do texts and numbers of other lists
  int depth = 16;                         // of arrays and maps in one value
};

// kMalformed where the bytes are no such request, kLimit with `limit` and `what` where one of the limits is passed. Fields that are
// not known are skipped. Linear in the request. Thread-safe.
Result<TraceRows> decode_traces(std::string_view request, const OtlpLimits& limits = {});
Result<LogRows> decode_logs(std::string_view request, const OtlpLimits& limits = {});
Result<MetricRows> decode_metrics(std::string_view request, const OtlpLimits& limits = {});
// The same into rows that are kept from request to request, so that their memory is: most of the time goes there. After an error the rows
// are incomplete.
Result<void> decode_traces(TraceRows& rows, std::string_view request, const OtlpLimits& limits = {});
Result<void> decode_logs(LogRows& rows, std::string_view request, const OtlpLimits& limits = {});
Result<void> decode_metrics(MetricRows& rows, std::string_view request, const OtlpLimits& limits = {});

// The protobuf form of an OTLP/JSON request: ids as hexadecimal in any case, 64-bit integers as strings or numbers, enums as integers,
// unknown members ignored. kMalformed with `field` and `expected`.
Result<std::string> otlp_from_json(Signal signal, std::string_view json, const OtlpLimits& limits = {});
Result<TraceRows> decode_traces_json(std::string_view json, const OtlpLimits& limits = {});
Result<LogRows> decode_logs_json(std::string_view json, const OtlpLimits& limits = {});
Result<MetricRows> decode_metrics_json(std::string_view json, const OtlpLimits& limits = {});

}  // namespace stella::telemetry
