// Differences of documents: each is found at its path, none is invented, and the list stays short.
#include "stella/evidence/format/json_diff.h"

#include <gtest/gtest.h>

#include <tuple>

namespace stella::evidence {
namespace {

JsonDiff diff(std::string_view sealed, std::string_view replayed) { return json_diff(*json::parse(sealed), *json::parse(replayed)); }

// "record|path: sealed -> replayed", "-" for what is not there.
std::vector<std::string> shown(const JsonDiff& diff) {
  std::vector<std::string> out;
  for (const auto& d : diff.differences) out.push_back((d.record.empty() ? "" : d.record + "|") + d.path + ": " + d.sealed.value_or("-") + " -> " + d.replayed.value_or("-"));
  return out;
}
using Lines = std::vector<std::string>;

TEST(JsonDiff, IdenticalDocumentsDifferInNothing) {
  for (const char* text : {"null", "1", R"("a")", "[]", "{}", R"({"a":[1,{"b":null}]})"}) EXPECT_EQ(diff(text, text).total, 0u) << text;
  EXPECT_EQ(diff(R"({"a":1,"b":2})", R"({"b":2,"a":1.0})").total, 0u);
  const JsonDiff none = document_diff("{}", "{}", false);
  EXPECT_EQ(none.total, 0u);
  EXPECT_EQ(none.note, "");
}

TEST(JsonDiff, NestedMembersHaveTheirPaths) {
  EXPECT_EQ(shown(diff(R"({"effect":"warn","counts":{"deny":1,"warn":0,"gone":[1]},"a/b":{"c~d":1}})", R"({"effect":"deny","counts":{"deny":2,"warn":0,"new":true},"a/b":{"c~d":2}})")),
            (Lines{R"(/effect: "warn" -> "deny")", "/counts/deny: 1 -> 2", "/counts/gone: [1] -> -", "/counts/new: - -> true", "/a~1b/c~0d: 1 -> 2"}));
}

TEST(JsonDiff, OneElementMoreDoesNotShiftTheOthers) {
  EXPECT_EQ(shown(diff("[1,2,3,4]", "[1,9,2,3,4]")), (Lines{"/1: - -> 9"}));
  EXPECT_EQ(shown(diff("[1,2,3,4]", "[1,4]")), (Lines{"/1: 2 -> -", "/2: 3 -> -"}));
  EXPECT_EQ(shown(diff(R"([{"a":1},{"a":2},{"a":3}])", R"([{"a":1},{"a":5},{"a":3}])")), (Lines{"/1/a: 2 -> 5"}));
  EXPECT_EQ(shown(diff("[]", "[[]]")), (Lines{"/0: - -> []"}));
}

TEST(JsonDiff, AnotherTypeIsADifferenceOfTheWhole) {
  EXPECT_EQ(shown(diff(R"({"a":"1","b":[],"c":null,"d":{"x":1}})", R"({"a":1,"b":{},"c":false,"d":[1]})")),
            (Lines{R"(/a: "1" -> 1)", "/b: [] -> {}", "/c: null -> false", R"(/d: {"x":1} -> [1])"}));
  EXPECT_EQ(shown(diff("9007199254740993", "9007199254740992")), (Lines{": 9007199254740993 -> 9007199254740992"}));
}

TEST(JsonDiff, VeryLargeDocumentsAreCountedAndCut) {
  json::Array a, b;
  for (int i = 0; i < 100'000; ++i) a.emplace_back(i), b.emplace_back(i + 1'000'000);
  const JsonDiff many = json_diff(json::Value(std::move(a)), json::Value(std::move(b)));
  EXPECT_EQ(many.total, 100'000u);
  EXPECT_EQ(many.differences.size(), kMaxDifferences);
  EXPECT_EQ(many.more(), 100'000u - kMaxDifferences);
  std::string text = "x";
  for (int i = 0; i < 100'000; ++i) text += "é";
  const JsonDiff wide = json_diff(json::Value(text), json::Value(1));
  ASSERT_EQ(wide.differences.size(), 1u);
  EXPECT_LE(wide.differences[0].sealed->size(), kMaxDifferenceBytes + 3);
  EXPECT_TRUE(wide.differences[0].sealed->ends_with("é…"));  // between characters
}

TEST(JsonDiff, FindingsAreMatchedByPackageAndAdvisory) {
  const std::string sealed =
      "{\"format\":\"f\",\"n\":3}\n"
      "{\"component\":0,\"purl\":\"pkg:npm/a@1\",\"advisory_id\":\"X-1\",\"effect\":\"warn\"}\n"
      "{\"component\":1,\"purl\":\"pkg:npm/b@1\",\"advisory_id\":\"X-1\",\"effect\":\"deny\"}\n"
      "{\"component\":1,\"purl\":\"pkg:npm/b@1\",\"advisory\":{\"id\":\"X-2\"}}\n";
  const std::string replayed =
      "{\"format\":\"f\",\"n\":4}\n"
      "{\"component\":0,\"purl\":\"pkg:npm/new@1\",\"advisory_id\":\"X-9\"}\n"
      "{\"component\":1,\"purl\":\"pkg:npm/b@1\",\"advisory\":{\"id\":\"X-2\"}}\n"
      "{\"component\":1,\"purl\":\"pkg:npm/a@1\",\"advisory_id\":\"X-1\",\"effect\":\"deny\"}\n";
  EXPECT_EQ(shown(document_diff(sealed, replayed, true)),
            (Lines{"header|/n: 3 -> 4", "pkg:npm/a@1 X-1|/component: 0 -> 1", R"(pkg:npm/a@1 X-1|/effect: "warn" -> "deny")",
                   R"(pkg:npm/b@1 X-1|: {"component":1,"purl":"pkg:npm/b@1","advisory_id":"X-1","effect":"deny"} -> -)",
                   R"(pkg:npm/new@1 X-9|: - -> {"component":0,"purl":"pkg:npm/new@1","advisory_id":"X-9"})"}));
  EXPECT_EQ(shown(document_diff("{\"c\":{\"label\":\"l\",\"purl\":\"p\"}}\nno json\n[1]\n", "{\"c\":{\"label\":\"l\",\"purl\":\"p\",\"type\":\"t\"}}\n[1]\n", true)),
            (Lines{R"(p|/c/type: - -> "t")", R"(line 2|: "no json" -> -)"}));
  // Equal lines are set off one against one.
  EXPECT_EQ(shown(document_diff("{\"purl\":\"p\"}\n{\"purl\":\"p\"}\n", "{\"purl\":\"p\"}\n", true)), (Lines{R"(p|: {"purl":"p"} -> -)"}));
}

TEST(JsonDiff, OtherBytesOfTheSameValuesAreSaidToBeThat) {
  const std::tuple<std::string_view, std::string_view, bool> cases[] = {{R"({"a":1,"b":2})", R"({"b":2,"a":1})", false}, {"{}", "{} ", false}, {"[1]\n[2]\n", "[2]\n[1]\n", true}};
  for (const auto& [sealed, replayed, ndjson] : cases) {
    const JsonDiff out = document_diff(sealed, replayed, ndjson);
    EXPECT_EQ(out.total, 0u) << sealed;
    EXPECT_NE(out.note.find("the values are the same"), std::string::npos) << out.note;
  }
  const JsonDiff broken = document_diff(R"({"a":)", R"({"a":1})", false);
  EXPECT_NE(broken.note.find("the sealed document cannot be read as JSON; the bytes differ from offset 5"), std::string::npos) << broken.note;
  EXPECT_EQ(json::dump(document_diff(R"({"a":1})", R"({"b":"x"})", false).json()), R"({"total":2,"differences":[{"path":"/a","sealed":"1"},{"path":"/b","replayed":"\"x\""}]})");
}

}  // namespace
}  // namespace stella::evidence
