// The binary record: one log line or one ended span as it travels from the thread that made it to the backend thread, through a ring in
// a file mapping. Texts are scrubbed *before* they are written here, so that nothing unscrubbed ever lies in a file.
//
// Layout, host byte order: RecordHead | texts of the head, in the order of its sizes | fields | links | events | padding to 8.
//   field  id u8 (row of contracts/fields.json; kForeignField: a key follows) | kind u8 | size u16 | [key size u8 | key] | value
//   link   trace id 16 | span id 8
//   event  ns i64 | name size u16 | field count u16 | name | fields
// Value by kind: kText, kPath, kPii the text as it may be shown; kInt, kBool i64; ids raw (16, 32, 16, 8 bytes);
//   kError: wire code size u8 | code | message size u16 | message | { name size u8 | name | value size u16 | value } …
//
// Readers trust no byte: a ring may come from a process that died in the middle of a write.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "stella/telemetry/field.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {

enum class RecordKind : std::uint8_t { kPadding = 0, kLog = 1, kSpan = 2 };
enum class SpanStatus : std::uint8_t { kUnset, kOk, kError };

inline constexpr std::uint8_t kForeignField = 255;
inline constexpr std::size_t kRecordBytes = 48 * 1024;  // most bytes of one record; the writer cuts texts and sets kTruncated

// Trivially copyable, no padding inside.
struct RecordHead {
  enum Flag : std::uint8_t { kTruncated = 1, kLocalRoot = 2, kRemoteParent = 4, kKeep = 8 };  // kKeep: a callee asked to keep the trace
  std::uint32_t size = 0;      // of the whole record, a multiple of 8
  RecordKind kind = RecordKind::kPadding;
  Level level = Level::kInfo;  // of a log
  std::uint8_t flags = 0;
  std::uint8_t trace_flags = 0;
  std::uint64_t sequence = 0;  // of its ring: consecutive, so that a gap shows
  std::int64_t ns = 0;         // since the epoch; instant of a log, start of a span
  std::int64_t end_ns = 0;     // of a span
  std::uint64_t threshold = kSampleAll;  // of the head decision, for `ot=th:`
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{}, parent_span_id{};
  std::array<std::uint8_t, 16> project_id{}, request_id{}, job_id{}, run_id{};  // nil: none
  SpanKind span_kind = SpanKind::kInternal;
  SpanStatus status = SpanStatus::kUnset;
  SamplingReason sampling = SamplingReason::kHead;
  std::uint8_t reserved = 0;
  std::uint16_t field_count = 0, link_count = 0, event_count = 0;
  std::uint16_t dropped_fields = 0, dropped_links = 0, dropped_events = 0;
  // Sizes of the texts that follow, in this order.
  std::uint16_t tenant = 0, actor = 0, route = 0, method = 0, tracestate = 0;
  std::uint16_t module = 0;   // of a log
  std::uint16_t message = 0;  // of a log; name of a span
  std::uint16_t reserved_text = 0;
};
static_assert(sizeof(RecordHead) == 168 && sizeof(RecordHead) % 8 == 0);

// One field as a reader sees it; views into the record.
struct FieldView {
  std::uint8_t id = 0;
  Field::Kind kind = Field::Kind::kText;
  std::string_view key;    // from the catalogue or the record
  std::string_view value;  // raw bytes as laid out above
  std::int64_t integer() const {
    std::int64_t v = 0;
    if (value.size() == sizeof v) std::memcpy(&v, value.data(), sizeof v);
    return v;
  }
};
struct ErrorView {
  std::string_view code, message;
  std::string_view rest;  // the error's own fields: next_error_field
};
std::optional<ErrorView> error_view(const FieldView& field);
// Takes one (name, value) off `rest`; false at its end or where it is malformed.
bool next_error_field(std::string_view& rest, std::string_view& name, std::string_view& value);

// A validated record. Views live as long as its bytes. Cheap to make: one pass over the sizes.
class RecordView {
 public:
  // The first record in `bytes`; nullopt where it is no whole, well-formed one.
  static std::optional<RecordView> parse(std::string_view bytes);

  const RecordHead& head() const { return head_; }
  std::string_view bytes() const { return {data_, head_.size}; }
  std::string_view tenant() const { return {data_ + sizeof head_, head_.tenant}; }  // "" is the platform
  std::string_view actor() const { return {end_of(tenant()), head_.actor}; }
  std::string_view route() const { return {end_of(actor()), head_.route}; }
  std::string_view method() const { return {end_of(route()), head_.method}; }
  std::string_view tracestate() const { return {end_of(method()), head_.tracestate}; }
  std::string_view module() const { return {end_of(tracestate()), head_.module}; }
  std::string_view message() const { return {end_of(module()), head_.message}; }  // of a log
  std::string_view name() const { return message(); }                             // of a span

  // Fields in the order they were written; of a key that is there twice, the last counts. f(const FieldView&).
  template <class F>
  void each_field(F&& f) const {
    walk_fields(fields_, head_.field_count, f);
  }
  // f(std::span<const uint8_t, 16> trace, std::span<const uint8_t, 8> span)
  template <class F>
  void each_link(F&& f) const {
    const auto* p = reinterpret_cast<const std::uint8_t*>(links_);
    for (std::size_t i = 0; i < head_.link_count; ++i, p += 24) f(std::span<const std::uint8_t, 16>(p, 16), std::span<const std::uint8_t, 8>(p + 16, 8));
  }
  // f(std::int64_t ns, std::string_view name, fields), where fields(g) calls g(const FieldView&).
  template <class F>
  void each_event(F&& f) const {
    const char* p = events_;
    for (std::size_t i = 0; i < head_.event_count; ++i) {
      std::int64_t ns;
      std::uint16_t name, count;
      std::memcpy(&ns, p, 8);
      std::memcpy(&name, p + 8, 2);
      std::memcpy(&count, p + 10, 2);
      const std::string_view text(p + 12, name);
      const char* const fields = p + 12 + name;
      f(ns, text, [&](auto&& g) { walk_fields(fields, count, g); });
      p = walk_fields(fields, count, [](const FieldView&) {});
    }
  }

 private:
  // At least a head; finish it with find_parts().
  struct Unchecked {
    const char* data;
  };

 public:
  explicit RecordView(Unchecked record) : data_(record.data), head_(read_head(record.data)) {}

 private:
  static RecordHead read_head(const char* p) {
    RecordHead head;
    std::memcpy(&head, p, sizeof head);
    return head;
  }
  // False where something in the record is malformed.
  bool find_parts(std::size_t available);

  static const char* end_of(std::string_view text) { return text.data() + text.size(); }
  template <class F>
  static const char* walk_fields(const char* p, std::size_t count, F&& f) {
    for (std::size_t i = 0; i < count; ++i) {
      FieldView field;
      p += known_field(p, field);
      f(static_cast<const FieldView&>(field));
    }
    return p;
  }
  // A field that parse() has checked; its bytes.
  static std::size_t known_field(const char* p, FieldView& out) {
    out.id = static_cast<std::uint8_t>(p[0]);
    out.kind = static_cast<Field::Kind>(p[1]);
    std::uint16_t size;
    std::memcpy(&size, p + 2, sizeof size);
    std::size_t at = 4;
    if (out.id == kForeignField) {
      const auto key = static_cast<std::uint8_t>(p[4]);
      out.key = {p + 5, key};
      at += 1u + key;
    } else {
      out.key = detail::kFieldKeys[out.id];
    }
    out.value = {p + at, size};
    return at + size;
  }

  const char* data_;
  const char *fields_ = nullptr, *links_ = nullptr, *events_ = nullptr;
  RecordHead head_;
};

// Key and kind of a row of contracts/fields.json ("" where there is none).
std::string_view field_key(std::uint8_t id);

// Appends one field in record form; text is taken as it is (the caller has scrubbed it). For the writer and for tests.
void append_field(std::string& out, const Field& field, std::string_view scrubbed_text);

// Builds records away from the hot path: tests, and telemetry that came from another process. The hot path lays out the same bytes itself.
class RecordBuilder {
 public:
  RecordHead head;
  std::string tenant, actor, route, method, tracestate, module, message;
  // Text is taken as it is.
  void add(const Field& field);
  void link(const TraceParent& other);
  void event(std::int64_t ns, std::string_view name, std::initializer_list<Field> fields);
  // The record; sizes and counts of `head` are filled in.
  std::string build() const;

 private:
  std::string fields_, links_, events_;
  std::uint16_t field_count_ = 0, link_count_ = 0, event_count_ = 0;
};

// Where finished records go. A backend installs one; without one they are written to standard error (logs) or forgotten (spans).
class Outlet {
 public:
  virtual ~Outlet() = default;
  // On the thread that made the record, from anywhere (also while the process ends): never blocks on I/O, never throws, never logs.
  // `record` is one whole record; its sequence is filled in by the outlet.
  virtual void push(std::string_view record) noexcept = 0;
};
// nullptr brings back the default. Returns the previous one. The old one is not called any more by threads that begin a push after this
// returns; keep it alive until the process has no such push left (a backend never frees its outlet).
Outlet* install_outlet(Outlet* outlet);
// The default: log lines to standard error, spans forgotten.
Outlet& default_outlet();

}  // namespace stella::telemetry
