// Spans: ids and times at the beginning, one record at the end.
#include "stella/telemetry/span.h"

#include <algorithm>

#include "encode.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

namespace detail {
std::shared_ptr<Sink> sink();
}

namespace {
constexpr std::size_t kAttributes = 128;
constexpr std::size_t kLinks = 32;
constexpr std::string_view kErrorCode = "error_code";
constexpr std::string_view kErrorMessage = "error_message";

std::string quoted(std::string_view text) {
  std::string out;
  json::append_quoted(out, text);
  return out;
}
}  // namespace

std::string_view to_string(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal: return "internal";
    case SpanKind::kServer: return "server";
    case SpanKind::kClient: return "client";
    case SpanKind::kProducer: return "producer";
    case SpanKind::kConsumer: return "consumer";
  }
  return "internal";
}

ManualSpan::ManualSpan(SpanName name, SpanKind kind, const Context& parent, std::initializer_list<Field> fields)
    : name_(name.str()), kind_(kind), start_(Timestamp::now()), steady_start_(std::chrono::steady_clock::now()), context_(parent) {
  if (context_.trace_id.empty()) {
    context_.trace_id = TraceId::generate();
    context_.span_id = SpanId();
    context_.flags = TraceParent::kSampled | TraceParent::kRandom;
    context_.tracestate.clear();
  }
  context_.parent_span_id = context_.span_id;
  context_.span_id = SpanId::generate();
  for (const Field& field : fields) set(field);
}

ManualSpan::ManualSpan(ManualSpan&& other) noexcept
    : name_(std::move(other.name_)),
      kind_(other.kind_),
      status_(other.status_),
      open_(std::exchange(other.open_, false)),
      start_(other.start_),
      steady_start_(other.steady_start_),
      context_(std::move(other.context_)),
      attributes_(std::move(other.attributes_)),
      links_(std::move(other.links_)) {}

void ManualSpan::set(const Field& field) {
  if (!open_) return;
  if (field.kind() == Field::Kind::kError) return fail(field.error());
  bool cut = false;
  const auto known = std::find_if(attributes_.begin(), attributes_.end(), [&](const Attribute& a) { return a.key == field.key(); });
  if (known != attributes_.end()) {
    known->json = detail::encode_value(field, cut);
  } else if (attributes_.size() < kAttributes) {
    attributes_.push_back({field.key(), field.order(), detail::encode_value(field, cut)});
  }
}

void ManualSpan::link(const TraceParent& other) {
  if (open_ && links_.size() < kLinks) links_.push_back(other);
}

void ManualSpan::fail(const Error& error) {
  if (!open_) return;
  status_ = Status::kError;
  std::erase_if(attributes_, [](const Attribute& a) { return a.key == kErrorCode || a.key == kErrorMessage; });
  attributes_.push_back({kErrorCode, detail::kOrderErrorCode, quoted(contracts::error_info(error.code()).wire)});
  attributes_.push_back({kErrorMessage, detail::kOrderErrorCode + 1, quoted(error.message())});
}

void ManualSpan::started_at(Timestamp start) {
  if (start >= start_) return;
  steady_start_ -= start_ - start;
  start_ = start;
}

void ManualSpan::end() {
  if (!std::exchange(open_, false)) return;
  SpanRecord record;
  record.tenant_id = context_.tenant_id.empty() ? "platform" : context_.tenant_id.str();
  record.trace_id = context_.trace_id.hex();
  record.span_id = context_.span_id.hex();
  if (!context_.parent_span_id.empty()) record.parent_span_id = context_.parent_span_id.hex();
  record.name = std::move(name_);
  record.kind = to_string(kind_);
  record.service = resource().service;
  record.start = start_;
  // The monotonic clock measures; the wall clock only says when it began.
  record.end = start_ + std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - steady_start_);
  record.status = status_ == Status::kError ? "error" : status_ == Status::kOk ? "ok" : "unset";

  std::stable_sort(attributes_.begin(), attributes_.end(), [](const Attribute& a, const Attribute& b) { return a.order < b.order; });
  std::string& out = record.attributes;
  out.push_back('{');
  detail::append_resource(out);
  detail::append_common(out, context_);
  for (const Attribute& attribute : attributes_) {
    out.push_back('"');
    out.append(attribute.key).append("\":").append(attribute.json).push_back(',');
  }
  out.pop_back();
  out.push_back('}');

  record.links = "[";
  for (const TraceParent& link : links_) {
    if (record.links.size() > 1) record.links.push_back(',');
    record.links += "{\"trace_id\":\"" + link.trace_id.hex() + "\",\"span_id\":\"" + link.span_id.hex() + "\"}";
  }
  record.links += "]";
  detail::sink()->span(std::move(record));
}

Span::Span(SpanName name, SpanKind kind, std::initializer_list<Field> fields)
    : span_(name, kind, Context::current(), fields),
      saved_trace_(Context::current().trace_id),
      saved_span_(Context::current().span_id),
      saved_parent_(Context::current().parent_span_id) {
  Context& ambient = Context::edit();
  ambient.trace_id = span_.context_.trace_id;
  ambient.span_id = span_.context_.span_id;
  ambient.parent_span_id = span_.context_.parent_span_id;
  ambient.flags = span_.context_.flags;
  ambient.tracestate = span_.context_.tracestate;
}

Span::~Span() {
  Context& ambient = Context::edit();
  // What became known on the way (tenant, actor …) belongs to this span, too; its own ids stay.
  const TraceId trace = span_.context_.trace_id;
  const SpanId self = span_.context_.span_id, parent = span_.context_.parent_span_id;
  span_.context_ = ambient;
  span_.context_.trace_id = trace;
  span_.context_.span_id = self;
  span_.context_.parent_span_id = parent;
  span_.end();
  ambient.trace_id = saved_trace_;
  ambient.span_id = saved_span_;
  ambient.parent_span_id = saved_parent_;
}

}  // namespace stella::telemetry
