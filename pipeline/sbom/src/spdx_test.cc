// SPDX rules on small documents: purls, directions of relationships, what is no component.
#include <gtest/gtest.h>

#include "stella/pipeline/sbom/parse.h"

namespace stella::pipeline {
namespace {

using contracts::Edge;
using contracts::EdgeKind;

contracts::ComponentTable parse_ok(std::string_view text) {
  auto table = parse_sbom(text);
  EXPECT_TRUE(table) << (table ? "" : table.error().describe());
  return table ? *table : contracts::ComponentTable{};
}

std::string package(std::string_view id, std::string_view refs, std::string_view version = "1") {
  return R"({"SPDXID":"SPDXRef-)" + std::string(id) + R"(","name":")" + std::string(id) + R"(","versionInfo":")" + std::string(version) + R"(","externalRefs":[)" +
         std::string(refs) + "]}";
}
std::string purl(std::string_view text, std::string_view category = "PACKAGE-MANAGER") {
  return R"({"referenceCategory":")" + std::string(category) + R"(","referenceType":"purl","referenceLocator":")" + std::string(text) + "\"}";
}
std::string document(std::string_view packages, std::string_view relationships) {
  return R"({"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"doc","documentNamespace":"https://example.org/1","files":[{"SPDXID":"SPDXRef-file"}],
    "relationships":[)" +
         std::string(relationships) + R"(],"packages":[)" + std::string(packages) + "]}";
}
std::string related(std::string_view from, std::string_view type, std::string_view to) {
  return R"({"spdxElementId":"SPDXRef-)" + std::string(from) + R"(","relationshipType":")" + std::string(type) + R"(","relatedSpdxElement":"SPDXRef-)" +
         std::string(to) + "\"}";
}

TEST(Spdx, BothSpellingsOfTheCategoryAndOtherReferences) {
  const auto t = parse_ok(document(package("a", purl("pkg:npm/a@1")) + "," + package("b", R"({"referenceCategory":"SECURITY","referenceType":"cpe22Type","referenceLocator":"cpe:/a:b"},)" +
                                                                                             purl("pkg:pypi/B_c@2", "PACKAGE_MANAGER")),
                                   related("DOCUMENT", "DESCRIBES", "b")));
  ASSERT_EQ(t.components.size(), 2u);
  EXPECT_EQ(t.components[1].ecosystem, "PyPI");
  EXPECT_EQ(t.components[1].name, "b-c");
  EXPECT_EQ(t.components[1].version, "2");
  EXPECT_EQ(t.document_name, "b");
  EXPECT_EQ(t.document_version, "1");
  EXPECT_EQ(t.document_id, "https://example.org/1");
  EXPECT_TRUE(t.problems.empty());
}

TEST(Spdx, SeveralPurlsOfAPackageAreSeveralComponentsThatReachTheSameParts) {
  const auto t = parse_ok(document(package("p", purl("pkg:npm/a@1") + "," + purl("pkg:maven/g/a@1") + "," + purl("pkg:npm/a@1")) + "," + package("q", purl("pkg:npm/q@1")),
                                   related("p", "CONTAINS", "q")));
  ASSERT_EQ(t.components.size(), 3u);
  EXPECT_EQ(t.components[0].refs, std::vector<std::string>{"SPDXRef-p"});
  EXPECT_EQ(t.components[1].refs, std::vector<std::string>{"SPDXRef-p"});
  EXPECT_EQ(t.edges, (std::vector<Edge>{{0, 1, EdgeKind::kContains}, {0, 2, EdgeKind::kContains}, {1, 0, EdgeKind::kContains}}));
  EXPECT_TRUE(t.problems.empty());
}

TEST(Spdx, EveryRelationshipPointsFromTheHolderToThePart) {
  const auto edge = [](std::string_view type) {
    const auto t = parse_ok(document(package("a", purl("pkg:npm/a@1")) + "," + package("b", purl("pkg:npm/b@1")), related("a", type, "b")));
    return t.edges;
  };
  for (const auto type : {"CONTAINS", "STATIC_LINK"}) EXPECT_EQ(edge(type), (std::vector<Edge>{{0, 1, EdgeKind::kContains}})) << type;
  for (const auto type : {"CONTAINED_BY", "PACKAGE_OF", "OPTIONAL_COMPONENT_OF"}) EXPECT_EQ(edge(type), (std::vector<Edge>{{1, 0, EdgeKind::kContains}})) << type;
  for (const auto type : {"DEPENDS_ON", "DYNAMIC_LINK", "HAS_PREREQUISITE"}) EXPECT_EQ(edge(type), (std::vector<Edge>{{0, 1, EdgeKind::kDependsOn}})) << type;
  for (const auto type : {"DEPENDENCY_OF", "RUNTIME_DEPENDENCY_OF", "OPTIONAL_DEPENDENCY_OF", "PROVIDED_DEPENDENCY_OF", "PREREQUISITE_FOR"})
    EXPECT_EQ(edge(type), (std::vector<Edge>{{1, 0, EdgeKind::kDependsOn}})) << type;
  // What does not ship inside the product is no edge.
  for (const auto type : {"DEV_DEPENDENCY_OF", "TEST_DEPENDENCY_OF", "BUILD_TOOL_OF", "VARIANT_OF", "OTHER"}) EXPECT_TRUE(edge(type).empty()) << type;
}

TEST(Spdx, ReferencesToOtherThingsAreNoProblemDanglingOnesAre) {
  const auto t = parse_ok(document(package("a", purl("pkg:npm/a@1")),
                                   related("a", "CONTAINS", "file") + "," + related("DOCUMENT", "DESCRIBES", "a") + "," + related("a", "DEPENDS_ON", "gone") + "," +
                                       R"({"spdxElementId":"SPDXRef-a","relationshipType":"DEPENDS_ON","relatedSpdxElement":"NONE"},
           {"spdxElementId":"DocumentRef-x:SPDXRef-y","relationshipType":"CONTAINS","relatedSpdxElement":"SPDXRef-a"},)" +
                                       related("DOCUMENT", "DESCRIBE", "a") + "," + related("DOCUMENT", "DESCRIBE", "a")));
  ASSERT_EQ(t.problems.size(), 2u);
  EXPECT_EQ(t.problems[0].code, "unknown_relationship");
  EXPECT_EQ(t.problems[0].detail, "DESCRIBE");
  EXPECT_EQ(t.problems[1].code, "dangling_ref");
  EXPECT_EQ(t.problems[1].where, "SPDXRef-gone");
  EXPECT_TRUE(t.edges.empty());
}

TEST(Spdx, VersionInfoFillsInUnlessItSaysNothing) {
  const auto t = parse_ok(document(package("a", purl("pkg:npm/a"), "3") + "," + package("b", purl("pkg:npm/b"), "NOASSERTION") + "," + package("c", ""), ""));
  EXPECT_EQ(t.components[0].version, "3");
  EXPECT_EQ(t.components[1].problem, "no version");
  EXPECT_EQ(t.components[2].problem, "no purl");
}

TEST(Spdx, MalformedPurlNamesItsPlace) {
  const auto t = parse_ok(document(package("a", purl("pkg:npm/a@1") + "," + purl("https://example.org/x")), ""));
  ASSERT_EQ(t.components.size(), 2u);
  ASSERT_EQ(t.problems.size(), 1u);
  EXPECT_EQ(t.problems[0].where, "/packages/0/externalRefs/1/referenceLocator");
  EXPECT_EQ(t.components[1].raw_purl, "https://example.org/x");
}

TEST(Spdx, OtherVersionsAreRefused) {
  auto t = parse_sbom(R"({"spdxVersion":"SPDX-2.1","packages":[]})");
  ASSERT_FALSE(t);
  EXPECT_EQ(t.error().message(), "SPDX version is not supported");
  EXPECT_EQ(t.error().field("actual"), "SPDX-2.1");
}

}  // namespace
}  // namespace stella::pipeline
