// CycloneDX rules on small documents: nesting, joins, versions, references, problems.
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

std::string bom(std::string_view rest) { return R"({"bomFormat":"CycloneDX","specVersion":"1.5","version":1,)" + std::string(rest) + "}"; }

std::vector<std::string> codes(const contracts::ComponentTable& t) {
  std::vector<std::string> out;
  for (const auto& p : t.problems) out.push_back(p.code + " " + p.where);
  return out;
}

TEST(CycloneDx, SubjectHoldsTopLevelAndComponentsHoldNestedOnes) {
  const auto t = parse_ok(bom(R"("serialNumber":"urn:uuid:x",
    "metadata":{"component":{"type":"application","name":"shop","version":"2","bom-ref":"root"}},
    "components":[{"components":[{"type":"library","name":"inner","purl":"pkg:npm/inner@1","version":"1"}],
                   "type":"library","group":"@g","name":"outer","version":"3","purl":"pkg:npm/%40g/outer@3","bom-ref":"o"}],
    "dependencies":[{"ref":"root","dependsOn":["o"]}])"));
  ASSERT_EQ(t.components.size(), 3u);
  EXPECT_EQ(t.components[0].problem, "no purl");
  EXPECT_EQ(t.components[0].version, "2");
  // The outer one begins first, whatever the order of its members.
  EXPECT_EQ(t.components[1].label, "@g/outer");
  EXPECT_EQ(t.components[1].name, "@g/outer");
  EXPECT_EQ(t.components[1].refs, std::vector<std::string>{"o"});
  EXPECT_EQ(t.components[2].purl, "pkg:npm/inner@1");
  const std::vector<Edge> expected = {{0, 1, EdgeKind::kContains}, {0, 1, EdgeKind::kDependsOn}, {1, 2, EdgeKind::kContains}};
  EXPECT_EQ(t.edges, expected);
  EXPECT_EQ(t.source_format, "CycloneDX 1.5");
  EXPECT_EQ(t.document_id, "urn:uuid:x#1");
  EXPECT_EQ(t.document_name, "shop");
}

TEST(CycloneDx, SameCanonicalPurlIsOneComponent) {
  const auto t = parse_ok(bom(R"("components":[
    {"type":"library","name":"a","purl":"pkg:NPM/a@1?b=2&a=1","bom-ref":"1"},
    {"type":"library","name":"a","purl":"pkg:npm/a@1?a=1&b=2","bom-ref":"2"},
    {"type":"library","name":"a","purl":"pkg:npm/a@2","bom-ref":"3"},
    {"type":"library","name":"a","purl":"pkg:npm/a@2","bom-ref":"4"}],
    "dependencies":[{"ref":"1","dependsOn":["3"]},{"dependsOn":["4","2"],"ref":"2"}])"));
  ASSERT_EQ(t.components.size(), 2u);
  EXPECT_EQ(t.components[0].purl, "pkg:npm/a@1?a=1&b=2");
  EXPECT_EQ(t.components[0].raw_purl, "pkg:NPM/a@1?b=2&a=1");
  EXPECT_EQ(t.components[0].refs, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(t.components[1].refs, (std::vector<std::string>{"3", "4"}));
  EXPECT_EQ(t.edges, (std::vector<Edge>{{0, 1, EdgeKind::kDependsOn}}));  // joined edges are one, an edge to itself is none
}

TEST(CycloneDx, VersionComesFromThePurlElseFromTheDocument) {
  const auto t = parse_ok(bom(R"("components":[
    {"type":"library","name":"a","version":"9","purl":"pkg:npm/a@1"},
    {"type":"library","name":"b","version":"9","purl":"pkg:npm/b"},
    {"type":"library","name":"b","version":"8","purl":"pkg:npm/b"},
    {"type":"library","name":"c","purl":"pkg:npm/c"},
    {"type":"library","name":"d","version":"v1","purl":"pkg:golang/example.org/d@%28devel%29"}])"));
  ASSERT_EQ(t.components.size(), 5u);
  EXPECT_EQ(t.components[0].version, "1");
  EXPECT_EQ(t.components[1].version, "9");
  EXPECT_EQ(t.components[2].version, "8");  // same purl, another release: not the same component
  EXPECT_EQ(t.components[3].problem, "no version");
  EXPECT_EQ(t.components[4].problem, "no version");  // "(devel)" is none
  EXPECT_EQ(codes(t), (std::vector<std::string>{"missing_version /components/3", "missing_version /components/4"}));
}

TEST(CycloneDx, MalformedPurlsAreKeptEachWithItsPlace) {
  const auto t = parse_ok(bom(R"("components":[
    {"type":"library","name":"x","components":[{"type":"library","name":"bash","version":"5","purl":"pkg:deb/ubuntu/bash?arch=src?distro=%zz","bom-ref":"b"}]},
    {"type":"library","name":"y","purl":"nonsense"},
    {"type":"library","name":"y","purl":"nonsense"},
    {"type":"library","name":"n","purl":"pkg:npm/%00@1"},
    {"type":"library","name":"u","purl":"pkg:npm/%ff@1"},
    {"type":"library","name":"e","purl":""}])"));
  ASSERT_EQ(t.components.size(), 7u);
  EXPECT_EQ(t.components[1].raw_purl, "pkg:deb/ubuntu/bash?arch=src?distro=%zz");
  EXPECT_EQ(t.components[1].problem, "malformed purl");
  EXPECT_EQ(t.components[1].version, "5");
  EXPECT_EQ(t.components[6].problem, "no purl");
  EXPECT_EQ(codes(t), (std::vector<std::string>{"missing_purl /components/0", "malformed_purl /components/0/components/0/purl", "malformed_purl /components/1/purl",
                                                "malformed_purl /components/2/purl", "malformed_purl /components/3/purl", "malformed_purl /components/4/purl",
                                                "missing_purl /components/5"}));
}

TEST(CycloneDx, DanglingAndDuplicateRefsAreProblemsServicesAreNot) {
  const auto t = parse_ok(bom(R"("components":[{"type":"library","name":"a","purl":"pkg:npm/a@1","bom-ref":"a"},
    {"type":"library","name":"b","purl":"pkg:npm/b@1","bom-ref":"a"}],"services":[{"bom-ref":"s","name":"s","services":[{"bom-ref":"t","name":"t"}]}],
    "dependencies":[{"ref":"a","dependsOn":["s","t","gone"]},{"ref":"ghost"}])"));
  EXPECT_EQ(codes(t), (std::vector<std::string>{"duplicate_ref /components/1", "dangling_ref gone"}));
  EXPECT_TRUE(t.edges.empty());
}

TEST(CycloneDx, GoSubpathBelongsToTheModuleWhereTheNameSaysSo) {
  const auto t = parse_ok(bom(R"("components":[
    {"type":"library","name":"github.com/hashicorp/consul/api","purl":"pkg:golang/github.com/hashicorp/consul@v1.12.0#api"}])"));
  ASSERT_EQ(t.components.size(), 1u);
  EXPECT_EQ(t.components[0].name, "github.com/hashicorp/consul/api");
  EXPECT_EQ(t.components[0].version, "1.12.0");
}

TEST(CycloneDx, EscapedSpellingsMeanTheSame) {
  const auto t = parse_ok(bom(R"("components":[{"type":"library","\u006eame":"\u00e9\ud83d\ude00","p\u0075rl":"pkg:npm\/a@1","version":"1"}])"));
  ASSERT_EQ(t.components.size(), 1u);
  EXPECT_EQ(t.components[0].label, "\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(t.components[0].purl, "pkg:npm/a@1");
}

TEST(CycloneDx, VersionsAndFormats) {
  const auto error = [](std::string_view text) {
    auto table = parse_sbom(text);
    EXPECT_FALSE(table) << text;
    return table ? std::string() : std::string(table.error().message());
  };
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX","specVersion":"1.3"})"), "CycloneDX version is not supported");
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX"})"), "CycloneDX version is not supported");
  EXPECT_EQ(error(R"({"bomFormat":"Cyclone","specVersion":"1.5"})"), "bomFormat is not CycloneDX");
  EXPECT_EQ(error(R"({"lockfileVersion":3,"packages":{"":{"name":"x"}}})"), "not an SBOM that we know");
  EXPECT_EQ(error(R"({"components":7})"), "not an SBOM that we know");
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX","specVersion":"1.5","components":7})"), "value of the wrong type");
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX","specVersion":"1.5","spdxVersion":"SPDX-2.3"})"), "document claims to be CycloneDX and SPDX at once");
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX","specVersion":"1.5","packages":[]})"), "document mixes CycloneDX and SPDX");
  EXPECT_EQ(error("[]"), "not an SBOM that we know");
  EXPECT_EQ(error("7"), "not an SBOM that we know");
  EXPECT_EQ(*sniff_format(R"({"specVersion":"1.6","x":[{}],"bomFormat":"CycloneDX"})"), "CycloneDX 1.6");
  EXPECT_EQ(*sniff_format(R"({"spdxVersion":"SPDX-2.2"})"), "SPDX-2.2");
  EXPECT_FALSE(sniff_format(R"({"spdxVersion":"SPDX-2.2","x":[1 2]})"));
}

}  // namespace
}  // namespace stella::pipeline
