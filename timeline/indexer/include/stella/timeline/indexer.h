// From outbox to log to topic: the indexer gives every event of its shards the next log index of its tenant, then publishes it.
//
// PostgreSQL remembers at every step: content and order come from the outbox, the log from one transaction, and the published
// position is a row. Killed anywhere, it goes on where the rows say. Any number may run; leases give each shard to one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "stella/base/result.h"
#include "stella/platform/bus.h"
#include "stella/platform/pg.h"

namespace stella::timeline {

struct IndexerOptions {
  std::string instance = {};                      // owner of its leases; unique per process; "": made up
  int batch = 1000;                               // events of one transaction
  std::chrono::milliseconds poll{250};            // backstop where a wake-up got lost
  std::chrono::milliseconds lease{5000};          // takeover after a crash takes at most this and a third
  std::chrono::milliseconds probe_active{5000};   // how soon after publishing the stream is probed end to end
  std::chrono::milliseconds probe_idle{30000};
  std::chrono::milliseconds publish_timeout{5000};
};

struct IndexerStats {
  std::uint64_t indexed = 0;
  std::uint64_t repeats = 0;       // events that were in the log already
  std::uint64_t quarantined = 0;   // outbox rows that this process set aside (shard < 0) because the database refused them
  std::int64_t set_aside = 0;      // how many there are, whoever did it, as of the last renewal of the leases: an alarm
  std::uint64_t published = 0;
  std::uint64_t rebuilt = 0;       // times the stream was made anew
  int shards = 0;                  // leases held now
};

class Indexer {
 public:
  // `bus` may be null: then nothing is published and the position stays (another process may). Both outlive the object.
  Indexer(pg::SystemPool<pg::IndexerRole>& pool, bus::Connection* bus, IndexerOptions options);
  ~Indexer();
  Indexer(const Indexer&) = delete;
  Indexer& operator=(const Indexer&) = delete;

  // Works until stopped, then gives its leases back. Survives the loss of PostgreSQL and NATS. Call once.
  void run(std::stop_token stop);
  // An event was committed in this shard. Thread-safe, never blocks for long.
  void wake(int shard);

  IndexerStats stats() const;
  // What the last attempt failed with, for /readyz; nullopt while all is well.
  std::optional<Error> trouble() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// What set_wake_hook() takes: wakes the indexer of this process (may be null) and, through the bus (may be null), those of others.
std::function<void(int)> wake_hook(Indexer* local, bus::Connection* bus);

}  // namespace stella::timeline
