// Spans and log lines of one job, collected for its result message: a runner has no database, its child not even a file.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "stella/base/json.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"

namespace stella::runner {

// What travels into the child: the ambient context and who we are.
struct JobContext {
  telemetry::Context context;
  telemetry::Resource resource;
  json::Value controls;  // of the tenant's telemetry, as the job message has them
  json::Value to_json() const;
  // Total: what is not well-formed stays empty.
  static JobContext from_json(const json::Value& value);
};

// How many records of a job there was no room for.
struct Dropped {
  std::uint64_t logs = 0, spans = 0;
};

json::Value to_json(const telemetry::SpanRecord& span);

// Collects what this thread emits between construction and end, beside whatever outlet the process has. One per thread at a time.
// Its room is bounded, in records and in bytes: beyond it lines with errors and the spans that end last, the outermost, go before others.
class TelemetryCapture {
 public:
  TelemetryCapture();
  // In the child: also becomes the process's resource, its only outlet, and its ambient context.
  explicit TelemetryCapture(const JobContext& context);
  ~TelemetryCapture();
  TelemetryCapture(const TelemetryCapture&) = delete;
  TelemetryCapture& operator=(const TelemetryCapture&) = delete;

  // {"trace_id","span_id","parent_span_id","name","kind","start_ts","end_ts","status","attributes","links"}
  json::Value spans() const;
  // The lines as objects.
  json::Value logs() const;
  const Dropped& dropped() const { return dropped_; }

 private:
  friend class CaptureOutlet;
  void take(std::string_view record);
  void take_line(const telemetry::RecordView& record);
  void take_span(telemetry::SpanRecord span);
  std::vector<telemetry::SpanRecord> spans_;
  std::deque<telemetry::SpanRecord> late_;  // after those: the last ones
  std::vector<std::string> lines_;
  std::size_t line_bytes_ = 0, span_bytes_ = 0;
  Dropped dropped_;
  std::optional<telemetry::ContextScope> scope_;
};

// Puts the collecting outlet in front of the process's own, which must be installed already; needed once before the first TelemetryCapture of the parent.
void install_capture();

// The work span of a job kind (contracts/jobs.json), nothing where the parent's runner.execute stands for it.
class WorkSpan {
 public:
  explicit WorkSpan(std::string_view kind);
  void ok() {
    if (span_) span_->ok();
  }
  void fail(const Error& error) {
    if (span_) span_->fail(error);
  }

 private:
  std::optional<telemetry::Span> span_;
};

}  // namespace stella::runner
