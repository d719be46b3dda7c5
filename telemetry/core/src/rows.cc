// The row thread.
#include "rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "outlet.h"
#include "stella/base/thread.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Counter kDropped{contracts::metrics::kTelemetryDropped};
constexpr std::chrono::milliseconds kTick{200};  // rows wait at most this long for company
constexpr std::chrono::seconds kRetry{1};        // after the sink failed
constexpr std::size_t kBatch = 500;
constexpr std::size_t kLogBytes = 64u << 20;  // of lines that wait for the sink
constexpr std::size_t kTraces = 20'000;          // traces whose rows are counted; then the count starts anew
constexpr double kBurst = 20;  // seconds of the rate that a quiet time saves up
thread_local bool t_row_thread = false;

}  // namespace

bool RowFeed::on_row_thread() { return t_row_thread; }

RowFeed::RowFeed(std::size_t queue, std::size_t per_trace, double per_second, std::shared_ptr<RowSink> sink)
    : queue_(queue), per_trace_(per_trace), per_second_(per_second), wanted_(sink != nullptr), tokens_(kBurst * per_second), sink_(std::move(sink)) {
  thread_ = start_thread("telemetry-rows", [this] { run(); });
}

RowFeed::~RowFeed() {
  {
    Lock lock(mutex_);
    stop_ = true;
    todo_.notify_one();
  }
  thread_.join();
}

void RowFeed::set_sink(std::shared_ptr<RowSink> sink) {
  {
    Lock in_use(sink_mutex_);  // waits for a write that runs
    sink_.swap(sink);
    wanted_.store(sink_ != nullptr, std::memory_order_relaxed);
  }
  wake();
}

bool RowFeed::admit(const std::array<std::uint8_t, 16>& trace, bool error, bool log) {
  if (error) return true;
  if (per_second_ > 0) {
    if (tokens_ < 1) {
      const std::int64_t now = detail::instant().mono;
      tokens_ = std::min(kBurst * per_second_, tokens_ + static_cast<double>(now - filled_ns_) / 1e9 * per_second_);
      filled_ns_ = now;
    }
    if (tokens_ < 1) {  // on a busy server nearly every record comes here
      static const BoundCounter logs = kDropped.bind("logs", "row_budget"), spans = kDropped.bind("spans", "row_budget");
      (log ? logs : spans).add(1);
      return false;
    }
  }
  std::uint64_t id;
  std::memcpy(&id, trace.data() + 8, sizeof id);
  if (rows_of_.size() >= kTraces) rows_of_.clear();
  if (++rows_of_[id] > per_trace_) {
    kDropped.add(1, log ? "logs" : "spans", "trace_limit");
    return false;
  }
  tokens_ -= 1;
  return true;
}

void RowFeed::add(LogRecord&& log) {
  Lock lock(mutex_);
  // Errors have four times the room: they come in floods just when the database is away. Their lines are in the log file in any case.
  const std::size_t rows = logs_.size() + spans_.size() + in_hand_, room = log.level < Level::kError ? queue_ : 4 * queue_;
  if (rows >= room || log_bytes_ + log_bytes_in_hand_ >= kLogBytes) {
    kDropped.add(1, "logs", "row_sink");
  } else {
    log_bytes_ += log.line.size();
    logs_.push_back(std::move(log));
  }
}

void RowFeed::add(SpanRecord&& span) {
  Lock lock(mutex_);
  if (logs_.size() + spans_.size() + in_hand_ >= queue_) {
    kDropped.add(1, "spans", "row_sink");
  } else {
    spans_.push_back(std::move(span));
  }
}

void RowFeed::wake() {
  Lock lock(mutex_);
  if (woken_ || (logs_.empty() && spans_.empty())) return;
  woken_ = true;
  todo_.notify_one();
}

bool RowFeed::flush(Deadline deadline) {
  Lock lock(mutex_);
  const std::uint64_t goal = ++asked_;
  todo_.notify_one();
  while (answered_ < goal) {
    if (deadline.passed()) return false;
    done_.wait_until(mutex_, deadline);
  }
  return true;
}

void RowFeed::run() {
  t_row_thread = true;
  RingOutlet::set_internal_thread();
  std::vector<SpanRecord> spans;
  std::vector<LogRecord> logs;
  Deadline::Clock::time_point retry{};
  while (true) {
    std::uint64_t asked = 0;
    bool stop = false, hurry = false;
    {
      Lock lock(mutex_);
      const bool waiting = !spans.empty() || !logs.empty();
      // Nothing to do: until somebody wakes us. Something waits for the sink to come back: until its time. A flush: at once, but not in a ring.
      while (!stop_ && asked_ == answered_) {
        if (waiting) {
          if (Deadline::Clock::now() >= retry) break;
          todo_.wait_until(mutex_, Deadline::after(retry - Deadline::Clock::now()));
        } else {
          if (woken_) break;
          todo_.wait_until(mutex_, Deadline::after(std::chrono::minutes(10)));
        }
      }
      hurry = stop_ || asked_ != answered_;
      if (!hurry && !waiting) {  // company for the first row
        const Deadline tick = Deadline::after(kTick);
        while (!stop_ && asked_ == answered_ && logs_.size() + spans_.size() < kBatch && !tick.passed()) todo_.wait_until(mutex_, tick);
      }
      woken_ = false;
      asked = asked_;
      stop = stop_;
      std::move(spans_.begin(), spans_.end(), std::back_inserter(spans));
      std::move(logs_.begin(), logs_.end(), std::back_inserter(logs));
      spans_.clear();
      logs_.clear();
      in_hand_ = spans.size() + logs.size();
      log_bytes_in_hand_ += std::exchange(log_bytes_, 0);
    }
    const bool kept = write(spans, logs);
    if (!kept) retry = Deadline::Clock::now() + kRetry;
    Lock lock(mutex_);
    in_hand_ = spans.size() + logs.size();
    log_bytes_in_hand_ = 0;
    for (const LogRecord& log : logs) log_bytes_in_hand_ += log.line.size();
    if (kept && answered_ != asked) {
      answered_ = asked;
      done_.notify_all();
    }
    if (stop) return;
    // A flush that waits for a sink that fails tries again soon, not at once.
    if (!kept && hurry) todo_.wait_until(mutex_, Deadline::after(std::chrono::milliseconds(10)));
  }
}

bool RowFeed::write(std::vector<SpanRecord>& spans, std::vector<LogRecord>& logs) {
  Lock in_use(sink_mutex_);
  if (!sink_) {
    spans.clear();
    logs.clear();
    return true;
  }
  std::size_t spans_done = 0, logs_done = 0;
  bool good = true;
  while (good && (spans_done < spans.size() || logs_done < logs.size())) {
    const std::size_t n = std::min(spans.size() - spans_done, kBatch), m = std::min(logs.size() - logs_done, kBatch);
    good = sink_->write(std::span(spans).subspan(spans_done, n), std::span(logs).subspan(logs_done, m)).has_value();
    if (good) spans_done += n, logs_done += m;
  }
  spans.erase(spans.begin(), spans.begin() + static_cast<std::ptrdiff_t>(spans_done));
  logs.erase(logs.begin(), logs.begin() + static_cast<std::ptrdiff_t>(logs_done));
  return good;
}

}  // namespace stella::telemetry
