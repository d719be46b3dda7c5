// Linking: what others got wrong in public, and what a component without an answer says.
#include "stella/pipeline/conseiller/link.h"

#include <gtest/gtest.h>

#include "stella/pipeline/versions/version.h"
#include "test_data.h"

namespace stella::pipeline {
namespace {

using contracts::Verdict;

class RealLinks : public ::testing::Test {
 protected:
  static const test_data::Index* index() {
    static const auto* loaded = []() -> const test_data::Index* {
      const auto dir = testing::shared_path("data/advisories");
      return dir ? new test_data::Index(test_data::all_records(*dir)) : nullptr;
    }();
    return loaded;
  }
  void SetUp() override { (void)STELLA_SHARED_OR_SKIP("data/advisories"); }

  // The verdict of the pair; nullopt where the advisory is no candidate.
  static std::optional<contracts::Exposure> pair(std::string_view purl, std::string_view id) {
    for (auto& exposure : index()->link(test_data::table_of({purl})).exposures)
      if (exposure.advisory.id == id) return exposure;
    return std::nullopt;
  }
  static void expect(std::string_view purl, std::string_view id, Verdict verdict) {
    const auto found = pair(purl, id);
    ASSERT_TRUE(found.has_value()) << purl << " " << id;
    EXPECT_EQ(found->verdict, verdict) << purl << " " << id;
  }
};

TEST_F(RealLinks, TruePairs) {
  expect("pkg:npm/minimist@0.2.3", "GHSA-xvch-5gv4-984h", Verdict::kAffected);
  expect("pkg:npm/request@2.88.2", "GHSA-p8p7-x288-28g6", Verdict::kAffected);
  expect("pkg:golang/golang.org/x/net@v0.0.0-20220722155237-a158d28d115b", "GO-2024-2687", Verdict::kAffected);
  expect("pkg:maven/io.netty/netty-codec-http@4.1.86.Final-redhat-00002", "GHSA-5jpm-x58v-624v", Verdict::kAffected);
  expect("pkg:maven/org.bouncycastle/bcprov-jdk15on@1.70", "GHSA-hr8g-6v94-x4m9", Verdict::kAffected);
  expect("pkg:pypi/django@4.2.14", "PYSEC-2024-102", Verdict::kAffected);
}

// Trivy writes Go purls in lower case; OSV keeps the module's case.
TEST_F(RealLinks, GoModulesAreFoundInAnyCase) {
  expect("pkg:golang/github.com/datadog/dd-trace-go@v1.0.0", "GO-2026-6000", Verdict::kAffected);
  expect("pkg:golang/github.com/DataDog/dd-trace-go@v1.0.0", "GO-2026-6000", Verdict::kAffected);
  const auto found = pair("pkg:golang/github.com/DataDog/dd-trace-go@v1.0.0", "GO-2026-6000");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->name, "github.com/DataDog/dd-trace-go");  // people read the name as it was written
}

TEST_F(RealLinks, LookAlikes) {
  expect("pkg:npm/minimatch@3.0.5", "GHSA-f8q6-p94x-37v3", Verdict::kNotAffected);
  expect("pkg:npm/minimatch@3.0.4", "GHSA-f8q6-p94x-37v3", Verdict::kAffected);
  expect("pkg:npm/moment@2.29.4", "GHSA-wc69-rhjr-hc9g", Verdict::kNotAffected);
  expect("pkg:npm/moment@2.0.0", "GHSA-wc69-rhjr-hc9g", Verdict::kNotAffected);
  expect("pkg:npm/decode-uri-component@0.2.2", "GHSA-w573-4hg7-7wgq", Verdict::kNotAffected);
  // A record of another ecosystem with the same name is no candidate.
  EXPECT_FALSE(pair("pkg:npm/json5@1.0.1", "RUSTSEC-2025-0120").has_value());
  EXPECT_FALSE(pair("pkg:maven/json/json@1.0", "RUSTSEC-2022-0081").has_value());
  EXPECT_FALSE(pair("pkg:pypi/semver@2.0.0", "GHSA-c2qf-rxjj-qqgw").has_value());
}

// One range object with two pairs was read as unbounded elsewhere: every later Django was red.
TEST_F(RealLinks, TwoPairRangesAreBounded) {
  expect("pkg:pypi/django@4.2.14", "PYSEC-2019-16", Verdict::kNotAffected);
  expect("pkg:pypi/Django@6.0.4", "PYSEC-2019-16", Verdict::kNotAffected);
}

TEST_F(RealLinks, WithdrawnRecordsGiveNoOpenFinding) {
  expect("pkg:pypi/aiohttp@3.9.4", "PYSEC-2022-43059", Verdict::kWithdrawn);
  expect("pkg:golang/github.com/lib/pq@v1.3.0", "GO-2026-6170", Verdict::kWithdrawn);
  EXPECT_EQ(pair("pkg:golang/github.com/lib/pq@v1.3.0", "GO-2026-6170")->clause.by, "range");
}

TEST_F(RealLinks, SaysWhyAndWhatHelps) {
  const auto found = pair("pkg:npm/minimist@0.2.3", "GHSA-xvch-5gv4-984h");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->clause.by, "range");
  EXPECT_EQ(found->clause.affected_index, 1);
  EXPECT_EQ(found->clause.fixed, "0.2.4");
  EXPECT_EQ(found->fixed_versions, std::vector<std::string>{"0.2.4"});
  EXPECT_EQ(found->advisory.severity.at(0).type, "CVSS_V3");
  EXPECT_FALSE(found->advisory.summary.empty());
}

TEST_F(RealLinks, OnlyDocumentsInForceCount) {
  const auto table = test_data::table_of({"pkg:npm/minimist@0.2.3"});
  ASSERT_EQ(index()->link(table).exposures.size(), 1u);
  const auto digest = index()->link(table).exposures[0].advisory.sha256;
  const auto none = link(table, index()->segments, ActiveSet());
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->exposures.empty());
  const std::string bytes = ActiveSet::encode({digest});
  const auto one = link(table, index()->segments, *ActiveSet::parse(bytes));
  EXPECT_EQ(one->exposures.size(), 1u);
}

TEST(Link, SaysWhyAComponentHasNoAnswer) {
  contracts::ComponentTable table = test_data::table_of({"pkg:npm/left-pad", "pkg:gem/rack@2.2.4", "pkg:oci/debian@sha256:244fd47e07d10",
                                                         "pkg:deb/debian/tar@1.34?distro=debian-11", "not a purl",
                                                         "pkg:golang/github.com/k3s-io/k3s@(devel)"});
  table.components.emplace_back().label = "an application";
  const auto set = link(table, {}, ActiveSet());
  ASSERT_TRUE(set.has_value());
  ASSERT_EQ(set->exposures.size(), 7u);
  const std::vector<std::string> reasons{"no version", "ecosystem not supported yet", "ecosystem not supported yet",
                                         "ecosystem not supported yet", "malformed purl", "no version", "no purl"};
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    EXPECT_EQ(set->exposures[i].component, i);
    EXPECT_EQ(set->exposures[i].verdict, Verdict::kUnknown);
    EXPECT_EQ(set->exposures[i].reason, reasons[i]);
    EXPECT_EQ(set->exposures[i].advisory.id, "");
    EXPECT_EQ(set->exposures[i].clause.by, "reason");
  }
}

TEST(Link, VersionsThatDoNotParseAreUnknownOnlyWhereThereIsACandidate) {
  test_data::Batch batch;
  batch.texts.push_back(R"({"id":"A","modified":"2024-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"a"},
    "ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}],"versions":["weekly"]}]})");
  const test_data::Index index(batch);
  const auto set = index.link(test_data::table_of({"pkg:npm/a@nightly", "pkg:npm/a@weekly", "pkg:npm/b@nightly"}));
  ASSERT_EQ(set.exposures.size(), 2u);
  EXPECT_EQ(set.exposures[0].verdict, Verdict::kUnknown);
  EXPECT_EQ(set.exposures[0].reason, "version not parsable");
  EXPECT_EQ(set.exposures[0].advisory.id, "A");
  EXPECT_EQ(set.exposures[1].verdict, Verdict::kAffected);
}

// A record of one Maven repository concerns the package wherever a component got it: no document says where.
TEST(Link, AMavenRecordOfOneRepositoryIsAskedToo) {
  test_data::Batch batch;
  batch.texts.push_back(R"({"id":"A","modified":"2024-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"Maven:https://maven.google.com","name":"androidx.a:b"},
    "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}]}]})");
  const test_data::Index index(batch);
  const auto set = index.link(test_data::table_of({"pkg:maven/androidx.a/b@1.0"}));
  ASSERT_EQ(set.exposures.size(), 1u);
  EXPECT_EQ(set.exposures[0].verdict, Verdict::kAffected);
}

TEST(ActiveSets, AreStrictlySorted) {
  const auto a = crypto::sha256("a"), b = crypto::sha256("b");
  const std::string bytes = ActiveSet::encode({b, a, b});
  const auto set = ActiveSet::parse(bytes);
  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(set->size(), 2u);
  EXPECT_TRUE(set->contains(a.view()));
  EXPECT_FALSE(set->contains(crypto::sha256("c").view()));
  EXPECT_FALSE(ActiveSet::parse(bytes + "x").has_value());
  EXPECT_FALSE(ActiveSet::parse(bytes.substr(32) + bytes.substr(0, 32)).has_value());
  EXPECT_FALSE(ActiveSet::parse(bytes + bytes.substr(32)).has_value());
}

}  // namespace
}  // namespace stella::pipeline
