// The report's JSON into records, through the decoder that trusts nobody.
#include "child_records.h"

#include "stella/telemetry/sink.h"

namespace stella::runner {
namespace {

constexpr const char* kReason = "sampling.reason";
constexpr std::size_t kBytes = 6u << 20;  // more than a child of ours reports

telemetry::SpanRecord span_of(const json::Value& value, const TenantId& tenant, ChildTrace state) {
  telemetry::SpanRecord span;
  span.tenant_id = tenant.str();
  span.service = telemetry::resource().service;
  span.trace_id = value.str("trace_id");
  span.span_id = value.str("span_id");
  span.parent_span_id = value.str("parent_span_id");
  span.name = value.str("name");
  span.kind = value.str("kind");
  span.status = value.str("status");
  if (const auto start = Timestamp::parse(value.str("start_ts"))) span.start = *start;
  if (const auto end = Timestamp::parse(value.str("end_ts"))) span.end = *end;
  json::Value attributes = json::Value::object();
  if (const json::Value* own = value.find("attributes"); own != nullptr && own->is_object())
    for (const auto& [key, one] : own->as_object())
      if (state == ChildTrace::kChosen || key != kReason) attributes.set(key, one);
  if (state == ChildTrace::kFailed) attributes.set(kReason, "error");
  else if (state == ChildTrace::kChosen && attributes.find(kReason) == nullptr) attributes.set(kReason, "head");
  span.attributes = json::dump(attributes);
  const json::Value* links = value.find("links");
  span.links = links != nullptr ? json::dump(*links) : "[]";
  return span;
}

}  // namespace

Result<telemetry::Records> child_records(const json::Value& spans, const json::Value& logs, const TenantId& tenant, const TraceId& trace, ChildTrace state) {
  telemetry::Records records;
  if (spans.is_array())
    for (const json::Value& value : spans.as_array()) records.spans.push_back(span_of(value, tenant, state));
  if (logs.is_array()) {
    for (const json::Value& value : logs.as_array()) {
      telemetry::LogRecord line;
      line.line = json::dump(value);
      if (const auto level = telemetry::parse_level(value.str("level"))) line.level = *level;  // within the bound the gravest stay
      records.logs.push_back(std::move(line));
    }
  }
  return telemetry::decode_records(telemetry::encode_records(records, kBytes), tenant, trace);
}

}  // namespace stella::runner
