// Reading OSV records: what is kept, what is refused, and where an error says it is.
#include "stella/pipeline/conseiller/osv.h"

#include <gtest/gtest.h>

#include "json_locate.h"
#include "stella/base/limits.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kRecord = R"({
  "schema_version": "1.6.0",
  "id": "GHSA-xvch-5gv4-984h",
  "modified": "2024-01-02T03:04:05Z",
  "published": "2022-03-18T00:01:09Z",
  "aliases": ["CVE-2021-44906", "CVE-2021-44906", "A-1"],
  "summary": "Prototype Pollution <script>alert(1)</script>\nsecond line",
  "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
  "affected": [
    {"package": {"ecosystem": "npm", "name": "minimist", "purl": "pkg:npm/minimist"},
     "ranges": [{"type": "SEMVER", "events": [{"introduced": "1.0.0"}, {"fixed": "1.2.6"}], "database_specific": {"x": 1}},
                {"type": "GIT", "repo": "https://example.org/r", "events": [{"introduced": "0"}]}],
     "severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}]},
    {"package": {"ecosystem": "npm", "name": "minimist"},
     "ranges": [{"type": "SEMVER", "events": [{"introduced": "0", "fixed": "0.2.4"}]}], "versions": ["0.2.3"]},
    {"ranges": [{"type": "GIT", "repo": "https://example.org/r", "events": [{"introduced": "0"}]}]}
  ],
  "database_specific": {"severity": "CRITICAL", "cwe_ids": ["CWE-1321"]},
  "something_new": {"a": [1, 2, {"b": null}]}
})";

TEST(Osv, KeepsWhatLinkingNeeds) {
  const auto record = parse_osv(kRecord);
  ASSERT_TRUE(record.has_value()) << record.error().describe();
  EXPECT_EQ(record->ref.id, "GHSA-xvch-5gv4-984h");
  EXPECT_EQ(record->ref.aliases, (std::vector<std::string>{"A-1", "CVE-2021-44906"}));
  EXPECT_EQ(record->ref.summary, "Prototype Pollution <script>alert(1)</script>");
  EXPECT_EQ(record->ref.database_severity, "CRITICAL");
  EXPECT_EQ(record->ref.severity.at(0).type, "CVSS_V3");
  EXPECT_EQ(record->git_ranges, 2u);
  ASSERT_EQ(record->affected.size(), 2u);
  EXPECT_EQ(record->affected[0].severity.at(0).score, "CVSS:4.0/AV:N");
  EXPECT_EQ(record->affected[0].ranges.at(0).events.at(1).version, "1.2.6");
  EXPECT_EQ(record->affected[1].index, 1u);
  EXPECT_EQ(record->affected[1].versions, std::vector<std::string>{"0.2.3"});
  // Two keys in one event are two events.
  ASSERT_EQ(record->affected[1].ranges.at(0).events.size(), 2u);
  EXPECT_EQ(record->affected[1].ranges[0].events[0].kind, EventKind::kIntroduced);
}

TEST(Osv, CutsTheSummaryBetweenCharacters) {
  std::string text = R"({"id":"X","modified":"2024-01-02T03:04:05Z","details":"# Title )";
  for (int i = 0; i < 100; ++i) text += "\xe2\x82\xac";
  text += "\"}";
  const auto record = parse_osv(text);
  ASSERT_TRUE(record.has_value());
  EXPECT_TRUE(record->ref.summary.starts_with("Title "));
  EXPECT_LE(record->ref.summary.size(), 200u);
  EXPECT_EQ((record->ref.summary.size() - 6) % 3, 0u);
}

struct Refused {
  std::string_view text, expected, line, column;
};

TEST(Osv, SaysWhereAndWhatWasExpected) {
  const Refused cases[] = {
      {"", "", "1", "1"},
      {"[]", "one OSV record, not an array", "1", "1"},
      {"  [{\"id\":\"x\"}]", "one OSV record, not an array", "1", "3"},
      {"42", "an OSV record (a JSON object)", "1", "1"},
      {"{\"document\":{\"category\":\"csaf_vex\"}}", "member 'id' is missing", "1", "1"},
      {"{\"id\":\"X\"}", "member 'modified' is missing", "1", "1"},
      {"{\"id\":7}", "an id", "1", "7"},
      {"{\"id\":\"\"}", "an id", "1", "7"},
      {"{\"id\":\"X\",\n \"modified\": \"yesterday\"}", "a time", "2", "14"},
      {"{\"id\":\"X\",\"id\":\"Y\"}", "each member once", "1", "7"},
      {"{\"affected\": {}}", "an array of affected packages", "1", "14"},
      {"{\"affected\":[\n{\"package\":{\"ecosystem\":\"npm\"}}]}", "member 'name'", "2", "12"},
      {"{\"affected\":[{},\n{\"ranges\":[{\"type\":\"SEMVER\",\"events\":[{\"fixed\":\"1\"}]}]}]}", "at least one 'introduced' event", "2", "12"},
      {"{\"affected\":[{\"ranges\":[{\"type\":\"OTHER\",\"events\":[]}]}]}", "a range type", "1", "25"},
      {"{\"affected\":[{\"ranges\":[{\"type\":\"SEMVER\",\"events\":[{\"a\":\"1\"}]}]}]}", "introduced, fixed, last_affected or limit", "1", "52"},
      {"{\"affected\":[{\"versions\":[\"1\",2]}]}", "a version (a string)", "1", "31"},
      {"{\"aliases\":\"CVE-1\"}", "an array of ids", "1", "12"},
  };
  for (const auto& c : cases) {
    const auto record = parse_osv(c.text);
    ASSERT_FALSE(record.has_value()) << c.text;
    EXPECT_EQ(record.error().code(), base_errors::kMalformed) << c.text;
    EXPECT_NE(record.error().field("expected").find(c.expected), std::string::npos) << record.error().describe();
    EXPECT_EQ(record.error().field("line"), c.line) << c.text << record.error().describe();
    EXPECT_EQ(record.error().field("column"), c.column) << c.text << record.error().describe();
  }
}

TEST(Osv, RefusesBrokenJsonWithItsPlace) {
  for (std::string_view text : {"{\"id\":\"X\",\n \"modified\":", "{\"id\":\"X\" \"b\":1}", "{\"id\":\"\xff\"}", "{\"id\":\"X\"} x", "{\"a\":01}"}) {
    const auto record = parse_osv(text);
    ASSERT_FALSE(record.has_value()) << text;
    EXPECT_EQ(record.error().code(), base_errors::kMalformed);
    EXPECT_FALSE(record.error().field("line").empty()) << record.error().describe();
    EXPECT_FALSE(record.error().field("column").empty()) << record.error().describe();
    EXPECT_FALSE(record.error().field("expected").empty()) << record.error().describe();
  }
}

TEST(Osv, BoundsDepthAndSize) {
  std::string deep = "{\"id\":\"X\",\"modified\":\"2024-01-02T03:04:05Z\",\"x\":";
  deep += std::string(200, '[') + std::string(200, ']') + "}";
  EXPECT_FALSE(parse_osv(deep).has_value());
  const std::string large(limits::kAdvisoryBytes + 1, ' ');
  const auto refused = parse_osv(large);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base_errors::kLimit);
}

TEST(JsonLocate, FindsValuesBehindAwkwardTexts) {
  constexpr std::string_view kText = "{\"a\":\"}\\\"]\", \"b\" : [1,{\"x\":[]},\n  {\"c\":true}], \"d\":-1.5e3}";
  const auto at = [&](JsonPath path) { return locate(kText, path); };
  EXPECT_EQ(at({std::string_view("b"), std::size_t{2}, std::string_view("c")}).line, 2u);
  EXPECT_EQ(at({std::string_view("b"), std::size_t{2}, std::string_view("c")}).column, 8u);
  EXPECT_EQ(at({std::string_view("d")}).column, 20u);
  EXPECT_EQ(to_pointer({std::string_view("a/b~"), std::size_t{3}}), "/a~1b~0/3");
}

}  // namespace
}  // namespace stella::pipeline
