// Spans and log lines on their way from a job's child process over the runner to the control plane.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

struct Records {
  std::vector<SpanRecord> spans;
  std::vector<LogRecord> logs;
  bool empty() const { return spans.empty() && logs.empty(); }
};

// A sink that keeps everything in memory: for the job child, which has neither files nor a network. Thread-safe.
// Beyond `most` records, spans and lines below ERROR are dropped and counted.
class CollectingSink final : public Sink {
 public:
  explicit CollectingSink(std::size_t most = 2000) : most_(most) {}
  void log(LogRecord&& record) noexcept override;
  void span(SpanRecord&& record) noexcept override;
  // What was collected so far; the sink is empty afterwards.
  Records take();

 private:
  const std::size_t most_;
  Mutex mutex_;
  Records records_ STELLA_GUARDED_BY(mutex_);
};

// One JSON document. Over `max_bytes`, lines below WARN go first, then spans, then other lines: never half a record.
std::string encode_records(const Records& records, std::size_t max_bytes = 512 * 1024);

// The reverse, for what comes from a process that is not trusted: kMalformed for anything that encode_records would not write; records
// of another tenant or trace than `tenant` and `trace` are left out; every text is scrubbed again,
// names included.
Result<Records> decode_records(std::string_view text, const TenantId& tenant, const TraceId& trace);

}  // namespace stella::telemetry
