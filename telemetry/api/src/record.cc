// Reading and building binary records.
#include "stella/telemetry/record.h"

#include <algorithm>
#include <array>

#include "field_writer.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
bool take(std::string_view& rest, T& value) {
  if (rest.size() < sizeof value) return false;
  std::memcpy(&value, rest.data(), sizeof value);
  rest.remove_prefix(sizeof value);
  return true;
}

bool take(std::string_view& rest, std::size_t size, std::string_view& out) {
  if (rest.size() < size) return false;
  out = rest.substr(0, size);
  rest.remove_prefix(size);
  return true;
}

std::string_view cut(std::string_view text, std::size_t most) { return text.substr(0, std::min(text.size(), most)); }

}  // namespace

std::string_view to_string(SamplingReason reason) {
  switch (reason) {
    case SamplingReason::kHead: return "head";
    case SamplingReason::kError: return "error";
    case SamplingReason::kLatency: return "latency";
    case SamplingReason::kIncident: return "incident";
    case SamplingReason::kUndecided: return "undecided";
  }
  return "head";
}

std::string_view field_key(std::uint8_t id) { return id < detail::kFieldKeys.size() ? detail::kFieldKeys[id] : std::string_view{}; }

std::optional<ErrorView> error_view(const FieldView& field) {
  if (field.kind != Field::Kind::kError) return std::nullopt;
  ErrorView error;
  std::string_view rest = field.value;
  std::uint8_t code;
  std::uint16_t message;
  if (!take(rest, code) || !take(rest, code, error.code) || !take(rest, message) || !take(rest, message, error.message)) return std::nullopt;
  error.rest = rest;
  return error;
}

bool next_error_field(std::string_view& rest, std::string_view& name, std::string_view& value) {
  std::uint8_t name_size;
  std::uint16_t size;
  return take(rest, name_size) && take(rest, name_size, name) && take(rest, size) && take(rest, size, value);
}

namespace {

// The end of `count` well-formed fields at `p`; nullptr where they are not, or do not end before `end`.
const char* skip_fields(const char* p, const char* end, std::size_t count) {
  constexpr std::ptrdiff_t kHead = 4;
  for (; count > 0; --count) {
    if (end - p < kHead) return nullptr;
    const auto id = static_cast<std::uint8_t>(p[0]), kind = static_cast<std::uint8_t>(p[1]);
    std::uint16_t size;
    std::memcpy(&size, p + 2, sizeof size);
    if (kind >= detail::kValueSizes.size()) return nullptr;
    const std::size_t fixed = detail::kValueSizes[kind];
    if (fixed != 0 && fixed != size) return nullptr;
    p += kHead;
    if (id == kForeignField) {
      if (p == end || *p == 0) return nullptr;
      if (end - p < 1 + static_cast<std::uint8_t>(*p)) return nullptr;
      p += 1 + static_cast<std::uint8_t>(*p);
    } else if (id >= detail::kFieldKeys.size()) {
      return nullptr;
    }
    if (end - p < size) return nullptr;
    p += size;
  }
  return p;
}

}  // namespace

bool RecordView::find_parts(std::size_t available) {
  const RecordHead& h = head_;
  if (h.size < sizeof h || h.size % 8 != 0 || h.size > kRecordBytes || h.size > available) return false;
  if (h.kind != RecordKind::kLog && h.kind != RecordKind::kSpan) return false;
  if (h.level > Level::kError || h.span_kind > SpanKind::kConsumer || h.status > SpanStatus::kError || h.sampling > SamplingReason::kUndecided) return false;
  const std::size_t texts = std::size_t{h.tenant} + h.actor + h.route + h.method + h.tracestate + h.module + h.message;
  if (texts > h.size - sizeof h) return false;
  const char* const end = data_ + h.size;
  fields_ = data_ + sizeof h + texts;
  links_ = skip_fields(fields_, end, h.field_count);
  if (links_ == nullptr || end - links_ < h.link_count * 24) return false;
  events_ = links_ + h.link_count * 24;
  const char* p = events_;
  for (std::size_t i = 0; i < h.event_count; ++i) {
    constexpr std::ptrdiff_t kHead = 12;
    if (end - p < kHead) return false;
    std::uint16_t name, count;
    std::memcpy(&name, p + 8, sizeof name);
    std::memcpy(&count, p + 10, sizeof count);
    p += kHead;
    if (end - p < name) return false;
    p = skip_fields(p + name, end, count);
    if (p == nullptr) return false;
  }
  return true;
}

std::optional<RecordView> RecordView::parse(std::string_view bytes) {
  std::optional<RecordView> out;
  if (bytes.size() >= sizeof(RecordHead) && !out.emplace(Unchecked{bytes.data()}).find_parts(bytes.size())) out.reset();
  return out;
}

void append_field(std::string& out, const Field& field, std::string_view scrubbed_text) {
  std::string value;
  switch (field.kind()) {
    case Field::Kind::kText:
    case Field::Kind::kPath:
    case Field::Kind::kPii: value = cut(scrubbed_text, 0xffff); break;
    case Field::Kind::kInt:
    case Field::Kind::kBool: put(value, field.integer()); break;
    case Field::Kind::kUuid:
    case Field::Kind::kSha256:
    case Field::Kind::kTraceId:
    case Field::Kind::kSpanId: value.assign(reinterpret_cast<const char*>(field.raw().data()), detail::value_size(field.kind())); break;
    case Field::Kind::kError: {
      const Error& error = field.error();
      const std::string_view wire = contracts::error_info(error.code()).wire, message = error.message();
      put(value, static_cast<std::uint8_t>(wire.size()));
      value.append(wire);
      put(value, static_cast<std::uint16_t>(message.size()));
      value.append(message);
      for (const ErrorField& f : error.fields()) {
        const std::string_view name = cut(f.name, 0xff), text = cut(f.value, 2048);
        put(value, static_cast<std::uint8_t>(name.size()));
        value.append(name);
        put(value, static_cast<std::uint16_t>(text.size()));
        value.append(text);
      }
      break;
    }
  }
  put(out, field.order());
  put(out, static_cast<std::uint8_t>(field.kind()));
  put(out, static_cast<std::uint16_t>(value.size()));
  if (field.order() == kForeignField) {
    put(out, static_cast<std::uint8_t>(field.key().size()));
    out.append(field.key());
  }
  out.append(value);
}

void RecordBuilder::add(const Field& field) {
  append_field(fields_, field, field.kind() <= Field::Kind::kPii ? field.text() : std::string_view{});
  ++field_count_;
}

void RecordBuilder::link(const TraceParent& other) {
  links_.append(reinterpret_cast<const char*>(other.trace_id.bytes().data()), 16);
  links_.append(reinterpret_cast<const char*>(other.span_id.bytes().data()), 8);
  ++link_count_;
}

void RecordBuilder::event(std::int64_t ns, std::string_view name, std::initializer_list<Field> fields) {
  put(events_, ns);
  put(events_, static_cast<std::uint16_t>(name.size()));
  put(events_, static_cast<std::uint16_t>(fields.size()));
  events_.append(name);
  for (const Field& field : fields) append_field(events_, field, field.kind() <= Field::Kind::kPii ? field.text() : std::string_view{});
  ++event_count_;
}

std::string RecordBuilder::build() const {
  RecordHead h = head;
  h.tenant = static_cast<std::uint16_t>(tenant.size());
  h.actor = static_cast<std::uint16_t>(actor.size());
  h.route = static_cast<std::uint16_t>(route.size());
  h.method = static_cast<std::uint16_t>(method.size());
  h.tracestate = static_cast<std::uint16_t>(tracestate.size());
  h.module = static_cast<std::uint16_t>(module.size());
  h.message = static_cast<std::uint16_t>(message.size());
  h.field_count = field_count_;
  h.link_count = link_count_;
  h.event_count = event_count_;
  std::string body = tenant + actor + route + method + tracestate + module + message + fields_ + links_ + events_;
  body.resize((sizeof h + body.size() + 7) / 8 * 8 - sizeof h);
  h.size = static_cast<std::uint32_t>(sizeof h + body.size());
  return std::string(reinterpret_cast<const char*>(&h), sizeof h) + body;
}

}  // namespace stella::telemetry
