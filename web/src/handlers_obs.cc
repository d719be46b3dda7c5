// One trace on one screen, the health of the parts, and what telemetry records.
#include <algorithm>

#include "handlers.h"
#include "page.h"
#include "stella/services/controls.h"
#include "stella/telemetry/modules.h"

namespace stella::web::handlers {
namespace {

// A trace may be longer than anybody reads, and the reply is held in memory: of each kind so many items and bytes, whichever comes first, and so
// many bytes of all kinds.
#define STELLA_TRACE_ITEMS "5000"
constexpr std::size_t kKindBytes = 8 << 20;
constexpr std::size_t kTraceBytes = 12 << 20;

// The rows of `sql` (one column, ordered) within both limits, the one in bytes as $3; a row without a text stands where more would follow.
std::string within_limits(std::string_view sql) {
  return "SELECT CASE WHEN number <= " STELLA_TRACE_ITEMS " AND bytes <= $3::bigint THEN item END FROM (SELECT item, row_number() OVER so_far AS number, sum(octet_length(item)) OVER so_far AS bytes FROM (" +
         std::string(sql) + " LIMIT " STELLA_TRACE_ITEMS " + 1) AS found (item) WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)) AS counted WHERE bytes - octet_length(item) <= $3::bigint ORDER BY number";
}

// Appends a JSON array of a query's first column; true where it was cut.
Result<bool> append_items(Context& ctx, std::string_view sql, std::string& out) {
  const std::string trace(ctx.param("trace_id"));
  const auto rows = STELLA_TRY(ctx.read(within_limits(sql), {ctx.tenant(), trace, static_cast<std::int64_t>(std::min(kKindBytes, kTraceBytes - std::min(kTraceBytes, out.size())))}));
  const bool cut = rows.size() > 0 && rows.is_null(rows.size() - 1, 0);
  out += '[';
  for (int i = 0; i < rows.size() - (cut ? 1 : 0); ++i) out.append(i == 0 ? "" : ",").append(rows.text(i, 0));
  out += ']';
  return cut;
}

struct Part {
  std::string_view name;
  std::string_view sql;
};

// Each part in time order; the reader joins them by span id and time. What there is little of comes first, so that the many leave it room.
constexpr Part kParts[] = {
    {"jobs", "SELECT json_build_object('job_id', job_id, 'kind', kind, 'state', state, 'attempt', attempt, 'root_cause', root_cause, 'created_at', " STELLA_SQL_TIME("created_at") ", 'finished_at', " STELLA_SQL_TIME("finished_at") ")::text "
             "FROM jobs WHERE tenant_id = $1 AND trace_id = $2 ORDER BY created_at, job_id"},
    {"evidence", "SELECT json_build_object('bundle_id', bundle_id, 'case_id', case_id, 'kind', kind, 'resource_id', resource_id, 'state', state, 'sealed_at', " STELLA_SQL_TIME("sealed_at") ")::text "
                 "FROM evidence_snapshots WHERE tenant_id = $1 AND trace_id = $2 ORDER BY requested_at, bundle_id"},
    {"attestations", "SELECT json_build_object('attestation_id', f.attestation_id, 'predicate_type', f.predicate_type, 'subject_name', f.subject_name, 'subject_digest', " STELLA_SQL_HEX("a.subject_digest") ", 'job_id', f.job_id, 'signer_key_id', a.signer_key_id)::text "
                     "FROM attestation_facts f JOIN attestations a ON a.tenant_id = f.tenant_id AND a.id = f.attestation_id WHERE f.tenant_id = $1 AND f.trace_id = $2 ORDER BY a.created_at, f.attestation_id"},
    {"decisions", "SELECT record::text FROM decisions WHERE tenant_id = $1 AND trace_id = $2 ORDER BY ts, decision_id"},
    {"events", "SELECT json_build_object('event_id', event_id, 'ts', " STELLA_SQL_TIME("ts") ", 'kind', kind, 'actor', actor, 'resource_type', resource_type, 'resource_id', resource_id, 'details', details_jsonb, 'digest', " STELLA_SQL_HEX("digest") ")::text "
               "FROM timeline_events WHERE tenant_id = $1 AND trace_id = $2 ORDER BY ts, event_id"},
    {"spans", "SELECT json_build_object('span_id', span_id, 'parent_span_id', parent_span_id, 'name', name, 'kind', kind, 'service', service, 'start_ts', " STELLA_SQL_TIME("start_ts") ", 'end_ts', " STELLA_SQL_TIME("end_ts") ", "
              "'duration_us', (extract(epoch FROM end_ts - start_ts) * 1000000)::bigint, 'status', status, 'attributes', attributes, 'links', links)::text FROM telemetry_spans WHERE tenant_id = $1 AND trace_id = $2 ORDER BY start_ts, span_id"},
    {"logs", "SELECT line FROM telemetry_logs WHERE tenant_id = $1 AND trace_id = $2 ORDER BY ts, line_id"},
};

http::Response settings_response(const controls::Stored& stored) {
  json::Value body = controls::to_json(stored.controls);
  body.set("updated_at", stored.updated_at ? json::Value(stored.updated_at->rfc3339()) : json::Value());
  body.set("updated_by", stored.updated_by.empty() ? json::Value() : json::Value(stored.updated_by));
  return http::Response::json(200, json::dump(body));
}

}  // namespace

Result<http::Response> obs_trace(Context& ctx) {
  const TraceId trace = STELLA_TRY(ctx.id_param<TraceId>("trace_id"));
  if (ctx.services.settle_telemetry) ctx.services.settle_telemetry();
  std::string body = "{\"trace_id\":\"" + trace.hex() + "\"";
  bool empty = true;
  json::Array truncated;
  for (const Part& part : kParts) {
    body.append(",\"").append(part.name).append("\":");
    const std::size_t before = body.size();
    const bool cut = STELLA_TRY(append_items(ctx, part.sql, body));
    if (cut) truncated.emplace_back(std::string(part.name));
    empty = empty && !cut && body.size() == before + 2;  // "[]"
  }
  if (empty) return Error(base_errors::kNotFound, "nothing is known about this trace");
  body.append(",\"truncated\":").append(json::dump(json::Value(std::move(truncated)))).append("}");
  return http::Response::json(200, std::move(body));
}

Result<http::Response> obs_health(Context& ctx) {
  json::Array parts;
  bool healthy = true;
  for (const auto& [name, problem] : ctx.services.parts()) {
    parts.push_back(json::Value::object({{"part", name}, {"healthy", problem.empty()}, {"problem", problem}}));
    healthy = healthy && problem.empty();
  }
  const auto rows = STELLA_TRY(ctx.read("SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'dead') FROM jobs WHERE tenant_id = $1 "
                                        "AND state IN ('queued', 'running', 'dead')",
                                        {ctx.tenant()}));
  return http::Response::json(200, json::dump(json::Value::object({{"healthy", healthy}, {"version", STELLA_VERSION}, {"parts", std::move(parts)},
                                                                   {"jobs", json::Value::object({{"queued", rows.integer(0, 0)}, {"running", rows.integer(0, 1)}, {"dead", rows.integer(0, 2)}})}})));
}

Result<http::Response> obs_settings(Context& ctx) {
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const controls::Stored stored = STELLA_TRY(controls::read(*tx));
  return ctx.commit(settings_response(stored));
}

// A level of a module that there is none of would be kept, and do nothing.
Result<void> known_modules(const controls::Change& change) {
  const auto unknown = [](const auto& levels) { return std::any_of(levels.begin(), levels.end(), [](const auto& one) { return !controls::known_module(one.first); }); };
  const bool lasting = change.levels && unknown(*change.levels);
  if (!lasting && !(change.temporary_levels && unknown(change.temporary_levels->levels))) return {};
  return Error(base_errors::kInvalid, "a level is for a module that there is none of").with("field", std::string(lasting ? "levels" : "temporary_levels.levels")).with("expected", "modules: " + controls::module_names());
}

Result<http::Response> change_obs_settings(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"levels", Member::kObject}, {"temporary_levels", Member::kAny}, {"sampling", Member::kAny}, {"deep_debug", Member::kAny}}));
  const controls::Change change = STELLA_TRY(controls::parse_change(body));
  STELLA_TRY_VOID(known_modules(change));
  STELLA_TRY_VOID(ctx.services.telemetry_changes.may(ctx.tenant(), "the telemetry of the tenant was changed too often within a minute"));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const controls::Stored stored = STELLA_TRY(controls::change(*tx, change, ctx.trace));
  ctx.services.telemetry_changes.count(ctx.tenant());
  return ctx.commit(settings_response(stored));
}

}  // namespace stella::web::handlers
