// Keyset pages. A cursor is the place after the last row: base64url of "<micros>|<id>".
#include "page.h"

#include <charconv>

#include "stella/base/encoding.h"

namespace stella::web {
namespace {

Error bad_cursor() { return Error(base_errors::kInvalid, "the cursor is not one of this list").with("field", "cursor").with("expected", "next_cursor of the page before"); }

}  // namespace

std::string make_cursor(Timestamp ts, std::string_view id) { return base64url_encode(std::to_string(ts.micros()).append("|").append(id)); }

Result<std::optional<Cursor>> parse_cursor(const std::string& text) {
  if (text.empty()) return std::optional<Cursor>();
  if (text.size() > 512) return bad_cursor();
  auto raw = base64_decode(text);
  if (!raw || !is_utf8(*raw)) return bad_cursor();
  const std::size_t bar = raw->find('|');
  std::int64_t micros = 0;
  const auto r = std::from_chars(raw->data(), raw->data() + std::min(bar, raw->size()), micros);
  if (bar == std::string::npos || r.ec != std::errc() || r.ptr != raw->data() + bar || raw->find('\0') != std::string::npos) return bad_cursor();
  return std::optional<Cursor>(Cursor{Timestamp::from_micros(micros), raw->substr(bar + 1)});
}

Result<http::Response> list_page(Context& ctx, const ListQuery& query) {
  const int limit = STELLA_TRY(ctx.limit());
  const auto cursor = STELLA_TRY(parse_cursor(ctx.request.query_param("cursor")));
  std::vector<pg::Param> params{query.from_global ? pg::Param(kGlobalTenant) : pg::Param(ctx.tenant())};
  params.insert(params.end(), query.params.begin(), query.params.end());
  std::string sql = std::string("SELECT (").append(query.select).append(")::text, ").append(query.time).append(", ").append(query.id).append("::text ").append(query.from).append(" WHERE tenant_id = $1 ").append(query.where);
  if (cursor) {
    if (query.id_type == "uuid" && !Uuid::parse(cursor->id)) return bad_cursor();
    sql.append(" AND (").append(query.time).append(", ").append(query.id).append(") < ($" + std::to_string(params.size() + 1) + "::timestamptz, $" + std::to_string(params.size() + 2) + "::").append(query.id_type).append(")");
    params.emplace_back(cursor->ts);
    params.emplace_back(cursor->id);
  }
  sql.append(" ORDER BY ").append(query.time).append(" DESC, ").append(query.id).append(" DESC LIMIT " + std::to_string(limit + 1));  // a bound LIMIT would make a generic plan read the whole table
  const auto rows = STELLA_TRY(ctx.read(sql, params));
  const int n = std::min(rows.size(), limit);
  std::string body = "{\"items\":[";
  for (int i = 0; i < n; ++i) body.append(i == 0 ? "" : ",").append(rows.text(i, 0));
  body += "],\"next_cursor\":";
  if (rows.size() > limit) json::append_quoted(body, make_cursor(rows.timestamp(n - 1, 1), rows.text(n - 1, 2)));
  else body += "null";
  body += "}";
  return http::Response::json(200, std::move(body));
}

Result<http::Response> one_row(Context& ctx, std::string_view sql, std::initializer_list<pg::Param> params) {
  const auto rows = STELLA_TRY(ctx.read(sql, params));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such thing");
  return http::Response::json(200, std::string(rows.text(0, 0)));
}

Result<http::Response> commit_and_await(Context& ctx, const Awaited& what, const std::string& id) {
  const auto wait = STELLA_TRY(ctx.wait());
  json::Value accepted = json::Value::object({{std::string(what.id_column), id}, {"state", what.state}, {"trace_id", ctx.trace.hex()}});
  if (what.existed) accepted.set("existed", *what.existed);
  http::Response response = STELLA_TRY(ctx.commit(http::Response::json(what.accepted, json::dump(accepted))));
  const std::string sql = std::string("SELECT (").append(what.json).append(")::text, ").append(what.ended).append(" FROM ").append(what.table).append(" WHERE tenant_id = $1 AND ").append(what.id_column).append(" = $2");
  std::optional<Error> failed;
  wait_until(ctx, wait, [&] {
    auto rows = ctx.read(sql, {ctx.tenant(), id});
    if (!rows || rows->empty()) {
      failed = rows ? Error(base_errors::kInternal, "what was just written is not there") : std::move(rows.error());
      return true;
    }
    response.body = std::string(rows->text(0, 0));
    const bool ended = rows->boolean(0, 1);
    if (ended) response.status = what.done;
    return ended;
  });
  if (failed) return std::move(*failed);
  if (what.existed) {
    json::Value row = STELLA_TRY(json::parse(response.body));
    row.set("existed", *what.existed);
    response.body = json::dump(row);
  }
  return response;
}

}  // namespace stella::web
