// Queue, thread and outputs of the backend.
#include "stella/telemetry/backend.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <unordered_map>

#include "process_metrics.h"
#include "stella/base/file.h"
#include "stella/base/sync.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Counter kDropped{contracts::metrics::kTelemetryDropped};
constexpr Counter kTaken{contracts::metrics::kTelemetryRecords};
constexpr Gauge kDepth{contracts::metrics::kTelemetryQueueDepth};

constexpr std::chrono::milliseconds kTick{200};       // rows wait at most this long for company
constexpr std::chrono::seconds kRowRetry{1};          // after a row sink failed
constexpr std::size_t kRowBatch = 500;
constexpr std::size_t kTraces = 20'000;               // traces whose rows are counted; then the count starts anew

// The backend's own thread: what it emits must not come back as rows, or writing rows would make rows for ever.
thread_local bool t_backend_thread = false;

}  // namespace

class Backend::Impl final : public Sink {
 public:
  explicit Impl(BackendOptions options, Fd file) : options_(std::move(options)), file_(std::move(file)) {}

  void start() { thread_ = std::thread([this] { run(); }); }

  void log(LogRecord&& record) noexcept override {
    static const BoundCounter taken = kTaken.bind("logs");
    taken.add();
    const Level level = record.level;
    const std::size_t room = level >= Level::kWarn ? 4 * options_.queue : options_.queue;
    Lock lock(mutex_);
    if (stopped_) {  // another thread was late: nothing takes it from the queue any more
      record.line.push_back('\n');
      if (!write_all(file_ ? file_.get() : STDERR_FILENO, record.line)) kDropped.add(1, "logs", "output");
      return;
    }
    if (level < Level::kError && waiting() >= room) {
      kDropped.add(1, "logs", "queue_full");
      return;
    }
    logs_.push_back({std::move(record), true, !t_backend_thread});
    wake();
  }

  void span(SpanRecord&& record) noexcept override {
    static const BoundCounter taken = kTaken.bind("spans");
    taken.add();
    if (t_backend_thread) return;
    Lock lock(mutex_);
    if (waiting() >= 2 * options_.queue) {
      kDropped.add(1, "spans", "queue_full");
      return;
    }
    spans_.push_back(std::move(record));
    wake();
  }

  void accept(Records records, bool lines) {
    Lock lock(mutex_);
    for (LogRecord& record : records.logs) {
      if (record.level < Level::kError && waiting() >= options_.queue) {
        kDropped.add(1, "logs", "queue_full");
      } else {
        logs_.push_back({std::move(record), lines, true});
      }
    }
    for (SpanRecord& record : records.spans) {
      if (waiting() >= 2 * options_.queue) {
        kDropped.add(1, "spans", "queue_full");
      } else {
        spans_.push_back(std::move(record));
      }
    }
    wake();
  }

  void set_row_sink(std::shared_ptr<RowSink> sink) {
    Lock in_use(row_sink_mutex_);  // waits for a write that runs
    options_.row_sink = std::move(sink);
    Lock lock(mutex_);
    retry_at_ = {};
    wake();
  }

  bool flush(Deadline deadline) {
    Lock lock(mutex_);
    const std::uint64_t goal = ++flush_asked_;
    retry_at_ = {};
    wake();
    while (flush_done_ < goal) {
      if (deadline.passed()) return false;
      done_.wait_until(mutex_, deadline);
    }
    return true;
  }

  void stop() {
    flush(Deadline::after(std::chrono::seconds(5)));
    {
      Lock lock(mutex_);
      stopping_ = true;
      wake();
    }
    thread_.join();
    std::vector<Queued> late;
    {
      Lock lock(mutex_);
      stopped_ = true;
      late.swap(logs_);
    }
    write_lines(late);
  }

 private:
  struct Queued {
    LogRecord record;
    bool line, row;
  };

  std::size_t waiting() const STELLA_REQUIRES(mutex_) { return logs_.size() + spans_.size(); }
  void wake() STELLA_REQUIRES(mutex_) {
    woken_ = true;
    todo_.notify_one();
  }

  void run() {
    t_backend_thread = true;
    while (true) {
      std::vector<Queued> logs;
      std::vector<SpanRecord> spans;
      std::uint64_t asked = 0;
      bool stopping = false;
      {
        Lock lock(mutex_);
        const Deadline tick = Deadline::after(kTick);
        while (!woken_ && !tick.passed()) todo_.wait_until(mutex_, tick);
        woken_ = false;
        logs.swap(logs_);
        spans.swap(spans_);
        asked = flush_asked_;
        stopping = stopping_;
      }
      kDepth.set(static_cast<double>(logs.size() + spans.size()));
      write_lines(logs);
      keep_rows(std::move(logs), std::move(spans));
      const bool kept = write_rows(asked != flush_done_ || stopping);
      Lock lock(mutex_);
      if (kept && asked != flush_done_) {
        flush_done_ = asked;
        done_.notify_all();
      }
      if (stopping) return;
    }
  }

  // Whole lines in few writes. A line that cannot be written is counted; an error still goes to standard error.
  void write_lines(const std::vector<Queued>& logs) {
    constexpr std::size_t kChunk = 1 << 20;
    std::string chunk;
    std::size_t lines = 0;
    const auto out = [&] {
      if (chunk.empty()) return;
      if (!write_all(file_ ? file_.get() : STDERR_FILENO, chunk)) kDropped.add(static_cast<double>(lines), "logs", "output");
      chunk.clear();
      lines = 0;
    };
    for (const Queued& q : logs) {
      if (!q.line) continue;
      chunk.append(q.record.line).push_back('\n');
      ++lines;
      if (chunk.size() >= kChunk) out();
    }
    out();
  }

  bool within_trace_limit(const std::string& tenant, const std::string& trace) {
    if (rows_of_.size() >= kTraces) rows_of_.clear();
    return ++rows_of_[tenant + '/' + trace] <= options_.rows_per_trace;
  }

  void keep_rows(std::vector<Queued> logs, std::vector<SpanRecord> spans) {
    Lock in_use(row_sink_mutex_);
    if (!options_.row_sink) return;
    for (Queued& q : logs) {
      if (!q.row) continue;
      const bool error = q.record.level == Level::kError;
      if (!error && !within_trace_limit(q.record.tenant_id, q.record.trace_id)) {
        kDropped.add(1, "logs", "trace_limit");
      } else if (!error && row_logs_.size() + row_spans_.size() >= options_.queue) {
        kDropped.add(1, "logs", "row_sink");
      } else {
        row_logs_.push_back(std::move(q.record));
      }
    }
    for (SpanRecord& span : spans) {
      if (!within_trace_limit(span.tenant_id, span.trace_id)) {
        kDropped.add(1, "spans", "trace_limit");
      } else if (row_logs_.size() + row_spans_.size() >= options_.queue) {
        kDropped.add(1, "spans", "row_sink");
      } else {
        row_spans_.push_back(std::move(span));
      }
    }
  }

  // True where nothing waits for the row sink any more.
  bool write_rows(bool now) {
    Lock in_use(row_sink_mutex_);
    if (!options_.row_sink) {
      row_logs_.clear();
      row_spans_.clear();
    }
    Deadline::Clock::time_point retry;
    {
      Lock lock(mutex_);
      retry = retry_at_;
    }
    while (!row_logs_.empty() || !row_spans_.empty()) {
      if (!now && Deadline::Clock::now() < retry) return false;
      const std::size_t spans = std::min(row_spans_.size(), kRowBatch), logs = std::min(row_logs_.size(), kRowBatch);
      if (auto written = options_.row_sink->write(std::span(row_spans_).first(spans), std::span(row_logs_).first(logs)); !written) {
        Lock lock(mutex_);
        retry_at_ = Deadline::Clock::now() + kRowRetry;
        return false;
      }
      row_spans_.erase(row_spans_.begin(), row_spans_.begin() + static_cast<std::ptrdiff_t>(spans));
      row_logs_.erase(row_logs_.begin(), row_logs_.begin() + static_cast<std::ptrdiff_t>(logs));
    }
    return true;
  }

  // Lock order: row_sink_mutex_ before mutex_.
  Mutex row_sink_mutex_;  // held while the row sink is called, and for the members below
  BackendOptions options_;  // row_sink changes; the rest is fixed
  std::vector<SpanRecord> row_spans_ STELLA_GUARDED_BY(row_sink_mutex_);
  std::vector<LogRecord> row_logs_ STELLA_GUARDED_BY(row_sink_mutex_);

  Mutex mutex_;
  CondVar todo_, done_;
  std::vector<Queued> logs_ STELLA_GUARDED_BY(mutex_);
  std::vector<SpanRecord> spans_ STELLA_GUARDED_BY(mutex_);
  bool woken_ STELLA_GUARDED_BY(mutex_) = false;
  bool stopping_ STELLA_GUARDED_BY(mutex_) = false;
  bool stopped_ STELLA_GUARDED_BY(mutex_) = false;
  std::uint64_t flush_asked_ STELLA_GUARDED_BY(mutex_) = 0;
  std::uint64_t flush_done_ = 0;  // written by the thread under mutex_
  Deadline::Clock::time_point retry_at_ STELLA_GUARDED_BY(mutex_){};

  Fd file_;
  std::unordered_map<std::string, std::size_t> rows_of_;  // backend thread
  std::thread thread_;
};

Result<std::unique_ptr<Backend>> Backend::install(BackendOptions options) {
  Fd file;
  if (!options.log_path.empty()) {
    file = Fd(::open(options.log_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
    if (!file) return io_error("cannot open the log file", options.log_path);
  }
  set_resource(options.resource);
  set_level(options.level);
  watch_process();
  auto impl = std::make_shared<Impl>(std::move(options), std::move(file));
  impl->start();
  install_sink(impl);
  return std::unique_ptr<Backend>(new Backend(std::move(impl)));
}

Backend::Backend(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Backend::~Backend() {
  install_sink(nullptr);
  impl_->stop();
}

void Backend::set_row_sink(std::shared_ptr<RowSink> sink) { impl_->set_row_sink(std::move(sink)); }
bool Backend::flush(Deadline deadline) { return impl_->flush(deadline); }
void Backend::accept(Records records, bool lines) { impl_->accept(std::move(records), lines); }

}  // namespace stella::telemetry
