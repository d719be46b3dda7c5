// Publishes what is logged, in log order per tenant, at least once; the position is a row. Probes the stream and rebuilds it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>

#include "batch.h"
#include "stella/base/sync.h"
#include "stella/platform/bus.h"
#include "stella/timeline/indexer.h"

namespace stella::timeline {

// Not thread-safe but for offer(); driven by one thread.
class Publisher {
 public:
  Publisher(pg::SystemPool<pg::IndexerRole>& pool, bus::Connection& bus, const IndexerOptions& options) : pool_(pool), bus_(bus), options_(options) {}

  // Freshly logged events; kept in memory while there is room, else read from the log when their turn comes. Thread-safe.
  void offer(std::vector<Logged> logged);
  // One round: what was offered, then what the rows say is behind, then a probe where one is due. Waits up to `wait` for an offer first.
  // `shards`: those we hold leases of. An error with the field tenant is of that one's log alone: all others were published.
  Result<void> round(std::span<const int> shards, std::chrono::milliseconds wait);
  // Ends a wait of round(). Thread-safe.
  void nudge();

  std::uint64_t published() const { return published_; }
  std::uint64_t rebuilt() const { return rebuilt_; }

 private:
  Result<void> prepare(std::span<const int> shards);
  Result<void> publish_offered();
  Result<std::optional<Error>> catch_up(std::span<const int> shards);  // the error: of a tenant whose log cannot be read
  Result<void> send(std::span<const Logged> events);
  Result<void> probe(std::span<const int> shards);
  Result<void> rebuild(std::span<const int> shards);
  Result<void> rewind(std::span<const int> shards);

  pg::SystemPool<pg::IndexerRole>& pool_;
  bus::Connection& bus_;
  const IndexerOptions& options_;
  std::vector<int> prepared_for_;  // shards whose positions were checked since we got them
  bool stream_ready_ = false;
  bool unconfirmed_ = false;
  int failed_probes_ = 0;
  int refusals_ = 0;       // rounds in a row in which the stream refused what was published
  std::chrono::steady_clock::time_point last_probe_ = std::chrono::steady_clock::now();
  std::map<std::string, std::int64_t> position_;  // of tenants we published for: what comes next
  std::atomic<std::uint64_t> published_ = 0;
  std::atomic<std::uint64_t> rebuilt_ = 0;

  Mutex mutex_;
  CondVar offered_cv_;
  std::deque<std::vector<Logged>> offered_ STELLA_GUARDED_BY(mutex_);
  std::size_t offered_bytes_ STELLA_GUARDED_BY(mutex_) = 0;
  bool nudged_ STELLA_GUARDED_BY(mutex_) = false;
};

}  // namespace stella::timeline
