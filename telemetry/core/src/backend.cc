// The backend thread: rings and spill in, lines, rows and exports out.
#include "stella/telemetry/backend.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "convert.h"
#include "crash.h"
#include "export_feed.h"
#include "export_metrics.h"
#include "installations.h"
#include "log_file.h"
#include "log_mark.h"
#include "outlet.h"
#include "process_metrics.h"
#include "rate_limit.h"
#include "remains.h"
#include "rows.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/clock.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/sampler.h"
#include "tail_keep.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"telemetry"};
constexpr Counter kDropped{contracts::metrics::kTelemetryDropped};
constexpr Counter kTaken{contracts::metrics::kTelemetryRecords};
constexpr Counter kUnsampled{contracts::metrics::kTelemetryUnsampled};
constexpr Gauge kDepth{contracts::metrics::kTelemetryQueueDepth};

constexpr std::chrono::milliseconds kSoon{1}, kLater{50};  // polls of a busy and of an idle process
constexpr std::size_t kTurn = 64 * 1024;    // bytes of one ring in one round
constexpr std::size_t kChunk = 128 * 1024;  // bytes of one write
constexpr std::size_t kSpillTurn = 256u << 20;  // all of it, or a thread's records would change places

std::int64_t wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Lines that wait for one write, and which of them must not be lost.
struct Chunk {
  std::string text;
  std::uint64_t lines = 0;
  std::vector<std::pair<std::size_t, std::size_t>> errors;  // where, how long
  void end_line(std::size_t begin, bool error) {
    text.push_back('\n');
    ++lines;
    if (error) errors.emplace_back(begin, text.size() - begin);
  }
  void clear() {
    text.clear();
    lines = 0;
    errors.clear();
  }
};

// A log in a ring, to be put in order.
struct Waiting {
  std::int64_t ns;
  std::string_view bytes;
  bool internal;
};

}  // namespace

class Backend::Impl {
 public:
  Impl(BackendOptions options, std::string dir, Instance instance, std::unique_ptr<LogFile> log)
      : options_(std::move(options)),
        dir_(std::move(dir)),
        log_(std::move(log)),
        outlet_(new RingOutlet(std::move(instance), {options_.ring_bytes, options_.spill_bytes})),
        rows_(std::make_unique<RowFeed>(options_.queue, options_.rows_per_trace, options_.rows_per_second, options_.row_sink)),
        feed_(options_.exporter, options_.resource_attributes, options_.export_every, options_.export_bytes, options_.metrics_every, options_.export_limits),
        limit_(options_.tenant_lines_per_second, options_.tenant_lines_burst),
        tail_(make_tail()) {
    outlet_->set_late([this](std::string_view record) { write_late(record); }, [this] { drain_late(); });
    mark_ = LogMark(outlet_->instance().path(), log_->name());
    chunk_.text.reserve(kChunk + 2 * kLineBytes);
    feed_.limit(options_.export_logs, options_.export_spans, options_.export_exemplars);
    options_.exporter.reset();
    options_.row_sink.reset();
  }

  void start() {
    install_crash_handler_if_wanted();
    install_outlet(outlet_);
    thread_ = start_thread("telemetry", [this] { run(); });
  }

  void set_row_sink(std::shared_ptr<RowSink> sink) { rows_->set_sink(std::move(sink)); }
  void reopen() noexcept { log_->reopen(); }
  Outlet& outlet() { return *outlet_; }

  void accept(Records records, bool lines) {
    Lock lock(mutex_);
    for (LogRecord& record : records.logs) {
      if (record.level < Level::kError && accepted_logs_.size() >= options_.queue) kDropped.add(1, "logs", "queue_full");
      else accepted_logs_.push_back({std::move(record), lines});
    }
    for (SpanRecord& record : records.spans) {
      if (accepted_spans_.size() >= options_.queue) kDropped.add(1, "spans", "queue_full");
      else accepted_spans_.push_back(std::move(record));
    }
    outlet_->wakeup().urge();
  }

  bool flush(Deadline deadline) {
    if (outlet_->forked()) return false;
    {
      Lock lock(mutex_);
      const std::uint64_t goal = ++asked_;
      outlet_->wakeup().urge();
      while (answered_ < goal) {
        if (deadline.passed()) return false;
        done_.wait_until(mutex_, deadline);
      }
    }
    return rows_->flush(deadline);
  }

  void stop() {
    if (outlet_->forked()) {  // a child that ends: the thread, the file and the rings are the parent's
      install_outlet(nullptr);
      return;
    }
    {
      Lock lock(mutex_);
      ending_ = true;
    }
    flush(Deadline::after(std::chrono::seconds(5)));
    install_outlet(nullptr);
    flush(Deadline::after(std::chrono::seconds(5)));
    {
      Lock lock(mutex_);
      stopping_ = true;
    }
    outlet_->wakeup().urge();
    thread_.join();
    outlet_->stop();
    drain_late();
    rows_->flush(Deadline::after(std::chrono::seconds(1)));
    std::unique_ptr<RowFeed> rows;
    std::shared_ptr<Exporter> exporter;
    {
      Lock draining(drain_mutex_);  // a late push may be draining
      rows = std::move(rows_);
      exporter = feed_.close();
    }
    rows.reset();
    if (exporter) exporter->flush(Deadline::after(std::chrono::seconds(1)));
    exporter.reset();  // this object stays for late pushes; what it holds does not
    log_->sync();
    outlet_->remove_files();
  }

  BackendTotals totals() const {
    Lock lock(mutex_);
    return shown_;
  }

 private:
  struct Accepted {
    LogRecord record;
    bool line;
  };

  TailKeep make_tail() {
    return TailKeep(options_.tail, options_.latency_threshold ? options_.latency_threshold : tail_keep_threshold, [this](const RecordView& span, SamplingReason reason) { keep_span(span, reason); });
  }

  void install_crash_handler_if_wanted() {
    if (options_.crash_handler) install_crash_handler(dir_, options_.resource);
  }

  void run() {
    RingOutlet::set_internal_thread();
    recover();
    look_after_others();
    std::chrono::milliseconds pause = kSoon;
    while (true) {
      std::uint64_t asked = 0;
      bool stopping = false, ending = false;
      {
        Lock lock(mutex_);
        asked = asked_;
        stopping = stopping_;
        ending = ending_;
      }
      const bool all = asked != answered_ || stopping;
      bool again = false;
      {
        Lock draining(drain_mutex_);
        again = round(all);
        if (ending) tell_limits(wall_ns(), true);
        if (feed_.on()) feed_.offer_metrics(options_.resource, stopping);
      }
      {
        Lock lock(mutex_);
        shown_ = totals_;
        if (asked != answered_) {
          answered_ = asked;
          done_.notify_all();
        }
      }
      if (stopping) return;
      look_after_others();
      if (again) {
        pause = kSoon;
        continue;
      }
      pause = busy_ ? kSoon : std::min(kLater, pause * 2);
      outlet_->wakeup().wait(pause);
    }
  }

  // What processes of before left in their rings.
  void recover() {
    if (options_.crash_handler) announce_crash_reports(dir_, options_.resource.service, {options_.crash_dir, options_.crash_dir_shown});
    for (Remains& remains : find_remains(dir_, options_.resource.service)) recover(remains);
  }

  // What nobody else will come for.
  void look_after_others() {
    const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
    if (now < look_again_ns_) return;
    look_again_ns_ = now + std::chrono::nanoseconds(std::min<std::chrono::nanoseconds>(std::chrono::minutes(1), options_.orphan_grace)).count();
    const bool own_dir = options_.dir.empty() && !options_.installation.empty();
    for (Remains& remains : find_orphans(dir_, {options_.resource.service, options_.installation, own_dir, options_.orphan_grace})) {
      const std::string service = remains.resource.service;
      if (!recover(remains)) continue;
      kLog.warn("the records of a service that does not come back were taken over", {f::pid(remains.pid), f::reason(service)});
    }
    if (!own_dir) return;
    if (options_.crash_handler) announce_others_crash_reports(dir_, options_.resource.service, {options_.crash_dir, options_.crash_dir_shown}, options_.orphan_grace);
    const GoneInstallations gone = remove_gone_installations(dir_, options_.orphan_grace);
    if (gone.platforms == 0) return;
    kLog.warn("telemetry rings of platforms whose data directory is gone were removed",
              {f::count(static_cast<std::int64_t>(gone.platforms)), f::total(static_cast<std::int64_t>(gone.processes)), f::bytes(static_cast<std::int64_t>(gone.bytes))});
  }

  // In steps, each of which is noted in the rings: a process that is killed here has its successor go on where it stood. False: not all of it
  // could be read or written, and the next start tries again.
  bool recover(Remains& remains) {
    Lock draining(drain_mutex_);
    Recovery recovery(remains);
    if (recovery.counts().unread) return false;
    resource_now_ = &remains.resource;
    output_failed_ = false;
    WrittenLines written_lines(remains.path, log_->fd());
    recovering_ = &written_lines;
    TailKeep tail = make_tail();  // ours waits for roots that will come
    tail_now_ = &tail;
    std::optional<LogMark> mark;
    if (const auto place = log_->place(); place && !written_lines.covers(*place)) mark.emplace(remains.path, log_->name()).set(place);
    for (std::size_t bytes = 0; !output_failed_;) {
      const auto found = recovery.next();
      if (!found) break;
      if (!found->written) take(found->view, false);
      else export_again(found->view);
      bytes += found->view.head().size;
      if (bytes < kTurn) continue;
      note(recovery);
      bytes = 0;
    }
    tail.keep_all(SamplingReason::kError);
    note(recovery);
    feed_.offer(*resource_now_);
    rows_->wake();
    recovering_ = nullptr;
    tail_now_ = &tail_;
    count("spans", "tail_limit", tail.totals().dropped);
    if (tail.totals().forgotten > 0) kUnsampled.add(static_cast<double>(tail.totals().forgotten));
    kept_before_ += tail.totals().kept;
    forgotten_before_ += tail.totals().forgotten;
    resource_now_ = &options_.resource;
    const RecoveredCounts& counts = recovery.counts();
    totals_.recovered += counts.records;
    if (output_failed_) return false;  // nobody else has them: the next start tries again, and counts
    totals_.torn += counts.torn;
    totals_.lost += counts.lost;
    count("logs", "queue_full", counts.dropped_logs);
    count("spans", "queue_full", counts.dropped_spans);
    count("logs", "torn", counts.torn);
    count("logs", "lost", counts.lost);
    remove_remains(remains);
    if (counts.records > 0 || counts.torn > 0 || counts.lost > 0) {
      kLog.warn("a process died before its records were written; they are now", {f::pid(remains.pid), f::count(counts.records),
                                                                                 f::rejected_count(counts.torn), f::total(counts.records + counts.lost)});
    }
    return true;
  }

  // All that was taken so far goes where it belongs, and its rings say so.
  void note(Recovery& recovery) {
    write_chunk();
    if (output_failed_) return;
    recovery.note_written();
    if (tail_now_->traces() > 0) return;  // they wait in memory for their root
    feed_.offer(*resource_now_);
    recovery.note_released();
  }

  static void count(std::string_view signal, std::string_view reason, std::uint64_t n) {
    if (n > 0) kDropped.add(static_cast<double>(n), signal, reason);
  }

  // One turn over everything; true where more was there than one turn takes. `all`: whatever was pushed before the call.
  bool round(bool all) {
    round_ns_ = std::chrono::steady_clock::now().time_since_epoch().count();
    // The spill's end first: what a thread pushed before it spilled lies in its ring by now.
    Spill& spill = outlet_->spill();
    const std::uint64_t spilled = spill.written();
    std::vector<Spill::Frame> frames;
    std::uint64_t broken = 0;
    const std::uint64_t spans_before = totals_.spans, logs_before = totals_.logs;
    bool more = false;
    std::size_t moved = 0;
    busy_ = false;
    waiting_.clear();
    turns_.clear();
    std::size_t sources = 0;
    frames = spill.read(spilled, kSpillTurn, broken);
    // What the rings hold by now is noted before the spans of children are taken: a local root among it finds those that it waited for.
    readable_.clear();
    for (std::size_t i = 0; i < outlet_->rings(); ++i) readable_.push_back(outlet_->ring(i).readable());
    take_accepted_spans();
    for (std::size_t i = 0; i < readable_.size(); ++i) {
      Ring& ring = outlet_->ring(i);
      const std::string_view bytes = readable_[i];
      count_drops(ring);
      if (bytes.empty()) continue;
      busy_ = busy_ || bytes.size() > ring.size() / 4;
      const std::size_t before = waiting_.size();
      std::uint64_t records = 0;
      const std::size_t used = walk(bytes, all || !frames.empty() ? bytes.size() : kTurn, outlet_->internal(i), records);
      sources += waiting_.size() > before ? 1 : 0;
      more = more || used < bytes.size();
      moved += used;
      turns_.push_back({&ring, used, records});
    }
    for (const Spill::Frame& frame : frames) {
      RecordHead head;
      std::memcpy(&head, frame.record.data(), sizeof head);
      waiting_.push_back({head.ns, frame.record, outlet_->internal(frame.ring)});
    }
    if (sources + (frames.empty() ? 0 : 1) > 1) {
      std::stable_sort(waiting_.begin(), waiting_.end(), [](const Waiting& a, const Waiting& b) { return a.ns < b.ns; });
    }
    for (const Waiting& w : waiting_) {
      if (const auto view = RecordView::parse(w.bytes)) take(*view, w.internal);
      else torn();
    }
    take_accepted_logs();
    write_chunk();
    // Only now: whoever kills the process before this finds everything in the rings again.
    for (const Turn& turn : turns_) turn.ring->advance(turn.used, turn.records);
    const bool left = spill.place() < spilled;
    if (!frames.empty() || broken > 0) {
      spill.done();
      spill_held_ = true;
    }
    marked_ = false;
    release(all || !frames.empty());
    totals_.torn += broken;
    count("logs", "torn", broken);
    if (rows_) rows_->wake();
    finish_round(logs_before, spans_before);
    return more || left || moved >= kTurn;
  }

  // What is exported too leaves the rings. Requests wait for company, but not at the price of room that the threads need.
  void release(bool now) {
    for (std::size_t i = 0; i < outlet_->rings() && !now; ++i) now = outlet_->ring(i).held() > outlet_->ring(i).size() / 2;
    if (feed_.pending()) {
      if (!now && !feed_.due()) return;
      feed_.offer(*resource_now_);
    }
    for (std::size_t i = 0; i < outlet_->rings(); ++i) {
      if (outlet_->ring(i).held() > 0) outlet_->ring(i).release();
    }
    if (spill_held_) outlet_->spill().release();
    spill_held_ = false;
  }

  // Takes spans at once and notes logs, record by record, up to `most` bytes; returns the bytes used.
  std::size_t walk(std::string_view bytes, std::size_t most, bool internal, std::uint64_t& records) {
    std::size_t used = 0;
    while (used < bytes.size() && used < most) {
      const std::string_view rest = bytes.substr(used);
      std::uint32_t size = 0;
      auto kind = RecordKind::kPadding;
      if (rest.size() >= sizeof(RecordHead)) {
        std::memcpy(&size, rest.data() + offsetof(RecordHead, size), sizeof size);
        std::memcpy(&kind, rest.data() + offsetof(RecordHead, kind), sizeof kind);
      }
      ++records;
      if (size < sizeof(RecordHead) || size % 8 != 0 || size > rest.size()) {
        torn();  // where the next one begins is not known
        return bytes.size();
      }
      used += size;
      const std::string_view record = rest.substr(0, size);
      if (kind == RecordKind::kLog) {
        std::int64_t ns;
        std::memcpy(&ns, record.data() + offsetof(RecordHead, ns), sizeof ns);
        waiting_.push_back({ns, record, internal});
      } else if (const auto view = RecordView::parse(record)) {
        take(*view, internal);
      } else {
        torn();
      }
    }
    return used;
  }

  void torn() {
    ++totals_.torn;
    count("logs", "torn", 1);
  }

  void count_drops(Ring& ring) {
    RingHeader& h = ring.header();
    const auto settle = [](std::atomic<std::uint64_t>& said, std::atomic<std::uint64_t>& counted, std::string_view signal) {
      const std::uint64_t now = said.load(std::memory_order_relaxed), before = counted.load(std::memory_order_relaxed);
      if (now == before) return;
      count(signal, "queue_full", now - before);
      counted.store(now, std::memory_order_relaxed);
    };
    settle(h.dropped_logs, h.counted_logs, "logs");
    settle(h.dropped_spans, h.counted_spans, "spans");
  }

  void finish_round(std::uint64_t logs_before, std::uint64_t spans_before) {
    static const BoundCounter logs = kTaken.bind("logs"), spans = kTaken.bind("spans");
    if (totals_.logs > logs_before) logs.add(static_cast<double>(totals_.logs - logs_before));
    if (totals_.spans > spans_before) spans.add(static_cast<double>(totals_.spans - spans_before));
    if (round_ns_ - housekeeping_ns_ < 1'000'000'000) return;  // not of the wall clock, which may be set back
    housekeeping_ns_ = round_ns_;
    detail::recalibrate();
    detail::renew_exemplars();
    double depth = 0;
    for (std::size_t i = 0; i < outlet_->rings(); ++i) depth += static_cast<double>(outlet_->ring(i).unaccounted());
    kDepth.set(depth);
    tail_.expire(round_ns_);
    const TailKeep::Totals& t = tail_.totals();
    totals_.kept = t.kept + kept_before_;
    totals_.forgotten = t.forgotten + forgotten_before_;
    count("spans", "tail_limit", t.dropped - tail_counted_.dropped);
    if (t.forgotten > tail_counted_.forgotten) kUnsampled.add(static_cast<double>(t.forgotten - tail_counted_.forgotten));
    tail_counted_ = t;
    tell_limits(wall_ns(), false);
  }

  void tell_limits(std::int64_t now, bool all) {
    if (const std::uint64_t lost = std::exchange(room_again_, 0); lost > 0) kLog.warn("the log file takes lines again; those in between are in no file", {f::count(static_cast<std::int64_t>(lost))});
    for (const RateLimit::Bite& bite : limit_.due(now, all)) {
      Context context;
      if (auto tenant = TenantId::parse(bite.tenant)) context.tenant_id = *tenant;
      const ContextScope scope(std::move(context));
      kLog.warn("log lines over the tenant's rate were dropped", {f::count(bite.lost), f::limit(static_cast<std::int64_t>(options_.tenant_lines_per_second))});
    }
  }

  void take(const RecordView& record, bool internal) {
    if (record.head().kind == RecordKind::kLog) {
      take_log(record, internal);
      return;
    }
    ++totals_.spans;
    if (internal) return;
    if (record.head().sampling == SamplingReason::kUndecided) tail_now_->add(record, round_ns_);
    else keep_span(record, record.head().sampling);
  }

  // Of a dead process, a record whose line is written: its export is not certain.
  void export_again(const RecordView& record) {
    if (!feed_.on()) return;
    if (record.head().kind == RecordKind::kLog) feed_.add_log(record, *resource_now_);
    else if (record.head().sampling != SamplingReason::kUndecided) feed_.add_span(record, record.head().sampling, *resource_now_);
  }

  void take_log(const RecordView& record, bool internal) {
    ++totals_.logs;
    const RecordHead& h = record.head();
    const bool error = h.level == Level::kError;
    const std::size_t begin = chunk_.text.size();
    if (recovering_ != nullptr) {
      append_line(chunk_.text, record, *resource_now_);
      const bool is_there = recovering_->take(std::string_view(chunk_.text).substr(begin));
      chunk_.text.resize(begin);
      if (is_there) {  // its process died between the write and the note of it
        export_again(record);
        return;
      }
    }
    if (!error && !internal && !limit_.off() && !limit_.take(record.tenant(), h.ns)) {
      kDropped.add(1, "logs", "tenant_rate");
      return;
    }
    append_line(chunk_.text, record, *resource_now_);
    const std::size_t end = chunk_.text.size();
    chunk_.end_line(begin, error);
    if (!internal && rows_ && rows_->wanted() && rows_->admit(h.trace_id, error, true)) {
      rows_->add(to_log_record(record, *resource_now_, chunk_.text.substr(begin, end - begin)));
    }
    if (feed_.on()) feed_.add_log(record, *resource_now_);
    if (chunk_.text.size() >= kChunk) write_chunk();
  }

  void keep_span(const RecordView& span, SamplingReason reason) {
    if (feed_.on()) feed_.add_span(span, reason, *resource_now_);
    if (rows_ && rows_->wanted() && rows_->admit(span.head().trace_id, span.head().status == SpanStatus::kError, false)) {
      rows_->add(to_span_record(span, *resource_now_));
    }
  }

  static std::array<std::uint8_t, 16> trace_bytes(std::string_view hex) {
    const auto parsed = TraceId::parse(hex);
    return parsed ? parsed->bytes() : std::array<std::uint8_t, 16>{};
  }

  void take_accepted_logs() {
    std::vector<Accepted> logs;
    {
      Lock lock(mutex_);
      logs.swap(accepted_logs_);
    }
    totals_.logs += logs.size();
    for (auto& [log, line] : logs) {
      const bool error = log.level == Level::kError;
      if (line) {
        const std::size_t begin = chunk_.text.size();
        chunk_.text.append(log.line);
        chunk_.end_line(begin, error);
        if (chunk_.text.size() >= kChunk) write_chunk();
      }
      if (feed_.on()) export_log(log);
      if (rows_ && rows_->wanted() && rows_->admit(trace_bytes(log.trace_id), error, true)) rows_->add(std::move(log));
    }
  }

  void take_accepted_spans() {
    std::vector<SpanRecord> spans;
    {
      Lock lock(mutex_);
      spans.swap(accepted_spans_);
    }
    totals_.spans += spans.size();
    for (SpanRecord& span : spans) {
      const std::string bytes = to_record(span);
      const auto record = RecordView::parse(bytes);
      if (record && record->head().sampling == SamplingReason::kUndecided) {
        tail_.add(*record, round_ns_);
        continue;
      }
      if (!record) count("spans", "encode", 1);
      if (record && feed_.on()) feed_.add_span(*record, record->head().sampling, *resource_now_);
      if (rows_ && rows_->wanted() && rows_->admit(trace_bytes(span.trace_id), span.status == "error", false)) rows_->add(std::move(span));
    }
  }

  void export_log(const LogRecord& log) {
    const std::string bytes = to_record(log);
    if (const auto record = RecordView::parse(bytes)) feed_.add_log(*record, *resource_now_);
    else count("logs", "encode", 1);
  }
  // What cannot be written is counted; an error still goes to standard error.
  void write_chunk() {
    if (chunk_.text.empty()) return;
    if (recovering_ == nullptr && !std::exchange(marked_, true)) mark_.set(log_->place());
    const std::size_t written = log_->write(chunk_.text, wall_ns());
    if (written == chunk_.text.size()) {
      totals_.lines += chunk_.lines;
      if (lost_lines_ > 0) room_again_ += std::exchange(lost_lines_, 0);
    } else {
      output_failed_ = true;
      const auto whole = static_cast<std::uint64_t>(std::count(chunk_.text.begin(), chunk_.text.begin() + static_cast<std::ptrdiff_t>(written), '\n'));
      std::uint64_t lost = chunk_.lines - whole;
      totals_.lines += whole;
      for (const auto& [at, size] : chunk_.errors) {
        if (at + size > written && log_->fd() != STDERR_FILENO && write_all(STDERR_FILENO, std::string_view(chunk_.text).substr(at, size))) --lost;
      }
      if (recovering_ == nullptr) {  // else they stay where they were
        count("logs", "output", lost);
        lost_lines_ += lost;
      }
    }
    chunk_.clear();
  }

  // After the end, in a forked child, or an ERROR that the disk refused: no lock, one write.
  void write_late(std::string_view bytes) noexcept {
    const auto record = RecordView::parse(bytes);
    if (!record || record->head().kind != RecordKind::kLog) return;
    std::string line;
    append_line(line, *record, options_.resource);
    line.push_back('\n');
    if (!log_->write_late(line)) [[maybe_unused]] const auto written = write_all(STDERR_FILENO, line);
  }

  void drain_late() {
    Lock draining(drain_mutex_);
    while (round(true)) {
    }
  }

  struct Turn {
    Ring* ring;
    std::size_t used;
    std::uint64_t records;
  };

  BackendOptions options_;
  const std::string dir_;
  std::unique_ptr<LogFile> log_;
  RingOutlet* const outlet_;  // never freed

  // Of whoever drains: the backend thread, and after its end those who push late.
  Mutex drain_mutex_;
  std::unique_ptr<RowFeed> rows_;
  ExportFeed feed_;
  RateLimit limit_;
  TailKeep tail_;
  TailKeep* tail_now_ = &tail_;  // another one for records of a dead process
  std::uint64_t kept_before_ = 0, forgotten_before_ = 0;  // of those
  TailKeep::Totals tail_counted_;
  std::int64_t round_ns_ = 0;  // steady clock, once per round
  const Resource* resource_now_ = &options_.resource;
  WrittenLines* recovering_ = nullptr;  // while records of a dead process are taken: what the log has of them
  LogMark mark_;
  bool marked_ = false;  // lines were written that the rings do not know of yet
  std::int64_t look_again_ns_ = 0;
  Chunk chunk_;
  std::vector<Waiting> waiting_;
  std::vector<Turn> turns_;
  std::vector<std::string_view> readable_;  // by ring
  BackendTotals totals_;
  std::int64_t housekeeping_ns_ = 0;
  std::uint64_t lost_lines_ = 0, room_again_ = 0;  // that the file did not take since it last did; and to be told
  bool busy_ = false, output_failed_ = false, spill_held_ = false;

  mutable Mutex mutex_;  // after drain_mutex_
  CondVar done_;
  std::vector<Accepted> accepted_logs_ STELLA_GUARDED_BY(mutex_);
  std::vector<SpanRecord> accepted_spans_ STELLA_GUARDED_BY(mutex_);
  BackendTotals shown_ STELLA_GUARDED_BY(mutex_);
  bool ending_ STELLA_GUARDED_BY(mutex_) = false, stopping_ STELLA_GUARDED_BY(mutex_) = false;
  std::uint64_t asked_ STELLA_GUARDED_BY(mutex_) = 0;
  std::uint64_t answered_ = 0;  // written by the thread under mutex_
  std::thread thread_;
};

Result<std::unique_ptr<Backend>> Backend::install(BackendOptions options) {
  std::unique_ptr<LogFile> log = STELLA_TRY(LogFile::open(options.log_path, options.rotation));
  std::string dir = STELLA_TRY(telemetry_dir(options.dir, options.installation));
  auto made = Instance::create(dir, options.resource, options.installation);
  if (!made) {  // the directory may just have gone, as that of a platform that was no more
    dir = STELLA_TRY(telemetry_dir(options.dir, options.installation));
    made = Instance::create(dir, options.resource, options.installation);
  }
  Instance instance = STELLA_TRY(std::move(made));
  set_resource(options.resource);
  set_level(options.level);
  watch_process();
  if (options.exporter) watch_exporter(options.exporter);
  auto* const impl = new Impl(std::move(options), std::move(dir), std::move(instance), std::move(log));
  impl->start();
  return std::unique_ptr<Backend>(new Backend(impl));
}

Backend::~Backend() { impl_->stop(); }
void Backend::set_row_sink(std::shared_ptr<RowSink> sink) { impl_->set_row_sink(std::move(sink)); }
bool Backend::flush(Deadline deadline) { return impl_->flush(deadline); }
void Backend::accept(Records records, bool lines) { impl_->accept(std::move(records), lines); }
Outlet& Backend::outlet() { return impl_->outlet(); }
void Backend::reopen() noexcept { impl_->reopen(); }
BackendTotals Backend::totals() const { return impl_->totals(); }

}  // namespace stella::telemetry
