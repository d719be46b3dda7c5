// Values and types of the expression language: names, equality, text for traces.
#include "stella/pipeline/policy/cel_value.h"

#include <cmath>

#include "stella/base/encoding.h"
#include "stella/base/json.h"

namespace stella::pipeline::cel {

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::kError: return "error";
    case Kind::kDyn: return "dyn";
    case Kind::kNull: return "null_type";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kUint: return "uint";
    case Kind::kDouble: return "double";
    case Kind::kString: return "string";
    case Kind::kBytes: return "bytes";
    case Kind::kList: return "list";
    case Kind::kMap: return "map";
    case Kind::kType: return "type";
  }
  return "";
}

std::string Type::str() const {
  std::string out(to_string(kind));
  if (kind == Kind::kList && element) out.append("(").append(element->str()).append(")");
  if (kind == Kind::kMap && key && element) out.append("(").append(key->str()).append(", ").append(element->str()).append(")");
  return out;
}

namespace {

bool equal_numbers(const Value& a, const Value& b) {
  if (a.kind() == b.kind()) {
    if (a.kind() == Kind::kInt) return a.as_int() == b.as_int();
    if (a.kind() == Kind::kUint) return a.as_uint() == b.as_uint();
    return a.as_double() == b.as_double();
  }
  if (a.kind() == Kind::kDouble || b.kind() == Kind::kDouble) return a.to_double() == b.to_double();
  const Value& i = a.kind() == Kind::kInt ? a : b;
  const Value& u = a.kind() == Kind::kInt ? b : a;
  return i.as_int() >= 0 && static_cast<std::uint64_t>(i.as_int()) == u.as_uint();
}

bool equal_maps(const Map& a, const Map& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a) {
    bool found = false;
    for (const auto& [other_key, other] : b)
      if (equal(key, other_key)) {
        if (!equal(value, other)) return false;
        found = true;
        break;
      }
    if (!found) return false;
  }
  return true;
}

void append_text(std::string& out, std::string_view text) {
  constexpr std::size_t kMost = 200;
  if (text.size() <= kMost) return json::append_quoted(out, text);
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  json::append_quoted(out, std::string(text.substr(0, end)) + "…");
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_numeric() && b.is_numeric()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNull: return true;
    case Kind::kBool: return a.as_bool() == b.as_bool();
    case Kind::kString:
    case Kind::kBytes: return a.as_text() == b.as_text();
    case Kind::kType: return a.as_type() == b.as_type();
    case Kind::kMap: return equal_maps(a.as_map(), b.as_map());
    case Kind::kList: {
      const List& x = a.as_list();
      const List& y = b.as_list();
      if (x.size() != y.size()) return false;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (!equal(x[i], y[i])) return false;
      return true;
    }
    default: return false;
  }
}

void append_json(std::string& out, const Value& value) {
  constexpr std::size_t kItems = 20;
  switch (value.kind()) {
    case Kind::kNull: out += "null"; return;
    case Kind::kBool: out += value.as_bool() ? "true" : "false"; return;
    case Kind::kInt: out += std::to_string(value.as_int()); return;
    case Kind::kUint: out += std::to_string(value.as_uint()); return;
    case Kind::kDouble:
      if (std::isfinite(value.as_double())) json::append_number(out, value.as_double());
      else out += std::isnan(value.as_double()) ? "\"NaN\"" : value.as_double() > 0 ? "\"Infinity\"" : "\"-Infinity\"";
      return;
    case Kind::kString:
    case Kind::kError: append_text(out, value.as_text()); return;
    case Kind::kBytes: append_text(out, base64_encode(value.as_text().substr(0, 150))); return;
    case Kind::kType:
    case Kind::kDyn: json::append_quoted(out, to_string(value.kind() == Kind::kType ? value.as_type() : Kind::kDyn)); return;
    case Kind::kList: {
      out += '[';
      for (std::size_t i = 0; i < value.as_list().size(); ++i) {
        if (i != 0) out += ',';
        if (i == kItems) {
          out += "\"…\"";
          break;
        }
        append_json(out, value.as_list()[i]);
      }
      out += ']';
      return;
    }
    case Kind::kMap: {
      out += '[';  // keys need not be texts: pairs
      for (std::size_t i = 0; i < value.as_map().size() && i < kItems; ++i) {
        out += i == 0 ? "[" : ",[";
        append_json(out, value.as_map()[i].first);
        out += ',';
        append_json(out, value.as_map()[i].second);
        out += ']';
      }
      out += value.as_map().size() > kItems ? ",\"…\"]" : "]";
      return;
    }
  }
}

}  // namespace stella::pipeline::cel
