// What is sent when, what waits, and what goes when there is no room: one thread per signal, so that no signal waits for another.
#include "stella/telemetry/exporter.h"

#include <cerrno>
#include <cstring>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <thread>

#include "client.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/log.h"
#include "stream.h"
#include "timing.h"

namespace stella::telemetry {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr Logger kLog{"telemetry.export"};
constexpr std::chrono::seconds kSync{1}, kSpoolRetry{1}, kTellAgain{60};

// Batches with errors wait in a stream of their own, so that others can go first when the disk is full.
constexpr std::size_t kStreams = 4, kErrorLogs = 3;
constexpr std::array<std::string_view, kStreams> kStreamNames{"traces", "metrics", "logs", "errors"};
std::size_t stream_of(const Batch& batch) {
  return batch.signal == Signal::kLogs && batch.errors > 0 ? kErrorLogs : static_cast<std::size_t>(batch.signal);
}
ThreadName name_of(Signal lane) {
  switch (lane) {
    case Signal::kTraces: return "otlp-traces";
    case Signal::kMetrics: return "otlp-metrics";
    case Signal::kLogs: break;
  }
  return "otlp-logs";
}
std::size_t lane_of(std::size_t stream) { return std::min(stream, static_cast<std::size_t>(Signal::kLogs)); }

// Attempts that fail over one batch before the next one is tried in its place, and how long one that is set aside waits at least.
constexpr std::uint32_t kSuspect = 5;

class SystemTiming final : public Timing {
 public:
  Steady::time_point now() override { return Steady::now(); }
  std::int64_t unix_seconds() override { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }
  std::int64_t random(std::int64_t most) override {
    thread_local std::mt19937_64 source{std::random_device{}()};
    return std::uniform_int_distribution<std::int64_t>(0, most)(source);
  }
};

class OtlpExporter final : public Exporter {
 public:
  OtlpExporter(ExporterOptions options, std::shared_ptr<Timing> timing)
      : options_(with_user_agent(std::move(options))), timing_(std::move(timing)), lanes_{Lane{Signal::kTraces}, Lane{Signal::kMetrics}, Lane{Signal::kLogs}} {
    for (std::size_t i = 0; i < kStreams; ++i) streams_.emplace_back(StreamLimits{options_.queue_bytes, options_.spool.segment_bytes});
  }

  Result<void> start() {
    for (Lane& lane : lanes_) {
      const TargetOptions& target = options_.target(lane.signal);
      if (!target.enabled) continue;
      lane.client = STELLA_TRY(target.protocol == OtlpProtocol::kGrpc ? make_grpc_client(options_, lane.signal)
                                                                      : make_http_client(options_, lane.signal, [timing = timing_] { return timing->unix_seconds(); }));
    }
    open_spool();
    timing_->on_move([this] {
      const Lock lock(mutex_);
      changed_.notify_all();
    });
    for (Lane& lane : lanes_) {
      if (lane.client) lane.thread = start_thread(name_of(lane.signal), [this, &lane] { run(lane); });
    }
    return {};
  }

  ~OtlpExporter() override {
    timing_->on_move({});
    stop_.store(true);
    {
      const Lock lock(mutex_);
      changed_.notify_all();
    }
    for (Lane& lane : lanes_) {
      if (lane.thread.joinable()) lane.thread.join();
    }
    tell_what_is_lost();
  }

  bool offer(Batch batch) noexcept override {
    const std::size_t i = stream_of(batch);
    const std::uint32_t items = batch.items;
    SignalStats& stats = lanes_[lane_of(i)].stats;
    // One record of a stream is written after the other; nobody but the callers of offer() waits for that, and for the disk.
    const Lock writing(writing_[i]);
    open_spool();
    SpoolWork room;
    std::optional<SpoolWrite> write;
    DropReason reason = DropReason::kSpoolFull;
    {
      const Lock lock(mutex_);
      while (late_[i]) changed_.wait_until(mutex_, Deadline::after(kSync));  // one record after the other
      if (!lanes_[lane_of(i)].client) reason = DropReason::kDisabled;
      else if (batch.payload.size() > options_.queue_bytes) reason = DropReason::kTooLarge;
      else if (!streams_[i].on_disk() || make_room(i, batch.payload.size() + 32, room)) write = streams_[i].begin(++order_, std::move(batch), timing_->unix_seconds());
      offering_[i] = write.has_value();
    }
    room.run();
    if (write) write->run();
    const Lock lock(mutex_);
    stats.offered += items;
    offering_[i] = false;
    if (!write) return drop(stats, items, reason);
    bool disk_failed = false;
    const Stream::Taken taken = streams_[i].finish(std::move(*write), disk_failed);
    stats.spool_failures += disk_failed ? 1 : 0;
    if (taken == Stream::Taken::kNoRoom) return drop(stats, items, DropReason::kQueueFull);
    changed_.notify_all();
    return true;
  }

  bool flush(Deadline deadline) override {
    const Lock lock(mutex_);
    const std::uint64_t goal = order_;
    for (Lane& lane : lanes_) {
      if (!lane.told_when) lane.next_attempt = {};  // what the target asked for is respected
    }
    for (Stream& stream : streams_) stream.hurry();
    changed_.notify_all();
    while (waits_up_to(goal)) {
      if (deadline.passed() || stop_.load()) return false;
      changed_.wait_until(mutex_, deadline);
    }
    return true;
  }

  ExportStats stats() const override {
    const Lock lock(mutex_);
    ExportStats out;
    for (const Lane& lane : lanes_) out.signals[static_cast<std::size_t>(lane.signal)] = lane.stats;
    for (std::size_t i = 0; i < kStreams; ++i) {
      SignalStats& s = out.signals[lane_of(i)];
      const Stream& stream = streams_[i];
      s.queued += stream.items_in_memory();
      s.unspooled += stream.items_in_memory_only();
      s.queue_bytes += stream.memory_bytes();
      s.spooled += stream.items_on_disk_only();
      s.spool_bytes += stream.waiting_bytes();
      for (const Stream::Entry& entry : stream.aside()) s.aside += entry.items;
    }
    return out;
  }

 private:
  enum class Turn : std::uint8_t {
    kFront,  // the oldest
    kProbe,  // one behind it, because the oldest failed again and again: is it the batch, or the target?
    kAside,  // one that was set aside
  };
  // What a lane sends.
  struct Attempt {
    Turn turn = Turn::kFront;
    std::size_t stream = 0;
    std::uint64_t key = 0;
    SpoolRead read;
  };
  struct Lane {
    explicit Lane(Signal s) : signal(s) {}
    Signal signal;
    std::unique_ptr<Client> client;
    std::thread thread;
    SignalStats stats;
    SteadyClock::time_point next_attempt{};  // the past: at once
    bool told_when = false;                  // by the target
    int failures = 0;                        // in a row
    std::optional<std::pair<std::size_t, std::uint64_t>> under_way;  // stream and key
    bool probed = false;                     // the last attempt was a probe: now the front again
    std::size_t probe = 0;                   // which of those behind it is the next
    std::optional<std::uint64_t> verdict;    // this front failed, a probe did not: its next failure is its own
    SteadyClock::time_point told{};          // when the log last said that batches are refused
  };

  static ExporterOptions with_user_agent(ExporterOptions options) {
    if (options.user_agent.empty()) options.user_agent = "stella-telemetry/" STELLA_VERSION;
    return options;
  }

  static bool drop(SignalStats& stats, std::uint64_t items, DropReason reason) {
    stats.dropped[static_cast<std::size_t>(reason)] += items;
    return false;
  }

  // Opens what is not open yet, at most every second. The disk is read without the lock.
  void open_spool() {
    if (options_.spool.dir.empty() || spool_open_.load(std::memory_order_acquire)) return;
    if (opening_.exchange(true)) return;  // another thread does
    bool due = false;
    {
      const Lock lock(mutex_);
      due = timing_->now() >= spool_retry_;
    }
    if (due) {
      bool all = true;
      for (std::size_t i = 0; i < kStreams; ++i) all = open_stream(i) && all;
      spool_open_.store(all, std::memory_order_release);
    }
    opening_.store(false);
  }

  bool open_stream(std::size_t i) {
    {
      const Lock lock(mutex_);
      if (streams_[i].on_disk()) return true;
    }
    auto opened = Stream::open(options_.spool.dir + "/" + std::string(kStreamNames[i]));
    const Lock lock(mutex_);
    SignalStats& stats = lanes_[lane_of(i)].stats;
    if (!opened) {
      ++stats.spool_failures;
      spool_retry_ = timing_->now() + kSpoolRetry;
      if (!std::exchange(spool_told_, true)) kLog.warn("the telemetry spool cannot be used; what waits is kept in memory", {f::error(opened.error())});
      return false;
    }
    const Stream::Recovered found = streams_[i].adopt(std::move(*opened));
    stats.recovered += found.items + found.damaged_items + found.torn_items;
    stats.damaged_records += found.damaged_records;
    stats.torn_records += found.torn_records;
    drop(stats, found.damaged_items, DropReason::kCorrupt);
    drop(stats, found.torn_items, DropReason::kTorn);
    order_ = std::max(order_, found.last_order);
    if (found.damaged_records > 0) kLog.warn("damaged records in the telemetry spool were skipped", {f::count(static_cast<std::int64_t>(found.damaged_records)), f::stream(kStreamNames[i])});
    if (found.torn_records > 0) kLog.warn("a batch that a process was writing to the telemetry spool when it ended was cut off", {f::count(static_cast<std::int64_t>(found.torn_items)), f::stream(kStreamNames[i])});
    return true;
  }

  // Old files go until `size` more bytes fit: traces first, then metrics, then logs, logs with errors last; never one that matters more
  // than the newcomer's.
  bool make_room(std::size_t newcomer, std::uint64_t size, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    const auto lane_bytes = [this](std::size_t lane) STELLA_REQUIRES(mutex_) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < kStreams; ++i) sum += lane_of(i) == lane ? streams_[i].disk_bytes() : 0;
      return sum;
    };
    const std::size_t lane = lane_of(newcomer);
    while (true) {
      const bool lane_full = lane_bytes(lane) + size > options_.spool.signal_bytes[lane];
      const bool full = lane_bytes(0) + lane_bytes(1) + lane_bytes(2) + size > options_.spool.total_bytes;
      if (!lane_full && !full) return true;
      const auto of_use = [&](std::size_t i) { return !lane_full || lane_of(i) == lane; };
      bool went = false;
      for (std::size_t i = 0; i < kStreams && !went; ++i) went = of_use(i) && streams_[i].drop_settled(work);
      for (std::size_t i = 0; i <= newcomer && !went; ++i) went = of_use(i) && drop_oldest(i, work);
      if (!went) return false;
    }
  }

  // Without anything going.
  bool has_room(std::size_t i, std::uint64_t size) const STELLA_REQUIRES(mutex_) {
    std::uint64_t all = size, lane = size;
    for (std::size_t k = 0; k < kStreams; ++k) {
      all += streams_[k].disk_bytes();
      if (lane_of(k) == lane_of(i)) lane += streams_[k].disk_bytes();
    }
    return all <= options_.spool.total_bytes && lane <= options_.spool.signal_bytes[lane_of(i)];
  }

  bool drop_oldest(std::size_t i, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    Lane& lane = lanes_[lane_of(i)];
    auto [gone, unlinked] = streams_[i].drop_oldest(lane.under_way && lane.under_way->first == i ? std::optional(lane.under_way->second) : std::nullopt);
    work.add(std::move(unlinked));
    for (const Stream::Entry& entry : gone) drop(lane.stats, entry.items, DropReason::kSpoolFull);
    return !gone.empty();
  }

  bool waits_up_to(std::uint64_t goal) const STELLA_REQUIRES(mutex_) {
    const auto waits = [goal](const Stream::Entry& entry) { return entry.order <= goal; };
    for (std::size_t i = 0; i < kStreams; ++i) {
      const Stream& s = streams_[i];
      if (!lanes_[lane_of(i)].client) continue;  // what an earlier process left of a signal that is off now waits for nobody
      if ((!s.empty() && waits(s.front())) || std::any_of(s.aside().begin(), s.aside().end(), waits)) return true;
    }
    return false;
  }

  // The stream whose first entry is the oldest of the lane.
  std::optional<std::size_t> next_stream(const Lane& lane) const STELLA_REQUIRES(mutex_) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal) || streams_[i].empty()) continue;
      if (!best || streams_[i].front().order < streams_[*best].front().order) best = i;
    }
    return best;
  }

  Attempt attempt(Turn turn, std::size_t stream, const Stream::Entry& entry) const STELLA_REQUIRES(mutex_) { return {turn, stream, entry.key, streams_[stream].reading(entry)}; }

  std::optional<Attempt> pick(Lane& lane, SteadyClock::time_point now) STELLA_REQUIRES(mutex_) {
    if (now < lane.next_attempt) return std::nullopt;
    const auto stream = next_stream(lane);
    if (lane.failures == 0 || !stream) {
      if (auto due = pick_aside(lane, now)) return due;
    }
    if (!stream) return std::nullopt;
    const Stream::Entry& front = streams_[*stream].front();
    if (front.failures >= kSuspect && lane.verdict != front.key && !std::exchange(lane.probed, true)) {
      if (auto probe = pick_probe(lane, *stream)) return probe;
    }
    lane.probed = false;
    return attempt(Turn::kFront, *stream, front);
  }

  // Another one at each time, so that a second batch that the target does not take hides no others.
  std::optional<Attempt> pick_probe(Lane& lane, std::size_t front) STELLA_REQUIRES(mutex_) {
    std::size_t others = 0;
    for (std::size_t i = 0; i < kStreams; ++i) others += lane_of(i) == lane_of(front) ? streams_[i].size() - (i == front ? 1 : 0) : 0;
    if (others == 0) return std::nullopt;
    std::size_t n = lane.probe++ % others;
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != lane_of(front)) continue;
      const std::size_t first = i == front ? 1 : 0, size = streams_[i].size() - first;
      if (n < size) return attempt(Turn::kProbe, i, streams_[i].at(first + n));
      n -= size;
    }
    return std::nullopt;
  }

  std::optional<Attempt> pick_aside(const Lane& lane, SteadyClock::time_point now) const STELLA_REQUIRES(mutex_) {
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
      for (const Stream::Entry& entry : streams_[i].aside()) {
        if (entry.not_before <= now) return attempt(Turn::kAside, i, entry);
      }
    }
    return std::nullopt;
  }

  // When there is something to do next, at most a second from now.
  SteadyClock::time_point next_time(const Lane& lane, SteadyClock::time_point now) const STELLA_REQUIRES(mutex_) {
    auto until = now + kSync;
    if (next_stream(lane)) until = std::min(until, lane.next_attempt);
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
      for (const Stream::Entry& entry : streams_[i].aside()) until = std::min(until, std::max(entry.not_before, lane.next_attempt));
    }
    return until;
  }

  void run(Lane& lane) {
    SteadyClock::time_point synced = timing_->now();
    while (!stop_.load()) {
      std::optional<Attempt> attempt;
      std::vector<std::shared_ptr<const Fd>> dirty;
      SpoolWork work;
      bool tick = false;
      {
        const Lock lock(mutex_);
        const auto now = timing_->now();
        expire(lane, work);
        attempt = pick(lane, now);
        if (attempt) {
          lane.under_way = {attempt->stream, attempt->key};
          ++lane.stats.attempts;
          lane.stats.retries += lane.failures > 0 || attempt->turn == Turn::kAside ? 1 : 0;
        } else {
          changed_.wait_until(mutex_, Deadline::after(std::max(next_time(lane, now) - now, SteadyClock::duration::zero())));
        }
        if (now - synced >= kSync) {
          synced = now;
          tick = true;
          dirty = take_dirty(lane);
        }
      }
      work.run();
      for (const auto& file : dirty) ::fdatasync(file->get());
      if (tick) spool_late(lane);
      if (attempt && !carry_out(lane, *attempt)) return;
    }
  }

  // What the disk refused when it came, once it has room: the oldest first, until it refuses again. Nothing goes for it.
  void spool_late(const Lane& lane) {
    bool any = false;
    {
      const Lock lock(mutex_);
      for (std::size_t i = 0; i < kStreams; ++i) any = any || (lane_of(i) == static_cast<std::size_t>(lane.signal) && streams_[i].items_in_memory_only() > 0);
    }
    if (!any) return;
    open_spool();
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
      std::uint64_t all = 0;
      for (std::optional<std::uint64_t> items; !stop_.load() && (items = one_late(i)); all += *items) {
      }
      if (all > 0) kLog.info("the telemetry spool has room again; what waited in memory is on disk", {f::stream(kStreamNames[i]), f::count(static_cast<std::int64_t>(all))});
    }
  }
  // Its items; nothing where there is none, or the disk does not take it.
  std::optional<std::uint64_t> one_late(std::size_t i) {
    std::optional<SpoolWrite> write;
    {
      const Lock lock(mutex_);
      const std::uint64_t bytes = streams_[i].late_bytes();
      if (bytes == 0 || offering_[i] || !has_room(i, bytes)) return std::nullopt;
      write = streams_[i].begin_late();
      late_[i] = true;
    }
    write->run();
    SpoolWork work;
    bool disk_failed = false;
    std::uint64_t items = 0;
    {
      const Lock lock(mutex_);
      items = streams_[i].finish_late(std::move(*write), disk_failed, work);
      lanes_[lane_of(i)].stats.spooled_late += items;
      late_[i] = false;
      changed_.notify_all();
    }
    work.run();
    return disk_failed ? std::nullopt : std::optional(items);
  }

  // False: the exporter ends.
  bool carry_out(Lane& lane, const Attempt& attempt) {
    const SpoolBytes read = attempt.read.run();
    std::optional<Answer> answer;
    if (read.payload) {
      const auto began = SteadyClock::now();
      answer = lane.client->send(*read.payload, stop_);
      kLog.debug("telemetry batch sent", {f::stream(to_string(lane.signal)), f::bytes(static_cast<std::int64_t>(read.payload->size())), f::reason(answer->why),
                                          f::state(answer->kind == Answer::Kind::kTaken ? "taken" : answer->kind == Answer::Kind::kRetry ? "again" : "refused"), f::duration(SteadyClock::now() - began)});
    }
    // Out of descriptors or memory says nothing of the entry; a bad sector does, so that others may overtake it.
    else if (read.error != 0) answer = Answer{Answer::Kind::kRetry, 0, std::nullopt, "the telemetry spool cannot be read: " + std::string(std::strerror(read.error)), read.error == EIO};
    SpoolWork work;
    {
      const Lock lock(mutex_);
      lane.under_way.reset();
      if (!answer) {
        settle(lane, attempt, 0, DropReason::kCorrupt, work);
        ++lane.stats.damaged_records;
      } else {
        if (stop_.load() && answer->kind == Answer::Kind::kRetry) return false;
        take_answer(lane, attempt, *answer, work);
      }
      changed_.notify_all();
    }
    work.run();
    return true;
  }

  std::vector<std::shared_ptr<const Fd>> take_dirty(const Lane& lane) STELLA_REQUIRES(mutex_) {
    std::vector<std::shared_ptr<const Fd>> out;
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
      for (auto& file : streams_[i].take_dirty()) out.push_back(std::move(file));
    }
    return out;
  }

  void take_answer(Lane& lane, const Attempt& attempt, const Answer& answer, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    if (answer.kind == Answer::Kind::kRetry) return take_failure(lane, attempt, answer, work);
    const bool was_away = lane.stats.away;
    lane.failures = 0;
    lane.told_when = false;
    lane.next_attempt = {};
    lane.stats.away = false;
    lane.stats.away_because.clear();
    if (attempt.turn == Turn::kProbe) {
      // The target is there. Was it the batch at the front? Its next attempt tells, at once.
      if (const auto stream = next_stream(lane)) lane.verdict = streams_[*stream].front().key;
    }
    if (answer.kind == Answer::Kind::kTaken) {
      ++lane.stats.batches_sent;
      settle(lane, attempt, answer.rejected, std::nullopt, work);
      if (was_away) kLog.info("the telemetry target is back", {f::stream(to_string(lane.signal))});
    } else {
      settle(lane, attempt, 0, DropReason::kRefused, work);
    }
    const auto now = timing_->now();
    if ((answer.kind == Answer::Kind::kRefused || answer.rejected > 0) && (lane.told == SteadyClock::time_point{} || now - lane.told >= kTellAgain)) {
      lane.told = now;
      kLog.warn("the telemetry target refused items; they are not sent again", {f::stream(to_string(lane.signal)), f::reason(answer.why.empty() ? "partial success" : answer.why)});
    }
  }

  void take_failure(Lane& lane, const Attempt& attempt, const Answer& answer, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    Stream& stream = streams_[attempt.stream];
    Stream::Entry* const entry = stream.find(attempt.key);
    const bool its_own = answer.about_batch && entry != nullptr && (attempt.turn == Turn::kAside || (attempt.turn == Turn::kFront && lane.verdict == attempt.key));
    if (its_own) {
      if (attempt.turn == Turn::kFront) {
        lane.verdict.reset();
        lane.failures = 0;
        lane.next_attempt = {};
        kLog.warn("the telemetry target takes other batches but not this one; it is set aside", {f::stream(to_string(lane.signal)), f::reason(answer.why)});
      }
      const milliseconds wait = aside_wait(entry->rounds);
      stream.set_aside(attempt.key, timing_->now() + std::max(wait, asked(answer)));
      bound_aside(lane, attempt.stream, work);
      return;
    }
    if (entry != nullptr && answer.about_batch && attempt.turn == Turn::kFront) ++entry->failures;
    if (!std::exchange(lane.stats.away, true)) kLog.warn("the telemetry target does not take what is sent; it waits", {f::stream(to_string(lane.signal)), f::reason(answer.why)});
    lane.stats.away_because = answer.why;
    lane.told_when = asked(answer).count() > 0;
    lane.next_attempt = timing_->now() + std::max(backoff(lane.failures), asked(answer));
    ++lane.failures;
  }

  milliseconds asked(const Answer& answer) const {
    return answer.retry_after ? std::clamp(*answer.retry_after, milliseconds(0), options_.backoff.most_retry_after) : milliseconds(0);
  }

  // The entry is done with.
  void settle(Lane& lane, const Attempt& attempt, std::uint64_t rejected, std::optional<DropReason> dropped, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    Stream& stream = streams_[attempt.stream];
    const Stream::Entry* const entry = stream.find(attempt.key);
    if (entry == nullptr) return;
    const std::uint64_t items = entry->items;
    work.add(stream.settle(attempt.key));
    if (dropped) {
      drop(lane.stats, items, *dropped);
      return;
    }
    rejected = std::min(rejected, items);
    lane.stats.rejected += rejected;
    lane.stats.sent += items - rejected;
  }

  // What was set aside does not wait for ever.
  void expire(Lane& lane, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (lane_of(i) != static_cast<std::size_t>(lane.signal) || streams_[i].aside().empty()) continue;
      const std::int64_t oldest = timing_->unix_seconds() - options_.backoff.most_aside.count();
      std::vector<std::uint64_t> old;
      for (const Stream::Entry& entry : streams_[i].aside()) {
        if (entry.taken <= oldest) old.push_back(entry.key);
      }
      for (const std::uint64_t key : old) expire(lane, i, key, work);
    }
  }
  void expire(Lane& lane, std::size_t stream, std::uint64_t key, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    drop(lane.stats, streams_[stream].find(key)->items, DropReason::kExpired);
    work.add(streams_[stream].settle(key));
    kLog.warn("a telemetry batch that the target never took is dropped", {f::stream(to_string(lane.signal))});
    changed_.notify_all();
  }
  // Where no disk has them, they take at most a quarter of the queue from the others.
  void bound_aside(Lane& lane, std::size_t i, SpoolWork& work) STELLA_REQUIRES(mutex_) {
    while (streams_[i].aside_memory_bytes() > options_.queue_bytes / 4) {
      const auto& aside = streams_[i].aside();
      const auto oldest = std::find_if(aside.begin(), aside.end(), [](const Stream::Entry& e) { return e.payload != nullptr; });
      expire(lane, i, oldest->key, work);
    }
  }

  // Full jitter: a random time up to first * 2^n, at most `most`.
  milliseconds backoff(int failures) {
    const std::int64_t most = std::min(options_.backoff.most.count(), options_.backoff.first.count() << std::min(failures, 20));
    return milliseconds(timing_->random(std::max<std::int64_t>(1, most)));
  }
  // Not less than the longest wait of others, twice as long each time.
  milliseconds aside_wait(std::uint32_t rounds) {
    const std::int64_t base = std::max<std::int64_t>(1, options_.backoff.most.count());
    return milliseconds(std::min(std::max(base, options_.backoff.most_retry_after.count()), base << std::min(rounds, 20u)) + timing_->random(base));
  }

  // At the end: what no disk has goes with the process.
  void tell_what_is_lost() {
    const Lock lock(mutex_);
    std::uint64_t lost = 0;
    for (const Stream& stream : streams_) lost += stream.items_in_memory_only();
    if (lost > 0) kLog.warn("telemetry items that were not sent and are in no spool end with the process", {f::count(static_cast<std::int64_t>(lost)), f::reason(to_string(DropReason::kShutdown))});
  }

  const ExporterOptions options_;
  const std::shared_ptr<Timing> timing_;
  std::atomic<bool> stop_{false};
  std::array<Mutex, kStreams> writing_;  // before mutex_
  mutable Mutex mutex_;
  CondVar changed_;
  std::array<bool, kStreams> offering_{}, late_{};  // under mutex_: who has the SpoolWrite of a stream
  std::vector<Stream> streams_ STELLA_GUARDED_BY(mutex_);
  std::array<Lane, kSignals> lanes_;  // members besides client and thread under mutex_
  std::uint64_t order_ STELLA_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> spool_open_{false}, opening_{false};
  bool spool_told_ STELLA_GUARDED_BY(mutex_) = false;
  SteadyClock::time_point spool_retry_ STELLA_GUARDED_BY(mutex_){};
};

}  // namespace

std::string_view to_string(DropReason reason) {
  constexpr std::array<std::string_view, kDropReasons> kNames{"queue_full", "spool_full", "refused", "corrupt", "too_large", "disabled", "shutdown", "expired", "torn"};
  return kNames[static_cast<std::size_t>(reason)];
}

std::shared_ptr<Timing> system_timing() { return std::make_shared<SystemTiming>(); }

Result<std::unique_ptr<Exporter>> make_otlp_exporter(ExporterOptions options, std::shared_ptr<Timing> timing) {
  auto exporter = std::make_unique<OtlpExporter>(std::move(options), std::move(timing));
  STELLA_TRY_VOID(exporter->start());
  return std::unique_ptr<Exporter>(std::move(exporter));
}

Result<std::unique_ptr<Exporter>> make_otlp_exporter(ExporterOptions options) { return make_otlp_exporter(std::move(options), system_timing()); }

}  // namespace stella::telemetry
