// Values and types of the expression language: a subset of the Common Expression Language (CEL, language definition at cel.dev).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"

namespace stella::pipeline::cel {

enum class Kind : std::uint8_t { kError, kDyn, kNull, kBool, kInt, kUint, kDouble, kString, kBytes, kList, kMap, kType };
// The word CEL uses: "int", "null_type", "dyn", …
std::string_view to_string(Kind kind);

class Value;
using List = std::vector<Value>;
// Entries in the order of the literal; keys are bool, int, uint or string and unique under numeric equality.
using Map = std::vector<std::pair<Value, Value>>;

// A small handle (copied freely). Text, lists and maps are borrowed: from the Program (literals), from the Activation (variables)
// or from the Scratch of the evaluation (results), and live as long as those.
class Value {
 public:
  constexpr Value() = default;  // null
  static constexpr Value null() { return {}; }
  static Value boolean(bool b) { return Value(Kind::kBool, [&](auto& v) { v.b_ = b; }); }
  static Value integer(std::int64_t i) { return Value(Kind::kInt, [&](auto& v) { v.i_ = i; }); }
  static Value uinteger(std::uint64_t u) { return Value(Kind::kUint, [&](auto& v) { v.u_ = u; }); }
  static Value number(double d) { return Value(Kind::kDouble, [&](auto& v) { v.d_ = d; }); }
  static Value string(std::string_view s) { return text(Kind::kString, s); }
  static Value bytes(std::string_view s) { return text(Kind::kBytes, s); }
  static Value list(const List* l) { return Value(Kind::kList, [&](auto& v) { v.list_ = l; }); }
  static Value map(const Map* m) { return Value(Kind::kMap, [&](auto& v) { v.map_ = m; }); }
  static Value type(Kind k) { return Value(Kind::kType, [&](auto& v) { v.type_ = k; }); }
  // An evaluation error: `message` is a literal, `offset` the byte of the expression it arose at.
  static Value error(Literal message, std::uint32_t offset) {
    Value v = text(Kind::kError, message.view());
    v.size_ |= static_cast<std::uint64_t>(offset) << 32;
    return v;
  }

  Kind kind() const { return kind_; }
  bool is_error() const { return kind_ == Kind::kError; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_true() const { return kind_ == Kind::kBool && b_; }
  bool is_false() const { return kind_ == Kind::kBool && !b_; }
  bool is_numeric() const { return kind_ == Kind::kInt || kind_ == Kind::kUint || kind_ == Kind::kDouble; }
  // Preconditions: the matching kind.
  bool as_bool() const { return b_; }
  std::int64_t as_int() const { return i_; }
  std::uint64_t as_uint() const { return u_; }
  double as_double() const { return d_; }
  std::string_view as_text() const { return {text_, static_cast<std::size_t>(size_ & 0xffffffffu)}; }  // string, bytes, error message
  const List& as_list() const { return *list_; }
  const Map& as_map() const { return *map_; }
  Kind as_type() const { return type_; }
  std::uint32_t error_offset() const { return static_cast<std::uint32_t>(size_ >> 32); }
  // The number as a double; int and uint beyond 2^53 are rounded, as CEL's mixed comparisons do.
  double to_double() const { return kind_ == Kind::kInt ? static_cast<double>(i_) : kind_ == Kind::kUint ? static_cast<double>(u_) : d_; }

 private:
  template <class Set>
  Value(Kind kind, Set set) : kind_(kind) { set(*this); }
  static Value text(Kind kind, std::string_view s) {
    return Value(kind, [&](auto& v) { v.text_ = s.data(), v.size_ = s.size() & 0xffffffffu; });
  }

  Kind kind_ = Kind::kNull;
  union {
    bool b_;
    std::int64_t i_ = 0;
    std::uint64_t u_;
    double d_;
    const char* text_;
    const List* list_;
    const Map* map_;
    Kind type_;
  };
  std::uint64_t size_ = 0;
};

// CEL equality: numbers across kinds, lists and maps by content, NaN unequal to itself, different kinds unequal.
bool equal(const Value& a, const Value& b);

// Appends the value as JSON, shortened where it is large: texts to 200 bytes and lists to 20 items, then "…".
void append_json(std::string& out, const Value& value);

// A static type. Lists and maps know what they hold; kDyn is "only known at run time".
struct Type {
  Kind kind = Kind::kDyn;
  std::shared_ptr<const Type> key;      // of maps
  std::shared_ptr<const Type> element;  // of lists and maps

  static Type of(Kind kind) { return {kind, nullptr, nullptr}; }
  static Type list_of(Type element) { return {Kind::kList, nullptr, std::make_shared<const Type>(std::move(element))}; }
  static Type map_of(Type key, Type element) {
    return {Kind::kMap, std::make_shared<const Type>(std::move(key)), std::make_shared<const Type>(std::move(element))};
  }
  std::string str() const;  // "list(string)"
};

// Owns what an evaluation or a compilation creates; addresses are stable until clear().
class Arena {
 public:
  std::string_view keep(std::string text) { return strings_.emplace_back(std::move(text)); }
  List* list() { return &lists_.emplace_back(); }
  Map* map() { return &maps_.emplace_back(); }
  void clear() {
    if (!strings_.empty()) strings_.clear();
    if (!lists_.empty()) lists_.clear();
    if (!maps_.empty()) maps_.clear();
  }

 private:
  std::deque<std::string> strings_;
  std::deque<List> lists_;
  std::deque<Map> maps_;
};

}  // namespace stella::pipeline::cel
