// PostgreSQL: pool, tenant and system transactions, migrations. The only code that touches libpq.
//
// Above this module there are exactly two ways to a query: TenantTx (a request, one tenant, RLS by `stella.tenant`) and
// SystemTx<Role> (a background role with its own login and its own policies). Objects are not thread-safe; pools are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/tenancy/scope.h"

namespace stella::pg {

// One bound parameter in text or binary form; NULL where empty optional. Built implicitly from the usual types. PostgreSQL's text
// cannot hold NUL: it becomes U+FFFD, so that no document decides where a name ends.
class Param {
 public:
  Param(std::nullptr_t) {}                                            // NOLINT(google-explicit-constructor)
  Param(std::string_view text) : text_(without_nul(text)) {}          // NOLINT(google-explicit-constructor)
  Param(const std::string& text) : text_(without_nul(text)) {}        // NOLINT(google-explicit-constructor)
  Param(const char* text) : text_(std::string(text)) {}               // NOLINT(google-explicit-constructor)
  Param(bool b) : text_(std::string(b ? "t" : "f")) {}                // NOLINT(google-explicit-constructor)
  Param(int i) : text_(std::to_string(i)) {}                          // NOLINT(google-explicit-constructor)
  Param(unsigned i) : text_(std::to_string(i)) {}                     // NOLINT(google-explicit-constructor)
  Param(std::int64_t i) : text_(std::to_string(i)) {}                 // NOLINT(google-explicit-constructor)
  Param(std::uint64_t i) : text_(std::to_string(i)) {}                // NOLINT(google-explicit-constructor)
  Param(double d);                                                    // NOLINT(google-explicit-constructor)
  Param(Timestamp t) : text_(t.rfc3339()) {}                          // NOLINT(google-explicit-constructor)
  Param(const TenantId& id) : text_(id.str()) {}                      // NOLINT(google-explicit-constructor)
  template <class Tag>
  Param(const UuidId<Tag>& id) : text_(id.str()) {}                   // NOLINT(google-explicit-constructor)
  Param(const Sha256& d) : Param(bytes(d.view())) {}                  // NOLINT: bytea
  template <class T>
  Param(const std::optional<T>& o) { if (o) *this = Param(*o); }      // NOLINT(google-explicit-constructor)
  // bytea, sent in binary form.
  static Param bytes(std::string_view raw);
  // JSON text for jsonb, which refuses NUL: its escape becomes U+FFFD.
  static Param json(std::string_view text);
  // Arrays travel in binary form, so the parameter's type must be exactly text[], jsonb[], uuid[], timestamptz[] or bytea[]: write the cast.
  static Param text_array(std::span<const std::string> items);
  static Param json_array(std::span<const std::string> items);
  static Param uuid_array(std::span<const Uuid> items);
  static Param uuid_array(std::span<const std::string> items);  // of their canonical texts; the server refuses what is none
  static Param timestamp_array(std::span<const Timestamp> items);
  static Param bytes_array(std::span<const std::string> items);

  bool is_null() const { return !text_.has_value(); }
  bool binary() const { return binary_; }
  const std::string& value() const { return *text_; }

 private:
  static std::string without_nul(std::string_view text);
  std::optional<std::string> text_;
  bool binary_ = false;
};

// Result rows; cheap to move. Columns by position. Values are text form.
class Rows {
 public:
  Rows();
  explicit Rows(void* pg_result);
  Rows(Rows&&) noexcept;
  Rows& operator=(Rows&&) noexcept;
  ~Rows();
  int size() const;
  bool empty() const { return size() == 0; }
  int columns() const;
  bool is_null(int row, int column) const;
  std::string_view text(int row, int column) const;  // "" where NULL
  std::int64_t integer(int row, int column) const;   // 0 where NULL
  double number(int row, int column) const;
  bool boolean(int row, int column) const;
  std::string bytes(int row, int column) const;      // decodes bytea
  Result<Sha256> sha256(int row, int column) const;
  Timestamp timestamp(int row, int column) const;    // timestamptz (session runs in UTC, ISO); epoch where NULL
  // Rows changed by INSERT/UPDATE/DELETE.
  std::int64_t affected() const;

 private:
  void* result_ = nullptr;
};

struct PoolOptions {
  std::string conninfo;                       // host, port, dbname, user; no password
  std::string password;                       // kept out of conninfo so that no error can print it
  std::string application_name = "stella";
  int max_connections = 8;
  std::chrono::milliseconds acquire_timeout{2000};   // then kUnavailable (503)
  std::chrono::milliseconds statement_timeout{30000};  // of one statement, by the server; the client bounds the whole pipeline
  std::chrono::milliseconds lock_timeout{10000};
  bool generic_plans = true;                  // plan_cache_mode: our statements differ by text where their plans must differ
};

// Connections of one login. Thread-safe. A lost server gives kUnavailable with part=postgresql and heals by itself.
class Pool {
 public:
  explicit Pool(PoolOptions options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  // One round trip; for /readyz. kUnavailable where the server is away.
  Result<void> ping();
  // Connections that are out at this moment; for metrics and tests.
  int in_use() const;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// One statement of read_many().
struct Query {
  Query(std::string_view text, std::vector<Param> values) : sql(text), params(std::move(values)) {}
  std::string sql;
  std::vector<Param> params;
};

namespace detail {
// One round trip, implicit transaction, read-only by the server; repeated once where the connection turned out to be dead.
Result<std::vector<Rows>> read(Pool& pool, const TenantId* tenant, std::span<const Query> queries);
Result<Rows> read(Pool& pool, const TenantId* tenant, std::string_view sql, std::initializer_list<Param> params);
}  // namespace detail

// A transaction; rolls back in its destructor unless commit() succeeded. BEGIN and the session settings travel in one
// pipeline with the first statement. After any error only rollback is possible.
class Tx {
 public:
  Tx(Tx&&) noexcept;
  ~Tx();
  // One statement with $1…; prepared and cached per connection by its text, which therefore must be a literal or bounded set.
  // Errors: kUnavailable (server away, pool exhausted), kConflict with constraint (unique violation), kLockTimeout/serialisation → kConflict
  // with retry=yes, kInternal otherwise. Never carries parameter values.
  Result<Rows> query(std::string_view sql, std::initializer_list<Param> params = {});
  Result<Rows> query(std::string_view sql, std::span<const Param> params);
  // A statement whose result nobody needs: travels with the next query() or with commit(), in order, and fails there.
  // A transaction that only defers costs one round trip in total. `sql` as for query().
  void defer(std::string_view sql, std::initializer_list<Param> params);
  void defer(std::string_view sql, std::vector<Param> params);
  // Same statement for many parameter rows in one pipeline; number of rows affected in total.
  Result<std::int64_t> query_many(std::string_view sql, std::span<const std::vector<Param>> rows);
  // COPY … FROM STDIN of tab-free prepared text rows (only into temporary tables under RLS; quality.md §1).
  Result<void> copy_in(std::string_view copy_sql, std::string_view data);
  // Sends what is deferred and COMMIT in one pipeline. Where the connection is lost meanwhile the error has outcome=unknown.
  Result<void> commit();
  // Idempotent; also the destructor's work.
  void rollback();
  // Runs after a successful commit, in order; for wake-ups. Must not throw or block.
  void on_commit(std::function<void()> action);

 protected:
  struct State;
  explicit Tx(std::unique_ptr<State> state);
  // `settings_sql` with `setting` as $1 runs first in the transaction; empty for none.
  static Result<Tx> begin(Pool& pool, std::string_view settings_sql, std::string_view setting);

 private:
  std::unique_ptr<State> state_;
};

// A request's transaction for exactly one tenant: `stella.tenant` is set first and locally.
class TenantTx : public Tx {
 public:
  static Result<TenantTx> open(Pool& web_pool, const TenantScope& scope);
  const TenantId& tenant() const { return tenant_; }
  const std::string& actor() const { return actor_; }
  // A read in one round trip: settings, query and sync in a single pipeline, implicit transaction, read-only by the server.
  static Result<Rows> read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::initializer_list<Param> params);
  static Result<Rows> read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::span<const Param> params);
  // Several reads in the same round trip; one result each. The snapshots may differ (read committed).
  static Result<std::vector<Rows>> read_many(Pool& web_pool, const TenantScope& scope, std::span<const Query> queries);

 private:
  TenantTx(Tx tx, TenantId tenant, std::string actor) : Tx(std::move(tx)), tenant_(std::move(tenant)), actor_(std::move(actor)) {}
  TenantId tenant_;
  std::string actor_;
};

// Background roles; each is a database login of its own (`stella_<role>`), NOBYPASSRLS, with its own policies and grants.
struct OrchestratorRole { static constexpr std::string_view kName = "orchestrator"; };
struct IndexerRole { static constexpr std::string_view kName = "indexer"; };
struct LockerRole { static constexpr std::string_view kName = "locker"; };
struct TelemetryRole { static constexpr std::string_view kName = "telemetry"; };
struct AuthorityRole { static constexpr std::string_view kName = "authority"; };  // looks up principals before a tenant is known; signs in

// Made in apps/ only, one per role: holding one is the right to open that role's transactions.
template <class Role>
class SystemPool {
 public:
  explicit SystemPool(PoolOptions options) : pool_(std::move(options)) {}
  Pool& pool() { return pool_; }

 private:
  Pool pool_;
};

template <class Role>
class SystemTx : public Tx {
 public:
  static Result<SystemTx> open(SystemPool<Role>& pool) {
    auto tx = Tx::begin(pool.pool(), {}, {});
    if (!tx) return std::move(tx.error());
    return SystemTx(std::move(*tx));
  }
  // A read in one round trip, without a transaction of its own.
  static Result<Rows> read(SystemPool<Role>& pool, std::string_view sql, std::initializer_list<Param> params = {}) {
    return detail::read(pool.pool(), nullptr, sql, params);
  }

 private:
  explicit SystemTx(Tx tx) : Tx(std::move(tx)) {}
};

// Every login of the platform, the owner first. None is superuser, none bypasses row-level security.
std::span<const std::string_view> logins();
// Creates the logins (or sets their passwords and takes away rights they must not have) and the database, owned by
// `stella_owner`. Idempotent. `superuser` needs a superuser or a CREATEROLE CREATEDB role and any existing database;
// `passwords` has login → password, each of logins() exactly once. Passwords travel as SCRAM verifiers only.
Result<void> bootstrap(const PoolOptions& superuser, std::span<const std::pair<std::string, std::string>> passwords,
                       std::string_view database = "stella");

// Runs a script (several statements, no parameters) as an administrator; the first column of its last row, "" where none.
// For fixtures, doctor and maintenance tools, never with anything that came from outside.
Result<std::string> run_script(const PoolOptions& administrator, std::string_view script);

// Applies db/migrations/*.sql (embedded at build time; forward only, each in one transaction, digest recorded and compared).
// Runs as the owner `stella_owner`; idempotent, one at a time by an advisory lock; a changed or unknown old migration is
// kInternal with its name.
struct MigrationReport {
  int applied = 0;
  int present = 0;
};
Result<MigrationReport> migrate(const PoolOptions& owner);

}  // namespace stella::pg
