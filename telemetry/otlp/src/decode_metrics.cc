// ExportMetricsServiceRequest as rows.
#include "decode.h"

namespace stella::telemetry {
namespace otlp_detail {
namespace {

class Metrics {
 public:
  Metrics(MetricRows& rows, const OtlpLimits& limits) : rows_(rows), common_(rows, limits) {}
  void decode(std::string_view request) {
    common_.request(request, [this](std::uint32_t scope, std::string_view bytes) { metric(scope, bytes); });
  }

 private:
  void metric(std::uint32_t scope, std::string_view bytes) {
    MetricRow row;
    row.scope = scope;
    const std::size_t first = common_.attributes();
    std::string_view data;  // waits until the metadata is together
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): row.name = view(reader); break;
        case text(2): row.description = view(reader); break;
        case text(3): row.unit = view(reader); break;
        case text(5): row.kind = MetricRow::Kind::kGauge, data = view(reader); break;
        case text(7): row.kind = MetricRow::Kind::kSum, data = view(reader); break;
        case text(9): row.kind = MetricRow::Kind::kHistogram, data = view(reader); break;
        case text(10): row.kind = MetricRow::Kind::kExponentialHistogram, data = view(reader); break;
        case text(11): row.kind = MetricRow::Kind::kSummary, data = view(reader); break;
        case text(12): common_.attribute(view(reader)); break;
        default: reader.skip();
      }
    }
    row.metadata = common_.attributes_since(first);
    row.points.first = static_cast<std::uint32_t>(rows_.points.size());
    points(data, row);
    row.points.count = static_cast<std::uint32_t>(rows_.points.size() - row.points.first);
    rows_.metrics[common_.add(rows_.metrics, "metrics")] = row;
  }

  void points(std::string_view bytes, MetricRow& row) {
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): point(view(reader), row.kind); break;
        case varint(2): row.temporality = reader.get_int32(); break;
        case varint(3): row.monotonic = reader.get_bool(); break;
        default: reader.skip();
      }
    }
  }

  void point(std::string_view bytes, MetricRow::Kind kind) {
    PointRow row;
    const std::size_t first = common_.attributes();
    exemplars_.clear();
    switch (kind) {
      case MetricRow::Kind::kHistogram: histogram(bytes, row); break;
      case MetricRow::Kind::kExponentialHistogram: exponential(bytes, row); break;
      case MetricRow::Kind::kSummary: summary(bytes, row); break;
      default: number(bytes, row);
    }
    row.attributes = common_.attributes_since(first);
    row.exemplars = {static_cast<std::uint32_t>(rows_.exemplars.size()), static_cast<std::uint32_t>(exemplars_.size())};
    for (const std::string_view e : exemplars_) exemplar(e, rows_.exemplars[common_.add(rows_.exemplars, "exemplars")]);
    rows_.points[common_.add(rows_.points, "data points")] = row;
  }

  static void set_int(NumberValue& value, std::int64_t integer) { value = {NumberValue::Kind::kInt, integer, 0}; }
  static void set_double(NumberValue& value, double number) { value = {NumberValue::Kind::kDouble, 0, number}; }

  void number(std::string_view bytes, PointRow& row) {
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(2): row.start_ns = reader.get_fixed64(); break;
        case fixed64(3): row.time_ns = reader.get_fixed64(); break;
        case fixed64(4): set_double(row.value, reader.get_double()); break;
        case text(5): exemplars_.push_back(view(reader)); break;
        case fixed64(6): set_int(row.value, reader.get_sfixed64()); break;
        case text(7): common_.attribute(view(reader)); break;
        case varint(8): row.flags = reader.get_uint32(); break;
        default: reader.skip();
      }
    }
  }

  void histogram(std::string_view bytes, PointRow& row) {
    row.bucket_counts.first = static_cast<std::uint32_t>(rows_.counts.size());
    row.explicit_bounds.first = static_cast<std::uint32_t>(rows_.bounds.size());
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(2): row.start_ns = reader.get_fixed64(); break;
        case fixed64(3): row.time_ns = reader.get_fixed64(); break;
        case fixed64(4): row.count = reader.get_fixed64(); break;
        case fixed64(5): row.sum = reader.get_double(); break;
        case text(6): for (const std::uint64_t n : reader.get_packed_fixed64()) common_.add_value(rows_.counts, n); break;
        case fixed64(6): common_.add_value(rows_.counts, reader.get_fixed64()); break;
        case text(7): for (const double b : reader.get_packed_double()) common_.add_value(rows_.bounds, b); break;
        case fixed64(7): common_.add_value(rows_.bounds, reader.get_double()); break;
        case text(8): exemplars_.push_back(view(reader)); break;
        case text(9): common_.attribute(view(reader)); break;
        case varint(10): row.flags = reader.get_uint32(); break;
        case fixed64(11): row.min = reader.get_double(); break;
        case fixed64(12): row.max = reader.get_double(); break;
        default: reader.skip();
      }
    }
    row.bucket_counts.count = static_cast<std::uint32_t>(rows_.counts.size() - row.bucket_counts.first);
    row.explicit_bounds.count = static_cast<std::uint32_t>(rows_.bounds.size() - row.explicit_bounds.first);
  }

  void exponential(std::string_view bytes, PointRow& row) {
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): common_.attribute(view(reader)); break;
        case fixed64(2): row.start_ns = reader.get_fixed64(); break;
        case fixed64(3): row.time_ns = reader.get_fixed64(); break;
        case fixed64(4): row.count = reader.get_fixed64(); break;
        case fixed64(5): row.sum = reader.get_double(); break;
        case varint(6): row.scale = reader.get_sint32(); break;
        case fixed64(7): row.zero_count = reader.get_fixed64(); break;
        case text(8): buckets(view(reader), row.positive); break;
        case text(9): buckets(view(reader), row.negative); break;
        case varint(10): row.flags = reader.get_uint32(); break;
        case text(11): exemplars_.push_back(view(reader)); break;
        case fixed64(12): row.min = reader.get_double(); break;
        case fixed64(13): row.max = reader.get_double(); break;
        case fixed64(14): row.zero_threshold = reader.get_double(); break;
        default: reader.skip();
      }
    }
  }

  void buckets(std::string_view bytes, BucketsRow& row) {
    const std::size_t first = rows_.counts.size();
    for (std::size_t i = 0; i < row.counts.count; ++i) common_.add_value(rows_.counts, std::uint64_t(rows_.counts[row.counts.first + i]));  // a message that is there twice is one
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case varint(1): row.offset = reader.get_sint32(); break;
        case text(2): for (const std::uint64_t n : reader.get_packed_uint64()) common_.add_value(rows_.counts, n); break;
        case varint(2): common_.add_value(rows_.counts, reader.get_uint64()); break;
        default: reader.skip();
      }
    }
    row.counts = {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(rows_.counts.size() - first)};
  }

  void summary(std::string_view bytes, PointRow& row) {
    row.quantiles.first = static_cast<std::uint32_t>(rows_.quantiles.size());
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(2): row.start_ns = reader.get_fixed64(); break;
        case fixed64(3): row.time_ns = reader.get_fixed64(); break;
        case fixed64(4): row.count = reader.get_fixed64(); break;
        case fixed64(5): row.sum = reader.get_double(); break;
        case text(6): quantile(view(reader)); break;
        case text(7): common_.attribute(view(reader)); break;
        case varint(8): row.flags = reader.get_uint32(); break;
        default: reader.skip();
      }
    }
    row.quantiles.count = static_cast<std::uint32_t>(rows_.quantiles.size() - row.quantiles.first);
  }

  void quantile(std::string_view bytes) {
    QuantileRow row;
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(1): row.quantile = reader.get_double(); break;
        case fixed64(2): row.value = reader.get_double(); break;
        default: reader.skip();
      }
    }
    common_.add_value(rows_.quantiles, row);
  }

  void exemplar(std::string_view bytes, ExemplarRow& row) {
    const std::size_t first = common_.attributes();
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(2): row.time_ns = reader.get_fixed64(); break;
        case fixed64(3): set_double(row.value, reader.get_double()); break;
        case text(4): row.span_id = view(reader); break;
        case text(5): row.trace_id = view(reader); break;
        case fixed64(6): set_int(row.value, reader.get_sfixed64()); break;
        case text(7): common_.attribute(view(reader)); break;
        default: reader.skip();
      }
    }
    row.attributes = common_.attributes_since(first);
  }

  MetricRows& rows_;
  Common common_;
  std::vector<std::string_view> exemplars_;
};

}  // namespace
}  // namespace otlp_detail

Result<void> decode_metrics(MetricRows& rows, std::string_view request, const OtlpLimits& limits) {
  otlp_detail::clear_common(rows);
  otlp_detail::clear(rows.metrics, rows.points, rows.exemplars, rows.counts, rows.bounds, rows.quantiles);
  return otlp_detail::guarded(request, limits, [&] { otlp_detail::Metrics(rows, limits).decode(request); });
}

Result<MetricRows> decode_metrics(std::string_view request, const OtlpLimits& limits) {
  MetricRows rows;
  STELLA_TRY_VOID(decode_metrics(rows, request, limits));
  return rows;
}

}  // namespace stella::telemetry
