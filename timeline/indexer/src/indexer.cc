// The loop: leases, batches while there are rows, then wait for a wake-up; publication runs on a thread of its own.
#include "stella/timeline/indexer.h"

#include <algorithm>
#include <map>
#include <span>
#include <thread>
#include <utility>

#include "batch.h"
#include "publisher.h"
#include "queries.h"
#include "stella/base/ids.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::timeline {
namespace {

using Tx = pg::SystemTx<pg::IndexerRole>;
using Clock = std::chrono::steady_clock;

constexpr telemetry::Logger kLog{"timeline.indexer"};
constexpr telemetry::Counter kIndexed{contracts::metrics::kTimelineIndexed};
constexpr telemetry::Gauge kOutbox{contracts::metrics::kOutboxRows};
constexpr telemetry::Gauge kSetAside{contracts::metrics::kOutboxSetAsideRows};
constexpr telemetry::Gauge kOutboxLag{contracts::metrics::kOutboxLagSeconds};
constexpr telemetry::Gauge kPublishLag{contracts::metrics::kTimelinePublishLagEvents};

constexpr std::chrono::hours kPartitionsEvery{6};
constexpr std::chrono::milliseconds kPublisherTick{1000};

template <class Number>
std::string number_array(const std::vector<Number>& items) {
  std::vector<std::string> texts;
  for (const Number item : items) texts.push_back(std::to_string(item));
  return int_array(texts);
}

constexpr std::string_view kNoPartition = "23514";

// Whether rows are refused for what they hold. Otherwise the database is away, busy, or refuses everybody: then no row is to blame and all wait.
bool about_the_row(const Error& error) {
  if (error.code() == contracts::errors::kUnavailable || error.code() == contracts::errors::kTimeout ||
      error.code() == contracts::errors::kDiskFull || error.field("retry") == "yes")
    return false;
  const std::string_view state = error.field("sqlstate");
  if (state.empty()) return error.code() == base_errors::kMalformed;  // of its entry
  // Data, constraints, limits of a value, and what our functions raise.
  constexpr std::string_view kOfData[] = {"22", "23", "54", "P0"};
  return std::any_of(std::begin(kOfData), std::end(kOfData), [&](std::string_view c) { return state.starts_with(c); });
}

// Whether one tenant's log is broken: no row of the outbox is to blame, and nobody else's log is.
bool of_one_tenant(const Error& error) { return !error.field("tenant").empty(); }

}  // namespace

struct Indexer::Impl {
  Impl(pg::SystemPool<pg::IndexerRole>& p, bus::Connection* b, IndexerOptions o) : pool(p), bus(b), options(std::move(o)) {
    if (options.instance.empty()) options.instance = Uuid::v7().str();
    if (bus != nullptr) publisher = std::make_unique<Publisher>(pool, *bus, options);
  }

  Result<void> round();
  void share(std::vector<Lease> busy);
  void help(std::stop_token stop);
  bool take_one() STELLA_REQUIRES(mutex);
  Result<void> keep_leases();
  void measure();
  Result<void> work(const Lease& lease);
  Result<int> taken(const Lease& lease, Timestamp began, BatchResult done);
  Result<int> batch(const Lease& lease, std::span<const std::string> but);
  Result<int> difficult_batch(const Lease& lease, std::span<const std::string> but);
  Result<int> pieces(const Lease& lease, std::span<const std::string> seqs);
  Result<int> rows(const Lease& lease, std::span<const std::string> seqs);
  Result<void> make_months(const Lease& lease, std::span<const std::string> seqs);
  Result<int> set_aside(const Lease& lease, const std::string& seq, const Error& why);
  void note(const Result<void>& done, std::optional<Error>& slot);
  std::vector<int> shards() const;
  void publish_loop(std::stop_token stop);

  pg::SystemPool<pg::IndexerRole>& pool;
  bus::Connection* bus;
  IndexerOptions options;
  std::unique_ptr<Publisher> publisher;

  mutable Mutex mutex;
  CondVar cv;
  bool awake STELLA_GUARDED_BY(mutex) = false;
  std::map<int, Lease> leases STELLA_GUARDED_BY(mutex);
  // Shards with rows, which two threads share: the database's time is most of a batch, and it has a process for each.
  std::vector<Lease> todo STELLA_GUARDED_BY(mutex);
  int at_work STELLA_GUARDED_BY(mutex) = 0;
  std::optional<Error> shard_trouble STELLA_GUARDED_BY(mutex);
  std::optional<Error> index_trouble STELLA_GUARDED_BY(mutex);
  std::optional<Error> publish_trouble STELLA_GUARDED_BY(mutex);

  Mutex leasing;  // before `mutex`
  Clock::time_point next_lease STELLA_GUARDED_BY(leasing){};
  Clock::time_point next_partitions{};
  std::atomic<std::uint64_t> indexed = 0;
  std::atomic<std::uint64_t> repeats = 0;
  std::atomic<std::uint64_t> quarantined = 0;
  std::atomic<std::int64_t> aside = 0;
};

std::vector<int> Indexer::Impl::shards() const {
  Lock lock(mutex);
  std::vector<int> out;
  for (const auto& [shard, lease] : leases) out.push_back(shard);
  return out;
}

void Indexer::Impl::note(const Result<void>& done, std::optional<Error>& slot) {
  Lock lock(mutex);
  if (done) {
    if (slot) kLog.info("the indexer works again");
    slot.reset();
    return;
  }
  // Once per trouble, not once per round.
  if (!slot || slot->code() != done.error().code()) kLog.warn("the indexer cannot go on", {f::error(done.error())});
  slot.emplace(done.error());
}

// With each lease renewal, every few seconds.
void Indexer::Impl::measure() {
  const auto rows = Tx::read(pool, sql::kWaiting);
  if (!rows) return;
  kOutbox.set(static_cast<double>(rows->integer(0, 0)));
  kOutboxLag.set(rows->number(0, 1));
  kPublishLag.set(static_cast<double>(rows->integer(0, 2)));
  kSetAside.set(static_cast<double>(rows->integer(0, 3)));
  aside = rows->integer(0, 3);
}

// Renews what we have, asks for what is free.
Result<void> Indexer::Impl::keep_leases() {
  Lock one_at_a_time(leasing);
  const auto now = Clock::now();
  if (now < next_lease) return {};
  std::vector<int> mine = shards(), wanted;
  std::vector<std::int64_t> fences;
  {
    Lock lock(mutex);
    for (const auto& [shard, lease] : leases) fences.push_back(lease.fence);
  }
  for (int shard = 0; shard < kShards; ++shard)
    if (std::find(mine.begin(), mine.end(), shard) == mine.end()) wanted.push_back(shard);
  const auto ms = static_cast<std::int64_t>(options.lease.count());
  auto kept = [&]() -> Result<std::map<int, std::int64_t>> {
    std::map<int, std::int64_t> held;
    Tx tx = STELLA_TRY(Tx::open(pool));
    if (!mine.empty()) {
      const pg::Rows renewed = STELLA_TRY(tx.query(sql::kRenew, {number_array(mine), number_array(fences), options.instance, ms}));
      for (int i = 0; i < renewed.size(); ++i) {
        const int shard = static_cast<int>(renewed.integer(i, 0));
        held[shard] = fences[static_cast<std::size_t>(std::find(mine.begin(), mine.end(), shard) - mine.begin())];
      }
    }
    if (!wanted.empty()) {
      const pg::Rows got = STELLA_TRY(tx.query(sql::kAcquire, {number_array(wanted), options.instance, ms}));
      for (int i = 0; i < got.size(); ++i) held[static_cast<int>(got.integer(i, 0))] = got.integer(i, 1);
    }
    STELLA_TRY_VOID(tx.commit());
    return held;
  }();
  if (!kept) return std::move(kept.error());
  next_lease = now + options.lease / 3;
  measure();
  Lock lock(mutex);
  leases.clear();
  for (const auto& [shard, fence] : *kept) leases[shard] = {shard, fence, options.instance};
  return {};
}

namespace {

// A batch belongs to many traces: a span of its own that links to them.
void tell_indexed(int shard, const BatchResult& done, Timestamp began) {
  telemetry::Work work(contracts::work::kTimelineIndex, {}, telemetry::SpanKind::kConsumer);
  work.set(f::shard(shard));
  work.started_at(began);
  work.did(static_cast<std::int64_t>(done.logged.size()));
  link_origins(work, done.logged);
}

void tell_failed(int shard, const Error& error) {
  telemetry::Work work(contracts::work::kTimelineIndex, {}, telemetry::SpanKind::kConsumer);
  work.set(f::shard(shard));
  work.fail(error);
}

}  // namespace

Result<int> Indexer::Impl::taken(const Lease& lease, Timestamp began, BatchResult done) {
  if (done.lease_lost) {
    Lock lock(mutex);
    if (auto it = leases.find(lease.shard); it != leases.end() && it->second.fence == lease.fence) leases.erase(it);
    return 0;
  }
  indexed += done.logged.size();
  if (!done.logged.empty()) tell_indexed(lease.shard, done, began);
  kIndexed.add(static_cast<double>(done.logged.size()));
  repeats += static_cast<std::uint64_t>(done.repeats);
  if (publisher) publisher->offer(std::move(done.logged));
  return done.taken;
}

Result<int> Indexer::Impl::batch(const Lease& lease, std::span<const std::string> but) {
  const Timestamp began = Timestamp::now();
  return taken(lease, began, STELLA_TRY(index_batch(pool, lease, options.batch, false, but)));
}

Result<int> Indexer::Impl::rows(const Lease& lease, std::span<const std::string> seqs) {
  const Timestamp began = Timestamp::now();
  return taken(lease, began, STELLA_TRY(index_rows(pool, lease, seqs)));
}

// The database refused a batch: a month without a partition, a repeated event, or rows that nothing helps. The rows are named once, for
// one with a lower number may be committed meanwhile: that is the next batch's.
Result<int> Indexer::Impl::difficult_batch(const Lease& lease, std::span<const std::string> but) {
  const pg::Rows found = STELLA_TRY(Tx::read(pool, sql::kSeqs, {lease.shard, options.batch, pg::Param::text_array(but)}));
  std::vector<std::string> seqs;
  for (int i = 0; i < found.size(); ++i) seqs.emplace_back(found.text(i, 0));
  if (seqs.empty()) return 0;
  return pieces(lease, seqs);
}

// Halves what is refused, in order, until the rows that are to blame stand alone: these are set aside, the others go into the log.
Result<int> Indexer::Impl::pieces(const Lease& lease, std::span<const std::string> seqs) {
  STELLA_TRY_VOID(keep_leases());
  auto done = rows(lease, seqs);
  if (!done && done.error().field("sqlstate") == kNoPartition) {
    STELLA_TRY_VOID(make_months(lease, seqs));
    done = rows(lease, seqs);
  }
  if (done || !about_the_row(done.error())) return done;
  if (seqs.size() == 1) return set_aside(lease, seqs.front(), done.error());
  const int first = STELLA_TRY(pieces(lease, seqs.first(seqs.size() / 2)));
  const int second = STELLA_TRY(pieces(lease, seqs.subspan(seqs.size() / 2)));
  return first + second;
}

// An instant that no month is made for is its row's trouble and ends in quarantine: it must not stop the rows behind it.
Result<void> Indexer::Impl::make_months(const Lease& lease, std::span<const std::string> seqs) {
  auto made = [&]() -> Result<void> {
    Tx tx = STELLA_TRY(Tx::open(pool));
    STELLA_TRY_VOID(tx.query(sql::kMonths, {lease.shard, int_array(seqs)}));
    return tx.commit();
  }();
  if (made || !about_the_row(made.error())) return made;
  if (seqs.size() == 1) kLog.warn("no partition can be made for the instant of an event", {f::shard(lease.shard), f::error(made.error())});
  return {};
}

Result<int> Indexer::Impl::set_aside(const Lease& lease, const std::string& seq, const Error& why) {
  Tx tx = STELLA_TRY(Tx::open(pool));
  const pg::Rows fence = STELLA_TRY(tx.query(sql::kFence, {lease.shard, lease.owner, lease.fence}));
  if (fence.empty()) return 0;
  STELLA_TRY_VOID(tx.query(sql::kQuarantine, {lease.shard, seq}));
  STELLA_TRY_VOID(tx.commit());
  ++quarantined;
  kLog.error("an event was set aside: the database refuses it", {f::shard(lease.shard), f::error(why)});
  return 1;
}

// The events of a tenant whose log is broken wait where they are, those of the others pass them.
Result<void> Indexer::Impl::work(const Lease& lease) {
  std::vector<std::string> broken;
  std::optional<Error> trouble;
  for (;;) {
    auto done = batch(lease, broken);
    if (!done && about_the_row(done.error())) done = difficult_batch(lease, broken);
    if (!done) {
      tell_failed(lease.shard, done.error());
      const std::string tenant(done.error().field("tenant"));
      if (tenant.empty() || std::find(broken.begin(), broken.end(), tenant) != broken.end()) return std::move(done.error());
      broken.push_back(tenant);
      trouble.emplace(std::move(done.error()));
    } else if (*done < options.batch) {
      if (trouble) return std::move(*trouble);
      return {};
    }
    STELLA_TRY_VOID(keep_leases());
  }
}

Result<void> Indexer::Impl::round() {
  STELLA_TRY_VOID(keep_leases());
  if (Clock::now() >= next_partitions) {
    STELLA_TRY_VOID(telemetry::in_work(contracts::work::kTimelinePartitions, {}, [&](telemetry::Work&) -> Result<void> {
      Tx tx = STELLA_TRY(Tx::open(pool));
      STELLA_TRY_VOID(tx.query(sql::kEnsurePartitions));
      return tx.commit();
    }));
    next_partitions = Clock::now() + kPartitionsEvery;
  }
  const auto mine = shards();
  if (mine.empty()) return {};
  const pg::Rows busy = STELLA_TRY(Tx::read(pool, sql::kNonEmpty, {number_array(mine)}));
  std::vector<Lease> held;
  {
    Lock lock(mutex);
    for (int i = busy.size() - 1; i >= 0; --i)  // taken from the end
      if (auto it = leases.find(static_cast<int>(busy.integer(i, 0))); it != leases.end()) held.push_back(it->second);
  }
  share(std::move(held));
  Lock lock(mutex);
  if (shard_trouble) return std::move(*std::exchange(shard_trouble, std::nullopt));  // one shard's trouble is not that of the others
  return {};
}

// One shard of those that wait; false where there is none.
bool Indexer::Impl::take_one() {
  if (todo.empty()) return false;
  const Lease lease = std::move(todo.back());
  todo.pop_back();
  ++at_work;
  mutex.unlock();
  auto done = work(lease);
  mutex.lock();
  --at_work;
  if (!done && !shard_trouble) shard_trouble.emplace(std::move(done.error()));
  return true;
}

// Until all of them are done, with the other thread's help.
void Indexer::Impl::share(std::vector<Lease> busy) {
  Lock lock(mutex);
  todo = std::move(busy);
  if (todo.size() > 1) cv.notify_all();
  while (take_one()) {}
  while (at_work > 0) cv.wait_until(mutex, Deadline::after(std::chrono::seconds(1)));
}

void Indexer::Impl::help(std::stop_token stop) {
  Lock lock(mutex);
  while (!stop.stop_requested()) {
    if (take_one()) cv.notify_all();
    else cv.wait_until(mutex, Deadline::after(std::chrono::seconds(1)));
  }
}

void Indexer::Impl::publish_loop(std::stop_token stop) {
  std::chrono::milliseconds wait{0};
  while (!stop.stop_requested()) {
    const auto done = publisher->round(shards(), wait);
    note(done, publish_trouble);
    wait = std::min(kPublisherTick, options.probe_active);
    if (done || of_one_tenant(done.error())) continue;
    // Everything is in rows: no hurry while the bus is away.
    Lock lock(mutex);
    const Deadline pause = Deadline::after(options.poll);
    while (!stop.stop_requested() && !pause.passed()) cv.wait_until(mutex, pause);
  }
}

Indexer::Indexer(pg::SystemPool<pg::IndexerRole>& pool, bus::Connection* bus, IndexerOptions options)
    : impl_(std::make_unique<Impl>(pool, bus, std::move(options))) {}
Indexer::~Indexer() = default;

void Indexer::wake(int) {
  Lock lock(impl_->mutex);
  impl_->awake = true;
  impl_->cv.notify_all();
}

void Indexer::run(std::stop_token stop) {
  Impl& impl = *impl_;
  const std::stop_callback end(stop, [this] {
    wake(0);
    if (impl_->publisher) impl_->publisher->nudge();
  });
  std::shared_ptr<void> hints;
  std::jthread publishing;
  if (impl.publisher) {
    if (auto heard = impl.bus->listen("stellawake.*", [this] { wake(0); })) hints = std::move(*heard);
    publishing = start_jthread("publisher", [&impl, stop] { impl.publish_loop(stop); });
  }
  std::jthread helping = start_jthread("indexer", [&impl, stop] { impl.help(stop); });
  while (!stop.stop_requested()) {
    impl.note(impl.round(), impl.index_trouble);
    const Deadline deadline = Deadline::after(impl.options.poll);
    Lock lock(impl.mutex);
    while (!impl.awake && !stop.stop_requested() && !deadline.passed()) impl.cv.wait_until(impl.mutex, deadline);
    impl.awake = false;
  }
  helping.join();
  if (publishing.joinable()) publishing.join();
  if (auto tx = Tx::open(impl.pool)) {
    tx->defer(sql::kRelease, {impl.options.instance});
    (void)tx->commit();  // else the leases end by themselves
  }
  Lock lock(impl.mutex);
  impl.leases.clear();
}

IndexerStats Indexer::stats() const {
  IndexerStats out;
  out.indexed = impl_->indexed;
  out.repeats = impl_->repeats;
  out.quarantined = impl_->quarantined;
  out.set_aside = impl_->aside;
  if (impl_->publisher) {
    out.published = impl_->publisher->published();
    out.rebuilt = impl_->publisher->rebuilt();
  }
  out.shards = static_cast<int>(impl_->shards().size());
  return out;
}

std::optional<Error> Indexer::trouble() const {
  Lock lock(impl_->mutex);
  return impl_->index_trouble ? impl_->index_trouble : impl_->publish_trouble;
}

std::function<void(int)> wake_hook(Indexer* local, bus::Connection* bus) {
  return [local, bus](int shard) {
    if (local != nullptr) local->wake(shard);
    if (bus != nullptr) bus->tell(subject::wake(shard), "");
  };
}

}  // namespace stella::timeline
