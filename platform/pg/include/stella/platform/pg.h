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
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/tenancy/scope.h"

namespace stella::pg {

// One bound parameter in text or binary form; NULL where empty optional. Built implicitly from the usual types.
class Param {
 public:
  Param(std::nullptr_t) {}                                            // NOLINT(google-explicit-constructor)
  Param(std::string_view text) : text_(std::string(text)) {}          // NOLINT(google-explicit-constructor)
  Param(const std::string& text) : text_(text) {}                     // NOLINT(google-explicit-constructor)
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
  // text[] in array-literal form.
  static Param text_array(std::span<const std::string> items);
  static Param uuid_array(std::span<const std::string> items);

  bool is_null() const { return !text_.has_value(); }
  bool binary() const { return binary_; }
  const std::string& value() const { return *text_; }

 private:
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
  std::chrono::milliseconds statement_timeout{30000};
};

// Connections of one login. Thread-safe. A lost server gives kUnavailable with part=postgresql and heals by itself.
class Pool {
 public:
  explicit Pool(PoolOptions options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  // One round trip; for /readyz.
  Result<void> ping();
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

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
  // Same statement for many parameter rows in one pipeline; number of rows affected in total.
  Result<std::int64_t> query_many(std::string_view sql, std::span<const std::vector<Param>> rows);
  // COPY … FROM STDIN of tab-free prepared text rows (only into temporary tables under RLS; quality.md §1).
  Result<void> copy_in(std::string_view copy_sql, std::string_view data);
  Result<void> commit();
  void rollback();
  // Runs after a successful commit, in order; for wake-ups. Must not throw or block.
  void on_commit(std::function<void()> action);

 protected:
  struct State;
  explicit Tx(std::unique_ptr<State> state);
  static Result<std::unique_ptr<State>> begin(Pool& pool, std::string_view settings_sql, std::string_view setting);
  std::unique_ptr<State> state_;
};

// A request's transaction for exactly one tenant: `stella.tenant` is set first and locally.
class TenantTx : public Tx {
 public:
  static Result<TenantTx> open(Pool& web_pool, const TenantScope& scope);
  const TenantId& tenant() const { return tenant_; }
  const std::string& actor() const { return actor_; }
  // A read in one round trip: settings, query and sync in a single pipeline, implicit transaction.
  static Result<Rows> read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::initializer_list<Param> params);
  static Result<Rows> read(Pool& web_pool, const TenantScope& scope, std::string_view sql, std::span<const Param> params);

 private:
  TenantTx(std::unique_ptr<State> state, TenantId tenant, std::string actor);
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
    auto state = Tx::begin(pool.pool(), {}, {});
    if (!state) return std::move(state.error());
    return SystemTx(std::move(*state));
  }

 private:
  explicit SystemTx(std::unique_ptr<State> state) : Tx(std::move(state)) {}
};

// Applies db/migrations/*.sql (embedded at build time; forward only, each in one transaction, digest recorded and compared).
// Runs as the owner `stella_owner`; idempotent; a changed old migration is kInternal with its name.
struct MigrationReport {
  int applied = 0;
  int present = 0;
};
Result<MigrationReport> migrate(const PoolOptions& owner);

}  // namespace stella::pg
