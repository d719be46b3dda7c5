// One libpq connection in pipeline mode with its prepared statements; every wait has a deadline. Not thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "stella/platform/pg.h"

struct pg_conn;
struct pg_result;

namespace stella::pg {

// A statement that travels in a pipeline. `sql` must outlive the call of run().
struct Statement {
  std::string_view sql;
  std::span<const Param> params;
};

class Connection {
 public:
  // Connects; kUnavailable where the server is away or refuses.
  static Result<std::unique_ptr<Connection>> open(const PoolOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // All statements and one sync in a single round trip; the rows of each statement in order.
  // After an error inside a transaction block only ROLLBACK helps; outside, the implicit transaction is already undone.
  Result<std::vector<Rows>> run(std::span<const Statement> statements, Deadline deadline);
  // One statement for many rows of parameters, one sync; rows affected.
  Result<std::int64_t> run_many(std::string_view sql, std::span<const std::vector<Param>> rows, Deadline deadline);
  // COPY … FROM STDIN; leaves pipeline mode for its duration.
  Result<void> copy_in(std::string_view copy_sql, std::string_view data, Deadline deadline);
  // Statements separated by semicolons by the simple protocol (migrations, bootstrap): no parameters.
  // The first column of the last row that any of them returned.
  Result<std::string> script(const std::string& sql, Deadline deadline);
  // The SCRAM verifier of a password, so that the password itself never reaches the server's log.
  Result<std::string> scram_verifier(const std::string& password, const std::string& login);

  // Idle, no result outstanding, still connected: may go back into the pool.
  bool reusable() const;
  // False where the server has closed the connection while it lay idle. One poll, no round trip.
  bool alive();
  bool lost() const;

 private:
  struct Batch;
  explicit Connection(pg_conn* conn) : conn_(conn) {}
  Result<void> send(const Statement& statement, Batch& batch);
  Result<void> collect(Batch& batch, Deadline deadline);
  Result<pg_result*> next_result(Deadline deadline);
  Result<void> flush(Deadline deadline);
  Result<void> wait(bool write, Deadline deadline);
  Result<std::string> finish_simple(std::string_view sql, Deadline deadline);
  Error lost_error();
  Error broken(Error error);  // after it nothing may be sent any more: results would be taken for those of others

  pg_conn* conn_;
  std::unordered_map<std::string, std::string> prepared_;  // statement text → name on the server
  std::uint64_t next_name_ = 0;
  bool broken_ = false;
};

// From SQLSTATE to our codes; carries sqlstate, constraint, table and the statement's first words, never values.
Error server_error(const pg_result* result, std::string_view sql);

}  // namespace stella::pg
