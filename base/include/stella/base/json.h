// JSON: a strict parser (RFC 8259) with positions in its errors, a value tree, a writer, and the canonical form of RFC 8785 (JCS).
//
// For documents we author, configuration and API bodies. The pipeline's hot parsers use simdjson instead.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "stella/base/result.h"

namespace stella::json {

class Value;
using Array = std::vector<Value>;

// Members in document order; names are unique (the parser refuses duplicates).
class Object {
 public:
  using Member = std::pair<std::string, Value>;
  const Value* find(std::string_view name) const;
  Value* find(std::string_view name);
  // Adds or replaces.
  void set(std::string name, Value value);
  // Removes the member where it exists.
  void erase(std::string_view name);
  std::size_t size() const;
  bool empty() const { return members_.empty(); }
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;
  // Appends without looking for a duplicate: for builders that know their names.
  void append(std::string name, Value value);

 private:
  std::vector<Member> members_;
};

// null, bool, integer (fits int64), double, string, array or object.
class Value {
 public:
  Value() = default;
  Value(std::nullptr_t) {}                                      // NOLINT(google-explicit-constructor)
  Value(bool b) : v_(b) {}                                      // NOLINT(google-explicit-constructor)
  Value(int i) : v_(static_cast<std::int64_t>(i)) {}            // NOLINT(google-explicit-constructor)
  Value(std::int64_t i) : v_(i) {}                              // NOLINT(google-explicit-constructor)
  Value(std::uint64_t i);                                       // NOLINT: beyond int64 it becomes a double
  Value(double d) : v_(d) {}                                    // NOLINT(google-explicit-constructor)
  Value(std::string s) : v_(std::move(s)) {}                    // NOLINT(google-explicit-constructor)
  Value(std::string_view s) : v_(std::string(s)) {}             // NOLINT(google-explicit-constructor)
  Value(const char* s) : v_(std::string(s)) {}                  // NOLINT(google-explicit-constructor)
  Value(Array a);                                               // NOLINT(google-explicit-constructor)
  Value(Object o);                                              // NOLINT(google-explicit-constructor)
  // Value::object({{"a", 1}, {"b", "x"}})
  static Value object(std::initializer_list<std::pair<std::string_view, Value>> members = {});
  static Value array(std::initializer_list<Value> items = {});

  bool is_null() const { return std::holds_alternative<std::monostate>(v_); }
  bool is_bool() const { return std::holds_alternative<bool>(v_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(v_); }
  bool is_double() const { return std::holds_alternative<double>(v_); }
  bool is_number() const { return is_int() || is_double(); }
  bool is_string() const { return std::holds_alternative<std::string>(v_); }
  bool is_array() const { return std::holds_alternative<Array>(v_); }
  bool is_object() const { return std::holds_alternative<Object>(v_); }

  // Preconditions: the matching is_…() holds (asserted).
  bool as_bool() const { return std::get<bool>(v_); }
  std::int64_t as_int() const { return std::get<std::int64_t>(v_); }
  double as_double() const { return is_int() ? static_cast<double>(as_int()) : std::get<double>(v_); }
  const std::string& as_string() const { return std::get<std::string>(v_); }
  const Array& as_array() const { return std::get<Array>(v_); }
  Array& as_array() { return std::get<Array>(v_); }
  const Object& as_object() const { return std::get<Object>(v_); }
  Object& as_object() { return std::get<Object>(v_); }

  // Member of an object; nullptr where this is no object or has no such member.
  const Value* find(std::string_view name) const;
  // Lenient look-ups with a fallback: "" / 0 / false where the member is absent or of another type.
  std::string_view str(std::string_view name) const;
  std::int64_t integer(std::string_view name, std::int64_t fallback = 0) const;
  bool boolean(std::string_view name, bool fallback = false) const;
  // Strict look-ups: kInvalid with field and expected where the member is absent or of another type.
  Result<std::string> require_string(std::string_view name) const;
  Result<std::int64_t> require_int(std::string_view name) const;
  // Elements of a member array; empty where absent.
  const Array& items(std::string_view name) const;

  // Object builder; this must be an object or null (then it becomes one). Returns *this.
  Value& set(std::string name, Value value);
  // Array builder; this must be an array or null (then it becomes one).
  Value& push(Value value);

  friend bool operator==(const Value& a, const Value& b);

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> v_;
};

struct ParseOptions {
  std::size_t max_bytes = 64u << 20;
  int max_depth = 64;
};

// Strict RFC 8259: one value, valid UTF-8, no duplicate names, no lone surrogates, no BOM.
// Errors: kMalformed with line, column (1-based, bytes), expected; kLimit with limit.
Result<Value> parse(std::string_view text, const ParseOptions& options = {});

// Compact text in member order.
std::string dump(const Value& value);
// Two spaces of indentation, trailing newline: for people.
std::string pretty(const Value& value);
// RFC 8785. Integers beyond ±2^53 are the caller's error (kInvalid): they belong into strings. NaN and infinities likewise.
Result<std::string> canonical(const Value& value);

// Appends `text` as a quoted JSON string with the minimal escapes of RFC 8785 §3.2.2.2. `text` must be UTF-8.
void append_quoted(std::string& out, std::string_view text);
// Appends the ES6 text of a finite number (RFC 8785 §3.2.2.3).
void append_number(std::string& out, double number);

// Streaming writer for large outputs: no tree, commas by itself. Misuse (a value where a key is due) asserts.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  Writer& begin_object();
  Writer& end_object();
  Writer& begin_array();
  Writer& end_array();
  Writer& key(std::string_view name);
  Writer& value(std::string_view text);
  Writer& value(const char* text) { return value(std::string_view(text)); }
  Writer& value(const std::string& text) { return value(std::string_view(text)); }
  Writer& value(bool b);
  Writer& value(std::int64_t i);
  Writer& value(int i) { return value(static_cast<std::int64_t>(i)); }
  Writer& value(std::uint64_t i);
  Writer& value(double d);
  Writer& null();
  // `json` must be one valid JSON value.
  Writer& raw(std::string_view json);
  Writer& value(const Value& v);
  template <class T>
  Writer& member(std::string_view name, const T& v) {
    key(name);
    return value(v);
  }

 private:
  void comma();
  std::string& out_;
  bool need_comma_ = false;
};

}  // namespace stella::json
