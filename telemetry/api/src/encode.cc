// The one place where a line gets its fields, their order, its limits and its scrubbing.
#include "encode.h"

#include <algorithm>
#include <array>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry::detail {
namespace {

template <std::size_t N>
std::array<std::uint8_t, N> head(const std::array<std::uint8_t, 32>& raw) {
  std::array<std::uint8_t, N> out{};
  std::copy_n(raw.begin(), N, out.begin());
  return out;
}

void member(std::string& out, std::string_view key, std::string_view value) {
  out.push_back('"');
  out.append(key).append("\":");
  json::append_quoted(out, value);
  out.push_back(',');
}

// The last part of a key as the name of a mask: client.address -> client_address.
std::string mask_kind(std::string_view key) {
  std::string kind(key);
  std::replace(kind.begin(), kind.end(), '.', '_');
  return kind;
}

std::string scrubbed_text(std::string_view text, bool& cut) {
  // Scrub before cutting, so that a secret cannot lose the end by which it is known; but never work without bound.
  if (text.size() > kLineBytes) {
    text = cut_utf8(text, kLineBytes);
    cut = true;
  }
  std::string clean = scrub(text);
  if (clean.size() > kTextBytes) {
    clean.resize(cut_utf8(clean, kTextBytes).size());
    cut = true;
  }
  return clean;
}

// Builds a line: main members and the `details` object side by side.
class Line {
 public:
  Line() { out_.reserve(512); out_.push_back('{'); }

  std::string& out() { return out_; }

  void add(const Field& field) {
    if (field.kind() == Field::Kind::kError) return add_error(field.error());
    std::string value = encode_value(field, cut_);
    constexpr std::string_view kDetails = "details.";
    const bool detail = field.key().starts_with(kDetails);
    std::string& target = detail ? details_ : out_;
    // Worst case first: what does not fit is left out, what was taken stays whole.
    if (out_.size() + details_.size() + value.size() + field.key().size() + 8 > kLineBytes - kReserve) {
      cut_ = true;
      return;
    }
    target.push_back('"');
    target.append(detail ? field.key().substr(kDetails.size()) : field.key()).append("\":").append(value).push_back(',');
  }

  void cut() { cut_ = true; }

  std::string finish() && {
    if (!details_.empty() || !error_.empty()) {
      out_.append("\"details\":{").append(details_);
      if (!error_.empty()) {
        error_.pop_back();
        out_.append("\"error\":{").append(error_).append("},");
      }
      out_.pop_back();
      out_.append("},");
    }
    if (cut_) out_.append("\"truncated\":true,");
    out_.pop_back();
    out_.push_back('}');
    return std::move(out_);
  }

 private:
  static constexpr std::size_t kReserve = 2048;  // for the members that follow in any case, and `truncated`

  void add_error(const Error& error) {
    member(out_, "error_code", contracts::error_info(error.code()).wire);
    member(out_, "error_message", error.message());
    for (const ErrorField& field : error.fields()) {
      std::string value = field.name == "path" ? trim_path(field.value) : scrubbed_text(field.value, cut_);
      if (value.size() > kErrorText) {
        value.resize(cut_utf8(value, kErrorText).size());
        cut_ = true;
      }
      if (error_.find('"' + std::string(field.name) + "\":") != error_.npos) continue;
      if (out_.size() + error_.size() + 6 * value.size() + field.name.size() > kLineBytes / 2) {
        cut_ = true;
        continue;
      }
      member(error_, field.name, value);
    }
  }

  static constexpr std::size_t kErrorText = 2048;
  std::string out_;
  std::string details_;
  std::string error_;
  bool cut_ = false;
};

}  // namespace

std::string_view cut_utf8(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  return text.substr(0, most);
}

const Context& process_context() {
  static const Context context = [] {
    Context c;
    c.trace_id = TraceId::generate();
    c.span_id = SpanId::generate();
    c.request_id = RequestId::generate();
    return c;
  }();
  return context;
}

std::string encode_value(const Field& field, bool& cut) {
  std::string out;
  switch (field.kind()) {
    case Field::Kind::kText: json::append_quoted(out, scrubbed_text(field.text(), cut)); break;
    case Field::Kind::kPath: json::append_quoted(out, cut_utf8(trim_path(cut_utf8(field.text(), 4096)), 4096)); break;
    case Field::Kind::kPii: json::append_quoted(out, mask(mask_kind(field.key()), field.text())); break;
    case Field::Kind::kInt: out = std::to_string(field.integer()); break;
    case Field::Kind::kBool: out = field.integer() != 0 ? "true" : "false"; break;
    case Field::Kind::kUuid: json::append_quoted(out, Uuid(head<16>(field.raw())).str()); break;
    case Field::Kind::kSha256: json::append_quoted(out, Sha256(field.raw()).hex()); break;
    case Field::Kind::kTraceId: json::append_quoted(out, TraceId(head<16>(field.raw())).hex()); break;
    case Field::Kind::kSpanId: json::append_quoted(out, SpanId(head<8>(field.raw())).hex()); break;
    case Field::Kind::kError: json::append_quoted(out, contracts::error_info(field.error().code()).wire); break;
  }
  return out;
}

void append_resource(std::string& out) {
  const Resource& r = resource();
  member(out, "service", r.service);
  member(out, "version", r.version);
  member(out, "env", r.env);
  member(out, "region", r.region);
  member(out, "instance_id", r.instance_id);
}

namespace {
// Common fields before `resource`/`action` in a line.
void append_who(std::string& out, const Context& context) {
  bool cut = false;
  if (!context.project_id.is_nil()) member(out, "project_id", context.project_id.str());
  if (!context.actor.empty()) member(out, "actor", cut_utf8(scrubbed_text(context.actor, cut), 128));
  if (!context.route.empty()) member(out, "route", cut_utf8(scrubbed_text(context.route, cut), 256));
  if (!context.method.empty()) member(out, "method", cut_utf8(scrubbed_text(context.method, cut), 16));
}
void append_work(std::string& out, const Context& context) {
  if (!context.request_id.is_nil()) member(out, "request_id", context.request_id.str());
  if (!context.job_id.is_nil()) member(out, "job_id", context.job_id.str());
  if (!context.run_id.is_nil() && !context.job_id.is_nil()) member(out, "run_id", context.run_id.str());
}
}  // namespace

void append_common(std::string& out, const Context& context) {
  append_who(out, context);
  append_work(out, context);
}

LogRecord encode_log(const Event& event, const Context& ambient, std::initializer_list<Field> given) {
  // Outside of any span the process itself is the work.
  const Context& ids = ambient.trace_id.empty() ? process_context() : ambient;
  const RequestId request = ambient.request_id.is_nil() && ambient.job_id.is_nil() ? process_context().request_id : ambient.request_id;

  std::array<const Field*, kLineFields> fields{};
  std::size_t count = 0;
  for (const Field& field : given) {
    if (count < fields.size()) fields[count++] = &field;
  }
  std::stable_sort(fields.begin(), fields.begin() + count, [](const Field* a, const Field* b) { return a->order() < b->order(); });
  const auto end = std::unique(fields.begin(), fields.begin() + count, [](const Field* a, const Field* b) { return a->order() == b->order(); });

  LogRecord record;
  record.tenant_id = ambient.tenant_id.empty() ? "platform" : ambient.tenant_id.str();
  record.trace_id = ids.trace_id.hex();
  record.span_id = ids.span_id.empty() ? process_context().span_id.hex() : ids.span_id.hex();
  record.ts = event.ts;
  record.level = event.level;
  record.service = resource().service;

  Line line;
  if (given.size() > kLineFields) line.cut();
  auto next = fields.begin();
  const auto add_until = [&](std::uint8_t order) {
    for (; next != end && (*next)->order() < order; ++next) line.add(**next);
  };
  member(line.out(), "ts", event.ts.rfc3339());
  member(line.out(), "level", to_string(event.level));
  append_resource(line.out());
  member(line.out(), "tenant_id", record.tenant_id);
  append_who(line.out(), ambient);
  add_until(kOrderTraceId);
  member(line.out(), "trace_id", record.trace_id);
  member(line.out(), "span_id", record.span_id);
  if (!ids.parent_span_id.empty()) member(line.out(), "parent_span_id", ids.parent_span_id.hex());
  Context work;
  work.request_id = request;
  work.job_id = ambient.job_id;
  work.run_id = ambient.run_id;
  append_work(line.out(), work);
  add_until(kOrderModule);
  member(line.out(), "module", event.module);
  member(line.out(), "message", event.message);
  add_until(255);
  record.line = std::move(line).finish();
  return record;
}

}  // namespace stella::telemetry::detail
