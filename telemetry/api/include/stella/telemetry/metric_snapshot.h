// A copy of all series at one moment, for exporters: cumulative (snapshot()) or the difference to the last one (DeltaReader).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/contracts/catalogue.h"

namespace stella::telemetry {

enum class Temporality : std::uint8_t { kCumulative, kDelta };

struct MetricExemplar {
  TraceId trace_id;
  SpanId span_id;
  double value = 0;
  std::int64_t ns = 0;  // since the epoch
};

// One series. Label values lie in declared order and stay valid until the process ends; an overflow series has none.
struct MetricPoint {
  const std::vector<std::string>* labels = nullptr;
  std::uint32_t series = 0;   // the same in every snapshot of this process
  bool overflow = false;      // attribute otel.metric.overflow (in OpenMetrics: otel_metric_overflow) = "true"
  std::int64_t start_ns = 0;  // cumulative: when the series began; delta: the end of the last snapshot or the reader's begin
  // Counter, up-down counter, gauge. `whole` is exact and to be used where `integral`; else `value`.
  bool integral = false;
  std::int64_t whole = 0;
  double value = 0;
  // Histogram: one count per bucket (not cumulative over buckets), the last is +Inf; `count` is their sum, `sum` fits it.
  std::vector<std::uint64_t> counts;
  std::uint64_t count = 0;
  double sum = 0;
  // At most one per bucket (for a counter: one), with the bucket's index. Delta: only those that came since.
  std::vector<std::pair<std::uint32_t, MetricExemplar>> exemplars;
};

struct MetricFamily {
  const contracts::MetricSpec* spec = nullptr;
  std::vector<MetricPoint> points;
};

// Families by name, points by their labels. Counters and histograms have the snapshot's temporality; up-down counters stay cumulative
// and gauges have none, as OTLP's delta preference wants it.
struct MetricSnapshot {
  Temporality temporality = Temporality::kCumulative;
  std::int64_t ns = 0;  // of the copy
  std::vector<MetricFamily> families;
};

// Runs the on_collect callbacks, then copies. Thread-safe.
MetricSnapshot snapshot();

// What came since the last collect() of this reader, before the first one since its construction or since the process began; series without change are left out. Recording goes on
// meanwhile; nothing is lost or told twice. Not thread-safe.
class DeltaReader {
 public:
  enum class Since : std::uint8_t {
    kNow,
    kProcess,  // for the reader that speaks for the process: what was counted before it was there belongs to nobody else
  };
  explicit DeltaReader(Since since = Since::kNow);
  MetricSnapshot collect();

 private:
  struct Last {
    std::int64_t whole = 0;
    double value = 0, sum = 0;
    std::vector<std::uint64_t> counts;
  };
  bool subtract(MetricPoint& point, std::int64_t now_ns);

  std::map<std::uint32_t, Last> last_;  // by series
  std::int64_t begin_ns_;
};

}  // namespace stella::telemetry
