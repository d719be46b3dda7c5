// Records on their way into OTLP requests for the exporter. The backend thread's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "record_limits.h"
#include "stella/telemetry/exporter.h"
#include "stella/telemetry/otlp.h"

namespace stella::telemetry {

class ExportFeed {
 public:
  using Attributes = std::vector<std::pair<std::string, std::string>>;
  ExportFeed(std::shared_ptr<Exporter> exporter, Attributes attributes, std::chrono::milliseconds every, std::size_t bytes,
             std::chrono::milliseconds metrics_every, const OtelLimits& limits);

  // Records of one request at most (0: only their bytes bound it), and whether metrics go with their exemplars.
  void limit(std::size_t logs, std::size_t spans, bool exemplars) {
    most_logs_ = logs;
    most_spans_ = spans;
    exemplars_ = exemplars;
  }
  bool on() const { return exporter_ != nullptr; }
  // A request that is large enough goes at once.
  void add_log(const RecordView& log, const Resource& resource);
  void add_span(const RecordView& span, SamplingReason reason, const Resource& resource);
  // Records that the exporter does not have yet.
  bool pending() const { return !spans_.empty() || !logs_.empty() || !errors_.empty(); }
  // The oldest of them waited long enough.
  bool due() const;
  // Hands all of them over; the exporter keeps them from then on.
  void offer(const Resource& resource);
  // Nothing is exported from now on. Returns the exporter.
  std::shared_ptr<Exporter> close() { return std::exchange(exporter_, nullptr); }
  // What the metrics gained since the last call, where their interval passed or `now` says so.
  void offer_metrics(const Resource& resource, bool now);

 private:
  void begin();
  void offer_logs(LogBatch& batch, const Resource& resource);
  void offer_spans(const Resource& resource);

  std::shared_ptr<Exporter> exporter_;
  const Attributes attributes_;
  RecordLimits limits_;
  const std::int64_t every_ns_;
  const std::size_t bytes_;
  std::size_t most_logs_ = 0, most_spans_ = 0;
  bool exemplars_ = true;
  TraceBatch spans_;
  LogBatch logs_, errors_;  // errors apart: a full disk takes their batches last
  std::int64_t first_ns_ = 0;
  const std::int64_t metrics_every_ns_;
  std::int64_t metrics_ns_ = 0;
};

}  // namespace stella::telemetry
