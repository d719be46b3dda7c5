// What a run said about itself, into the tables of telemetry.
#include <algorithm>

#include "state.h"
#include "stella/base/encoding.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::orchestrator {
namespace {

constexpr std::size_t kRows = 2000;        // spans, and lines below ERROR, kept of one run
constexpr std::size_t kLateSpans = 250;    // of them the last ones: the outermost end last and say most
constexpr std::size_t kErrorRows = 8000;   // lines, where all beyond kRows are errors
constexpr std::size_t kTextBytes = 64u << 10;

constexpr telemetry::Counter kDropped{contracts::metrics::kTelemetryDropped};

using Row = std::vector<pg::Param>;

// Records that are not kept: there are too many, or they are none.
struct Lost {
  std::uint64_t beyond = 0, unfit = 0;
};
void count(Tx& tx, std::string_view signal, Lost lost) {
  tx.on_commit([signal, lost] {
    if (lost.beyond > 0) kDropped.add(lost.beyond, signal, "trace_limit");
    if (lost.unfit > 0) kDropped.add(lost.unfit, signal, "encode");
  });
}

bool in_trace(const json::Value& v, const JobRow& job) { return v.is_object() && v.str("trace_id") == job.trace.hex(); }

// As many members as fit, the largest left out first; true where all do.
bool fit(json::Value& attributes, std::string& text) {
  text = json::dump(attributes);
  if (text.size() <= kTextBytes) return true;
  std::vector<std::pair<std::size_t, const json::Object::Member*>> members;
  for (const auto& member : attributes.as_object()) members.emplace_back(json::dump(json::Value(member.first)).size() + json::dump(member.second).size() + 2, &member);
  std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  json::Object kept;
  std::size_t bytes = 2;
  for (const auto& [size, member] : members) {
    if ((bytes += size) > kTextBytes) break;
    kept.append(member->first, member->second);
  }
  text = json::dump(json::Value(std::move(kept)));
  return false;
}

std::vector<Row> span_rows(Tx& tx, const JobRow& job, const Report& report) {
  std::vector<Row> rows;
  // Of a trace that the head did not choose, only what went wrong or was slow is kept, and says so in our words.
  const auto parent = telemetry::parse_traceparent(job.traceparent);
  const bool undecided = parent && (parent->flags & telemetry::TraceParent::kSampled) == 0;
  if (undecided && !report.body.boolean("keep")) return rows;
  const json::Array& spans = report.body.items("spans");
  const auto own = static_cast<std::size_t>(std::count_if(spans.begin(), spans.end(), [&](const json::Value& s) { return in_trace(s, job); }));
  Lost lost;
  std::size_t nth = 0;
  for (const json::Value& s : spans) {
    if (!in_trace(s, job)) continue;
    if (++nth > kRows - kLateSpans && own - nth >= kLateSpans) {
      ++lost.beyond;
      continue;
    }
    auto start = Timestamp::parse(s.str("start_ts"));
    auto end = Timestamp::parse(s.str("end_ts"));
    auto span_id = SpanId::parse(s.str("span_id"));
    if (!start || !end || !span_id) {
      ++lost.unfit;
      continue;
    }
    const json::Value* attributes = s.find("attributes");
    json::Value kept = attributes != nullptr && attributes->is_object() ? *attributes : json::Value::object();
    if (undecided) kept.set("sampling.reason", report.status == "finished" ? "latency" : "error");
    std::string text;
    if (!fit(kept, text)) ++lost.unfit;
    rows.push_back({job.tenant, job.trace.hex(), span_id->hex(), clip_utf8(s.str("parent_span_id"), 16), clip_utf8(s.str("name"), 100), clip_utf8(s.str("kind"), 20),
                    *start, *end, clip_utf8(s.str("status"), 20), pg::Param::json(text)});
  }
  count(tx, "spans", lost);
  return rows;
}

std::vector<Row> line_rows(Tx& tx, const JobRow& job, const Report& report) {
  std::vector<Row> rows;
  Lost lost;
  for (const json::Value& line : report.body.items("logs")) {
    if (!in_trace(line, job)) continue;
    if (rows.size() >= (line.str("level") == "error" ? kErrorRows : kRows)) {
      ++lost.beyond;
      continue;
    }
    auto ts = Timestamp::parse(line.str("ts"));
    std::string text = json::dump(line);
    if (!ts || text.size() > kTextBytes) {
      ++lost.unfit;
      continue;
    }
    rows.push_back({job.tenant, job.trace.hex(), *ts, clip_utf8(line.str("level"), 10), clip_utf8(line.str("span_id"), 16), text});
  }
  count(tx, "logs", lost);
  return rows;
}

}  // namespace

Result<void> keep_telemetry(Tx& tx, const JobRow& job, const Report& report) {
  STELLA_TRY_VOID(tx.query_many("INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, parent_span_id, name, kind, service, start_ts, end_ts, status, attributes) "
                                "VALUES ($1, $2, $3, $4, $5, $6, 'stella-runner', $7, $8, $9, $10) ON CONFLICT DO NOTHING",
                                span_rows(tx, job, report)));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, span_id, line) VALUES ($1, $2, $3, $4, 'stella-runner', $5, $6)",
                                line_rows(tx, job, report)));
  return {};
}

}  // namespace stella::orchestrator
