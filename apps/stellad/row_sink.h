// Spans and log lines as rows, until the lake exists; and their retention.
#pragma once

#include <utility>

#include "stella/platform/pg.h"
#include "stella/telemetry/backend.h"

namespace stella::stellad {

// Owns its connections: threads of the backend write until the backend itself is gone, and so does whatever a sink of ours needs.
class PgRowSink final : public telemetry::RowSink {
 public:
  explicit PgRowSink(pg::PoolOptions login) : pool_(std::move(login)) {}
  Result<void> write(std::span<const telemetry::SpanRecord> spans, std::span<const telemetry::LogRecord> logs) override;
  // Deletes rows older than `days`, in bounded steps; how many went.
  Result<std::int64_t> retain(std::int64_t days);
  // For others that act in this role and end before the sink.
  pg::SystemPool<pg::TelemetryRole>& pool() { return pool_; }

 private:
  pg::SystemPool<pg::TelemetryRole> pool_;
  bool doubtful_ = false;  // the last rows may be there already: the database did not say what came of its COMMIT
};

}  // namespace stella::stellad
