// The real documents of the data set, checked against an independent reading by base/json's tree, and CycloneDX's own examples.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "stella/base/json.h"
#include "stella/pipeline/sbom/parse.h"
#include "stella/pipeline/versions/purl.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

// What the tree says: canonical purls, and how many entries have none that is usable.
struct Reading {
  std::set<std::string> purls;
  std::size_t without = 0;
  std::size_t entries = 0;
  std::set<std::string> refs;
};

void note(Reading& r, std::string_view purl) {
  auto parsed = parse_purl(purl);
  if (purl.empty() || !parsed) ++r.without;
  else r.purls.insert(parsed->str());
}

void walk(Reading& r, const json::Value& component) {
  ++r.entries;
  note(r, component.str("purl"));
  if (const auto ref = component.str("bom-ref"); !ref.empty()) r.refs.emplace(ref);
  for (const auto& child : component.items("components")) walk(r, child);
}

Reading read_tree(const json::Value& document) {
  Reading r;
  if (document.find("bomFormat") != nullptr) {
    if (const auto* metadata = document.find("metadata"))
      if (const auto* subject = metadata->find("component")) walk(r, *subject);
    for (const auto& component : document.items("components")) walk(r, component);
    return r;
  }
  for (const auto& package : document.items("packages")) {
    ++r.entries;
    r.refs.emplace(package.str("SPDXID"));
    bool any = false;
    for (const auto& ref : package.items("externalRefs"))
      if (ref.str("referenceType") == "purl") note(r, ref.str("referenceLocator")), any = true;
    if (!any) ++r.without;
  }
  return r;
}

std::vector<std::string> documents(const std::string& dir) {
  auto files = testing::files_below(dir, ".json");
  std::erase_if(files, [](const std::string& f) { return f.find("spdx-3.0") != std::string::npos; });
  return files;
}

TEST(RealDocuments, EveryPurlAndEveryEntryWithoutOneIsThere) {
  const auto dir = STELLA_SHARED_OR_SKIP("data/sboms");
  const auto files = documents(dir);
  ASSERT_EQ(files.size(), 16u);
  for (const auto& file : files) {
    SCOPED_TRACE(file);
    const std::string bytes = testing::slurp(file);
    auto table = parse_sbom(bytes);
    ASSERT_TRUE(table) << table.error().describe();
    auto tree = json::parse(bytes);
    ASSERT_TRUE(tree) << tree.error().describe();
    const Reading expected = read_tree(*tree);
    std::set<std::string> purls;
    std::set<std::string> refs;
    std::size_t without = 0;
    for (const auto& c : table->components) {
      if (c.purl.empty()) ++without;
      else purls.insert(c.purl);
      refs.insert(c.refs.begin(), c.refs.end());
      EXPECT_EQ(c.purl.empty(), c.problem == "no purl" || c.problem == "malformed purl") << c.label;
    }
    EXPECT_EQ(purls, expected.purls);
    EXPECT_EQ(without, expected.without);
    EXPECT_EQ(refs, expected.refs);
    EXPECT_EQ(table->components.size(), purls.size() + without);
    std::set<std::string> codes;
    for (const auto& p : table->problems) codes.insert(p.code);
    std::string all;
    for (const auto& code : codes) all += code + " ";
    std::printf("%s: %s, %zu entries, %zu components, %zu edges, %zu problems: %s| %s %s\n", file.substr(dir.size() + 1).c_str(), table->source_format.c_str(),
                expected.entries, table->components.size(), table->edges.size(), table->problems.size(), all.c_str(), table->document_name.c_str(),
                table->document_version.c_str());
  }
}

TEST(RealDocuments, EveryPurlThatTheExpectedAnswersNameIsThere) {
  const auto path = STELLA_SHARED_OR_SKIP("data/expected/osv-matches.tsv");
  std::map<std::string, std::set<std::string>> wanted;
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    const auto tab = line.find('\t');
    wanted[line.substr(0, tab)].insert(line.substr(tab + 1, line.find('\t', tab + 1) - tab - 1));
  }
  ASSERT_GT(wanted.size(), 10u);
  for (const auto& [sbom, purls] : wanted) {
    if (sbom.find("spdx-3.0") != std::string::npos) continue;  // not supported yet, refused as such below
    auto table = parse_sbom(testing::slurp(*testing::shared_path("data/" + sbom)));
    ASSERT_TRUE(table) << sbom;
    std::map<std::string, const contracts::Component*> by_purl;
    for (const auto& c : table->components) {
      by_purl[c.purl] = &c;
      if (!c.raw_purl.empty()) by_purl[c.raw_purl] = &c;
    }
    for (const auto& purl : purls) {
      ASSERT_TRUE(by_purl.contains(purl)) << sbom << " " << purl;
      const auto& c = *by_purl[purl];
      EXPECT_FALSE(c.ecosystem.empty()) << purl;
      EXPECT_EQ(c.version.empty(), purl.ends_with("@%28devel%29")) << purl;  // no version, whatever it looks like
    }
  }
}

TEST(RealDocuments, JoinedDuplicatesKeepTheirRefs) {
  auto table = parse_sbom(testing::slurp(STELLA_SHARED_OR_SKIP("data/sboms/cyclonedx-1.4/juice-shop.cdx.json")));
  ASSERT_TRUE(table);
  // 1,115 components with 978 distinct purls, and metadata.component.
  EXPECT_EQ(table->components.size(), 979u);
  std::size_t refs = 0;
  for (const auto& c : table->components) refs += c.refs.size();
  EXPECT_EQ(refs, 1116u);
  EXPECT_EQ(table->components[0].label, "juice-shop");
  EXPECT_EQ(table->document_name, "juice-shop");
  EXPECT_EQ(table->document_version, "14.1.1");
}

TEST(RealDocuments, RancherKeepsWhichBinaryHoldsWhat) {
  auto table = parse_sbom(testing::slurp(STELLA_SHARED_OR_SKIP("data/sboms/spdx-2.2/rancher.trivy.spdx.json")));
  ASSERT_TRUE(table);
  const auto find = [&](std::string_view purl) {
    for (std::uint32_t i = 0; i < table->components.size(); ++i)
      if (table->components[i].purl == purl) return i;
    return 0xffffffffu;
  };
  const auto holders = [&](std::uint32_t c) {
    std::set<std::string> out;
    for (const auto& e : table->edges)
      if (e.to == c && e.kind == contracts::EdgeKind::kContains) out.insert(table->components[e.from].refs.front());
    return out;
  };
  const auto jwt = find("pkg:golang/github.com/golang-jwt/jwt/v4@v4.2.0");
  const auto machine = find("pkg:golang/github.com/rancher/machine@v0.15.0-rancher95");
  const auto moby = find("pkg:golang/github.com/moby/moby@v1.4.2-0.20170731201646-1009e6a40b29");
  EXPECT_EQ(holders(jwt).size(), 1u);
  EXPECT_EQ(holders(jwt), holders(machine));
  EXPECT_NE(holders(moby), holders(machine));
  EXPECT_EQ(table->components[jwt].version, "4.2.0");
  EXPECT_EQ(table->components[jwt].name, "github.com/golang-jwt/jwt/v4");
}

TEST(RealDocuments, ContainedByPointsTheOtherWay) {
  auto table = parse_sbom(testing::slurp(STELLA_SHARED_OR_SKIP("data/sboms/spdx-2.3/OCP-TOOLS-4.11-RHEL-8.spdx.json")));
  ASSERT_TRUE(table);
  EXPECT_EQ(table->components.size(), 3274u);
  EXPECT_EQ(table->document_name, "OCP-TOOLS-4.11-RHEL-8");
  // 148 rpm packages say CONTAINED_BY an image, 1,534 Go modules CONTAINED_BY an rpm package; PACKAGE_OF the product: 6.
  std::map<std::pair<std::string, std::string>, std::size_t> n;
  for (const auto& e : table->edges) ++n[{table->components[e.from].type, table->components[e.to].type}];
  EXPECT_EQ((n[{"oci", "rpm"}]), 148u);
  EXPECT_EQ((n[{"rpm", "golang"}]), 1534u);
  EXPECT_EQ((n[{"", "rpm"}] + n[{"", "oci"}]), 6u);
  EXPECT_EQ((n[{"rpm", "oci"}] + n[{"golang", "rpm"}]), 0u);
}

TEST(RealDocuments, Spdx3IsRefusedWithWhatIsSupported) {
  for (const auto& file : testing::files_below(STELLA_SHARED_OR_SKIP("data/sboms/spdx-3.0"), ".json")) {
    auto table = parse_sbom(testing::slurp(file));
    ASSERT_FALSE(table);
    EXPECT_EQ(table.error().code(), base_errors::kInvalid);
    EXPECT_EQ(table.error().message(), "SPDX 3 is not supported yet");
    EXPECT_EQ(table.error().field("expected"), "CycloneDX 1.4, 1.5 or 1.6 JSON, or SPDX 2.2 or 2.3 JSON");
  }
}

TEST(RealDocuments, EncodedTablesRoundTrip) {
  for (const auto& file : documents(STELLA_SHARED_OR_SKIP("data/sboms"))) {
    auto table = parse_sbom(testing::slurp(file));
    ASSERT_TRUE(table) << file;
    const std::string text = contracts::encode(*table);
    auto back = contracts::decode_components(text);
    ASSERT_TRUE(back) << file << " " << back.error().describe();
    EXPECT_EQ(contracts::encode(*back), text) << file;
  }
}

TEST(CycloneDxExamples, ValidOnesAreAccepted) {
  std::size_t n = 0;
  for (const auto& file : testing::files_below(STELLA_SHARED_OR_SKIP("vectors/cyclonedx"), ".json")) {
    if (file.find("/valid-") == std::string::npos) continue;
    auto table = parse_sbom(testing::slurp(file));
    EXPECT_TRUE(table) << file << ": " << (table ? "" : table.error().describe());
    ++n;
  }
  EXPECT_GT(n, 50u);
}

// Invalid ones are refused or recorded, except where the invalid value does not reach the table: licences, hashes, the issue type of
// a patch, SWID details, the scope and the metadata's timestamp decide nothing here, and refusing a supplier's whole inventory for
// them would leave the operator with less knowledge than reading it.
TEST(CycloneDxExamples, InvalidOnesAreRefusedRecordedOrOfNoConsequence) {
  const std::set<std::string> lenient = {"component-swid", "hash-sha1", "hash-sha256", "hash-sha512", "issue-type", "license-choice",
                                         "license-id",     "license-encoding", "metadata-timestamp", "scope", "properties", "dependency"};
  std::size_t caught = 0;
  for (const auto& file : testing::files_below(STELLA_SHARED_OR_SKIP("vectors/cyclonedx"), ".json")) {
    const auto at = file.find("/invalid-");
    if (at == std::string::npos) continue;
    const std::string name = file.substr(at + 9, file.rfind('-') - at - 9);
    auto table = parse_sbom(testing::slurp(file));
    const bool recorded = table && std::any_of(table->problems.begin(), table->problems.end(), [](const auto& p) { return p.code.ends_with("_type"); });
    caught += !table || recorded ? 1 : 0;
    EXPECT_TRUE(!table || recorded || lenient.contains(name)) << file;
  }
  EXPECT_GE(caught, 9u);  // bomformat, component-type and missing-component-type of three versions
}

}  // namespace
}  // namespace stella::pipeline
