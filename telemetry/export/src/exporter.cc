// What is sent when, what waits, and what goes when there is no room: one thread per signal, so that no signal waits for another.
#include "stella/telemetry/exporter.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <thread>

#include "client.h"
#include "stella/base/sync.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/log.h"
#include "stream.h"

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
std::size_t lane_of(std::size_t stream) { return std::min(stream, static_cast<std::size_t>(Signal::kLogs)); }

class OtlpExporter final : public Exporter {
 public:
  explicit OtlpExporter(ExporterOptions options)
      : options_(with_user_agent(std::move(options))), lanes_{Lane{Signal::kTraces}, Lane{Signal::kMetrics}, Lane{Signal::kLogs}} {
    for (std::size_t i = 0; i < kStreams; ++i) streams_.emplace_back(StreamLimits{options_.queue_bytes, options_.spool.segment_bytes});
    random_.seed(std::random_device{}());
  }

  Result<void> start() {
    for (Lane& lane : lanes_) {
      const TargetOptions& target = options_.target(lane.signal);
      if (!target.enabled) continue;
      lane.client = STELLA_TRY(target.protocol == OtlpProtocol::kGrpc ? make_grpc_client(options_, lane.signal) : make_http_client(options_, lane.signal));
    }
    {
      const Lock lock(mutex_);
      open_spool();
    }
    for (Lane& lane : lanes_) {
      if (lane.client) lane.thread = std::thread([this, &lane] { run(lane); });
    }
    return {};
  }

  ~OtlpExporter() override {
    stop_.store(true);
    {
      const Lock lock(mutex_);
      changed_.notify_all();
    }
    for (Lane& lane : lanes_) {
      if (lane.thread.joinable()) lane.thread.join();
    }
  }

  bool offer(Batch batch) noexcept override {
    const Lock lock(mutex_);
    Lane& lane = lanes_[static_cast<std::size_t>(batch.signal)];
    SignalStats& stats = lane.stats;
    stats.offered += batch.items;
    if (!lane.client) return drop(stats, batch.items, DropReason::kDisabled);
    if (batch.payload.size() > options_.queue_bytes) return drop(stats, batch.items, DropReason::kTooLarge);
    if (!spool_open_ && spool_wanted() && SteadyClock::now() >= spool_retry_) open_spool();
    Stream& stream = streams_[stream_of(batch)];
    const std::size_t size = batch.payload.size() + 32;
    if (stream.on_disk() && !make_room(stream_of(batch), size)) return drop(stats, batch.items, DropReason::kSpoolFull);
    bool disk_failed = false;
    const std::uint32_t items = batch.items;
    const Stream::Taken taken = stream.append(++order_, std::move(batch), disk_failed);
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
    for (const Lane& lane : lanes_) {
      SignalStats& s = out.signals[static_cast<std::size_t>(lane.signal)];
      s = lane.stats;
      for (std::size_t i = 0; i < kStreams; ++i) {
        if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
        s.queued += streams_[i].items_in_memory();
        s.queue_bytes += streams_[i].memory_bytes();
        s.spooled += streams_[i].items_on_disk_only();
        s.spool_bytes += streams_[i].disk_bytes();
      }
    }
    return out;
  }

 private:
  struct Lane {
    explicit Lane(Signal s) : signal(s) {}
    Signal signal;
    std::unique_ptr<Client> client;
    std::thread thread;
    SignalStats stats;
    SteadyClock::time_point next_attempt{};  // of the first batch; the past: at once
    bool told_when = false;                  // by the target
    int failures = 0;                        // in a row
    bool under_way = false;
    std::size_t stream = 0;                  // of what is under way
    SteadyClock::time_point told{};          // when the log last said that batches are refused
  };

  static ExporterOptions with_user_agent(ExporterOptions options) {
    if (options.user_agent.empty()) options.user_agent = "stella-telemetry/" STELLA_VERSION;
    return options;
  }
  bool spool_wanted() const { return !options_.spool.dir.empty(); }

  static bool drop(SignalStats& stats, std::uint64_t items, DropReason reason) {
    stats.dropped[static_cast<std::size_t>(reason)] += items;
    return false;
  }

  void open_spool() STELLA_REQUIRES(mutex_) {
    if (!spool_wanted()) return;
    spool_open_ = true;
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (streams_[i].on_disk()) continue;
      SignalStats& stats = lanes_[lane_of(i)].stats;
      const auto found = streams_[i].open(options_.spool.dir + "/" + std::string(kStreamNames[i]));
      if (!found) {
        ++stats.spool_failures;
        spool_open_ = false;
        spool_retry_ = SteadyClock::now() + kSpoolRetry;
        if (!std::exchange(spool_told_, true)) kLog.warn("the telemetry spool cannot be used; what waits is kept in memory", {f::error(found.error())});
        continue;
      }
      stats.recovered += found->items + found->damaged_items;
      stats.damaged_records += found->damaged_records;
      drop(stats, found->damaged_items, DropReason::kCorrupt);
      order_ = std::max(order_, found->last_order);
      if (found->damaged_records > 0) kLog.warn("damaged records in the telemetry spool were skipped", {f::count(static_cast<std::int64_t>(found->damaged_records)), f::stream(kStreamNames[i])});
    }
  }

  // Old files go until `size` more bytes fit: traces first, then metrics, then logs, logs with errors last; never one that matters more
  // than the newcomer's.
  bool make_room(std::size_t newcomer, std::uint64_t size) STELLA_REQUIRES(mutex_) {
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
      bool went = false;
      for (std::size_t i = 0; i <= newcomer && !went; ++i) {
        if (lane_full && lane_of(i) != lane) continue;
        went = drop_oldest(i);
      }
      if (!went) return false;
    }
  }

  bool drop_oldest(std::size_t i) STELLA_REQUIRES(mutex_) {
    Lane& lane = lanes_[lane_of(i)];
    const auto gone = streams_[i].drop_oldest(lane.under_way && lane.stream == i);
    std::uint64_t items = 0;
    for (const Stream::Entry& entry : gone) items += entry.items;
    drop(lane.stats, items, DropReason::kSpoolFull);
    return !gone.empty();
  }

  bool waits_up_to(std::uint64_t goal) const STELLA_REQUIRES(mutex_) {
    return std::any_of(streams_.begin(), streams_.end(), [&](const Stream& s) { return !s.empty() && s.front().order <= goal; });
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

  void run(Lane& lane) {
    SteadyClock::time_point synced = SteadyClock::now();
    while (!stop_.load()) {
      std::shared_ptr<const std::string> payload;
      std::vector<std::shared_ptr<const Fd>> dirty;
      {
        const Lock lock(mutex_);
        const auto now = SteadyClock::now();
        const auto stream = next_stream(lane);
        if (stream && now >= lane.next_attempt) {
          payload = streams_[*stream].load_front();
          if (payload) {
            lane.under_way = true;
            lane.stream = *stream;
            ++lane.stats.attempts;
            lane.stats.retries += lane.failures > 0 ? 1 : 0;
          } else {
            settle(lane, *stream, 0, DropReason::kCorrupt);
            ++lane.stats.damaged_records;
          }
        } else {
          auto until = now + kSync;
          if (stream) until = std::min(until, lane.next_attempt);
          changed_.wait_until(mutex_, Deadline::after(until - now));
        }
        if (now - synced >= kSync) {
          synced = now;
          for (std::size_t i = 0; i < kStreams; ++i) {
            if (lane_of(i) != static_cast<std::size_t>(lane.signal)) continue;
            if (auto file = streams_[i].take_dirty()) dirty.push_back(std::move(file));
          }
        }
      }
      for (const auto& file : dirty) ::fdatasync(file->get());
      if (!payload) continue;
      const Answer answer = lane.client->send(*payload, stop_);
      const Lock lock(mutex_);
      lane.under_way = false;
      if (stop_.load() && answer.kind == Answer::Kind::kRetry) return;
      take_answer(lane, answer);
      changed_.notify_all();
    }
  }

  void take_answer(Lane& lane, const Answer& answer) STELLA_REQUIRES(mutex_) {
    const bool was_away = lane.stats.away;
    if (answer.kind == Answer::Kind::kRetry) {
      lane.stats.away = true;
      lane.stats.away_because = answer.why;
      lane.told_when = answer.retry_after.has_value();
      lane.next_attempt = SteadyClock::now() + (answer.retry_after ? std::min(*answer.retry_after, options_.backoff.most_retry_after) : backoff(lane.failures));
      ++lane.failures;
      if (!was_away) kLog.warn("the telemetry target does not take what is sent; it waits", {f::stream(to_string(lane.signal)), f::reason(answer.why)});
      return;
    }
    lane.failures = 0;
    lane.told_when = false;
    lane.next_attempt = {};
    lane.stats.away = false;
    lane.stats.away_because.clear();
    if (answer.kind == Answer::Kind::kTaken) {
      ++lane.stats.batches_sent;
      settle(lane, lane.stream, answer.rejected, std::nullopt);
      if (was_away) kLog.info("the telemetry target is back", {f::stream(to_string(lane.signal))});
    } else {
      settle(lane, lane.stream, 0, DropReason::kRefused);
    }
    const auto now = SteadyClock::now();
    if ((answer.kind == Answer::Kind::kRefused || answer.rejected > 0) && now - lane.told >= kTellAgain) {
      lane.told = now;
      kLog.warn("the telemetry target refused items; they are not sent again", {f::stream(to_string(lane.signal)), f::reason(answer.why.empty() ? "partial success" : answer.why)});
    }
  }

  // The first entry of the stream is done with.
  void settle(Lane& lane, std::size_t stream, std::uint64_t rejected, std::optional<DropReason> dropped) STELLA_REQUIRES(mutex_) {
    const std::uint64_t items = streams_[stream].front().items;
    streams_[stream].pop();
    if (dropped) {
      drop(lane.stats, items, *dropped);
      return;
    }
    rejected = std::min(rejected, items);
    lane.stats.rejected += rejected;
    lane.stats.sent += items - rejected;
  }

  // Full jitter: a random time up to first * 2^n, at most `most`.
  milliseconds backoff(int failures) STELLA_REQUIRES(mutex_) {
    const std::int64_t most = std::min(options_.backoff.most.count(), options_.backoff.first.count() << std::min(failures, 20));
    return milliseconds(std::uniform_int_distribution<std::int64_t>(0, std::max<std::int64_t>(1, most))(random_));
  }

  const ExporterOptions options_;
  std::atomic<bool> stop_{false};
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Stream> streams_ STELLA_GUARDED_BY(mutex_);
  std::array<Lane, kSignals> lanes_;  // members besides client and thread under mutex_
  std::uint64_t order_ STELLA_GUARDED_BY(mutex_) = 0;
  bool spool_open_ STELLA_GUARDED_BY(mutex_) = false;
  bool spool_told_ STELLA_GUARDED_BY(mutex_) = false;
  SteadyClock::time_point spool_retry_ STELLA_GUARDED_BY(mutex_){};
  std::mt19937_64 random_ STELLA_GUARDED_BY(mutex_);
};

}  // namespace

std::string_view to_string(DropReason reason) {
  constexpr std::array<std::string_view, kDropReasons> kNames{"queue_full", "spool_full", "refused", "corrupt", "too_large", "disabled", "shutdown"};
  return kNames[static_cast<std::size_t>(reason)];
}

Result<std::unique_ptr<Exporter>> make_otlp_exporter(ExporterOptions options) {
  auto exporter = std::make_unique<OtlpExporter>(std::move(options));
  STELLA_TRY_VOID(exporter->start());
  return std::unique_ptr<Exporter>(std::move(exporter));
}

}  // namespace stella::telemetry
