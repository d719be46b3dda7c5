// The backend that an app installs once. Records that its threads push lie in ring files, so that they outlive the process; one thread
// drains them to the log file, to the exporter and to the row sink.
//
// What a full ring costs: INFO and below and spans are dropped and counted, WARN and above go to a spill file that is drained in order,
// ERROR is never lost: where not even the disk takes it, it goes to standard error. After a SIGKILL the next start with the same `dir`
// and service writes and exports what the dead process had pushed (what was being exported may be exported twice); undecided spans whose
// local root had not ended, and rows, are lost with the process.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/telemetry/exporter.h"
#include "stella/telemetry/otel_settings.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/records.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// Keeps spans and lines as rows. Called from one thread of the backend alone, with at most a few hundred records; must return within
// seconds. An error means nothing was kept: the same records come again later, until their queue is full.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual Result<void> write(std::span<const SpanRecord> spans, std::span<const LogRecord> logs) = 0;
};

struct RotationOptions {
  std::uint64_t max_bytes = 0;       // a file that would grow beyond it is renamed `<path>.<time>`; 0: never
  std::chrono::seconds max_age{0};   // likewise for the age of its first line
  std::size_t keep_files = 0;        // renamed files that stay, the newest; 0: all
  std::chrono::seconds keep_age{0};  // older ones go; 0: never
};

// Spans of traces that the head did not choose wait here for their local root (SamplingReason::kUndecided).
struct TailKeepOptions {
  std::size_t max_traces = 10'000;
  std::size_t max_bytes = 32u << 20;
  std::size_t max_trace_bytes = 1u << 20;  // of one trace
  std::chrono::seconds max_age{120};       // since the last span of a trace
};

struct BackendOptions {
  Resource resource;
  Level level = Level::kInfo;
  std::string log_path;                // appended to, created with mode 0640; "" is standard error
  RotationOptions rotation;
  std::string dir;                     // of ring files (0700); "" is a directory of this user in /dev/shm
  std::string installation;            // with it, that directory is shared only with processes that say the same: what a dead one left is theirs
  // What a service of this installation left and did not come back for in so long goes to another one of them; and rings of an installation
  // whose data directory (its name) has not been there for so long are removed.
  std::chrono::seconds orphan_grace{3600};
  std::size_t ring_bytes = 256 * 1024; // per thread; a power of two, at least 128 KiB
  std::uint64_t spill_bytes = 64u << 20;  // beyond it WARN is dropped, too
  double tenant_lines_per_second = 0;  // log lines of one tenant below ERROR; 0: no limit
  double tenant_lines_burst = 0;       // at least one second's worth
  TailKeepOptions tail;
  // Duration over which a local root of `route` keeps its trace, in ns; negative: never. Nothing set: that of the sampling policy.
  std::function<std::int64_t(std::string_view route)> latency_threshold;
  std::size_t queue = 8192;            // rows that wait for the row sink
  std::size_t rows_per_trace = 2000;   // rows of one trace; errors do not count
  double rows_per_second = 0;          // rows in all, errors apart, ten seconds' worth at once; 0: no limit
  std::shared_ptr<RowSink> row_sink;   // may come later: set_row_sink
  std::shared_ptr<Exporter> exporter;  // OTLP; none: nothing is exported
  std::vector<std::pair<std::string, std::string>> resource_attributes;  // OTEL_RESOURCE_ATTRIBUTES
  std::chrono::milliseconds export_every{1000};  // a record waits at most this long for company
  std::size_t export_bytes = 1u << 20;           // of one request, about
  std::size_t export_logs = 0, export_spans = 0;  // records of one request at most; 0: only export_bytes
  OtelLimits export_limits;                      // of what is exported; lines and rows have the library's own
  bool export_exemplars = true;                  // with the metrics
  std::chrono::milliseconds metrics_every{60'000};  // a request with what all metrics gained; 0: none
  bool crash_handler = true;           // SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE write a report before the process dies
  std::string crash_dir;               // the next start moves the reports there (made with 0700) and says so; "" leaves them among the rings
  std::string crash_dir_shown;         // and calls it this: lines show no absolute path
};

// Exact accounting of what went through, since install.
struct BackendTotals {
  std::uint64_t logs = 0, spans = 0;        // drained from rings and spill
  std::uint64_t recovered = 0;              // of them, pushed by processes that died
  std::uint64_t lines = 0;                  // written to the log file
  std::uint64_t torn = 0;                   // records that were none; skipped
  std::uint64_t lost = 0;                   // numbers missing in the rings of dead processes, beyond what they had counted as dropped
  std::uint64_t kept = 0, forgotten = 0;    // undecided spans
};

class Backend {
 public:
  // Installs itself as the outlet and starts the thread. kIo where the log file or the directory cannot be opened.
  static Result<std::unique_ptr<Backend>> install(BackendOptions options);
  // Writes what waits (at most five seconds), gives the exporter a second to send it, then brings back the default outlet and lets go
  // of exporter and row sink. Records that other threads push later are written at once, one by one.
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // From now on (nullptr: rows are forgotten). The old sink is not called any more once this returns.
  void set_row_sink(std::shared_ptr<RowSink> sink);
  // True where everything pushed before the call is written, its rows kept and the exporter has it (not: has sent it; Exporter::flush
  // does that); false where the deadline passed first.
  bool flush(Deadline deadline);
  // Records of a child process, as if emitted here; `lines` says whether its log lines also go to the log file. A span without the attribute
  // sampling.reason follows the local root of its trace that ends here after this call: they are kept, or forgotten, together.
  void accept(Records records, bool lines);
  // Where records go in that were not made by a call in this process; any thread.
  Outlet& outlet();
  // The log file is opened anew before the next line: for SIGHUP after logrotate. Async-signal-safe.
  void reopen() noexcept;
  BackendTotals totals() const;

 private:
  class Impl;
  explicit Backend(Impl* impl) : impl_(impl) {}
  Impl* impl_;  // never freed: a thread may be in the middle of a push
};

}  // namespace stella::telemetry
