// Field: one typed value of a log line or span. Made only by the functions of the generated "stella/telemetry/fields.h"
// (f::sbom_id(id), f::duration(d) …), which contracts/fields.json declares; so every field has a name, a type and a PII class.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/telemetry/secret.h"

namespace stella::telemetry {

namespace detail {
struct FieldMaker;
}

// Valid until the end of the full expression it is made in: text and errors are borrowed. No allocation.
// A field whose text is empty says nothing: neither line nor span carries it.
class Field {
 public:
  enum class Kind : std::uint8_t { kText, kPath, kPii, kInt, kBool, kUuid, kSha256, kTraceId, kSpanId, kError };

  std::string_view key() const { return key_; }
  // Place in a line: the row in contracts/fields.json.
  std::uint8_t order() const { return order_; }
  Kind kind() const { return kind_; }
  std::string_view text() const { return {text_, text_size_}; }  // kText, kPath, kPii
  std::int64_t integer() const { return integer_; }              // kInt, kBool
  const std::array<std::uint8_t, 32>& raw() const { return raw_; }  // ids, left aligned
  const Error& error() const { return *error_; }

 private:
  friend struct detail::FieldMaker;
  Field(std::string_view key, std::uint8_t order, Kind kind) : key_(key), order_(order), kind_(kind), integer_(0) {}
  std::string_view key_;
  std::uint8_t order_;
  Kind kind_;
  std::size_t text_size_ = 0;
  union {
    const char* text_;
    std::int64_t integer_;
    std::array<std::uint8_t, 32> raw_;
    const Error* error_;
  };
};

namespace detail {
// For generated code, and spans, alone.
struct FieldMaker {
  static Field text(std::string_view key, std::uint8_t order, Field::Kind kind, std::string_view value) {
    Field f(key, order, kind);
    f.text_ = value.data();
    f.text_size_ = value.size();
    return f;
  }
  static Field integer(std::string_view key, std::uint8_t order, Field::Kind kind, std::int64_t value) {
    Field f(key, order, kind);
    f.integer_ = value;
    return f;
  }
  template <std::size_t N>
  static Field raw(std::string_view key, std::uint8_t order, Field::Kind kind, const std::array<std::uint8_t, N>& value) {
    static_assert(N <= 32);
    Field f(key, order, kind);
    f.raw_ = {};
    std::memcpy(f.raw_.data(), value.data(), N);
    return f;
  }
  static Field error(std::string_view key, std::uint8_t order, const Error& value) {
    Field f(key, order, Field::Kind::kError);
    f.error_ = &value;
    return f;
  }
  // The same field, member by member: where its kind is known to the compiler, the original needs no place in memory.
  [[gnu::always_inline]] static Field again(const Field& other) {
    Field f(other.key_, other.order_, other.kind_);
    switch (other.kind_) {
      case Field::Kind::kText:
      case Field::Kind::kPath:
      case Field::Kind::kPii:
        f.text_ = other.text_;
        f.text_size_ = other.text_size_;
        break;
      case Field::Kind::kInt:
      case Field::Kind::kBool: f.integer_ = other.integer_; break;
      case Field::Kind::kUuid:
      case Field::Kind::kSha256:
      case Field::Kind::kTraceId:
      case Field::Kind::kSpanId: f.raw_ = other.raw_; break;
      case Field::Kind::kError: f.error_ = other.error_; break;
    }
    return f;
  }
};

// Chosen for a Secret or Pii by every field that must not have one: they say why they do not compile.
template <class T>
Field refuse_secret() {
  static_assert(kNever<T>, "a Secret must not reach telemetry: leave it out");
  __builtin_unreachable();
}
template <class T>
Field refuse_pii() {
  static_assert(kNever<T>, "a Pii is accepted only by fields of PII class pii, which mask it");
  __builtin_unreachable();
}
}  // namespace detail

}  // namespace stella::telemetry
