// From SQLSTATE to error codes. Messages of the server may quote values: only classes that speak about statements are passed on.
#include <libpq-fe.h>

#include <array>
#include <cstring>

#include "codes.h"
#include "connection.h"
#include "stella/telemetry/metrics.h"

namespace stella::pg {
namespace {

std::string_view field(const PGresult* result, int which) {
  const char* text = PQresultErrorField(result, which);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

// Classes whose primary message names tables, columns, locks or the server's state, but never a row's values.
bool message_is_safe(std::string_view state) {
  static constexpr std::array<std::string_view, 9> kSafe = {"42", "40", "25", "26", "53", "55", "57", "0A", "58"};
  for (auto prefix : kSafe)
    if (state.starts_with(prefix)) return true;
  return false;
}

constexpr telemetry::Counter kErrors{contracts::metrics::kPgErrors};

void count(std::string_view state) {
  if (state.starts_with("23")) return;  // an answer, not a failure
  kErrors.add(1, state.starts_with("40") || state == "55P03" ? "serialization" : state == "57014" ? "timeout" : "statement");
}

Error classify(std::string_view state) {
  if (state == "23505") return Error(kConflict, "already there");
  if (state.starts_with("23")) return Error(kConflict, "conflicts with what is stored");
  if (state.starts_with("40") || state == "55P03") return Error(kConflict, "another transaction was faster").with("retry", "yes");
  if (state == "57014") return Error(kTimeout, "the statement took too long");
  if (state == "53100") return Error(kDiskFull, "the database has no space left").with("part", "postgresql");
  if (state.starts_with("08") || state.starts_with("57P") || state.starts_with("53"))
    return Error(kUnavailable, "the database is not available").with("part", "postgresql");
  return Error(base_errors::kInternal, "the database refused a statement");
}

}  // namespace

Error server_error(const pg_result* result, std::string_view sql) {
  const std::string_view state = field(result, PG_DIAG_SQLSTATE);
  Error error = classify(state);
  count(state);
  error.add("sqlstate", std::string(state));
  if (auto name = field(result, PG_DIAG_CONSTRAINT_NAME); !name.empty()) error.add("constraint", std::string(name));
  if (auto name = field(result, PG_DIAG_TABLE_NAME); !name.empty()) error.add("table", std::string(name));
  if (message_is_safe(state)) error.add("server", std::string(field(result, PG_DIAG_MESSAGE_PRIMARY)));
  error.add("statement", std::string(sql.substr(0, 120)));
  return error;
}

}  // namespace stella::pg
