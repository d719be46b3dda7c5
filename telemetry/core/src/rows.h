// Rows on their way to the row sink, on a thread of their own: a database that stands still holds up neither lines nor spans.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "stella/base/sync.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/clock.h"

namespace stella::telemetry {

class RowFeed {
 public:
  RowFeed(std::size_t queue, std::size_t per_trace, double per_second, std::shared_ptr<RowSink> sink);
  ~RowFeed();

  bool wanted() const { return wanted_.load(std::memory_order_relaxed); }
  void set_sink(std::shared_ptr<RowSink> sink);
  // The caller's thread alone decides: within the budget and the trace's limit? Errors always are. What is refused is counted.
  bool admit(const std::array<std::uint8_t, 16>& trace, bool error, bool log);
  void add(LogRecord&& log);
  void add(SpanRecord&& span);
  // After some add(): lets the thread see them.
  void wake();
  // Everything added before is kept or dropped; false where the deadline passed first.
  bool flush(Deadline deadline);

  // True on the thread that calls the sink: what it logs must not become rows.
  static bool on_row_thread();

 private:
  void run();
  bool write(std::vector<SpanRecord>& spans, std::vector<LogRecord>& logs);

  const std::size_t queue_, per_trace_;
  const double per_second_;
  std::atomic<bool> wanted_;

  // Of the adding thread.
  std::unordered_map<std::uint64_t, std::uint32_t> rows_of_;
  double tokens_ = 0;
  std::int64_t filled_ns_ = detail::instant().mono;

  Mutex sink_mutex_;  // held while the sink is called; before mutex_
  std::shared_ptr<RowSink> sink_ STELLA_GUARDED_BY(sink_mutex_);

  Mutex mutex_;
  CondVar todo_, done_;
  std::vector<LogRecord> logs_ STELLA_GUARDED_BY(mutex_);
  std::vector<SpanRecord> spans_ STELLA_GUARDED_BY(mutex_);
  std::size_t in_hand_ STELLA_GUARDED_BY(mutex_) = 0;  // taken by the thread, not yet kept
  std::size_t log_bytes_ STELLA_GUARDED_BY(mutex_) = 0, log_bytes_in_hand_ STELLA_GUARDED_BY(mutex_) = 0;  // of their lines
  bool woken_ STELLA_GUARDED_BY(mutex_) = false, stop_ STELLA_GUARDED_BY(mutex_) = false;
  std::uint64_t asked_ STELLA_GUARDED_BY(mutex_) = 0, answered_ STELLA_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace stella::telemetry
