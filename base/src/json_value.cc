// The JSON value tree: construction, look-ups and comparison.
#include <cmath>

#include "stella/base/json.h"

namespace stella::json {

const Value* Object::find(std::string_view name) const {
  for (const auto& m : members_)
    if (m.first == name) return &m.second;
  return nullptr;
}

Value* Object::find(std::string_view name) {
  for (auto& m : members_)
    if (m.first == name) return &m.second;
  return nullptr;
}

void Object::set(std::string name, Value value) {
  if (Value* old = find(name)) *old = std::move(value);
  else append(std::move(name), std::move(value));
}

void Object::erase(std::string_view name) {
  std::erase_if(members_, [&](const Member& m) { return m.first == name; });
}

void Object::append(std::string name, Value value) { members_.emplace_back(std::move(name), std::move(value)); }
std::size_t Object::size() const { return members_.size(); }
std::vector<Object::Member>::const_iterator Object::begin() const { return members_.begin(); }
std::vector<Object::Member>::const_iterator Object::end() const { return members_.end(); }

Value::Value(std::uint64_t i) {
  if (i <= static_cast<std::uint64_t>(INT64_MAX)) v_ = static_cast<std::int64_t>(i);
  else v_ = static_cast<double>(i);
}
Value::Value(Array a) : v_(std::move(a)) {}
Value::Value(Object o) : v_(std::move(o)) {}

Value Value::object(std::initializer_list<std::pair<std::string_view, Value>> members) {
  Object o;
  for (const auto& [name, value] : members) o.set(std::string(name), value);
  return Value(std::move(o));
}

Value Value::array(std::initializer_list<Value> items) { return Value(Array(items)); }

const Value* Value::find(std::string_view name) const { return is_object() ? as_object().find(name) : nullptr; }

std::string_view Value::str(std::string_view name) const {
  const Value* v = find(name);
  return v != nullptr && v->is_string() ? std::string_view(v->as_string()) : std::string_view();
}

std::int64_t Value::integer(std::string_view name, std::int64_t fallback) const {
  const Value* v = find(name);
  return v != nullptr && v->is_int() ? v->as_int() : fallback;
}

bool Value::boolean(std::string_view name, bool fallback) const {
  const Value* v = find(name);
  return v != nullptr && v->is_bool() ? v->as_bool() : fallback;
}

Result<std::string> Value::require_string(std::string_view name) const {
  const Value* v = find(name);
  if (v == nullptr || !v->is_string())
    return Error(base_errors::kInvalid, v == nullptr ? Literal("a required member is missing") : Literal("a member has the wrong type"))
        .with("field", std::string(name))
        .with("expected", "string");
  return v->as_string();
}

Result<std::int64_t> Value::require_int(std::string_view name) const {
  const Value* v = find(name);
  if (v == nullptr || !v->is_int())
    return Error(base_errors::kInvalid, v == nullptr ? Literal("a required member is missing") : Literal("a member has the wrong type"))
        .with("field", std::string(name))
        .with("expected", "integer");
  return v->as_int();
}

const Array& Value::items(std::string_view name) const {
  static const Array kEmpty;
  const Value* v = find(name);
  return v != nullptr && v->is_array() ? v->as_array() : kEmpty;
}

Value& Value::set(std::string name, Value value) {
  if (is_null()) v_ = Object();
  as_object().set(std::move(name), std::move(value));
  return *this;
}

Value& Value::push(Value value) {
  if (is_null()) v_ = Array();
  as_array().push_back(std::move(value));
  return *this;
}

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_int() && b.is_int()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.is_object() && b.is_object()) {
    if (a.as_object().size() != b.as_object().size()) return false;
    for (const auto& [name, value] : a.as_object()) {
      const Value* other = b.as_object().find(name);
      if (other == nullptr || !(value == *other)) return false;
    }
    return true;
  }
  if (a.is_array() && b.is_array()) return a.as_array() == b.as_array();
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_bool() && b.is_bool()) return a.as_bool() == b.as_bool();
  return a.is_null() && b.is_null();
}

}  // namespace stella::json
