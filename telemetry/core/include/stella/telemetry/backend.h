// The backend that an app installs once: log lines go to a file or standard error, spans and lines to a row sink, both from one
// background thread behind a bounded queue. What a full queue costs: INFO and below are dropped and counted, WARN and spans get some
// more room, ERROR is never dropped.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/telemetry/records.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// Keeps spans and lines as rows. Called from the backend thread alone, with at most a few hundred records; must return within seconds.
// An error means nothing was kept: the same records come again later, until their queue is full.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual Result<void> write(std::span<const SpanRecord> spans, std::span<const LogRecord> logs) = 0;
};

struct BackendOptions {
  Resource resource;
  Level level = Level::kInfo;
  std::string log_path;                // appended to, created with mode 0640; "" is standard error
  std::size_t queue = 8192;            // records that wait
  std::size_t rows_per_trace = 2000;   // rows of one trace; errors do not count
  std::shared_ptr<RowSink> row_sink;   // may come later: set_row_sink
};

class Backend {
 public:
  // Installs itself as the sink and starts the thread. kIo where the log file cannot be opened.
  static Result<std::unique_ptr<Backend>> install(BackendOptions options);
  // Writes what waits (at most five seconds), then brings back the default sink.
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // From now on (nullptr: rows are forgotten). The old sink is not called any more once this returns.
  void set_row_sink(std::shared_ptr<RowSink> sink);
  // True where everything emitted before the call is written and its rows kept; false where the deadline passed first.
  bool flush(Deadline deadline);
  // Records of a child process, as if emitted here; `lines` says whether its log lines also go to the log file.
  void accept(Records records, bool lines);

 private:
  class Impl;
  explicit Backend(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace stella::telemetry
