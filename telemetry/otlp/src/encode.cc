// Records to export requests: one pass over the record, straight into the buffer of its tenant and scope.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "attributes.h"
#include "resource.h"
#include "stella/telemetry/otlp.h"

namespace stella::telemetry {
namespace otlp_detail {

char* put_fields_slowly(char* p, char tag, const RecordView& record, Seen& seen) {
  std::vector<FieldView> fields;
  record.each_field([&](const FieldView& field) { fields.push_back(field); });
  const auto same_key = [](const FieldView& a, const FieldView& b) { return a.id == b.id ? a.id != kForeignField || a.key == b.key : a.key == b.key; };
  const SeenKeys before = seen.keys;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const FieldView& field = fields[i];
    // A foreign key may be one of ours.
    std::uint8_t id = field.id;
    if (id == kForeignField) {
      if (field.key == kErrorType.text()) continue;
      for (std::size_t k = 0; k < detail::kFieldKeys.size(); ++k)
        if (detail::kFieldKeys[k] == field.key) id = static_cast<std::uint8_t>(k);
    }
    if (SeenKeys copy = before; id != kForeignField && !copy.take(id)) continue;
    if (std::any_of(fields.begin() + static_cast<std::ptrdiff_t>(i) + 1, fields.end(), [&](const FieldView& later) { return same_key(field, later); })) continue;
    if (id != kForeignField) seen.take(id);
    p = put_field(p, tag, field, seen);
  }
  return p;
}

namespace {

constexpr std::uint64_t kThresholdMask = (std::uint64_t{1} << 56) - 1;

// The most bytes a record can become: a field of four bytes becomes at most 33, an error field of three at most 21; the rest is bounded.
std::size_t most_bytes(const RecordView& record) { return record.bytes().size() * 16 + 2048 + wire::kSlack; }

template <std::size_t N>
bool none(const std::array<std::uint8_t, N>& id) {
  std::uint64_t parts[N / 8], any = 0;
  std::memcpy(parts, id.data(), N);
  for (const std::uint64_t part : parts) any |= part;
  return any == 0;
}

template <std::size_t N>
char* put_id(char* p, char tag, const std::array<std::uint8_t, N>& id) {
  *p++ = tag;
  *p++ = static_cast<char>(N);
  std::memcpy(p, id.data(), N);
  return p + N;
}

// th: the 14 digits of the threshold without the zeros at the end.
char* put_threshold(char* p, std::uint64_t threshold) {
  threshold &= kThresholdMask;
  std::memcpy(p, "th:", 3);
  p += 3;
  do {
    *p++ = "0123456789abcdef"[(threshold >> 52) & 15];
    threshold = (threshold << 4) & kThresholdMask;
  } while (threshold != 0);
  return p;
}

// `ot=th:…` in front of the other members, with what else another `ot` member said (rv).
char* put_tracestate(char* p, std::string_view state, std::uint64_t threshold) {
  char head[24] = {'o', 't', '='};
  std::string_view ot(head, static_cast<std::size_t>(put_threshold(head + 3, threshold) - head));
  if (state.empty()) return wire::put_text(p, wire::tag_bytes(3), ot);
  std::string out(ot), rest;
  std::size_t others = 0;  // a tracestate has at most 32 members; ours is one
  while (!state.empty()) {
    const std::size_t comma = std::min(state.find(','), state.size());
    std::string_view member = state.substr(0, comma);
    state.remove_prefix(std::min(comma + 1, state.size()));
    while (!member.empty() && member.front() == ' ') member.remove_prefix(1);
    if (!member.starts_with("ot=")) {
      if (!member.empty() && others++ < 31) rest.append(",").append(member);
      continue;
    }
    for (member.remove_prefix(3); !member.empty();) {
      const std::size_t semicolon = std::min(member.find(';'), member.size());
      const std::string_view part = member.substr(0, semicolon);
      member.remove_prefix(std::min(semicolon + 1, member.size()));
      if (!part.empty() && !part.starts_with("th:")) out.append(";").append(part);
    }
  }
  return wire::put_text(p, wire::tag_bytes(3), out + rest);
}

template <std::uint8_t Id>
inline char* put_context_id(char* p, char tag, const std::array<std::uint8_t, 16>& id, Seen& seen) {
  if (none(id)) return p;
  seen.take(Id);
  return put_uuid(p, tag, kKeys[Id], id.data());
}
template <std::uint8_t Id>
char* put_context_text(char* p, char tag, std::string_view text, Seen& seen, const char* end) {
  if (text.empty()) return p;
  seen.take(Id);
  return put_own_text(p, tag, kKeys[Id], text, end);
}

// What every record carries from its context.
[[gnu::always_inline]] inline char* put_context(char* p, char tag, const RecordView& record, Seen& seen) {
  const RecordHead& head = record.head();
  const char* const end = record.bytes().data() + record.bytes().size();
  if (record.tenant().empty())
    p = put_context_text<id_of("tenant_id")>(p, tag, kPlatformTenant, seen, kPlatformTenant.data());
  else
    p = put_context_text<id_of("tenant_id")>(p, tag, record.tenant(), seen, end);
  p = put_context_id<id_of("project_id")>(p, tag, head.project_id, seen);
  p = put_context_text<id_of("actor")>(p, tag, record.actor(), seen, end);
  p = put_context_text<id_of("route")>(p, tag, record.route(), seen, end);
  p = put_context_text<id_of("method")>(p, tag, record.method(), seen, end);
  p = put_context_id<id_of("request_id")>(p, tag, head.request_id, seen);
  p = put_context_id<id_of("job_id")>(p, tag, head.job_id, seen);
  return put_context_id<id_of("run_id")>(p, tag, head.run_id, seen);
}

constexpr Key kHttpMethod = make_key("http.request.method");
constexpr Key kHttpRoute = make_key("http.route");
constexpr Key kTruncated = make_key("truncated");
constexpr std::array<std::string_view, 10> kHttpMethods{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY"};

// HTTP server spans. Not every server span is one: gRPC says another method and no HTTP status.
char* put_http(char* p, char tag, const RecordView& record, const Seen& seen) {
  if (record.head().span_kind != SpanKind::kServer) return p;
  const bool known = std::find(kHttpMethods.begin(), kHttpMethods.end(), record.method()) != kHttpMethods.end();
  if (!known && seen.http_status == 0) return p;
  if (!record.method().empty()) p = put_text(p, tag, kHttpMethod, known ? record.method() : std::string_view("_OTHER"));
  if (record.route().starts_with('/')) p = put_text(p, tag, kHttpRoute, record.route());
  return p;
}

char* put_dropped(char* p, char tag, std::uint32_t count) {
  if (count == 0) return p;
  *p++ = tag;
  return wire::put_varint(p, count);
}

char* put_events(char* p, const RecordView& record, std::span<const std::uint32_t> drops) {
  std::size_t event = 0;
  record.each_event([&](std::int64_t ns, std::string_view name, auto&& fields) {
    *p++ = wire::tag_bytes(11);
    char* const length = p;
    p += wire::kLengthBytes;
    *p++ = wire::tag_fixed64(1);
    p = wire::put_fixed(p, ns);
    p = wire::put_text(p, wire::tag_bytes(2), name);
    Seen seen;
    fields([&](const FieldView& field) {
      if (field.id == kForeignField || seen.take(field.id)) p = put_field(p, wire::tag_bytes(3), field, seen);
    });
    if (event < drops.size()) p = put_dropped(p, wire::tag_varint(4), drops[event]);
    ++event;
    wire::patch_length(length, static_cast<std::size_t>(p - length) - wire::kLengthBytes);
  });
  return p;
}

char* put_links(char* p, const RecordView& record) {
  record.each_link([&](std::span<const std::uint8_t, 16> trace, std::span<const std::uint8_t, 8> span) {
    *p++ = wire::tag_bytes(13);
    *p++ = 2 + 16 + 2 + 8;
    *p++ = wire::tag_bytes(1);
    *p++ = 16;
    std::memcpy(p, trace.data(), 16);
    p += 16;
    *p++ = wire::tag_bytes(2);
    *p++ = 8;
    std::memcpy(p, span.data(), 8);
    p += 8;
  });
  return p;
}

char* put_status(char* p, const RecordHead& head, const Seen& seen) {
  if (head.status == SpanStatus::kUnset) return p;
  const std::string_view message = head.status == SpanStatus::kError && seen.error ? seen.error_message : std::string_view{};
  const std::size_t text = message.empty() ? 0 : 1 + wire::varint_size(message.size()) + message.size();
  *p++ = wire::tag_bytes(15);
  p = wire::put_varint(p, text + 2);
  if (text != 0) p = wire::put_text(p, wire::tag_bytes(2), message);
  *p++ = wire::tag_varint(3);
  *p++ = head.status == SpanStatus::kOk ? 1 : 2;
  return p;
}

char* put_error_type(char* p, char tag, const RecordHead& head, const Seen& seen) {
  if (head.status != SpanStatus::kError || seen.error) return p;
  if (seen.http_status < 400 || seen.http_status > 599) return put_text(p, tag, kErrorType, "_OTHER");
  const char digits[3] = {static_cast<char>('0' + seen.http_status / 100), static_cast<char>('0' + seen.http_status / 10 % 10), static_cast<char>('0' + seen.http_status % 10)};
  return put_text(p, tag, kErrorType, std::string_view(digits, 3));
}

// One Span message.
char* put_span(char* p, const RecordView& record, SamplingReason reason, std::span<const std::uint32_t> event_drops) {
  constexpr char kAttribute = wire::tag_bytes(9);
  const RecordHead& head = record.head();
  p = put_id(p, wire::tag_bytes(1), head.trace_id);
  p = put_id(p, wire::tag_bytes(2), head.span_id);
  const bool by_head = reason == SamplingReason::kHead || reason == SamplingReason::kUndecided;
  p = put_tracestate(p, record.tracestate(), by_head ? head.threshold : kSampleAll);
  if (!none(head.parent_span_id)) p = put_id(p, wire::tag_bytes(4), head.parent_span_id);
  p = wire::put_text(p, wire::tag_bytes(5), record.name());
  *p++ = wire::tag_varint(6);
  *p++ = static_cast<char>(static_cast<int>(head.span_kind) + 1);
  *p++ = wire::tag_fixed64(7);
  p = wire::put_fixed(p, head.ns);
  *p++ = wire::tag_fixed64(8);
  p = wire::put_fixed(p, head.end_ns);
  Seen seen;
  p = put_context(p, kAttribute, record, seen);
  p = put_context_text<id_of("sampling.reason")>(p, kAttribute, to_string(reason), seen, nullptr);
  p = put_fields(p, kAttribute, record, seen);
  p = put_http(p, kAttribute, record, seen);
  p = put_error_type(p, kAttribute, head, seen);
  if (head.flags & RecordHead::kTruncated) p = put_bool(p, kAttribute, kTruncated, true);
  p = put_dropped(p, wire::tag_varint(10), head.dropped_fields);
  p = put_events(p, record, event_drops);
  p = put_dropped(p, wire::tag_varint(12), head.dropped_events);
  p = put_links(p, record);
  p = put_dropped(p, wire::tag_varint(14), head.dropped_links);
  p = put_status(p, head, seen);
  // Bit 8: it is known whether the parent is remote; bit 9: it is. Field 16 has a tag of two bytes.
  const std::uint32_t flags = head.trace_flags | 0x100u | (head.flags & RecordHead::kRemoteParent ? 0x200u : 0u);
  *p++ = static_cast<char>(0x85);
  *p++ = 0x01;
  return wire::put_fixed(p, flags);
}

// One LogRecord message.
char* put_log(char* p, const RecordView& record) {
  constexpr char kAttribute = wire::tag_bytes(6);
  const RecordHead& head = record.head();
  *p++ = wire::tag_fixed64(1);
  p = wire::put_fixed(p, head.ns);
  *p++ = wire::tag_varint(2);
  *p++ = static_cast<char>(1 + 4 * static_cast<int>(head.level));
  constexpr std::array<std::string_view, 5> kSeverities{"TRACE", "DEBUG", "INFO", "WARN", "ERROR"};
  p = wire::put_text(p, wire::tag_bytes(3), kSeverities[static_cast<std::size_t>(head.level)]);
  const std::string_view body = record.message();
  *p++ = wire::tag_bytes(5);
  p = wire::put_varint(p, 1 + wire::varint_size(body.size()) + body.size());
  p = wire::put_text(p, wire::tag_bytes(1), body);
  Seen seen;
  p = put_context(p, kAttribute, record, seen);
  p = put_fields(p, kAttribute, record, seen);
  if (head.flags & RecordHead::kTruncated) p = put_bool(p, kAttribute, kTruncated, true);
  p = put_dropped(p, wire::tag_varint(7), head.dropped_fields);
  if (!none(head.trace_id)) {
    *p++ = wire::tag_fixed32(8);
    p = wire::put_fixed(p, static_cast<std::uint32_t>(head.trace_flags));
    p = put_id(p, wire::tag_bytes(9), head.trace_id);
    if (!none(head.span_id)) p = put_id(p, wire::tag_bytes(10), head.span_id);
  }
  *p++ = wire::tag_fixed64(11);
  return wire::put_fixed(p, head.ns);
}

}  // namespace

// Encoded records by tenant and scope. Buffers keep their memory from batch to batch as long as they are used in each.
class Groups {
 public:
  // Appends one message as field 2 of its ScopeSpans or ScopeLogs. put(char*) writes it and returns its end.
  template <class Put>
  void add(const RecordView& record, std::string_view scope, Put&& put) {
    std::string& out = group(record.tenant(), scope).bytes;
    const std::size_t before = out.size(), room = before + most_bytes(record);
    if (out.capacity() < room) out.reserve(std::max(room, out.capacity() * 2));
    out.resize_and_overwrite(room, [&](char* data, std::size_t) {
      char* p = data + before;
      *p++ = wire::tag_bytes(2);
      char* const length = p;
      p = put(p + wire::kLengthBytes);
      wire::patch_length(length, static_cast<std::size_t>(p - length) - wire::kLengthBytes);
      return static_cast<std::size_t>(p - data);
    });
    bytes_ += out.size() - before;
    ++count_;
  }
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return bytes_; }

  std::string take(const Resource& resource, ResourceAttributes extra) {
    std::string out;
    if (count_ == 0) return out;
    std::vector<const Group*> used;
    for (const auto& g : groups_)
      if (!g->bytes.empty()) used.push_back(g.get());
    std::stable_sort(used.begin(), used.end(), [](const Group* a, const Group* b) { return a->tenant < b->tenant; });
    out.reserve(bytes_ + used.size() * 512);
    for (std::size_t i = 0; i < used.size();) {
      std::size_t end = i;
      std::vector<ScopeBytes> scopes;
      for (; end < used.size() && used[end]->tenant == used[i]->tenant; ++end) scopes.push_back({used[end]->scope, used[end]->bytes});
      append_resource(out, resource, extra, used[i]->tenant, scopes);
      i = end;
    }
    clear();
    return out;
  }

 private:
  struct Group {
    std::string tenant, scope, bytes;
  };

  // Without a call: the texts are short, and asked about for every record.
  static bool same(std::string_view a, std::string_view b) {
    const std::size_t n = a.size();
    if (n != b.size()) return false;
    std::uint64_t differs = 0;
    const auto word = [&](std::size_t at, auto as) {
      decltype(as) x, y;
      std::memcpy(&x, a.data() + at, sizeof x);
      std::memcpy(&y, b.data() + at, sizeof y);
      differs |= static_cast<std::uint64_t>(x ^ y);
    };
    if (n >= 8) {
      for (std::size_t i = 0; i + 8 < n; i += 8) word(i, std::uint64_t{});
      word(n - 8, std::uint64_t{});
    } else if (n >= 4) {
      word(0, std::uint32_t{});
      word(n - 4, std::uint32_t{});
    } else {
      for (std::size_t i = 0; i < n; ++i) differs |= static_cast<std::uint64_t>(a[i] != b[i]);
    }
    return differs == 0;
  }

  Group& group(std::string_view tenant, std::string_view scope) {
    if (last_ != nullptr && same(last_->tenant, tenant) && same(last_->scope, scope)) return *last_;
    key_.assign(tenant).push_back('\0');
    key_.append(scope);
    Group*& found = index_[key_];
    if (found == nullptr) {
      groups_.push_back(std::make_unique<Group>());
      found = groups_.back().get();
      found->tenant = tenant;
      found->scope = scope;
      bytes_ += 512;
    }
    return *(last_ = found);
  }

  void clear() {
    const bool all_used = std::none_of(groups_.begin(), groups_.end(), [](const auto& g) { return g->bytes.empty(); });
    if (!all_used) {
      std::erase_if(groups_, [](const auto& g) { return g->bytes.empty(); });
      index_.clear();
      for (const auto& g : groups_) index_[std::string(g->tenant).append(1, '\0').append(g->scope)] = g.get();
    }
    for (const auto& g : groups_) g->bytes.clear();
    last_ = nullptr;
    count_ = 0;
    bytes_ = groups_.size() * 512;
  }

  std::vector<std::unique_ptr<Group>> groups_;
  std::unordered_map<std::string, Group*> index_;
  Group* last_ = nullptr;
  std::string key_;
  std::size_t count_ = 0, bytes_ = 0;
};

}  // namespace otlp_detail

class TraceBatch::Impl {
 public:
  otlp_detail::Groups groups;
};
TraceBatch::TraceBatch() : impl_(std::make_unique<Impl>()) {}
TraceBatch::~TraceBatch() = default;
TraceBatch::TraceBatch(TraceBatch&&) noexcept = default;
TraceBatch& TraceBatch::operator=(TraceBatch&&) noexcept = default;

void TraceBatch::add(const RecordView& record, std::optional<SamplingReason> reason, std::span<const std::uint32_t> event_drops) {
  if (record.head().kind != RecordKind::kSpan) return;
  impl_->groups.add(record, "stella", [&](char* p) { return otlp_detail::put_span(p, record, reason.value_or(record.head().sampling), event_drops); });
}
std::size_t TraceBatch::spans() const { return impl_->groups.count(); }
std::size_t TraceBatch::bytes() const { return impl_->groups.bytes(); }
std::string TraceBatch::take(const Resource& resource, ResourceAttributes extra) { return impl_->groups.take(resource, extra); }

class LogBatch::Impl {
 public:
  otlp_detail::Groups groups;
  std::size_t errors = 0;
};
LogBatch::LogBatch() : impl_(std::make_unique<Impl>()) {}
LogBatch::~LogBatch() = default;
LogBatch::LogBatch(LogBatch&&) noexcept = default;
LogBatch& LogBatch::operator=(LogBatch&&) noexcept = default;

void LogBatch::add(const RecordView& record) {
  if (record.head().kind != RecordKind::kLog) return;
  impl_->groups.add(record, record.module(), [&](char* p) { return otlp_detail::put_log(p, record); });
  if (record.head().level == Level::kError) ++impl_->errors;
}
std::size_t LogBatch::logs() const { return impl_->groups.count(); }
std::size_t LogBatch::errors() const { return impl_->errors; }
std::size_t LogBatch::bytes() const { return impl_->groups.bytes(); }
std::string LogBatch::take(const Resource& resource, ResourceAttributes extra) {
  impl_->errors = 0;
  return impl_->groups.take(resource, extra);
}

}  // namespace stella::telemetry
