// Wire form of spans and log lines, and what is checked when they come from a process that met hostile input.
#include "stella/telemetry/records.h"

#include <algorithm>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

constexpr std::string_view kFormat = "stella.telemetry/v1";
constexpr std::size_t kRecords = 10'000;
constexpr std::size_t kNameBytes = 256;
constexpr Counter kDropped{contracts::metrics::kTelemetryDropped};

std::string encode_span(const SpanRecord& span) {
  std::string out;
  json::Writer w(out);
  w.begin_object();
  w.member("tenant_id", span.tenant_id).member("trace_id", span.trace_id).member("span_id", span.span_id);
  w.member("parent_span_id", span.parent_span_id).member("name", span.name).member("kind", span.kind).member("service", span.service);
  w.member("start_us", span.start.micros()).member("end_us", span.end.micros()).member("status", span.status);
  w.key("attributes").raw(span.attributes).key("links").raw(span.links);
  w.end_object();
  return out;
}

std::string encode_line(const LogRecord& log) {
  std::string out;
  json::append_quoted(out, log.line);
  return out;
}

// Names of members, too: who made them may have put anything there. After scrub_json(), which goes by them.
json::Value with_clean_names(json::Value value) {
  if (value.is_array()) {
    for (json::Value& item : value.as_array()) item = with_clean_names(std::move(item));
    return value;
  }
  if (!value.is_object()) return value;
  json::Object out;
  for (const auto& [name, member] : value.as_object()) {
    if (certainly_clean(name)) out.append(name, with_clean_names(member));
    else out.set(scrub(name), with_clean_names(member));
  }
  return out;
}

Error malformed(Literal message) { return Error(contracts::errors::kMalformed, message); }

bool one_of(std::string_view text, std::initializer_list<std::string_view> values) {
  return std::find(values.begin(), values.end(), text) != values.end();
}

Result<SpanRecord> decode_span(const json::Value& value) {
  SpanRecord span;
  span.tenant_id = value.str("tenant_id");
  span.trace_id = value.str("trace_id");
  span.span_id = value.str("span_id");
  span.parent_span_id = value.str("parent_span_id");
  span.name = value.str("name");
  span.kind = value.str("kind");
  span.service = value.str("service");
  span.status = value.str("status");
  span.start = Timestamp::from_micros(value.integer("start_us"));
  span.end = Timestamp::from_micros(value.integer("end_us"));
  if (!TraceId::parse(span.trace_id) || !SpanId::parse(span.span_id)) return malformed("span without ids");
  if (!span.parent_span_id.empty() && !SpanId::parse(span.parent_span_id)) return malformed("span with a malformed parent");
  if (span.name.empty() || span.name.size() > kNameBytes || span.service.size() > kNameBytes) return malformed("span name out of bounds");
  if (!one_of(span.kind, {"internal", "server", "client", "producer", "consumer"})) return malformed("unknown span kind");
  if (!one_of(span.status, {"unset", "ok", "error"})) return malformed("unknown span status");
  if (span.end < span.start) return malformed("span ends before it begins");
  const json::Value* attributes = value.find("attributes");
  const json::Value* links = value.find("links");
  if (attributes == nullptr || !attributes->is_object() || links == nullptr || !links->is_array()) return malformed("span without attributes");
  json::Value clean = *attributes;
  scrub_json(clean);
  span.attributes = json::dump(with_clean_names(std::move(clean)));
  span.name = scrub(span.name);
  span.service = scrub(span.service);
  json::Value clean_links = json::Value::array();
  for (const json::Value& link : links->as_array()) {
    if (!TraceId::parse(link.str("trace_id")) || !SpanId::parse(link.str("span_id"))) return malformed("span with a malformed link");
    clean_links.push(json::Value::object({{"trace_id", link.str("trace_id")}, {"span_id", link.str("span_id")}}));
  }
  span.links = json::dump(clean_links);
  if (span.attributes.size() > kLineBytes || span.links.size() > kLineBytes) return malformed("span over its limit");
  return span;
}

Result<LogRecord> decode_line(const json::Value& value) {
  if (!value.is_string() || value.as_string().size() > kLineBytes) return malformed("log line over its limit");
  json::Value line = STELLA_TRY(json::parse(value.as_string()));
  if (!line.is_object()) return malformed("log line is no object");
  LogRecord log;
  const auto level = parse_level(line.str("level"));
  if (!level) return malformed("log line without level");
  log.level = *level;
  log.ts = STELLA_TRY(Timestamp::parse(line.str("ts")));
  log.tenant_id = line.str("tenant_id");
  log.trace_id = line.str("trace_id");
  log.span_id = line.str("span_id");
  log.service = scrub(line.str("service"));
  if (!TraceId::parse(log.trace_id) || !SpanId::parse(log.span_id)) return malformed("log line without ids");
  scrub_json(line);
  log.line = json::dump(with_clean_names(std::move(line)));
  return log;
}

}  // namespace

void CollectingSink::log(LogRecord&& record) noexcept {
  Lock lock(mutex_);
  if (record.level < Level::kError && records_.logs.size() + records_.spans.size() >= most_) {
    kDropped.add(1, "logs", "queue_full");
    return;
  }
  records_.logs.push_back(std::move(record));
}

void CollectingSink::span(SpanRecord&& record) noexcept {
  Lock lock(mutex_);
  // The outermost spans end last and say most: they get room of their own.
  if (records_.spans.size() >= most_ + most_ / 4) {
    kDropped.add(1, "spans", "queue_full");
    return;
  }
  records_.spans.push_back(std::move(record));
}

Records CollectingSink::take() {
  Lock lock(mutex_);
  return std::exchange(records_, Records());
}

std::string encode_records(const Records& records, std::size_t max_bytes) {
  // Most telling first, within the bytes there are: WARN and ERROR lines, spans from the outermost, then the rest.
  std::vector<std::string> spans, logs;
  std::size_t used = 64;
  const auto fits = [&](const std::string& text) {
    if (used + text.size() + 1 > max_bytes) return false;
    used += text.size() + 1;
    return true;
  };
  std::vector<bool> taken(records.logs.size());
  const auto take_lines = [&](bool grave) {
    for (std::size_t i = 0; i < records.logs.size(); ++i) {
      if ((records.logs[i].level >= Level::kWarn) != grave) continue;
      taken[i] = fits(encode_line(records.logs[i]));
      if (!taken[i]) kDropped.add(1, "logs", "encode");
    }
  };
  take_lines(true);
  for (auto span = records.spans.rbegin(); span != records.spans.rend(); ++span) {
    std::string text = encode_span(*span);
    if (fits(text)) {
      spans.push_back(std::move(text));
    } else {
      kDropped.add(1, "spans", "encode");
    }
  }
  std::reverse(spans.begin(), spans.end());
  take_lines(false);
  for (std::size_t i = 0; i < records.logs.size(); ++i) {
    if (taken[i]) logs.push_back(encode_line(records.logs[i]));
  }

  std::string out = "{\"format\":\"";
  out.append(kFormat).append("\",\"spans\":[");
  const auto join = [&](const std::vector<std::string>& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) out.push_back(',');
      out.append(parts[i]);
    }
  };
  join(spans);
  out.append("],\"logs\":[");
  join(logs);
  out.append("]}");
  return out;
}

Result<Records> decode_records(std::string_view text, const TenantId& tenant, const TraceId& trace) {
  const json::Value document = STELLA_TRY(json::parse(text, {.max_bytes = 8u << 20, .max_depth = 16}));
  if (document.str("format") != kFormat) return malformed("not a telemetry document");
  const json::Array& spans = document.items("spans");
  const json::Array& logs = document.items("logs");
  if (spans.size() + logs.size() > kRecords) return Error(contracts::errors::kLimit, "too many telemetry records").with("limit", kRecords);
  const std::string trace_text = trace.hex();
  Records records;
  for (const json::Value& value : spans) {
    SpanRecord span = STELLA_TRY(decode_span(value));
    if (span.tenant_id == tenant.str() && span.trace_id == trace_text) records.spans.push_back(std::move(span));
  }
  for (const json::Value& value : logs) {
    LogRecord log = STELLA_TRY(decode_line(value));
    if (log.tenant_id == tenant.str() && log.trace_id == trace_text) records.logs.push_back(std::move(log));
  }
  return records;
}

}  // namespace stella::telemetry
