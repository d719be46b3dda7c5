// Telemetry rows through the role `telemetry`, which alone may write them for every tenant.
#include "row_sink.h"

namespace stella::stellad {
namespace {

using Tx = pg::SystemTx<pg::TelemetryRole>;

// Lines of no tenant belong to the platform.
pg::Param tenant_of(const std::string& tenant) { return tenant.empty() ? pg::Param(kPlatformTenant) : pg::Param(tenant); }

}  // namespace

Result<void> PgRowSink::write(std::span<const telemetry::SpanRecord> spans, std::span<const telemetry::LogRecord> logs) {
  std::vector<std::vector<pg::Param>> span_rows;
  for (const telemetry::SpanRecord& s : spans)
    span_rows.push_back({tenant_of(s.tenant_id), s.trace_id, s.span_id, s.parent_span_id, s.name, s.kind, s.service, s.start, s.end, s.status, s.attributes, s.links});
  std::vector<std::vector<pg::Param>> log_rows;
  for (const telemetry::LogRecord& l : logs)
    if (!l.trace_id.empty()) log_rows.push_back({tenant_of(l.tenant_id), l.trace_id, l.ts, telemetry::to_string(l.level), l.service, l.span_id, l.line});
  if (span_rows.empty() && log_rows.empty()) return {};
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, parent_span_id, name, kind, service, start_ts, end_ts, status, attributes, links) "
                                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
                                span_rows));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, span_id, line) VALUES ($1, $2, $3, $4, $5, $6, $7)", log_rows));
  return tx.commit();
}

Result<std::int64_t> PgRowSink::retain(std::int64_t days) {
  std::int64_t gone = 0;
  for (const std::string_view sql : {std::string_view("DELETE FROM telemetry_spans WHERE ctid IN (SELECT ctid FROM telemetry_spans WHERE start_ts < now() - make_interval(days => $1::int) LIMIT 10000)"),
                                     std::string_view("DELETE FROM telemetry_logs WHERE ctid IN (SELECT ctid FROM telemetry_logs WHERE ts < now() - make_interval(days => $1::int) LIMIT 10000)")}) {
    auto tx = STELLA_TRY(Tx::open(pool_));
    const auto rows = STELLA_TRY(tx.query(sql, {days}));
    STELLA_TRY_VOID(tx.commit());
    gone += rows.affected();
  }
  return gone;
}

}  // namespace stella::stellad
