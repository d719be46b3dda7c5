// JSON: strictness, positions in errors, writer, and the canonical form.
#include "stella/base/json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace stella::json {
namespace {

TEST(Json, RoundTrip) {
  const std::string text = R"({"a":[1,-2,0.5,true,false,null],"b":{"c":"x\ny\u00e9"},"d":-0.0,"e":1e400})";
  EXPECT_FALSE(parse(text));  // 1e400 is no IEEE 754 double
  const auto v = parse(R"({"a":[1,-2,0.5,true,false,null],"b":{"c":"x\ny\u00e9\ud83d\ude00"}})");
  ASSERT_TRUE(v) << v.error().describe();
  EXPECT_EQ(dump(*v), "{\"a\":[1,-2,0.5,true,false,null],\"b\":{\"c\":\"x\\nyé😀\"}}");
  EXPECT_EQ(parse(pretty(*v)).value(), *v);
}

TEST(Json, ErrorsNameThePlace) {
  const auto e = parse("{\n  \"a\": 1,\n  \"a\": 2\n}");
  ASSERT_FALSE(e);
  EXPECT_EQ(e.error().message(), "duplicate member name");
  EXPECT_EQ(e.error().field("line"), "3");
  EXPECT_EQ(e.error().field("column"), "3");
  EXPECT_EQ(parse("[1,").error().field("expected"), "a value");
  EXPECT_EQ(parse("[\"\xff\"]").error().message(), "text is not valid UTF-8");
  EXPECT_EQ(parse("[\"\xff\"]").error().field("column"), "3");
}

TEST(Json, Limits) {
  const auto nested = [](int n) { return std::string(static_cast<std::size_t>(n), '[') + std::string(static_cast<std::size_t>(n), ']'); };
  EXPECT_TRUE(parse(nested(65)));
  EXPECT_EQ(parse(nested(66)).error().code(), base_errors::kLimit);
  EXPECT_TRUE(parse("123", {.max_bytes = 3}));
  EXPECT_EQ(parse("1234", {.max_bytes = 3}).error().code(), base_errors::kLimit);
}

TEST(Json, DuplicatesInLargeObjects) {
  std::string text = "{";
  for (int i = 0; i < 40; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(parse(text + "\"z\":0}"));
  EXPECT_FALSE(parse(text + "\"k39\":0}"));
  EXPECT_FALSE(parse(text + "\"k3\":0}"));
}

TEST(Json, CanonicalOrdersByUtf16AndWritesEs6Numbers) {
  const auto v = parse("{\"\\ufb33\":1,\"\\ud83d\\ude00\":2,\"\\u20ac\":3,\"1\":4}");
  EXPECT_EQ(canonical(*v).value(), "{\"1\":4,\"€\":3,\"😀\":2,\"\xef\xac\xb3\":1}");
  const std::pair<double, const char*> numbers[] = {{1e21, "1e+21"}, {1e20, "100000000000000000000"}, {1e-6, "0.000001"}, {1e-7, "1e-7"}, {0.1, "0.1"}, {-1.5e-9, "-1.5e-9"}, {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e+308"}, {-0.0, "0"}, {123456.789, "123456.789"}, {333333333.33333329, "333333333.3333333"}};
  for (const auto& [number, text] : numbers) EXPECT_EQ(canonical(Value(number)).value(), text);
  EXPECT_FALSE(canonical(Value(std::int64_t{9'007'199'254'740'993})));
  EXPECT_FALSE(canonical(Value(std::nan(""))));
}

TEST(Json, Writer) {
  std::string out;
  Writer w(out);
  w.begin_object().member("a", 1).key("b").begin_array().value("x").value(true).null().end_array().key("c").raw("{}").end_object();
  EXPECT_EQ(out, R"({"a":1,"b":["x",true,null],"c":{}})");
}

}  // namespace
}  // namespace stella::json
