// Telemetry rows through the role `telemetry`, which alone may write them for every tenant.
#include "row_sink.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "stella/telemetry/work.h"

namespace stella::stellad {
namespace {

using Tx = pg::SystemTx<pg::TelemetryRole>;

// One statement for all rows, with a column of each as an array: a statement for every row costs the server several times as much.
constexpr std::string_view kSpans =
    "INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, parent_span_id, name, kind, service, start_ts, end_ts, status, attributes, links)"
    " SELECT n.tenant_id, n.trace_id, n.span_id, n.parent, n.name, n.kind, n.service, n.started, n.ended, n.status, n.attributes::jsonb, n.links::jsonb"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[], $12::text[])"
    " AS n(tenant_id, trace_id, span_id, parent, name, kind, service, started, ended, status, attributes, links) ON CONFLICT DO NOTHING";
constexpr std::string_view kLogs =
    "INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, span_id, line)"
    " SELECT n.tenant_id, n.trace_id, n.ts, n.level, n.service, n.span_id, n.line"
    " FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])"
    " WITH ORDINALITY AS n(tenant_id, trace_id, ts, level, service, span_id, line, nth) WHERE n.trace_id <> ''";
constexpr std::string_view kUnknown =
    " AND NOT EXISTS (SELECT FROM telemetry_logs l WHERE l.tenant_id = n.tenant_id AND l.trace_id = n.trace_id AND l.ts = n.ts AND l.span_id = n.span_id AND l.line = n.line)";
constexpr std::string_view kInOrder = " ORDER BY n.nth";

// A column of all rows: get(row) for each.
template <class Row, class Get>
auto column(std::span<const Row> rows, Get get) {
  std::vector<std::decay_t<decltype(get(rows[0]))>> out;
  out.reserve(rows.size());
  for (const Row& row : rows) out.push_back(get(row));
  return out;
}
template <class Row, class Get>
pg::Param texts(std::span<const Row> rows, Get get) {
  return pg::Param::text_array(column(rows, get));
}
template <class Row, class Get>
pg::Param times(std::span<const Row> rows, Get get) {
  return pg::Param::timestamp_array(column(rows, get));
}

// Lines of no tenant belong to the platform.
std::string tenant_of(const std::string& tenant) { return tenant.empty() ? std::string(kPlatformTenant) : tenant; }

std::vector<pg::Param> columns(std::span<const telemetry::SpanRecord> rows) {
  using S = telemetry::SpanRecord;
  return {texts(rows, [](const S& s) { return tenant_of(s.tenant_id); }), texts(rows, [](const S& s) { return s.trace_id; }), texts(rows, [](const S& s) { return s.span_id; }),
          texts(rows, [](const S& s) { return s.parent_span_id; }), texts(rows, [](const S& s) { return s.name; }), texts(rows, [](const S& s) { return s.kind; }),
          texts(rows, [](const S& s) { return s.service; }), times(rows, [](const S& s) { return s.start; }), times(rows, [](const S& s) { return s.end; }),
          texts(rows, [](const S& s) { return s.status; }), texts(rows, [](const S& s) { return pg::Param::json(s.attributes).value(); }), texts(rows, [](const S& s) { return pg::Param::json(s.links).value(); })};
}

std::vector<pg::Param> columns(std::span<const telemetry::LogRecord> rows) {
  using L = telemetry::LogRecord;
  return {texts(rows, [](const L& l) { return tenant_of(l.tenant_id); }), texts(rows, [](const L& l) { return l.trace_id; }), times(rows, [](const L& l) { return l.ts; }),
          texts(rows, [](const L& l) { return std::string(telemetry::to_string(l.level)); }), texts(rows, [](const L& l) { return l.service; }), texts(rows, [](const L& l) { return l.span_id; }),
          texts(rows, [](const L& l) { return l.line; })};
}

}  // namespace

Result<void> PgRowSink::write(std::span<const telemetry::SpanRecord> spans, std::span<const telemetry::LogRecord> logs) {
  const bool of_traces = std::any_of(logs.begin(), logs.end(), [](const telemetry::LogRecord& l) { return !l.trace_id.empty(); });
  if (spans.empty() && !of_traces) return {};
  auto tx = STELLA_TRY(Tx::open(pool_));
  if (!spans.empty()) tx.defer(kSpans, columns(spans));
  if (of_traces) tx.defer(std::string(kLogs).append(doubtful_ ? kUnknown : "").append(kInOrder), columns(logs));
  auto done = tx.commit();
  doubtful_ = done ? false : doubtful_ || done.error().field("outcome") == "unknown";
  return done;
}

Result<std::int64_t> PgRowSink::retain(std::int64_t days) {
  return telemetry::in_work(contracts::work::kTelemetryRetain, {}, [&](telemetry::Work&) -> Result<std::int64_t> {
    std::int64_t gone = 0;
    for (const std::string_view sql : {std::string_view("DELETE FROM telemetry_spans WHERE ctid IN (SELECT ctid FROM telemetry_spans WHERE start_ts < now() - make_interval(days => $1::int) LIMIT 10000)"),
                                       std::string_view("DELETE FROM telemetry_logs WHERE ctid IN (SELECT ctid FROM telemetry_logs WHERE ts < now() - make_interval(days => $1::int) LIMIT 10000)")}) {
      auto tx = STELLA_TRY(Tx::open(pool_));
      const auto rows = STELLA_TRY(tx.query(sql, {days}));
      STELLA_TRY_VOID(tx.commit());
      gone += rows.affected();
    }
    return gone;
  });
}

}  // namespace stella::stellad
