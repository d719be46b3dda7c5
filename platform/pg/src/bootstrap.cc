// The database and its logins, made once by a superuser. Names are literals of ours; passwords become SCRAM verifiers here.
#include <algorithm>
#include <array>

#include "connection.h"
#include "stella/platform/pg.h"

namespace stella::pg {
namespace {

constexpr std::array<std::string_view, 7> kLogins = {"stella_owner",        "stella_web",     "stella_authority",
                                                     "stella_orchestrator", "stella_indexer", "stella_locker",
                                                     "stella_telemetry"};

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

Result<bool> exists(Connection& connection, std::string_view sql, std::string_view name) {
  const Param param(name);
  const Statement statement{sql, {&param, 1}};
  auto rows = STELLA_TRY(connection.run({&statement, 1}, soon()));
  return !rows.back().empty();
}

bool plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 63 &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

Result<void> make_login(Connection& connection, const std::string& login, const std::string& password) {
  // The verifier has no quote: SCRAM-SHA-256$4096:<base64>$<base64>:<base64>.
  const std::string verifier = STELLA_TRY(connection.scram_verifier(password, login));
  const bool there = STELLA_TRY(exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = $1", login));
  STELLA_TRY_VOID(connection.script((there ? "ALTER ROLE " : "CREATE ROLE ") + login +
                               " LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION INHERIT PASSWORD '" + verifier + "'",
                                    soon()));
  return {};
}

Result<void> make_database(Connection& connection, const std::string& database) {
  if (!STELLA_TRY(exists(connection, "SELECT 1 FROM pg_database WHERE datname = $1", database)))
    STELLA_TRY_VOID(connection.script(
        "CREATE DATABASE " + database + " OWNER stella_owner ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0", soon()));
  STELLA_TRY_VOID(connection.script("REVOKE ALL ON DATABASE " + database + " FROM PUBLIC", soon()));
  for (auto login : kLogins)
    STELLA_TRY_VOID(connection.script("GRANT CONNECT ON DATABASE " + database + " TO " + std::string(login), soon()));
  // A temporary object takes the place of another by its name: the owner alone may make them. Granted once, so taken from databases that have it.
  for (auto login : kLogins)
    if (login != "stella_owner") STELLA_TRY_VOID(connection.script("REVOKE TEMPORARY ON DATABASE " + database + " FROM " + std::string(login), soon()));
  return {};
}

}  // namespace

std::span<const std::string_view> logins() { return kLogins; }

Result<void> bootstrap(const PoolOptions& superuser, std::span<const std::pair<std::string, std::string>> passwords,
                       std::string_view database) {
  if (!plain_name(database)) return Error(base_errors::kInvalid, "not a database name").with("field", "database");
  for (auto login : kLogins) {
    const auto count = std::count_if(passwords.begin(), passwords.end(), [&](const auto& p) { return p.first == login && !p.second.empty(); });
    if (count != 1) return Error(base_errors::kInvalid, "each login needs one password").with("field", std::string(login));
  }
  auto connection = STELLA_TRY(Connection::open(superuser));
  for (auto login : kLogins) {
    const auto it = std::find_if(passwords.begin(), passwords.end(), [&](const auto& p) { return p.first == login; });
    STELLA_TRY_VOID(make_login(*connection, it->first, it->second));
  }
  return make_database(*connection, std::string(database));
}

}  // namespace stella::pg
