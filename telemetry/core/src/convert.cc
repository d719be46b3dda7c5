// JSON members into the head and the fields of a record.
#include "convert.h"

#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kTextBytes = 16 * 1024;
constexpr std::size_t kListed = 32;  // links, and events, as of a span of ours

std::uint8_t order_of(std::string_view key) {
  for (std::size_t i = 0; i < kForeignField; ++i) {
    const std::string_view known = field_key(static_cast<std::uint8_t>(i));
    if (known.empty()) break;
    if (known == key) return static_cast<std::uint8_t>(i);
  }
  return kForeignField;
}

// Adds to `to` what has room: a record is bounded, a row may be larger.
class Fields {
 public:
  explicit Fields(RecordBuilder& to) : to_(to) {}

  void add(std::string_view key, const json::Value& value) {
    if (key.empty() || key.size() > 255) return;
    const std::uint8_t order = order_of(key);
    using detail::FieldMaker;
    if (value.is_string()) {
      std::string_view text = value.as_string();
      text = clip_utf8(text, kTextBytes);
      if (room(key.size() + text.size())) to_.add(FieldMaker::text(key, order, Field::Kind::kText, text));
    } else if (value.is_int()) {
      if (room(key.size() + 8)) to_.add(FieldMaker::integer(key, order, Field::Kind::kInt, value.as_int()));
    } else if (value.is_bool()) {
      if (room(key.size() + 8)) to_.add(FieldMaker::integer(key, order, Field::Kind::kBool, value.as_bool() ? 1 : 0));
    } else if (value.is_object()) {
      for (const auto& [name, member] : value.as_object()) add(std::string(key) + "." + name, member);
    }
  }

 private:
  bool room(std::size_t bytes) {
    used_ += bytes + 8;
    if (used_ <= kRecordBytes - 4096) return true;
    used_ -= bytes + 8;
    to_.head.flags |= RecordHead::kTruncated;
    return false;
  }
  RecordBuilder& to_;
  std::size_t used_ = 0;
};

template <class T, std::size_t N>
bool take_id(std::string_view text, std::array<std::uint8_t, N>& into) {
  const auto id = T::parse(text);
  if (!id) return false;
  std::copy(id->bytes().begin(), id->bytes().end(), into.begin());
  return true;
}

// Members that stand in the head of a record; true where `key` is one.
bool take_common(RecordBuilder& b, std::string_view key, std::string_view text) {
  const auto uuid = [&](std::array<std::uint8_t, 16>& into) {
    take_id<Uuid>(text, into);
    return true;
  };
  const auto keep = [&](std::string& into, std::size_t most) {
    into = clip_utf8(text, most);
    return true;
  };
  if (key == "project_id") return uuid(b.head.project_id);
  if (key == "request_id") return uuid(b.head.request_id);
  if (key == "job_id") return uuid(b.head.job_id);
  if (key == "run_id") return uuid(b.head.run_id);
  if (key == "actor") return keep(b.actor, 128);
  if (key == "route") return keep(b.route, 256);
  if (key == "method") return keep(b.method, 16);
  // Of the resource, which is ours.
  return key == "service" || key == "version" || key == "env" || key == "region" || key == "instance_id";
}

SamplingReason reason_of(std::string_view text) {
  for (const SamplingReason r : {SamplingReason::kError, SamplingReason::kLatency, SamplingReason::kIncident}) {
    if (text == to_string(r)) return r;
  }
  return SamplingReason::kHead;
}

}  // namespace

std::string to_record(const LogRecord& log) {
  const auto line = json::parse(log.line);
  if (!line || !line->is_object()) return "";
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.level = log.level;
  b.head.ns = log.ts.micros() * 1000;
  if (!take_id<TraceId>(log.trace_id, b.head.trace_id) || !take_id<SpanId>(log.span_id, b.head.span_id)) return "";
  b.tenant = log.tenant_id == "platform" ? "" : log.tenant_id.substr(0, 255);
  Fields fields(b);
  for (const auto& [key, value] : line->as_object()) {
    if (key == "ts" || key == "level" || key == "tenant_id" || key == "trace_id" || key == "span_id") continue;
    const std::string_view text = value.is_string() ? std::string_view(value.as_string()) : std::string_view();
    if (key == "parent_span_id") take_id<SpanId>(text, b.head.parent_span_id);
    else if (key == "module") b.module = clip_utf8(text, 128);
    else if (key == "message") b.message = clip_utf8(text, 2048);
    else if (key == "truncated") b.head.flags |= RecordHead::kTruncated;
    else if (!take_common(b, key, text)) fields.add(key, value);
  }
  return b.build();
}

std::string to_record(const SpanRecord& span) {
  const auto attributes = json::parse(span.attributes);
  const auto links = json::parse(span.links);
  if (!attributes || !attributes->is_object() || !links || !links->is_array()) return "";
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = span.start.micros() * 1000;
  b.head.end_ns = span.end.micros() * 1000;
  if (!take_id<TraceId>(span.trace_id, b.head.trace_id) || !take_id<SpanId>(span.span_id, b.head.span_id)) return "";
  take_id<SpanId>(span.parent_span_id, b.head.parent_span_id);
  b.head.trace_flags = TraceParent::kSampled;
  b.head.sampling = SamplingReason::kUndecided;  // unless its reason is there
  for (const SpanKind kind : {SpanKind::kServer, SpanKind::kClient, SpanKind::kProducer, SpanKind::kConsumer}) {
    if (span.kind == to_string(kind)) b.head.span_kind = kind;
  }
  b.head.status = span.status == "error" ? SpanStatus::kError : span.status == "ok" ? SpanStatus::kOk : SpanStatus::kUnset;
  b.tenant = span.tenant_id == "platform" ? "" : span.tenant_id.substr(0, 255);
  b.message = clip_utf8(span.name, 256);
  Fields fields(b);
  std::size_t events = 0, linked = 0;
  for (const auto& [key, value] : attributes->as_object()) {
    const std::string_view text = value.is_string() ? std::string_view(value.as_string()) : std::string_view();
    if (key == "sampling.reason") {
      b.head.sampling = reason_of(text);
    } else if (key == "truncated") {
      b.head.flags |= RecordHead::kTruncated;
    } else if (key == "events") {
      for (const json::Value& event : attributes->items("events")) {
        const auto at = Timestamp::parse(event.str("ts"));
        if (at && events++ < kListed) b.event(at->micros() * 1000, clip_utf8(event.str("name"), 256), {});
      }
    } else if (!take_common(b, key, text)) {
      fields.add(key, value);
    }
  }
  for (const json::Value& link : links->as_array()) {
    const auto trace = TraceId::parse(link.str("trace_id"));
    const auto id = SpanId::parse(link.str("span_id"));
    if (trace && id && linked++ < kListed) b.link({*trace, *id, TraceParent::kSampled});
  }
  return b.build();
}

}  // namespace stella::telemetry
