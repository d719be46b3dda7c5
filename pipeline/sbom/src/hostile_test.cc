// Hostile documents: a clear error with its place, or a table; never a crash, never more than linear work.
#include <gtest/gtest.h>

#include <random>

#include "stella/pipeline/sbom/parse.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

Error refused(std::string_view text, const ParseLimits& limits = {}) {
  const std::vector<char> copy(text.begin(), text.end());  // exact size, for the sanitizers
  auto table = parse_sbom({copy.data(), copy.size()}, limits);
  EXPECT_FALSE(table) << text.substr(0, 200);
  return table ? Error(base_errors::kInternal, "accepted") : table.error();
}

void expect_place(const Error& error, std::string_view line, std::string_view column, std::string_view expected) {
  EXPECT_EQ(error.field("line"), line) << error.describe();
  EXPECT_EQ(error.field("column"), column) << error.describe();
  EXPECT_EQ(error.field("expected"), expected) << error.describe();
}

const std::string kHead = "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\n";

TEST(Hostile, DuplicateMembersThatDecideSomething) {
  const auto error = refused(kHead + "\"components\":[{\"type\":\"library\",\"name\":\"a\",\"purl\":\"pkg:npm/a@1\",\n  \"purl\":\"pkg:npm/a@2\"}]}");
  EXPECT_EQ(error.message(), "duplicate member name");
  EXPECT_EQ(error.code(), base_errors::kMalformed);
  expect_place(error, "3", "3", "a name once per object");
  for (const std::string_view twice :
       {"\"components\":[],\"components\":[]", "\"metadata\":{},\"metadata\":{}", "\"bomFormat\":\"CycloneDX\"", "\"specVersion\":\"1.6\"",
        "\"dependencies\":[{\"ref\":\"a\",\"ref\":\"b\"}]", "\"dependencies\":[{\"dependsOn\":[],\"dependsOn\":[]}]", "\"dependencies\":[],\"dependencies\":[]",
        "\"metadata\":{\"component\":{\"name\":\"a\"},\"component\":{\"name\":\"b\"}}", "\"components\":[{\"name\":\"a\",\"version\":\"1\",\"version\":\"2\"}]",
        "\"components\":[{\"name\":\"a\",\"bom-ref\":\"1\",\"bom-ref\":\"2\"}]", "\"components\":[{\"components\":[],\"components\":[]}]",
        "\"components\":[{\"purl\":\"pkg:npm/a@1\",\"p\\u0075rl\":\"pkg:npm/a@2\"}]"})  // an escape does not hide it
    EXPECT_EQ(refused(kHead + std::string(twice) + "}").message(), "duplicate member name") << twice;
  const std::string spdx = "{\"spdxVersion\":\"SPDX-2.3\",";
  for (const std::string_view twice :
       {"\"packages\":[],\"packages\":[]", "\"packages\":[{\"SPDXID\":\"a\",\"SPDXID\":\"b\"}]", "\"packages\":[{\"externalRefs\":[],\"externalRefs\":[]}]",
        "\"packages\":[{\"externalRefs\":[{\"referenceLocator\":\"a\",\"referenceLocator\":\"b\"}]}]",
        "\"relationships\":[{\"relationshipType\":\"CONTAINS\",\"relationshipType\":\"CONTAINED_BY\"}]", "\"packages\":[{\"versionInfo\":\"1\",\"versionInfo\":\"2\"}]"})
    EXPECT_EQ(refused(spdx + std::string(twice) + "}").message(), "duplicate member name") << twice;
}

TEST(Hostile, NestingIsLimitedWhereWeReadAndWhereWeSkip) {
  const auto nested = [](std::string_view open, std::string_view close, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += open;
    for (int i = 0; i < n; ++i) text += close;
    return text;
  };
  const auto read = refused(kHead + "\"components\":[" + nested("{\"name\":\"x\",\"components\":[", "]}", 200) + "]}");
  EXPECT_EQ(read.code(), base_errors::kLimit);
  EXPECT_EQ(read.message(), "JSON is nested too deeply");
  EXPECT_EQ(read.field("limit"), "64");
  EXPECT_EQ(read.field("line"), "2");
  const auto skipped = refused(kHead + "\"x\":" + nested("[", "]", 200) + "}");
  EXPECT_EQ(skipped.message(), "JSON is nested too deeply");
  EXPECT_EQ(skipped.field("column"), "68");  // the root, then 63 arrays; the 64th is one too many
  EXPECT_TRUE(parse_sbom(kHead + "\"x\":" + nested("[", "]", 63) + "}"));
  EXPECT_EQ(refused(kHead + "\"x\":" + nested("[", "]", 64) + "}").code(), base_errors::kLimit);
  EXPECT_EQ(refused(std::string(1'000'000, '[')).code(), base_errors::kInvalid);  // no SBOM, said without descending
}

TEST(Hostile, TextThatIsNoJson) {
  expect_place(refused(""), "1", "1", "a JSON document");
  expect_place(refused("  \n "), "2", "2", "a JSON document");
  expect_place(refused(std::string(1000, '\0')), "1", "1", "a value");
  expect_place(refused(kHead + "\"components\":[{]}"), "2", "16", "a member name in quotes");
  expect_place(refused(kHead + "\"x\":\"a\nb\"}"), "2", "7", "an escaped control character");
  expect_place(refused(kHead + "\"x\":\"\\q\"}"), "2", "6", R"(one of \" \\ \/ \b \f \n \r \t \uXXXX, surrogates in pairs)");
  expect_place(refused(kHead + "\"x\":\"\\ud800\"}"), "2", "6", R"(one of \" \\ \/ \b \f \n \r \t \uXXXX, surrogates in pairs)");
  expect_place(refused(kHead + "\"x\":\"ab\xff\"}"), "2", "8", "UTF-8");
  expect_place(refused(kHead + "\"x\":\"\xed\xa0\x80\"}"), "2", "6", "UTF-8");
  expect_place(refused(kHead + "\"x\":\"never closed}"), "2", "5", "'\"' at the end of the string that begins here");
  expect_place(refused(kHead + "\"x\":1} {}"), "2", "8", "end of input");
  expect_place(refused(kHead + "\"x\":01}"), "2", "5", "a value");
  expect_place(refused(kHead + "\"components\":{}}"), "2", "14", "an array");
  expect_place(refused(kHead + "\"components\":[7]}"), "2", "15", "an object");
  expect_place(refused(kHead + "\"components\":[{\"purl\":7}]}"), "2", "23", "a string");
  expect_place(refused(kHead + "\"components\":[{\"name\":\"a\\u0000b\"}]}"), "2", "23", "no NUL character");
}

TEST(Hostile, EveryTruncationOfARealDocumentIsRefusedWithAPlace) {
  const std::string good = testing::slurp(STELLA_SHARED_OR_SKIP("data/sboms/cyclonedx-1.5/ghsa-all-ecosystems.cdx.json"));
  const auto end = good.find_last_not_of(" \r\n");
  for (std::size_t n = 0; n < end; ++n) {
    const auto error = refused(good.substr(0, n));
    ASSERT_EQ(error.code(), base_errors::kMalformed) << n;
    ASSERT_FALSE(error.field("line").empty()) << n;
    ASSERT_FALSE(error.field("expected").empty()) << n;
  }
}

TEST(Hostile, MutatedDocumentsEndInATableOrAnError) {
  std::mt19937_64 random(7);
  for (const auto* file : {"data/sboms/cyclonedx-1.5/ghsa-all-ecosystems.cdx.json", "data/sboms/cyclonedx-1.4/docker-alpine-3.16.cdx.json", "data/sboms/spdx-2.2/microsoft-sbom-tool.spdx.json"}) {
    const std::string original = testing::slurp(STELLA_SHARED_OR_SKIP(file));
    std::size_t tables = 0;
    for (int i = 0; i < 300; ++i) {
      std::string text = original;
      for (auto n = random() % 4 + 1; n > 0; --n) text[random() % text.size()] = static_cast<char>(random());
      const std::vector<char> copy(text.begin(), text.end());
      auto table = parse_sbom({copy.data(), copy.size()});
      if (!table) continue;
      ++tables;
      auto back = contracts::decode_components(contracts::encode(*table));
      ASSERT_TRUE(back) << back.error().describe();
    }
    std::printf("%s: %zu of 300 mutations are still tables\n", file, tables);
  }
}

TEST(Hostile, LongStringsWhereTheyAreKeptAndWhereNot) {
  const std::string huge(10u << 20, 'x');
  const auto error = refused(kHead + "\"components\":[{\"name\":\"" + huge + "\"}]}");
  EXPECT_EQ(error.code(), base_errors::kLimit);
  EXPECT_EQ(error.message(), "string is too long");
  EXPECT_EQ(error.field("column"), "23");
  EXPECT_EQ(error.field("actual"), std::to_string(huge.size()));
  EXPECT_TRUE(parse_sbom(kHead + "\"components\":[{\"type\":\"library\",\"name\":\"a\",\"description\":\"" + huge + "\"}]}"));
}

TEST(Hostile, LimitsAtNAndNPlusOne) {
  const std::string three = kHead + R"("components":[{"name":"a"},{"name":"b"},{"name":"c"}],"dependencies":[{"ref":"a","dependsOn":["b","c"]}]})";
  EXPECT_TRUE(parse_sbom(three, {.max_components = 3}));
  EXPECT_EQ(refused(three, {.max_components = 2}).message(), "too many components");
  EXPECT_TRUE(parse_sbom(three, {.max_edges = 2}));
  EXPECT_EQ(refused(three, {.max_edges = 1}).message(), "too many edges");
  EXPECT_TRUE(parse_sbom(three, {.max_bytes = three.size()}));
  EXPECT_EQ(refused(three, {.max_bytes = three.size() - 1}).message(), "SBOM is too large");
  auto capped = parse_sbom(three, {.max_problems = 2});
  ASSERT_TRUE(capped);
  ASSERT_EQ(capped->problems.size(), 3u);
  EXPECT_EQ(capped->problems.back().code, "more_problems");
}

TEST(Hostile, AMillionComponentsAreJustManyComponents) {
  std::string text = kHead + "\"components\":[";
  for (int i = 0; i < 1'000'000; ++i) {
    if (i != 0) text += ',';
    text.append("{\"type\":\"library\",\"name\":\"n\",\"bom-ref\":\"").append(std::to_string(i)).append("\",\"purl\":\"pkg:npm/n").append(std::to_string(i / 2)).append("@1\"}");
  }
  text += "]}";
  auto table = parse_sbom(text);
  ASSERT_TRUE(table) << table.error().describe();
  EXPECT_EQ(table->components.size(), 500'000u);
}

// Work that would be quadratic: every reference dangles, every ref is the same, one package has all purls.
TEST(Hostile, NoQuadraticCorner) {
  std::string same = kHead + "\"components\":[";
  std::string dangling = kHead + "\"dependencies\":[";
  std::string purls = R"({"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"p","name":"p","externalRefs":[)";
  for (int i = 0; i < 100'000; ++i) {
    const std::string_view comma = i == 0 ? "" : ",";
    same.append(comma).append(R"({"type":"library","name":"x","bom-ref":"same"})");
    dangling.append(comma).append(R"({"ref":"a","dependsOn":["b"]})");
    purls.append(comma).append(R"({"referenceType":"purl","referenceLocator":"pkg:npm/x@)").append(std::to_string(i)).append("\"}");
  }
  auto a = parse_sbom(same + "]}");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->problems.back().code, "more_problems");
  EXPECT_TRUE(parse_sbom(dangling + "]}"));
  auto c = parse_sbom(purls + "]}]}");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->components.size(), 100'000u);
  EXPECT_EQ(c->edges.size(), 2u * 99'999u);
}

}  // namespace
}  // namespace stella::pipeline
