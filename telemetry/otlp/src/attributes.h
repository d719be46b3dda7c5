// Fields of a record as OTLP attributes (repeated KeyValue), into raw memory: keys of the catalogue are laid out at compile time.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "stella/telemetry/record.h"
#include "wire.h"

namespace stella::telemetry::otlp_detail {

// `0a size key 12`: a KeyValue up to the length of its value.
struct Key {
  static constexpr std::size_t kBytes = 48;
  std::array<char, kBytes> bytes{};
  std::uint8_t size = 0;
  std::string_view text() const { return {bytes.data() + 2, size - 3u}; }
};
constexpr Key make_key(std::string_view text) {
  Key key;
  key.bytes[0] = 0x0a;
  key.bytes.at(1) = static_cast<char>(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) key.bytes.at(2 + i) = text[i];
  key.bytes.at(2 + text.size()) = 0x12;
  key.size = static_cast<std::uint8_t>(3 + text.size());
  return key;
}
inline constexpr auto kKeys = [] {
  std::array<Key, detail::kFieldKeys.size()> keys;
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = make_key(detail::kFieldKeys[i]);
  return keys;
}();
consteval std::uint8_t id_of(std::string_view key) {
  for (std::size_t i = 0; i < detail::kFieldKeys.size(); ++i)
    if (detail::kFieldKeys[i] == key) return static_cast<std::uint8_t>(i);
  throw "no such field";
}

// Everything up to the value of one attribute; `any` is the size of the value (an AnyValue).
inline char* open(char* p, char tag, const Key& key, std::size_t any) {
  *p++ = tag;
  p = wire::put_varint(p, key.size + wire::varint_size(any) + any);
  std::memcpy(p, key.bytes.data(), Key::kBytes);
  return wire::put_varint(p + key.size, any);
}
inline char* open(char* p, char tag, std::string_view prefix, std::string_view key, std::size_t any) {
  const std::size_t size = prefix.size() + key.size();
  *p++ = tag;
  p = wire::put_varint(p, 1 + wire::varint_size(size) + size + 1 + wire::varint_size(any) + any);
  *p++ = wire::tag_bytes(1);
  p = wire::put_varint(p, size);
  p = wire::put_raw(wire::put_raw(p, prefix), key);
  *p++ = wire::tag_bytes(2);
  return wire::put_varint(p, any);
}
inline char* open(char* p, char tag, std::string_view key, std::size_t any) { return open(p, tag, {}, key, any); }

template <class K>
char* put_text(char* p, char tag, const K& key, std::string_view text) {
  p = open(p, tag, key, 1 + wire::varint_size(text.size()) + text.size());
  return wire::put_text(p, wire::tag_bytes(1), text);
}
template <class K>
char* put_bool(char* p, char tag, const K& key, bool value) {
  p = open(p, tag, key, 2);
  *p++ = wire::tag_varint(2);
  *p++ = value ? 1 : 0;
  return p;
}
// With keys of the catalogue every length fits into one byte.
static_assert(Key::kBytes + 2 + 10 < 128);
inline char* put_bool(char* p, char tag, const Key& key, bool value) {
  p[0] = tag;
  p[1] = static_cast<char>(key.size + 3);
  std::memcpy(p + 2, key.bytes.data(), Key::kBytes);
  p += 2 + key.size;
  p[0] = 2;
  p[1] = wire::tag_varint(2);
  p[2] = value ? 1 : 0;
  return p + 3;
}
inline char* put_int(char* p, char tag, const Key& key, std::int64_t value) {
  const std::size_t size = wire::varint_size(static_cast<std::uint64_t>(value));
  p[0] = tag;
  p[1] = static_cast<char>(key.size + size + 2);
  std::memcpy(p + 2, key.bytes.data(), Key::kBytes);
  p += 2 + key.size;
  p[0] = static_cast<char>(size + 1);
  p[1] = wire::tag_varint(3);
  return wire::put_varint(p + 2, static_cast<std::uint64_t>(value));
}
template <class K>
char* put_int(char* p, char tag, const K& key, std::int64_t value) {
  p = open(p, tag, key, 1 + wire::varint_size(static_cast<std::uint64_t>(value)));
  *p++ = wire::tag_varint(3);
  return wire::put_varint(p, static_cast<std::uint64_t>(value));
}

// Text of the record itself: what lies behind it may be read up to `end`.
inline char* put_own_text(char* p, char tag, const Key& key, std::string_view text, const char* end) {
  const std::size_t n = text.size();
  if (key.size + n >= 124) return put_text(p, tag, key, text);
  p[0] = tag;
  p[1] = static_cast<char>(key.size + n + 3);
  std::memcpy(p + 2, key.bytes.data(), Key::kBytes);
  p += 2 + key.size;
  p[0] = static_cast<char>(n + 2);
  p[1] = wire::tag_bytes(1);
  p[2] = static_cast<char>(n);
  return wire::put_raw(p + 3, text, end);
}

// Two hexadecimal digits for every byte value.
inline constexpr auto kHex = [] {
  std::array<std::array<char, 2>, 256> table;
  for (std::size_t i = 0; i < 256; ++i) table[i] = {"0123456789abcdef"[i >> 4], "0123456789abcdef"[i & 15]};
  return table;
}();
inline char* put_hex(char* p, const std::uint8_t* bytes, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i, p += 2) std::memcpy(p, kHex[bytes[i]].data(), 2);
  return p;
}
template <class K>
char* put_hex_text(char* p, char tag, const K& key, std::string_view raw) {
  p = open(p, tag, key, 2 + raw.size() * 2);
  *p++ = wire::tag_bytes(1);
  *p++ = static_cast<char>(raw.size() * 2);
  return put_hex(p, reinterpret_cast<const std::uint8_t*>(raw.data()), raw.size());
}
template <class K>
char* put_uuid(char* p, char tag, const K& key, const std::uint8_t* raw) {
  p = open(p, tag, key, 2 + 36);
  *p++ = wire::tag_bytes(1);
  *p++ = 36;
  constexpr std::array<std::uint8_t, 5> kGroups{4, 2, 2, 2, 6};
  for (std::size_t i = 0; i < kGroups.size(); ++i) {
    if (i != 0) *p++ = '-';
    p = put_hex(p, raw, kGroups[i]);
    raw += kGroups[i];
  }
  return p;
}

inline constexpr Key kErrorType = make_key("error.type");

// Keys of the catalogue that are there. Two words without an index into them, so that they live in registers.
struct SeenKeys {
  static_assert(detail::kFieldKeys.size() <= 128);
  std::uint64_t low = 0, high = 0;
  // False where the key is there already.
  bool take(std::uint8_t id) {
    const std::uint64_t bit = std::uint64_t{1} << (id % 64), of_low = id < 64 ? bit : 0, of_high = bit ^ of_low;
    const bool news = ((low & of_low) | (high & of_high)) == 0;
    low |= of_low;
    high |= of_high;
    return news;
  }
};

// What the attributes of one record tell about the record.
struct Seen {
  SeenKeys keys;
  bool error = false;
  std::string_view error_message;
  std::int64_t http_status = 0;
  bool take(std::uint8_t id) { return keys.take(id); }
};

template <class K>
char* put_value(char* p, char tag, const K& key, const FieldView& field) {
  switch (field.kind) {
    case Field::Kind::kText:
    case Field::Kind::kPath:
    case Field::Kind::kPii: return put_text(p, tag, key, field.value);
    case Field::Kind::kInt: return put_int(p, tag, key, field.integer());
    case Field::Kind::kBool: return put_bool(p, tag, key, field.integer() != 0);
    case Field::Kind::kUuid: return put_uuid(p, tag, key, reinterpret_cast<const std::uint8_t*>(field.value.data()));
    case Field::Kind::kSha256:
    case Field::Kind::kTraceId:
    case Field::Kind::kSpanId: return put_hex_text(p, tag, key, field.value);
    case Field::Kind::kError: break;
  }
  return p;
}

inline char* put_error(char* p, char tag, const ErrorView& error) {
  p = put_text(p, tag, kKeys[id_of("error_code")], error.code);
  p = put_text(p, tag, kKeys[id_of("error_message")], error.message);
  p = put_text(p, tag, kErrorType, error.code);
  std::string_view rest = error.rest, name, value;
  while (next_error_field(rest, name, value)) {
    if (name == "type") continue;
    p = open(p, tag, "error.", name, 1 + wire::varint_size(value.size()) + value.size());
    p = wire::put_text(p, wire::tag_bytes(1), value);
  }
  return p;
}

inline char* put_field(char* p, char tag, const FieldView& field, Seen& seen, const char* end = nullptr) {
  if (field.kind == Field::Kind::kError) {
    const auto error = error_view(field);
    if (!error) return p;
    seen.error = true;
    seen.error_message = error->message;
    return put_error(p, tag, *error);
  }
  if (field.id == kForeignField) return put_value(p, tag, field.key, field);
  if (field.kind <= Field::Kind::kPii && end != nullptr) return put_own_text(p, tag, kKeys[field.id], field.value, end);
  if (field.id == id_of("http.response.status_code")) seen.http_status = field.integer();
  return put_value(p, tag, kKeys[field.id], field);
}

// Fields of which some key may be there twice, or in `seen` already: the last of each that is not.
char* put_fields_slowly(char* p, char tag, const RecordView& record, Seen& seen);

// RecordView::each_field without its checks, which parse() has made, and without looking up keys of the catalogue.
template <class F>
[[gnu::always_inline]] inline void each_field(const RecordView& record, F&& f) {
  const RecordHead& head = record.head();
  const char* p = record.bytes().data() + sizeof head + head.tenant + head.actor + head.route + head.method + head.tracestate + head.module + head.message;
  for (std::size_t i = 0; i < head.field_count; ++i) {
    FieldView field;
    std::uint16_t size;
    field.id = static_cast<std::uint8_t>(p[0]);
    field.kind = static_cast<Field::Kind>(p[1]);
    std::memcpy(&size, p + 2, 2);
    p += 4;
    if (field.id == kForeignField) {
      const auto key = static_cast<std::uint8_t>(*p++);
      field.key = {p, key};
      p += key;
    }
    field.value = {p, size};
    p += size;
    f(static_cast<const FieldView&>(field));
  }
}

// All fields of the record; `seen` says which keys it has already.
[[gnu::always_inline]] inline char* put_fields(char* p, char tag, const RecordView& record, Seen& seen) {
  char* const begin = p;
  const SeenKeys before = seen.keys;
  bool simple = true;
  const char* const end = record.bytes().data() + record.bytes().size();
  each_field(record, [&](const FieldView& field) {
    simple = simple && field.id != kForeignField && seen.take(field.id);
    if (simple) p = put_field(p, tag, field, seen, end);
  });
  if (simple) return p;
  seen = Seen{.keys = before, .error = false, .error_message = {}, .http_status = 0};  // anew, the slow way
  return put_fields_slowly(begin, tag, record, seen);
}

}  // namespace stella::telemetry::otlp_detail
