// The walker's grammar against base/json, the JSON test suite, and mutations of a real document: both must agree on what is JSON.
#include "json_walker.h"

#include <gtest/gtest.h>

#include <random>

#include "stella/base/json.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline::sbom {
namespace {

bool skips(std::string_view text) {
  // An exact-size heap copy: an address sanitizer sees any read past the end.
  const std::vector<char> copy(text.begin(), text.end());
  auto tape = Tape::build({copy.data(), copy.size()});
  if (!tape) return false;
  Walker in(*tape, 64, 1u << 20);
  return in.skip() && in.finish();
}

// base/json also refuses what we leave to the readers: duplicate names, and numbers beyond doubles.
bool agrees(std::string_view text) {
  auto tree = json::parse(text, {.max_bytes = 1u << 30, .max_depth = 63});
  const bool ours = skips(text);
  if (tree.has_value()) return ours;
  const auto message = tree.error().message();
  return !ours || message == "duplicate member name" || tree.error().field("expected") == "a number within the range of IEEE 754 doubles";
}

TEST(JsonWalker, AgreesWithTheTestSuite) {
  std::size_t n = 0;
  for (const auto& file : testing::files_below(STELLA_SHARED_OR_SKIP("vectors/json-test-suite"), ".json")) {
    const std::string text = testing::slurp(file);
    const std::string name = file.substr(file.rfind('/') + 1);
    if (name.starts_with("y_")) {
      EXPECT_TRUE(skips(text)) << name;
    }
    if (name.starts_with("n_")) {
      EXPECT_FALSE(skips(text)) << name;
    }
    EXPECT_TRUE(agrees(text)) << name;
    ++n;
  }
  EXPECT_GT(n, 100u);
}

TEST(JsonWalker, AgreesOnSmallTexts) {
  for (const std::string_view text :
       {"", " ", "1", "-", "01", "-0", "1.", "1e5", "1e", "+1", "true", "tru", "truex", "nul", "null ", "\"a\"", "\"a", "\"\\\"", "\"a\"b", "\"a\"\"b\"", "a\"b\"", "[", "[]", "[1]",
        "[1,]", "[,1]", "[1 2]", "[1]]", "{}", "{\"a\"}", "{\"a\":}", "{\"a\":1}", "{\"a\":1,}", "{\"a\" 1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\":[1,{\"b\":null}]}", "\"\\x\"",
        "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\udc00\"", "\"\\udc00\"", "\\n", "\f1", "[\x1a]", "[1\x0c]", "{\"a\":\"b\"}x", "\xef\xbb\xbf[]", "\"\xff\"", "\"\x01\"", "1\xc3\xa9", "\"a\" \"b\""})
    EXPECT_TRUE(agrees(text)) << text;
}

TEST(JsonWalker, AgreesOnMutationsOfARealDocument) {
  const std::string original = testing::slurp(STELLA_SHARED_OR_SKIP("data/sboms/cyclonedx-1.5/ghsa-all-ecosystems.cdx.json"));
  std::mt19937_64 random(20260101);
  constexpr std::string_view kBytes = "\"\\{}[]:, \n0x\x01\xc3truenl-.eE+u";
  for (int i = 0; i < 4000; ++i) {
    std::string text = original;
    for (auto n = random() % 3 + 1; n > 0; --n) {
      const auto at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = kBytes[random() % kBytes.size()]; break;
        case 1: text.erase(at, random() % 4 + 1); break;
        default: text.insert(at, 1, kBytes[random() % kBytes.size()]);
      }
    }
    ASSERT_TRUE(agrees(text)) << i << "\n" << text;
  }
}

TEST(JsonWalker, StringsComeOutAsTheTreeHasThem) {
  const std::string text = R"({"a" : "plain"  , "b":"q\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00" ,"c":null})";
  auto tape = Tape::build(text);
  ASSERT_TRUE(tape);
  auto tree = json::parse(text);
  ASSERT_TRUE(tree);
  Walker in(*tape, 8, 100);
  ASSERT_TRUE(in.object([&](std::string_view name, std::size_t) {
    std::string_view value;
    if (!in.string(value)) return false;
    EXPECT_EQ(value, tree->str(name)) << name;
    return true;
  }));
  EXPECT_TRUE(in.finish());
}

}  // namespace
}  // namespace stella::pipeline::sbom
