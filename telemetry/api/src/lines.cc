// Lines and rows from records: one pass to order the fields, one to write them.
#include "stella/telemetry/lines.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "json_text.h"
#include "stella/base/encoding.h"

namespace stella::telemetry {
namespace {

using detail::put;
using detail::put_quoted;

constexpr std::size_t kTextBytes = 16 * 1024;  // most of one text
constexpr std::size_t kMessageBytes = 2048, kModuleBytes = 128;
constexpr std::size_t kErrorBytes = 2048;      // most of one text of an error
constexpr std::string_view kDetails = "details.";
constexpr std::string_view kStackKey = "details.stack";

// `,"key":` of every row of the catalogue, padded so that it can be copied as two vectors.
struct Key {
  char text[40] = {};
  std::uint8_t size = 0;
  bool fixed = false;    // a member of its own, never a field of the record
  bool details = false;  // stands in the object `details`, under the rest of its name
};
constexpr std::size_t kKeys = detail::kFieldKeys.size();
constexpr std::string_view kFixedKeys[] = {"ts", "level", "service", "version", "env", "region", "instance_id", "tenant_id", "project_id", "actor",
                                           "route", "method", "trace_id", "span_id", "parent_span_id", "request_id", "job_id", "run_id",
                                           "module", "message", "error_message"};
constexpr std::array<Key, kKeys> kKeyTexts = [] {
  std::array<Key, kKeys> keys;
  for (std::size_t i = 0; i < kKeys; ++i) {
    std::string_view name = detail::kFieldKeys[i];
    for (const std::string_view fixed : kFixedKeys) keys[i].fixed = keys[i].fixed || fixed == name;
    keys[i].details = name.starts_with(kDetails);
    if (keys[i].details) name.remove_prefix(kDetails.size());
    char* p = keys[i].text;
    *p++ = ',';
    *p++ = '"';
    for (const char c : name) *p++ = c;
    *p++ = '"';
    *p++ = ':';
    keys[i].size = static_cast<std::uint8_t>(p - keys[i].text);
    if (keys[i].size > 32) throw "a key is too long for the copy of 32 bytes";
  }
  return keys;
}();
constexpr std::size_t order_of(std::string_view key) {
  for (std::size_t i = 0; i < kKeys; ++i) {
    if (detail::kFieldKeys[i] == key) return i;
  }
  throw "no such key";
}
constexpr std::size_t kTraceOrder = order_of("trace_id"), kModuleOrder = order_of("module");
constexpr std::uint8_t kStackOrder = order_of(kStackKey);

template <std::size_t N>
bool nil(const std::array<std::uint8_t, N>& id) {
  std::uint64_t words[N / 8];
  std::memcpy(words, id.data(), N);
  std::uint64_t any = 0;
  for (const std::uint64_t w : words) any |= w;
  return any == 0;
}

// Fields of a record in the order of the catalogue, each key once; foreign ones after them.
class Ordered {
 public:
  // `cut` becomes true where there are more than `most`.
  template <class Each>
  Ordered(Each&& each, std::size_t most, bool& cut) {
    most = std::min(most, kMost);
    each([&](const FieldView& field) {
      FieldView f = field;
      if (f.id == kForeignField) adopt(f);
      if (f.id != kForeignField && (f.id >= kKeys || kKeyTexts[f.id].fixed)) return;
      if (FieldView* known = find(f)) {
        *known = f;
      } else if (size_ < most) {
        fields_[size_++] = f;
      } else {
        cut = true;
      }
    });
    for (std::size_t i = 1; i < size_; ++i) {  // mostly in order already
      FieldView f = fields_[i];
      std::size_t j = i;
      for (; j > 0 && fields_[j - 1].id > f.id; --j) fields_[j] = fields_[j - 1];
      fields_[j] = f;
    }
  }
  const FieldView* begin() const { return fields_; }
  const FieldView* end() const { return fields_ + size_; }

 private:
  static constexpr std::size_t kMost = 160;
  FieldView* find(const FieldView& f) {
    if (f.id != kForeignField) {
      const std::uint64_t bit = 1ull << (f.id % 64);
      if ((seen_[f.id / 64] & bit) == 0) {
        seen_[f.id / 64] |= bit;
        return nullptr;
      }
    }
    for (std::size_t i = 0; i < size_; ++i) {
      if (fields_[i].id == f.id && (f.id != kForeignField || fields_[i].key == f.key)) return &fields_[i];
    }
    return nullptr;
  }
  // A foreign key that is one of ours would stand twice.
  static void adopt(FieldView& f) {
    for (std::size_t i = 0; i < kKeys; ++i) {
      if (detail::kFieldKeys[i] == f.key) {
        f.id = static_cast<std::uint8_t>(i);
        return;
      }
    }
  }

  union {
    FieldView fields_[kMost];  // only size_ of them are made
  };
  std::size_t size_ = 0;
  std::uint64_t seen_[4] = {};
};

// Writes members into a buffer of known room; what does not fit is left out and `cut` says so.
class Members {
 public:
  // `record`: where the texts of the line lie, most of them.
  Members(char* at, char* end, std::string_view record) : p(at), end_(end), record_(record) {}

  void hold(std::size_t bytes) { end_ -= bytes; }   // for what follows in any case
  void release(std::size_t bytes) { end_ += bytes; }

  void field(const FieldView& f) {
    if (f.kind == Field::Kind::kError) return error(f);
    const std::size_t key = f.id == kForeignField ? detail::kEscape * f.key.size() + 4 : 32;
    switch (f.kind) {
      case Field::Kind::kText:
      case Field::Kind::kPath:
      case Field::Kind::kPii: return text(f, key);
      default: break;
    }
    if (!room(key + 72)) return;
    put_key(f);
    const auto* raw = reinterpret_cast<const std::uint8_t*>(f.value.data());
    switch (f.kind) {
      case Field::Kind::kInt: p = detail::put_int(p, f.integer()); return;
      case Field::Kind::kBool: p = f.integer() != 0 ? put(p, "true") : put(p, "false"); return;
      case Field::Kind::kUuid: quoted([&] { p = detail::put_uuid(p, raw); }); return;
      case Field::Kind::kTraceId: quoted([&] { p = detail::put_hex16(p, raw); }); return;
      case Field::Kind::kSpanId: quoted([&] { p = detail::put_hex8(p, raw); }); return;
      case Field::Kind::kSha256: quoted([&] { p = detail::put_hex16(detail::put_hex16(p, raw), raw + 16); }); return;
      default: return;
    }
  }

  // `head` is `,"key":` or the like; the text is cut at `most`.
  void text(std::string_view head, std::string_view value, std::size_t most) {
    if (value.size() > most) {
      value = clip_utf8(value, most);
      cut = true;
    }
    p = put_quoted(put(p, head), value, record_);
  }
  // The error's own texts as the object "error"; `first` says whether a comma is due before it.
  bool error_object(const ErrorView& error, bool first) {
    char* const start = p;
    p = put(p, first ? "\"error\":{" : ",\"error\":{");
    char* const inside = p;
    std::string_view rest = error.rest, name, value;
    std::string_view names[16];
    std::size_t count = 0;
    while (next_error_field(rest, name, value)) {
      if (std::find(names, names + count, name) != names + count) continue;
      if (count == std::size(names)) {
        cut = true;
        break;
      }
      std::string_view shown = clip_utf8(first_line(value), kErrorBytes);
      if (shown.size() < first_line(value).size()) cut = true;
      const std::size_t worst = detail::kEscape * (shown.size() + name.size()) + 8;
      if (worst > left() && detail::escaped_size(shown) + detail::kEscape * name.size() + 8 > left()) {
        cut = true;
        continue;
      }
      names[count++] = name;
      if (p != inside) *p++ = ',';
      p = put_quoted(p, name);
      *p++ = ':';
      p = put_quoted(p, shown);
    }
    if (count == 0) {
      p = start;
      return false;
    }
    *p++ = '}';
    return true;
  }

  // Of a text of several lines only the first stands in its place.
  static std::string_view first_line(std::string_view text) {
    const std::size_t at = text.find('\n');
    return at == text.npos ? text : text.substr(0, at > 0 && text[at - 1] == '\r' ? at - 1 : at);
  }

  std::size_t left() const { return end_ > p ? static_cast<std::size_t>(end_ - p) : 0; }
  bool room(std::size_t bytes) {
    if (bytes <= left()) return true;
    cut = true;
    return false;
  }

  char* p;
  bool cut = false;
  bool fold = false;        // texts of several lines are folded
  bool full_keys = false;   // no object `details`
  std::string_view folded;  // the first text that was

 private:
  void put_key(const FieldView& f) {
    if (f.id != kForeignField && !(full_keys && kKeyTexts[f.id].details)) {
      p = detail::put32(p, kKeyTexts[f.id].text, kKeyTexts[f.id].size);
      return;
    }
    *p++ = ',';
    p = put_quoted(p, !full_keys && f.key.starts_with(kDetails) ? f.key.substr(kDetails.size()) : f.key);
    *p++ = ':';
  }
  template <class F>
  void quoted(F f) {
    *p++ = '"';
    f();
    *p++ = '"';
  }
  void text(const FieldView& f, std::size_t key) {
    std::string_view value = f.value;
    if (value.size() > kTextBytes) {
      value = clip_utf8(value, kTextBytes);
      cut = true;
    }
    if (fold) {
      const std::string_view line = first_line(value);
      if (line.size() != value.size()) {
        if (folded.empty()) folded = value;
        value = line;
      }
    }
    if (key + detail::kEscape * value.size() + 2 > left() && key + detail::escaped_size(value) + 2 > left()) {
      cut = true;
      return;
    }
    put_key(f);
    p = put_quoted(p, value, record_);
  }
  void error(const FieldView& f) {
    const auto error = error_view(f);
    if (!error) return;
    const std::string_view message = fold ? first_line(error->message) : error->message;
    if (fold && message.size() != error->message.size() && folded.empty()) folded = error->message;
    if (!room(64 + detail::kEscape * (error->code.size() + std::min(message.size(), kErrorBytes)))) return;
    text(",\"error_code\":", error->code, 255);
    text(",\"error_message\":", message, kErrorBytes);
  }

  char* end_;
  std::string_view record_;
};

// `"service":…,"instance_id":…`, made once per resource and never freed: lines are also written while the process ends. There are few.
struct KnownResource {
  Resource resource;
  std::string text;
  const KnownResource* next = nullptr;
};
constinit std::atomic<const KnownResource*> g_resources{nullptr};

std::string members_of(const Resource& r) {
  std::string text;
  const auto member = [&](std::string_view key, std::string_view value) {
    value = clip_utf8(value, 512);
    char buffer[512 * detail::kEscape + detail::kSlack];
    text.append(text.empty() ? "\"" : ",\"").append(key).append("\":");
    text.append(buffer, static_cast<std::size_t>(put_quoted(buffer, value) - buffer));
  };
  member("service", r.service);
  member("version", r.version);
  member("env", r.env);
  member("region", r.region);
  member("instance_id", r.instance_id);
  return text;
}

std::string_view resource_members(const Resource& r) {
  for (const KnownResource* known = g_resources.load(std::memory_order_acquire); known != nullptr; known = known->next) {
    const Resource& k = known->resource;
    if (k.instance_id == r.instance_id && k.service == r.service && k.version == r.version && k.env == r.env && k.region == r.region) return known->text;
  }
  auto* const made = new KnownResource{r, members_of(r), g_resources.load(std::memory_order_relaxed)};
  while (!g_resources.compare_exchange_weak(made->next, made, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return made->text;
}

std::string_view tenant_of(const RecordView& record) { return record.tenant().empty() ? std::string_view("platform") : record.tenant(); }

// project_id … method
void put_who(Members& m, const RecordView& record) {
  const RecordHead& h = record.head();
  if (!nil(h.project_id)) {
    m.p = detail::put_uuid(put(m.p, ",\"project_id\":\""), h.project_id.data());
    *m.p++ = '"';
  }
  if (!record.actor().empty()) m.text(",\"actor\":", record.actor(), 128);
  if (!record.route().empty()) m.text(",\"route\":", record.route(), 256);
  if (!record.method().empty()) m.text(",\"method\":", record.method(), 16);
}
// request_id … run_id; `always` says that one of them must be there.
void put_work(Members& m, const RecordView& record, bool always) {
  const RecordHead& h = record.head();
  const auto id = [&](std::string_view key, const std::array<std::uint8_t, 16>& value) {
    m.p = detail::put_uuid(put(m.p, key), value.data());
    *m.p++ = '"';
  };
  const bool job = !nil(h.job_id);
  if (!nil(h.request_id) || (always && !job)) id(",\"request_id\":\"", h.request_id);
  if (!job) return;
  id(",\"job_id\":\"", h.job_id);
  if (!nil(h.run_id)) id(",\"run_id\":\"", h.run_id);
}

// The object `details`, where there is anything in it.
void put_details(Members& m, const Ordered& fields, const ErrorView* error) {
  if (!m.room(32)) return;
  char* const start = m.p;
  m.p = put(m.p, ",\"details\":{");
  char* const inside = m.p;
  if (error != nullptr) m.error_object(*error, true);
  bool stack = false;
  m.fold = false;
  for (const FieldView& f : fields) {
    if (!(f.id == kForeignField ? f.key.starts_with(kDetails) : kKeyTexts[f.id].details)) continue;
    stack = stack || f.id == kStackOrder;
    m.field(f);
  }
  if (!stack && !m.folded.empty()) {
    FieldView f;
    f.id = kStackOrder;
    f.kind = Field::Kind::kText;
    f.value = m.folded;
    m.field(f);
  }
  if (m.p == inside) {
    m.p = start;
    return;
  }
  if (*inside == ',') {  // members bring their comma along; the first needs none
    std::memmove(inside, inside + 1, static_cast<std::size_t>(m.p - inside - 1));
    --m.p;
  }
  *m.p++ = '}';
}

// The whole line at `p`, which has kLineBytes and slack behind it. Returns its end.
char* put_line(char* p, const RecordView& record, std::string_view who) {
  constexpr std::string_view kTruncated = ",\"truncated\":true}";
  const RecordHead& h = record.head();
  Members m(p, p + kLineBytes - kTruncated.size() - 8, record.bytes());
  m.cut = (h.flags & RecordHead::kTruncated) != 0 || h.dropped_fields > 0;
  m.fold = true;
  const Ordered fields([&](auto&& f) { record.each_field(f); }, kLineFields, m.cut);

  m.p = detail::put_time(put(m.p, "{\"ts\":\""), h.ns);
  m.p = put(put(m.p, "\",\"level\":\""), to_string(h.level));
  m.p = put(put(m.p, "\","), who);
  m.text(",\"tenant_id\":", tenant_of(record), 255);
  put_who(m, record);

  // What follows in any case, and the error's texts, have their room before any field does.
  std::optional<ErrorView> error;
  std::size_t error_size = 0;
  for (const FieldView& f : fields) {
    if (f.kind == Field::Kind::kError) error = error_view(f);
  }
  if (error) {
    error_size = std::min(kLineBytes / 2, detail::kEscape * (error->code.size() + error->message.size() + error->rest.size()) + 128);
  }
  const std::size_t tail = 384 + detail::kEscape * (std::min(record.module().size(), kModuleBytes) + std::min(record.message().size(), kMessageBytes));
  m.hold(tail + error_size);
  const FieldView* next = fields.begin();
  const auto fields_until = [&](std::size_t order) {
    for (; next != fields.end() && next->id < order; ++next) {
      if (kKeyTexts[next->id].details) continue;
      if (next->kind == Field::Kind::kError) m.release(error_size);
      m.field(*next);
      if (next->kind == Field::Kind::kError) m.hold(error_size);
    }
  };
  fields_until(kTraceOrder);
  m.p = detail::put_hex16(put(m.p, ",\"trace_id\":\""), h.trace_id.data());
  m.p = detail::put_hex8(put(m.p, "\",\"span_id\":\""), h.span_id.data());
  *m.p++ = '"';
  if (!nil(h.parent_span_id)) {
    m.p = detail::put_hex8(put(m.p, ",\"parent_span_id\":\""), h.parent_span_id.data());
    *m.p++ = '"';
  }
  put_work(m, record, true);
  fields_until(kModuleOrder);
  m.text(",\"module\":", record.module(), kModuleBytes);
  m.text(",\"message\":", record.message(), kMessageBytes);
  m.release(tail);
  fields_until(kKeys);
  for (; next != fields.end(); ++next) {  // foreign
    if (!next->key.starts_with(kDetails)) m.field(*next);
  }
  m.release(error_size);
  if (error && m.folded.empty()) {
    std::string_view rest = error->rest, name, value;
    while (next_error_field(rest, name, value)) {
      if (m.folded.empty() && Members::first_line(value).size() != value.size()) m.folded = value;
    }
  }
  put_details(m, fields, error ? &*error : nullptr);
  return m.cut ? put(m.p, kTruncated) : put(m.p, "}");
}

// Room that no line of `record` goes beyond.
std::size_t room_for(const RecordView& record, const Resource& r) {
  const std::size_t common = 1024 + detail::kEscape * (r.service.size() + r.version.size() + r.env.size() + r.region.size() + r.instance_id.size());
  // Twice: a text may stand in its place and in details.stack.
  return std::min(kLineBytes, common + 2 * detail::kEscape * record.bytes().size() + std::size_t{64} * record.head().field_count) + detail::kSlack;
}

std::string hex(const std::array<std::uint8_t, 16>& id) {
  char text[32];
  detail::put_hex16(text, id.data());
  return std::string(text, 32);
}
std::string hex(const std::array<std::uint8_t, 8>& id) {
  char text[32];
  detail::put_hex8(text, id.data());
  return std::string(text, 16);
}
Timestamp timestamp(std::int64_t ns) { return Timestamp::from_micros(ns / 1000 - (ns % 1000 < 0 ? 1 : 0)); }

}  // namespace

void append_line(std::string& out, const RecordView& record, const Resource& resource) {
  if (record.head().kind != RecordKind::kLog) return;
  const std::size_t before = out.size(), room = room_for(record, resource);
  const std::string_view who = resource_members(resource);
  if (out.capacity() - before < room) out.reserve(std::max(before + room, 2 * out.capacity()));
  out.resize_and_overwrite(before + room, [&](char* data, std::size_t) {
    return static_cast<std::size_t>(put_line(data + before, record, who) - data);
  });
}

namespace detail {
std::string resource_members(const Resource& resource) { return std::string(telemetry::resource_members(resource)); }
std::size_t put_line(char* buffer, const RecordView& record, std::string_view members) noexcept {
  return static_cast<std::size_t>(telemetry::put_line(buffer, record, members) - buffer);
}
}  // namespace detail

LogRecord to_log_record(const RecordView& record, const Resource& resource, std::string line) {
  LogRecord log;
  log.tenant_id = tenant_of(record);
  log.trace_id = hex(record.head().trace_id);
  log.span_id = hex(record.head().span_id);
  log.ts = timestamp(record.head().ns);
  log.level = record.head().level;
  log.service = resource.service;
  log.line = std::move(line);
  return log;
}

LogRecord to_log_record(const RecordView& record, const Resource& resource) {
  std::string line;
  append_line(line, record, resource);
  return to_log_record(record, resource, std::move(line));
}

namespace {

// `[{"ts":…,"name":…,fields…}]`
void put_events(Members& m, const RecordView& record) {
  if (record.head().event_count == 0 || !m.room(64)) return;
  m.p = put(m.p, ",\"events\":[");
  char* const inside = m.p;
  record.each_event([&](std::int64_t ns, std::string_view name, auto&& each) {
    if (!m.room(128 + detail::kEscape * std::min<std::size_t>(name.size(), 256))) return;
    char* const start = m.p;
    m.p = put(m.p, m.p == inside ? "{\"ts\":\"" : ",{\"ts\":\"");
    m.p = put(detail::put_time(m.p, ns), "\"");
    m.text(",\"name\":", name, 256);
    m.hold(8);
    bool cut = false;
    const Ordered fields(each, 128, cut);
    for (const FieldView& f : fields) m.field(f);
    m.release(8);
    if (m.p == start) return;
    *m.p++ = '}';
  });
  *m.p++ = ']';
}

}  // namespace

SpanRecord to_span_record(const RecordView& record, const Resource& resource) {
  const RecordHead& h = record.head();
  SpanRecord span;
  span.tenant_id = tenant_of(record);
  span.trace_id = hex(h.trace_id);
  span.span_id = hex(h.span_id);
  if (!nil(h.parent_span_id)) span.parent_span_id = hex(h.parent_span_id);
  span.name = clip_utf8(record.name(), 256);
  span.kind = to_string(h.span_kind);
  span.service = resource.service;
  span.start = timestamp(h.ns);
  span.end = timestamp(h.end_ns);
  span.status = h.status == SpanStatus::kError ? "error" : h.status == SpanStatus::kOk ? "ok" : "unset";
  span.attributes.resize_and_overwrite(kLineBytes + detail::kSlack, [&](char* data, std::size_t) {
    constexpr std::size_t kReason = order_of("sampling.reason");
    Members m(data, data + kLineBytes - 128, record.bytes());
    m.full_keys = true;
    const Ordered fields([&](auto&& f) { record.each_field(f); }, 128, m.cut);
    m.p = put(put(m.p, "{"), resource_members(resource));
    put_who(m, record);
    put_work(m, record, false);
    bool reason = h.sampling == SamplingReason::kUndecided;
    const auto put_reason = [&] {
      if (reason) return;
      reason = true;
      m.text(",\"sampling.reason\":", to_string(h.sampling), 32);
    };
    for (const FieldView& f : fields) {
      if (f.id > kReason) put_reason();
      if (f.id != kReason) m.field(f);
    }
    put_reason();
    put_events(m, record);
    if (m.cut || h.dropped_fields > 0 || (h.flags & RecordHead::kTruncated) != 0) m.p = put(m.p, ",\"truncated\":true");
    *m.p++ = '}';
    return static_cast<std::size_t>(m.p - data);
  });
  span.attributes.shrink_to_fit();
  span.links = "[";
  record.each_link([&](std::span<const std::uint8_t, 16> trace, std::span<const std::uint8_t, 8> id) {
    std::array<std::uint8_t, 16> t;
    std::array<std::uint8_t, 8> s;
    std::copy(trace.begin(), trace.end(), t.begin());
    std::copy(id.begin(), id.end(), s.begin());
    if (span.links.size() > 1) span.links.push_back(',');
    span.links += "{\"trace_id\":\"" + hex(t) + "\",\"span_id\":\"" + hex(s) + "\"}";
  });
  span.links += "]";
  return span;
}

}  // namespace stella::telemetry
