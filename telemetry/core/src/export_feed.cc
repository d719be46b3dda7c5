// Batches per signal.
#include "export_feed.h"

#include "stella/base/sync.h"
#include "stella/telemetry/metric_snapshot.h"

namespace stella::telemetry {
namespace {

// One of the process, which goes on where the last exporter of it ended: what was counted before there was one (the spool that was found at
// the start, say) is told, and told once.
struct ProcessReader {
  Mutex mutex;
  DeltaReader reader STELLA_GUARDED_BY(mutex){DeltaReader::Since::kProcess};
};
MetricSnapshot collect() {
  static ProcessReader& process = *new ProcessReader;
  const Lock lock(process.mutex);
  return process.reader.collect();
}

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

ExportFeed::ExportFeed(std::shared_ptr<Exporter> exporter, Attributes attributes, std::chrono::milliseconds every, std::size_t bytes,
                       std::chrono::milliseconds metrics_every, const OtelLimits& limits)
    : exporter_(std::move(exporter)),
      attributes_(std::move(attributes)),
      limits_(limits),
      every_ns_(every.count() * 1'000'000),
      bytes_(bytes),
      metrics_every_ns_(metrics_every.count() * 1'000'000),
      metrics_ns_(steady_ns()) {}

void ExportFeed::offer_metrics(const Resource& resource, bool now) {
  if (!exporter_ || metrics_every_ns_ <= 0) return;
  const std::int64_t at = steady_ns();
  if (!now && at - metrics_ns_ < metrics_every_ns_) return;
  metrics_ns_ = at;
  MetricSnapshot snapshot = collect();  // deltas: a receiver adds up
  if (!exemplars_) {
    for (MetricFamily& family : snapshot.families)
      for (MetricPoint& point : family.points) point.exemplars.clear();
  }
  Batch out{.signal = Signal::kMetrics, .payload = encode_metrics(snapshot, resource, attributes_), .items = 0, .errors = 0};
  for (const MetricFamily& family : snapshot.families) out.items += static_cast<std::uint32_t>(family.points.size());
  if (!out.payload.empty()) exporter_->offer(std::move(out));
}

void ExportFeed::begin() {
  if (!pending()) first_ns_ = steady_ns();
}

bool ExportFeed::due() const { return pending() && steady_ns() - first_ns_ >= every_ns_; }

void ExportFeed::add_log(const RecordView& log, const Resource& resource) {
  begin();
  LogBatch& batch = log.head().level == Level::kError ? errors_ : logs_;
  batch.add(limits_.on() ? limits_.apply(log) : log);
  if (batch.bytes() >= bytes_ || batch.logs() == most_logs_) offer_logs(batch, resource);
}

void ExportFeed::add_span(const RecordView& span, SamplingReason reason, const Resource& resource) {
  begin();
  if (limits_.on()) {
    const RecordView limited = limits_.apply(span);
    spans_.add(limited, reason, limits_.event_drops());
  } else {
    spans_.add(span, reason);
  }
  if (spans_.bytes() >= bytes_ || spans_.spans() == most_spans_) offer_spans(resource);
}

void ExportFeed::offer_logs(LogBatch& batch, const Resource& resource) {
  if (batch.empty()) return;
  Batch out{.signal = Signal::kLogs, .payload = {}, .items = static_cast<std::uint32_t>(batch.logs()), .errors = static_cast<std::uint32_t>(batch.errors())};
  out.payload = batch.take(resource, attributes_);
  exporter_->offer(std::move(out));  // what it cannot keep it counts itself
}

void ExportFeed::offer_spans(const Resource& resource) {
  if (spans_.empty()) return;
  Batch out{.signal = Signal::kTraces, .payload = {}, .items = static_cast<std::uint32_t>(spans_.spans()), .errors = 0};
  out.payload = spans_.take(resource, attributes_);
  exporter_->offer(std::move(out));
}

void ExportFeed::offer(const Resource& resource) {
  offer_logs(errors_, resource);
  offer_logs(logs_, resource);
  offer_spans(resource);
}

}  // namespace stella::telemetry
