// Finished records as OTLP export requests (opentelemetry-proto 1.11, semantic conventions 1.44).
//
// What becomes what:
//   Resource, one per tenant   service.name, service.version, service.instance.id, deployment.environment.name, cloud.region from
//                              telemetry::Resource; telemetry.sdk.{name,language,version}; tenant_id ("platform" where there is none);
//                              then `extra` (OTEL_RESOURCE_ATTRIBUTES), which never replaces one of these
//   scope                      spans: "stella"; logs: the module of the logger
//   attributes                 tenant_id, project_id, actor, route, method, request_id, job_id, run_id where set; every field by its key,
//                              of a key that is there twice the last; truncated=true where the record was cut
//   value types                text, path, PII (masked): string; integer: int; bool: bool; ids and digests: their text form
//   error field                error_code, error_message, error.<name> for its own fields, error.type (= the code)
//   span                       sampling.reason; of an HTTP server also http.request.method (a method that is none: _OTHER) and http.route;
//                              error.type of a failed span without an error: its HTTP status, else _OTHER; tracestate carries
//                              `ot=th:<threshold>`: that of the head decision, 0 where the trace was kept for another reason
//   metric                     resource of the platform (tenants are labels); counters: monotonic sums, up-down counters: sums, always
//                              cumulative, gauges, explicit-bucket histograms with exemplars; labels as string attributes, the overflow
//                              series has otel.metric.overflow=true; units in UCUM
//   log                        body = message; severity number 1, 5, 9, 13, 17; observed = time
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

using ResourceAttributes = std::span<const std::pair<std::string, std::string>>;

// Spans on their way into one ExportTraceServiceRequest. One owner at a time. Adding allocates only while its buffers grow: they are
// kept from batch to batch. About 50 ns for a span of eight attributes.
class TraceBatch {
 public:
  TraceBatch();
  ~TraceBatch();
  TraceBatch(TraceBatch&&) noexcept;
  TraceBatch& operator=(TraceBatch&&) noexcept;

  // A record that is no span is left out. `reason` is why it is kept, where that was decided after the record was made. `event_drops`: how
  // many attributes each of its events lost before; of events behind the last of them, none.
  void add(const RecordView& record, std::optional<SamplingReason> reason = std::nullopt, std::span<const std::uint32_t> event_drops = {});
  std::size_t spans() const;
  bool empty() const { return spans() == 0; }
  // Size of the request that take() would return, within some hundred bytes a tenant.
  std::size_t bytes() const;
  // The request; the batch is empty afterwards. "" for an empty batch.
  std::string take(const Resource& resource, ResourceAttributes extra = {});

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The same for log records and ExportLogsServiceRequest.
class LogBatch {
 public:
  LogBatch();
  ~LogBatch();
  LogBatch(LogBatch&&) noexcept;
  LogBatch& operator=(LogBatch&&) noexcept;

  void add(const RecordView& record);
  std::size_t logs() const;
  std::size_t errors() const;  // of them, ERROR
  bool empty() const { return logs() == 0; }
  std::size_t bytes() const;
  std::string take(const Resource& resource, ResourceAttributes extra = {});

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// ExportMetricsServiceRequest of a snapshot, with its temporality; "" where nothing was recorded.
std::string encode_metrics(const MetricSnapshot& snapshot, const Resource& resource, ResourceAttributes extra = {});

}  // namespace stella::telemetry
