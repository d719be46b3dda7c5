// Lists: keyset pages of JSON that PostgreSQL builds, newest first.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/web/context.h"

namespace stella::web {

// SQL text of a timestamptz as RFC 3339 in UTC, and of a digest as hex.
#define STELLA_SQL_TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
#define STELLA_SQL_HEX(column) "encode(" column ", 'hex')"

// The place after the last row of a page.
struct Cursor {
  Timestamp ts;
  std::string id;
};
std::string make_cursor(Timestamp ts, std::string_view id);
// "" is the first page; kInvalid for what make_cursor did not make.
Result<std::optional<Cursor>> parse_cursor(const std::string& text);

struct ListQuery {
  std::string_view select;   // SQL of the JSON object of a row
  std::string_view from;     // FROM … (without WHERE)
  std::string_view time;     // column of the order
  std::string_view id;       // uuid or text column that makes it total
  std::string_view id_type = "uuid";
  std::string where;         // further conditions, "AND …"; $1 is the tenant
  std::vector<pg::Param> params;  // from $2 on
  bool from_global = false;       // rows of the public knowledge base instead of the tenant's own
};

// {"items":[…],"next_cursor":…|null}; honours ?limit and ?cursor. kInvalid for a cursor that this list did not give.
Result<http::Response> list_page(Context& ctx, const ListQuery& query);

// One row's JSON as a 200 response; kNotFound where there is none.
Result<http::Response> one_row(Context& ctx, std::string_view sql, std::initializer_list<pg::Param> params);

// A row that a job will finish.
struct Awaited {
  std::string_view json;       // SQL of the JSON object of the row
  std::string_view table;
  std::string_view id_column;
  std::string_view ended;      // SQL condition
  std::string_view state;      // the row's state as committed
  std::optional<bool> existed; // stated in the reply where set
  int accepted = 202;          // status while it has not ended
  int done = 200;              // and once it has
};

// Commits the request's transaction, then answers with the row as it is when it has ended or ?wait= is over.
Result<http::Response> commit_and_await(Context& ctx, const Awaited& what, const std::string& id);

}  // namespace stella::web
