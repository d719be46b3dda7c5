// Connections of one login: bounded, checked when taken and when given back.
#include "pool.h"

#include <algorithm>

#include "codes.h"

namespace stella::pg {

namespace {

constexpr telemetry::Gauge kConnections{contracts::metrics::kPgPoolConnections};
constexpr telemetry::Histogram kWait{contracts::metrics::kPgPoolWaitSeconds};

}  // namespace

// The login stands in application_name (apps).
Pool::Impl::Impl(PoolOptions o)
    : options(std::move(o)), busy_gauge(kConnections.bind(options.application_name, "busy")), idle_gauge(kConnections.bind(options.application_name, "idle")), wait_seconds(kWait.bind(options.application_name)) {}

void Pool::Impl::tell() {
  busy_gauge.set(out);
  idle_gauge.set(static_cast<double>(idle.size()));
}

Result<std::unique_ptr<Connection>> Pool::Impl::acquire() {
  const auto asked = std::chrono::steady_clock::now();
  const Deadline deadline = Deadline::after(options.acquire_timeout);
  std::unique_ptr<Connection> connection;
  {
    Lock lock(mutex);
    while (out >= options.max_connections) {
      if (!freed.wait_until(mutex, deadline) && out >= options.max_connections)
        return Error(kUnavailable, "all database connections are busy").with("part", "postgresql");
    }
    ++out;
    if (!idle.empty()) {
      connection = std::move(idle.back());
      idle.pop_back();
    }
    tell();
  }
  wait_seconds.record(std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count());
  if (connection && connection->alive()) return connection;
  if (connection) {
    // One dead connection: the server went away, so the other idle ones are dead as well.
    std::vector<std::unique_ptr<Connection>> dead;
    Lock lock(mutex);
    dead.swap(idle);
  }
  connection.reset();
  auto opened = Connection::open(options);
  if (!opened) release(nullptr);
  return opened;
}

void Pool::Impl::release(std::unique_ptr<Connection> connection) {
  if (connection && !connection->reusable()) connection.reset();
  {
    Lock lock(mutex);
    --out;
    if (connection) idle.push_back(std::move(connection));
    tell();
  }
  freed.notify_one();
}

Deadline Pool::Impl::deadline(std::size_t statements) const {
  // The server stops each statement by itself; the client's bound only catches a server that no longer answers.
  const auto factor = static_cast<long>(std::clamp<std::size_t>(statements, 1, 4));
  return Deadline::after(options.statement_timeout * factor + std::chrono::seconds(5));
}

Pool::Pool(PoolOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Pool::~Pool() = default;

int Pool::in_use() const {
  Lock lock(impl_->mutex);
  return impl_->out;
}

Result<void> Pool::ping() {
  auto connection = STELLA_TRY(impl_->acquire());
  const Statement probe{"SELECT 1", {}};
  auto answer = connection->run({&probe, 1}, Deadline::after(std::chrono::seconds(2)));
  impl_->release(std::move(connection));
  if (!answer) return std::move(answer.error());
  return {};
}

}  // namespace stella::pg
