// Forward-only migrations: each in one transaction together with its record, under one advisory lock.
#include "migrate.h"

#include <map>

#include "connection.h"
#include "stella/crypto/digest.h"
#include "stella/platform/pg.h"

namespace stella::pg {
namespace {

constexpr std::chrono::minutes kPatience{10};

constexpr std::string_view kCreate =
    "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, sha256 text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now())";

Result<Rows> one(Connection& connection, std::string_view sql, std::initializer_list<Param> params = {}) {
  const Statement statement{sql, {params.begin(), params.size()}};
  auto rows = STELLA_TRY(connection.run({&statement, 1}, Deadline::after(kPatience)));
  return std::move(rows.back());
}

// A statement error quotes no values, and our scripts hold none: say which script and what the server answered.
Error in_migration(Error error, std::string_view name) { return std::move(error).with("migration", std::string(name)); }

Result<void> apply(Connection& connection, const Migration& migration, const std::string& digest) {
  STELLA_TRY_VOID(connection.script("BEGIN", Deadline::after(kPatience)));
  auto done = [&]() -> Result<void> {
    STELLA_TRY_VOID(connection.script(std::string(migration.sql), Deadline::after(kPatience)));
    STELLA_TRY_VOID(one(connection, "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", {migration.name, digest}));
    STELLA_TRY_VOID(connection.script("COMMIT", Deadline::after(kPatience)));
    return {};
  }();
  if (done) return done;
  (void)connection.script("ROLLBACK", Deadline::after(kPatience));
  return in_migration(std::move(done.error()), migration.name);
}

}  // namespace

Result<std::string> run_script(const PoolOptions& administrator, std::string_view script) {
  auto connection = STELLA_TRY(Connection::open(administrator));
  return connection->script(std::string(script), Deadline::after(kPatience));
}

Result<MigrationReport> migrate(const PoolOptions& owner) {
  PoolOptions options = owner;
  options.statement_timeout = kPatience;
  options.lock_timeout = kPatience;
  auto connection = STELLA_TRY(Connection::open(options));
  STELLA_TRY_VOID(one(*connection, "SELECT pg_advisory_lock(7215000)"));  // ends with the session
  STELLA_TRY_VOID(one(*connection, kCreate));
  std::map<std::string, std::string, std::less<>> applied;
  const Rows rows = STELLA_TRY(one(*connection, "SELECT name, sha256 FROM schema_migrations"));
  for (int i = 0; i < rows.size(); ++i) applied.emplace(rows.text(i, 0), rows.text(i, 1));

  MigrationReport report;
  for (const Migration& migration : migrations()) {
    const std::string digest = crypto::sha256(migration.sql).hex();
    if (auto it = applied.find(migration.name); it != applied.end()) {
      if (it->second != digest) return in_migration(Error(base_errors::kInternal, "an applied migration has changed"), migration.name);
      applied.erase(it);
      ++report.present;
      continue;
    }
    STELLA_TRY_VOID(apply(*connection, migration, digest));
    ++report.applied;
  }
  if (!applied.empty())
    return in_migration(Error(base_errors::kInternal, "the database was migrated by a newer version"), applied.begin()->first);
  return report;
}

}  // namespace stella::pg
