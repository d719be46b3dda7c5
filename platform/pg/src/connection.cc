// libpq in pipeline mode: send everything, one sync, collect; poll with a deadline in between.
#include "connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <array>
#include <cerrno>

#include "codes.h"
#include "stella/telemetry/metrics.h"

namespace stella::pg {
namespace {

constexpr std::size_t kMaxPrepared = 500;   // of one connection; beyond it all are forgotten at once
constexpr std::size_t kRowsPerBatch = 500;  // of run_many: bounds what libpq buffers

struct ResultDeleter {
  void operator()(PGresult* r) const { PQclear(r); }
};
using ResultPtr = std::unique_ptr<PGresult, ResultDeleter>;

constexpr telemetry::Counter kErrors{contracts::metrics::kPgErrors};

Error away(Literal message) {
  kErrors.add(1, "connect");
  return Error(kUnavailable, message).with("part", "postgresql");
}

// libpq wants parallel arrays.
struct Bound {
  explicit Bound(std::span<const Param> params) {
    values.reserve(params.size());
    for (const Param& p : params) {
      values.push_back(p.is_null() ? nullptr : p.value().c_str());
      lengths.push_back(p.is_null() ? 0 : static_cast<int>(p.value().size()));
      formats.push_back(p.binary() ? 1 : 0);
    }
  }
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
};

}  // namespace

// What was sent and still awaits its result.
struct Connection::Batch {
  struct Expected {
    std::string_view sql;
    bool prepare = false;
    std::string name;
    bool silent = false;  // its result is nobody's
  };
  std::vector<Expected> expected;
  std::vector<Rows> rows;  // of statements, in order
  bool keep_rows = true;
  std::int64_t affected = 0;
};

Result<std::unique_ptr<Connection>> Connection::open(const PoolOptions& options) {
  const std::string settings =
      "-c timezone=UTC -c datestyle=ISO -c client_min_messages=warning -c idle_in_transaction_session_timeout=60000"
      " -c statement_timeout=" + std::to_string(options.statement_timeout.count()) +
      " -c lock_timeout=" + std::to_string(options.lock_timeout.count()) +
      (options.generic_plans ? " -c plan_cache_mode=force_generic_plan" : "");
  const std::array<const char*, 11> keys = {"dbname",         "password",        "application_name", "options",
                                            "client_encoding", "connect_timeout", "keepalives_idle",  "keepalives_interval",
                                            "keepalives_count", "tcp_user_timeout", nullptr};
  const char* password = options.password.empty() ? nullptr : options.password.c_str();
  const std::array<const char*, 11> values = {options.conninfo.c_str(), password, options.application_name.c_str(), settings.c_str(),
                                              "UTF8", "3", "10", "5", "3", "15000", nullptr};
  std::unique_ptr<Connection> connection(new Connection(PQconnectdbParams(keys.data(), values.data(), 1)));
  if (connection->conn_ == nullptr || PQstatus(connection->conn_) != CONNECTION_OK) return away("cannot connect to the database");
  PQsetNoticeProcessor(connection->conn_, [](void*, const char*) {}, nullptr);  // notices may quote values
  if (PQsetnonblocking(connection->conn_, 1) != 0 || PQenterPipelineMode(connection->conn_) != 1)
    return away("cannot connect to the database");
  return connection;
}

Connection::~Connection() { PQfinish(conn_); }

bool Connection::lost() const { return broken_ || PQstatus(conn_) != CONNECTION_OK; }

Error Connection::broken(Error error) {
  broken_ = true;
  return error;
}

bool Connection::reusable() const {
  return !lost() && PQtransactionStatus(conn_) == PQTRANS_IDLE && PQpipelineStatus(conn_) == PQ_PIPELINE_ON && PQisBusy(conn_) == 0;
}

bool Connection::alive() {
  if (lost()) return false;
  // Something may have come while idle: a notice, a parameter change, or a last message and, behind it, the end.
  for (pollfd p{PQsocket(conn_), POLLIN, 0}; ::poll(&p, 1, 0) != 0;) {
    if (PQconsumeInput(conn_) != 1 || lost()) return false;
  }
  return true;
}

Error Connection::lost_error() { return broken(away("the connection to the database was lost")); }

Result<void> Connection::wait(bool write, Deadline deadline) {
  for (;;) {
    pollfd p{PQsocket(conn_), static_cast<short>(POLLIN | (write ? POLLOUT : 0)), 0};
    if (p.fd < 0) return lost_error();
    const auto left = deadline.left();
    if (left.count() <= 0) return broken(Error(kTimeout, "the database did not answer in time").with("part", "postgresql"));
    const int ready = ::poll(&p, 1, static_cast<int>(left.count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return lost_error();
  }
}

Result<void> Connection::flush(Deadline deadline) {
  for (;;) {
    const int more = PQflush(conn_);
    if (more == 0) return {};
    if (more < 0) return lost_error();
    STELLA_TRY_VOID(wait(true, deadline));
    // The server may be blocked on its own output: take it, or both wait for ever.
    if (PQconsumeInput(conn_) != 1) return lost_error();
  }
}

Result<pg_result*> Connection::next_result(Deadline deadline) {
  while (PQisBusy(conn_) != 0) {
    STELLA_TRY_VOID(wait(false, deadline));
    if (PQconsumeInput(conn_) != 1) return lost_error();
  }
  PGresult* result = PQgetResult(conn_);
  if (result == nullptr && lost()) return lost_error();
  return result;
}

Result<void> Connection::send(const Statement& statement, Batch& batch) {
  const Bound bound(statement.params);
  const int count = static_cast<int>(statement.params.size());
  std::string sql(statement.sql);
  std::string name;
  if (auto it = prepared_.find(sql); it != prepared_.end()) {
    name = it->second;
  } else {
    if (prepared_.size() >= kMaxPrepared) {
      if (PQsendQueryParams(conn_, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr, 0) != 1) return lost_error();
      batch.expected.push_back({"DEALLOCATE ALL", false, {}, true});
      prepared_.clear();  // names are never used twice, so it does not matter whether the server got so far
    }
    name = "s" + std::to_string(next_name_++);
    if (PQsendPrepare(conn_, name.c_str(), sql.c_str(), count, nullptr) != 1) return lost_error();
    batch.expected.push_back({statement.sql, true, name});
    // Forgotten again where the preparation turns out to have failed.
    prepared_.emplace(std::move(sql), name);
  }
  if (PQsendQueryPrepared(conn_, name.c_str(), count, bound.values.data(), bound.lengths.data(), bound.formats.data(), 0) != 1)
    return lost_error();
  batch.expected.push_back({statement.sql, false, {}});
  return {};
}

// Takes the results of everything sent, up to and including the sync. The first error is the answer.
Result<void> Connection::collect(Batch& batch, Deadline deadline) {
  if (PQpipelineSync(conn_) != 1) return lost_error();
  STELLA_TRY_VOID(flush(deadline));
  std::optional<Error> error;
  for (const auto& expected : batch.expected) {
    ResultPtr result(STELLA_TRY(next_result(deadline)));
    if (!result) return lost_error();
    const auto status = PQresultStatus(result.get());
    const bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!good) {
      if (!error && status != PGRES_PIPELINE_ABORTED) error = server_error(result.get(), expected.sql);
      if (expected.prepare) prepared_.erase(std::string(expected.sql));
    } else if (!expected.prepare && !expected.silent) {
      Rows rows(result.release());
      batch.affected += rows.affected();
      if (batch.keep_rows) batch.rows.push_back(std::move(rows));
    }
    result.reset();
    ResultPtr end(STELLA_TRY(next_result(deadline)));  // nullptr between two results
    if (end) return broken(Error(base_errors::kInternal, "more results than statements"));
  }
  ResultPtr sync(STELLA_TRY(next_result(deadline)));
  if (!sync || PQresultStatus(sync.get()) != PGRES_PIPELINE_SYNC) return lost_error();
  if (error) return std::move(*error);
  return {};
}

Result<std::vector<Rows>> Connection::run(std::span<const Statement> statements, Deadline deadline) {
  Batch batch;
  for (const auto& statement : statements) STELLA_TRY_VOID(send(statement, batch));
  STELLA_TRY_VOID(collect(batch, deadline));
  return std::move(batch.rows);
}

Result<std::int64_t> Connection::run_many(std::string_view sql, std::span<const std::vector<Param>> rows, Deadline deadline) {
  std::int64_t affected = 0;
  for (std::size_t begin = 0; begin < rows.size(); begin += kRowsPerBatch) {
    Batch batch;
    batch.keep_rows = false;
    for (const auto& row : rows.subspan(begin, std::min(kRowsPerBatch, rows.size() - begin)))
      STELLA_TRY_VOID(send({sql, row}, batch));
    STELLA_TRY_VOID(collect(batch, deadline));
    affected += batch.affected;
  }
  return affected;
}

// Results of a simple query up to the end; pipeline mode is off.
Result<std::string> Connection::finish_simple(std::string_view sql, Deadline deadline) {
  std::optional<Error> error;
  std::string value;
  for (;;) {
    ResultPtr result(STELLA_TRY(next_result(deadline)));
    if (!result) break;
    const auto status = PQresultStatus(result.get());
    if (status == PGRES_COPY_IN) return value;
    if (status == PGRES_TUPLES_OK && PQntuples(result.get()) > 0 && PQnfields(result.get()) > 0)
      value = PQgetvalue(result.get(), PQntuples(result.get()) - 1, 0);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !error) error = server_error(result.get(), sql);
  }
  if (error) return std::move(*error);
  return value;
}

Result<void> Connection::copy_in(std::string_view copy_sql, std::string_view data, Deadline deadline) {
  if (PQexitPipelineMode(conn_) != 1) return lost_error();
  const std::string sql(copy_sql);
  auto copied = [&]() -> Result<void> {
    if (PQsendQuery(conn_, sql.c_str()) != 1) return lost_error();
    STELLA_TRY_VOID(flush(deadline));
    STELLA_TRY_VOID(finish_simple(sql, deadline));
    constexpr std::size_t kChunk = 256 << 10;
    while (!data.empty()) {
      const auto part = data.substr(0, kChunk);
      const int sent = PQputCopyData(conn_, part.data(), static_cast<int>(part.size()));
      if (sent < 0) return lost_error();
      STELLA_TRY_VOID(flush(deadline));
      if (sent == 1) data.remove_prefix(part.size());
    }
    for (int ended = 0; ended != 1;) {
      ended = PQputCopyEnd(conn_, nullptr);
      if (ended < 0) return lost_error();
      STELLA_TRY_VOID(flush(deadline));
    }
    STELLA_TRY_VOID(finish_simple(sql, deadline));
    return {};
  }();
  if (!lost() && PQenterPipelineMode(conn_) != 1 && copied) return lost_error();
  return copied;
}

Result<std::string> Connection::script(const std::string& sql, Deadline deadline) {
  if (PQexitPipelineMode(conn_) != 1) return lost_error();
  auto done = [&]() -> Result<std::string> {
    if (PQsendQuery(conn_, sql.c_str()) != 1) return lost_error();
    STELLA_TRY_VOID(flush(deadline));
    return finish_simple("script", deadline);
  }();
  if (!lost() && PQenterPipelineMode(conn_) != 1 && done) return lost_error();
  return done;
}

Result<std::string> Connection::scram_verifier(const std::string& password, const std::string& login) {
  char* text = PQencryptPasswordConn(conn_, password.c_str(), login.c_str(), "scram-sha-256");
  if (text == nullptr) return Error(base_errors::kInternal, "cannot derive a SCRAM verifier");
  std::string verifier(text);
  PQfreemem(text);
  return verifier;
}

}  // namespace stella::pg
