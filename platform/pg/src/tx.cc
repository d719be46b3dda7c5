// Transactions: BEGIN and the settings travel with the first statement, deferred statements with the next one or with COMMIT.
#include <algorithm>
#include <cassert>

#include "codes.h"
#include "pool.h"
#include "stella/platform/pg.h"
#include "stella/telemetry/log.h"

namespace stella::pg {
namespace {

constexpr telemetry::Logger kLog{"pg"};
constexpr std::string_view kTelemetryLogin = "stella_telemetry";
constexpr std::string_view kBegin = "BEGIN";
constexpr std::string_view kCommit = "COMMIT";
constexpr std::string_view kRollback = "ROLLBACK";
constexpr std::string_view kSetTenant = "SELECT set_config('stella.tenant', $1, true)";
constexpr std::string_view kSetTenantRead =
    "SELECT set_config('stella.tenant', $1, true), set_config('transaction_read_only', 'on', true)";

bool is_lost(const Error& error) { return error.code() == kUnavailable || error.code() == kTimeout; }

}  // namespace

struct Tx::State {
  struct Deferred {
    std::string sql;
    std::vector<Param> params;
  };

  explicit State(Pool::Impl& p) : pool(p) {}

  // BEGIN and settings where due, what is deferred, then `statement`; the result of the last one.
  Result<Rows> run(std::optional<Statement> statement);
  Result<Rows> run_once(const std::vector<Statement>& statements);
  void tell(std::size_t statements, bool good, std::chrono::steady_clock::duration took) const;
  std::vector<Statement> opening() const;
  void give_back();

  Pool::Impl& pool;
  std::unique_ptr<Connection> connection;
  std::string_view settings_sql;
  std::vector<Param> settings;
  std::vector<Deferred> deferred;
  std::vector<std::function<void()>> actions;
  bool begun = false;
  bool failed = false;
  bool done = false;
};

std::vector<Statement> Tx::State::opening() const {
  std::vector<Statement> statements;
  if (!begun) {
    statements.push_back({kBegin, {}});
    if (!settings_sql.empty()) statements.push_back({settings_sql, settings});
  }
  for (const auto& d : deferred) statements.push_back({d.sql, d.params});
  return statements;
}

Result<Rows> Tx::State::run_once(const std::vector<Statement>& statements) {
  const auto began = std::chrono::steady_clock::now();
  auto rows = connection->run(statements, pool.deadline(statements.size()));
  tell(statements.size(), rows.has_value(), std::chrono::steady_clock::now() - began);
  if (!rows) return std::move(rows.error());
  if (rows->empty()) return Rows();
  return std::move(rows->back());
}

// Who asked, how many and how long: never a text, nor a parameter. Of the lines' own rows none, or each would cause the next.
void Tx::State::tell(std::size_t statements, bool good, std::chrono::steady_clock::duration took) const {
  const std::string& login = pool.options.application_name;
  if (login == kTelemetryLogin) return;
  kLog.debug("statements answered", {f::role(login), f::count(static_cast<std::int64_t>(statements)), f::state(good ? "good" : "failed"), f::duration(took)});
}

Result<Rows> Tx::State::run(std::optional<Statement> statement) {
  if (done || failed) return Error(base_errors::kInternal, "the transaction has already ended or failed");
  auto statements = opening();
  if (statement) statements.push_back(*statement);
  const bool first = !begun;
  const bool commits = statement && statement->sql == kCommit;
  begun = true;
  auto rows = run_once(statements);
  if (!rows && first && !commits && connection->lost()) {
    // Nothing of this transaction can have been committed: once more on a new connection.
    connection.reset();
    pool.release(nullptr);
    auto fresh = pool.acquire();
    if (!fresh) {
      done = true;
      return std::move(fresh.error());
    }
    connection = std::move(*fresh);
    rows = run_once(statements);
  }
  deferred.clear();
  if (!rows) failed = true;
  return rows;
}

void Tx::State::give_back() {
  done = true;
  pool.release(std::move(connection));
}

Tx::Tx(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tx::Tx(Tx&&) noexcept = default;
Tx::~Tx() {
  if (state_) rollback();
}

Result<Tx> Tx::begin(Pool& pool, std::string_view settings_sql, std::string_view setting) {
  auto state = std::make_unique<State>(pool.impl());
  state->connection = STELLA_TRY(pool.impl().acquire());
  state->settings_sql = settings_sql;
  if (!settings_sql.empty()) state->settings.emplace_back(setting);
  return Tx(std::move(state));
}

Result<Rows> Tx::query(std::string_view sql, std::initializer_list<Param> params) {
  return query(sql, std::span<const Param>(params.begin(), params.size()));
}
Result<Rows> Tx::query(std::string_view sql, std::span<const Param> params) { return state_->run(Statement{sql, params}); }

void Tx::defer(std::string_view sql, std::initializer_list<Param> params) { defer(sql, std::vector<Param>(params)); }
void Tx::defer(std::string_view sql, std::vector<Param> params) { state_->deferred.push_back({std::string(sql), std::move(params)}); }

Result<std::int64_t> Tx::query_many(std::string_view sql, std::span<const std::vector<Param>> rows) {
  if (!state_->begun || !state_->deferred.empty()) STELLA_TRY_VOID(state_->run(std::nullopt));
  if (state_->failed || state_->done) return Error(base_errors::kInternal, "the transaction has already ended or failed");
  auto affected = state_->connection->run_many(sql, rows, state_->pool.deadline(rows.size()));
  if (!affected) state_->failed = true;
  return affected;
}

Result<void> Tx::copy_in(std::string_view copy_sql, std::string_view data) {
  if (!state_->begun || !state_->deferred.empty()) STELLA_TRY_VOID(state_->run(std::nullopt));
  if (state_->failed || state_->done) return Error(base_errors::kInternal, "the transaction has already ended or failed");
  auto copied = state_->connection->copy_in(copy_sql, data, state_->pool.deadline(4));
  if (!copied) state_->failed = true;
  return copied;
}

Result<void> Tx::commit() {
  State& state = *state_;
  if (state.done || state.failed) return Error(base_errors::kInternal, "the transaction has already ended or failed");
  if (state.begun || !state.deferred.empty()) {
    auto ended = state.run(Statement{kCommit, {}});
    if (!ended) {
      const bool unknown = is_lost(ended.error()) && state.connection->lost();
      rollback();
      if (unknown) ended.error().add("outcome", "unknown");
      return std::move(ended.error());
    }
  }
  state.give_back();
  for (auto& action : state.actions) action();
  return {};
}

void Tx::rollback() {
  State& state = *state_;
  if (state.done) return;
  if (state.begun && !state.connection->lost()) {
    const Statement undo{kRollback, {}};
    // A connection that does not answer is not reusable: the pool drops it, and the server rolls back.
    (void)state.connection->run({&undo, 1}, Deadline::after(std::chrono::seconds(5)));
  }
  state.give_back();
}

void Tx::on_commit(std::function<void()> action) { state_->actions.push_back(std::move(action)); }

Result<TenantTx> TenantTx::open(Pool& web_pool, const TenantScope& scope) {
  auto tx = STELLA_TRY(begin(web_pool, kSetTenant, scope.tenant().str()));
  return TenantTx(std::move(tx), scope.tenant(), scope.actor());
}

namespace {

constexpr std::string_view kReadOnly = "SELECT set_config('transaction_read_only', 'on', true)";

// `statements` without the settings; the results of all of them.
Result<std::vector<Rows>> read_statements(Pool& from, const TenantId* tenant, std::span<const Statement> statements) {
  Pool::Impl& pool = from.impl();
  std::vector<Param> setting;
  if (tenant != nullptr) setting.emplace_back(*tenant);
  std::vector<Statement> all = {{tenant != nullptr ? kSetTenantRead : kReadOnly, setting}};
  all.insert(all.end(), statements.begin(), statements.end());
  for (int attempt = 0;; ++attempt) {
    auto connection = STELLA_TRY(pool.acquire());
    auto rows = connection->run(all, pool.deadline(statements.size()));
    const bool again = !rows && connection->lost() && rows.error().code() == kUnavailable && attempt == 0;  // a read may be repeated
    pool.release(std::move(connection));
    if (again) continue;
    if (!rows) return std::move(rows.error());
    rows->erase(rows->begin());
    return rows;
  }
}

Result<Rows> read_one(Pool& pool, const TenantId* tenant, std::string_view sql, std::span<const Param> params) {
  const Statement statement{sql, params};
  auto rows = STELLA_TRY(read_statements(pool, tenant, {&statement, 1}));
  return std::move(rows.back());
}

}  // namespace

namespace detail {

Result<std::vector<Rows>> read(Pool& pool, const TenantId* tenant, std::span<const Query> queries) {
  std::vector<Statement> statements;
  statements.reserve(queries.size());
  for (const auto& query : queries) statements.push_back({query.sql, query.params});
  return read_statements(pool, tenant, statements);
}

Result<Rows> read(Pool& pool, const TenantId* tenant, std::string_view sql, std::initializer_list<Param> params) {
  return read_one(pool, tenant, sql, {params.begin(), params.size()});
}

}  // namespace detail

Result<Rows> TenantTx::read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::initializer_list<Param> params) {
  return read_one(web_pool, &scope.tenant(), sql, {params.begin(), params.size()});
}
Result<Rows> TenantTx::read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::span<const Param> params) {
  return read_one(web_pool, &scope.tenant(), sql, params);
}
Result<std::vector<Rows>> TenantTx::read_many(Pool& web_pool, const TenantScope& scope, std::span<const Query> queries) {
  return detail::read(web_pool, &scope.tenant(), queries);
}

}  // namespace stella::pg
