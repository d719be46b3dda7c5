// Conformance: the public CEL test cases that fall into the subset; what is left out is named and counted.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <map>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/pipeline/policy/cel.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline::cel {
namespace {

// "" where the case belongs to the subset.
std::string left_out(const json::Value& c) {
  const auto expr = c.str("expr");
  if (c.boolean("needs_proto")) return "protobuf messages";
  if (c.str("file") == "timestamps" || expr.find("timestamp(") != std::string_view::npos || expr.find("duration(") != std::string_view::npos)
    return "timestamps and durations";
  return "";
}

// Values of proto3 JSON ("int64_value": "1") as values of ours; owns their texts.
class Converter {
 public:
  Value value(const json::Value& v) {
    const auto& [name, inner] = *v.as_object().begin();
    if (name == "int64_value") return Value::integer(std::stoll(inner.as_string()));
    if (name == "uint64_value") return Value::uinteger(std::stoull(inner.as_string()));
    if (name == "double_value") return Value::number(inner.is_string() ? special(inner.as_string()) : inner.as_double());
    if (name == "bool_value") return Value::boolean(inner.as_bool());
    if (name == "null_value") return Value::null();
    if (name == "string_value") return Value::string(arena_.keep(inner.as_string()));
    if (name == "bytes_value") return Value::bytes(arena_.keep(*base64_decode(inner.as_string())));
    if (name == "type_value") return type(inner.as_string());
    if (name == "list_value") {
      List* list = arena_.list();
      for (const auto& item : inner.items("values")) list->push_back(value(item));
      return Value::list(list);
    }
    if (name == "map_value") {
      Map* map = arena_.map();
      for (const auto& entry : inner.items("entries")) map->emplace_back(value(*entry.find("key")), value(*entry.find("value")));
      return Value::map(map);
    }
    ADD_FAILURE() << "unexpected value " << name;
    return Value::null();
  }

 private:
  static double special(const std::string& text) { return text == "NaN" ? NAN : text == "Infinity" ? INFINITY : -INFINITY; }
  static Value type(const std::string& text) {
    for (const Kind k : {Kind::kNull, Kind::kBool, Kind::kInt, Kind::kUint, Kind::kDouble, Kind::kString, Kind::kBytes, Kind::kList, Kind::kMap, Kind::kType})
      if (to_string(k) == text) return Value::type(k);
    ADD_FAILURE() << "unexpected type " << text;
    return Value::null();
  }
  Arena arena_;
};

// Same kind and same content: stricter than CEL's own ==, except that NaN is itself.
bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.kind() == Kind::kDouble) return (std::isnan(a.as_double()) && std::isnan(b.as_double())) || a.as_double() == b.as_double();
  if (a.kind() == Kind::kList) {
    if (a.as_list().size() != b.as_list().size()) return false;
    for (std::size_t i = 0; i < a.as_list().size(); ++i)
      if (!same(a.as_list()[i], b.as_list()[i])) return false;
    return true;
  }
  return equal(a, b);
}

Type type_of(const json::Value& v) {
  if (const auto* map = v.find("map_type")) return Type::map_of(type_of(*map->find("key_type")), type_of(*map->find("value_type")));
  if (const auto* list = v.find("list_type")) return Type::list_of(type_of(*list->find("elem_type")));
  if (v.find("null") != nullptr) return Type::of(Kind::kNull);
  static const std::map<std::string, Kind, std::less<>> kPrimitives = {{"INT64", Kind::kInt}, {"UINT64", Kind::kUint}, {"DOUBLE", Kind::kDouble},
                                                                         {"BOOL", Kind::kBool}, {"STRING", Kind::kString}, {"BYTES", Kind::kBytes}};
  const auto found = kPrimitives.find(v.str("primitive"));
  return found != kPrimitives.end() ? Type::of(found->second) : Type{};
}

class Bindings : public Activation {
 public:
  std::vector<Value> values;
  Value get(std::size_t variable) const override { return values[variable]; }
};

void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) out += static_cast<char>(c);
  else if (c < 0x800) (out += static_cast<char>(0xc0 | c >> 6)) += static_cast<char>(0x80 | (c & 63));
  else if (c < 0x10000) ((out += static_cast<char>(0xe0 | c >> 12)) += static_cast<char>(0x80 | (c >> 6 & 63))) += static_cast<char>(0x80 | (c & 63));
  else (((out += static_cast<char>(0xf0 | c >> 18)) += static_cast<char>(0x80 | (c >> 12 & 63))) += static_cast<char>(0x80 | (c >> 6 & 63))) += static_cast<char>(0x80 | (c & 63));
}

// The cases were converted from protobuf text, whose \uXXXX escapes of expected texts were left as they stood: undo that.
std::string unescape_textproto(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t digits = text.substr(i, 2) == "\\u" ? 4 : text.substr(i, 2) == "\\U" ? 8 : 0;
    if (digits == 0) {
      out += text[i];
      continue;
    }
    append_utf8(out, static_cast<std::uint32_t>(std::stoul(std::string(text.substr(i + 2, digits)), nullptr, 16)));
    i += 1 + digits;
  }
  return out;
}

void run_case(const json::Value& c) {
  const std::string expr(c.str("expr"));
  const std::string where = std::string(c.str("file")) + "/" + std::string(c.str("section")) + "/" + std::string(c.str("name")) + ": " + expr;
  Converter converter;
  Environment environment;
  Bindings bindings;
  for (const auto& declared : c.items("type_env")) {
    const auto* bound = c.find("bindings") != nullptr ? c.find("bindings")->find(declared.str("name")) : nullptr;
    if (bound == nullptr) continue;  // declared, without a value
    environment.push_back({std::string(declared.str("name")), type_of(*declared.find("ident")->find("type"))});
    bindings.values.push_back(converter.value(*bound->find("value")));
  }
  auto program = compile(expr, environment, {.check = !c.boolean("disable_check")});
  if (!program) {
    // An expression that must fail may do so at once.
    EXPECT_NE(c.find("eval_error"), nullptr) << where << "\n" << program.error().describe();
    return;
  }
  Scratch scratch;
  const Value got = program->evaluate(bindings, scratch);
  std::string shown;
  append_json(shown, got);
  if (c.find("eval_error") != nullptr) {
    EXPECT_TRUE(got.is_error()) << where << "\ngot " << shown;
    return;
  }
  const auto* wanted = c.find("value");
  Value expected = converter.value(*wanted);
  std::string unescaped;
  if (c.str("section") == "string_literals" && c.str("name").find("raw") == std::string_view::npos && expected.kind() == Kind::kString) {
    unescaped = unescape_textproto(expected.as_text());
    expected = Value::string(unescaped);
  }
  // Likewise the \? of one expected bytes value.
  if (c.str("section") == "bytes_literals" && c.str("name") == "triple_single_quoted_unescaped_punctuation") expected = Value::bytes(" ? \" ' ` ");
  EXPECT_TRUE(same(got, expected)) << where << "\ngot " << to_string(got.kind()) << " " << shown << "\nwant " << json::dump(*wanted);
}

TEST(CelVectors, Conformance) {
  const std::string text = testing::slurp(STELLA_SHARED_OR_SKIP("vectors/cel/cases.jsonl"));
  std::map<std::string, int> skipped;
  int ran = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    auto c = json::parse(std::string_view(text).substr(at, end - at));
    ASSERT_TRUE(c);
    at = end + 1;
    if (const auto reason = left_out(*c); !reason.empty()) {
      ++skipped[reason];
      continue;
    }
    ++ran;
    run_case(*c);
  }
  // A change of the subset shows here.
  EXPECT_EQ(skipped, (std::map<std::string, int>{{"protobuf messages", 54}, {"timestamps and durations", 39}}));
  EXPECT_EQ(ran, 512);
}

}  // namespace
}  // namespace stella::pipeline::cel
