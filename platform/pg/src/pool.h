// The pool behind Pool: idle connections, a bound, and waiting with a deadline. Thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "connection.h"
#include "stella/base/sync.h"
#include "stella/telemetry/metrics.h"

namespace stella::pg {

struct Pool::Impl {
  explicit Impl(PoolOptions o);

  // A live connection, new or idle; kUnavailable where the server is away or all stay busy until acquire_timeout.
  Result<std::unique_ptr<Connection>> acquire();
  // Takes one back; only a reusable one is kept. Null where the caller already dropped it.
  void release(std::unique_ptr<Connection> connection);
  // Use of the pool for stella_pg_pool_connections, told after each change.
  void tell() STELLA_REQUIRES(mutex);
  // How long the client waits for one pipeline of `statements`.
  Deadline deadline(std::size_t statements = 1) const;

  const PoolOptions options;
  Mutex mutex;
  CondVar freed;
  std::vector<std::unique_ptr<Connection>> idle STELLA_GUARDED_BY(mutex);
  int out STELLA_GUARDED_BY(mutex) = 0;
  const telemetry::BoundGauge busy_gauge, idle_gauge;
  const telemetry::BoundHistogram wait_seconds;
};

}  // namespace stella::pg
