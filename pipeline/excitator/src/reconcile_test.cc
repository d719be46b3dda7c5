// The precedence rule, clause by clause; each bug that others shipped is a test.
#include "stella/pipeline/excitator/reconcile.h"

#include <gtest/gtest.h>

namespace stella::pipeline {
namespace {

using contracts::Component;
using contracts::EdgeKind;
using contracts::Exposure;
using contracts::VexStatus;

Component component(std::string purl, std::string type, std::string version) {
  Component c;
  c.refs = {purl};
  c.label = purl;
  c.purl = std::move(purl);
  c.type = std::move(type);
  c.version = std::move(version);
  return c;
}

// app@1 -> lib@1 (also used by nothing else), other@1.
contracts::ComponentTable table() {
  contracts::ComponentTable t;
  t.components = {component("pkg:npm/app@1", "npm", "1"), component("pkg:npm/lib@1", "npm", "1"), component("pkg:npm/other@1", "npm", "1")};
  t.edges = {{0, 1, EdgeKind::kDependsOn}};
  return t;
}

contracts::ExposureSet exposures(std::uint32_t component = 1, std::vector<std::string> aliases = {"CVE-1"}) {
  Exposure e;
  e.component = component;
  e.verdict = contracts::Verdict::kAffected;
  e.advisory.id = "GHSA-1";
  e.advisory.aliases = std::move(aliases);
  return {{e}};
}

struct Say {
  std::string product = "pkg:npm/lib@1";
  std::string part;
  std::string status = "not_affected";
  std::string time = "2025-01-01T00:00:00Z";
  std::string vulnerability = "CVE-1";
  std::string extra = R"(,"justification":"component_not_present")";
};

std::string statement(const Say& s) {
  const std::string part = s.part.empty() ? "" : R"(,"subcomponents":[{"@id":")" + s.part + "\"}]";
  const std::string time = s.time.empty() ? "" : R"(,"timestamp":")" + s.time + "\"";
  return R"({"vulnerability":{"name":")" + s.vulnerability + R"("},"products":[{"@id":")" + s.product + "\"" + part + R"(}],"status":")" + s.status + "\"" + time + s.extra + "}";
}

VexDocument document(std::vector<Say> says, std::string id = "d") {
  std::string text = R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":")" + id + R"(","author":"a","statements":[)";
  for (std::size_t i = 0; i < says.size(); ++i) text += (i == 0 ? "" : ",") + statement(says[i]);
  auto d = parse_vex(text + "]}");
  EXPECT_TRUE(d) << (d ? "" : d.error().describe());
  return std::move(*d);
}

contracts::VexResultSet run(const std::vector<VexDocument>& documents, const contracts::ExposureSet& set = exposures(), std::vector<int> tiers = {}) {
  std::vector<VexSource> sources;
  for (std::size_t i = 0; i < documents.size(); ++i) sources.push_back({&documents[i], i < tiers.size() ? tiers[i] : 0});
  return reconcile(table(), set, sources).value();
}

// The one outcome; an empty one where nothing was considered.
contracts::VexOutcome outcome(const std::vector<VexDocument>& documents, const contracts::ExposureSet& set = exposures(), std::vector<int> tiers = {}) {
  const auto result = run(documents, set, std::move(tiers));
  EXPECT_LE(result.outcomes.size(), 1u);
  return result.outcomes.empty() ? contracts::VexOutcome{} : result.outcomes[0];
}

TEST(Reconcile, AStatementAboutTheComponentItself) {
  const auto o = outcome({document({{}})});
  EXPECT_EQ(o.status, VexStatus::kNotAffected);
  EXPECT_EQ(o.justification, "component_not_present");
  EXPECT_EQ(o.purl, "pkg:npm/lib@1");
  EXPECT_EQ(o.advisory_id, "GHSA-1");
  ASSERT_EQ(o.considered.size(), 1u);
  EXPECT_EQ(o.considered[0].rank, 4);
  EXPECT_TRUE(o.considered[0].applies);
  EXPECT_EQ(o.considered[0].why, "names exactly this purl");
  EXPECT_EQ(run({}).rule, "stella.vex-precedence/2");
}

TEST(Reconcile, NamesTheVulnerabilityByIdAliasOrOnlyUpstream) {
  const auto considered = [](std::string id, std::vector<std::string> aliases, std::vector<std::string> upstream) {
    auto set = exposures(1, std::move(aliases));
    set.exposures[0].advisory.upstream = std::move(upstream);
    return outcome({document({{.vulnerability = std::move(id)}})}, set).status == VexStatus::kNotAffected;
  };
  EXPECT_TRUE(considered("GHSA-1", {}, {}));
  EXPECT_TRUE(considered("CVE-1", {"GO-1", "CVE-1"}, {}));
  EXPECT_TRUE(considered("CVE-1", {}, {"CVE-1"}));
  EXPECT_FALSE(considered("CVE-1", {}, {"CVE-1", "CVE-2"}));  // one of several flaws that the record is about
  EXPECT_FALSE(considered("CVE-2", {"CVE-1"}, {}));
}

// docker-hardened-images/advisories#1827: an old statement about "any version", or about another one, decides over this one.
TEST(Reconcile, AnotherVersionNeverAppliesAndAnUnversionedOneYields) {
  auto o = outcome({document({{.product = "pkg:npm/lib@2"}})});
  EXPECT_EQ(o.status, VexStatus::kNone);
  EXPECT_FALSE(o.considered[0].applies);
  EXPECT_EQ(o.considered[0].rank, 0);
  EXPECT_EQ(o.considered[0].why, "names another version");
  // Newer but unversioned loses against older and exact.
  o = outcome({document({{.product = "pkg:npm/lib", .time = "2026-01-01T00:00:00Z"}, {.status = "affected", .time = "2020-01-01T00:00:00Z"}})});
  EXPECT_EQ(o.status, VexStatus::kAffected);
  EXPECT_EQ(o.considered[0].rank, 1);
  EXPECT_EQ(o.considered[1].rank, 4);
  EXPECT_FALSE(o.conflict);
}

// openvex/go-vex#29: the first statement instead of the newest.
TEST(Reconcile, NewestOfEqualRankWins) {
  const Say old_one{.status = "affected", .time = "2024-01-01T00:00:00Z"};
  const Say new_one{.status = "fixed", .time = "2025-01-01T00:00:00Z"};
  EXPECT_EQ(outcome({document({old_one, new_one})}).status, VexStatus::kFixed);
  EXPECT_EQ(outcome({document({new_one, old_one})}).status, VexStatus::kFixed);
  // Instants, not texts, are compared; a statement without a time is the oldest.
  EXPECT_EQ(outcome({document({{.status = "affected", .time = "2025-01-01T01:30:00+02:00"}, {.status = "fixed", .time = "2025-01-01T00:00:00Z"}})}).status, VexStatus::kFixed);
  EXPECT_EQ(outcome({document({{.status = "affected", .time = ""}, {.status = "fixed", .time = "2001-01-01T00:00:00Z"}})}).status, VexStatus::kFixed);
}

// aquasecurity/trivy#11081: a source that merely lists the package shadows a real statement. inspektor-gadget#5073: only the first file.
TEST(Reconcile, SilenceIsNoStatementAndEveryDocumentIsRead) {
  const auto silent = document({{.status = "affected", .vulnerability = "CVE-999"}}, "silent");
  const auto real = document({{}}, "real");
  for (const auto& order : {std::vector{silent, real}, std::vector{real, silent}}) {
    const auto o = outcome(order);
    EXPECT_EQ(o.status, VexStatus::kNotAffected);
    EXPECT_EQ(o.considered.size(), 1u);
  }
}

TEST(Reconcile, ConflictsEndWithTheLeastFavourable) {
  const std::vector<std::string> by_harm = {"affected", "under_investigation", "fixed", "not_affected"};
  for (std::size_t worse = 0; worse < by_harm.size(); ++worse)
    for (std::size_t better = worse + 1; better < by_harm.size(); ++better) {
      const auto o = outcome({document({{.status = by_harm[better]}}, "x"), document({{.status = by_harm[worse]}}, "y")});
      EXPECT_EQ(contracts::to_string(o.status), by_harm[worse]);
      EXPECT_TRUE(o.conflict);
    }
  EXPECT_FALSE(outcome({document({{}}, "x"), document({{}}, "y")}).conflict);  // agreement is none
}

TEST(Reconcile, TrustTierStandsBetweenRankAndTime) {
  const auto trusted = document({{.status = "affected", .time = "2020-01-01T00:00:00Z"}}, "trusted");
  const auto newer = document({{.status = "fixed", .time = "2025-01-01T00:00:00Z"}}, "newer");
  EXPECT_EQ(outcome({trusted, newer}, exposures(), {1, 0}).status, VexStatus::kAffected);
  EXPECT_EQ(outcome({trusted, newer}).status, VexStatus::kFixed);
  const auto vague = document({{.product = "pkg:npm/lib", .status = "fixed"}}, "vague");
  EXPECT_EQ(outcome({trusted, vague}, exposures(), {0, 9}).status, VexStatus::kAffected);
}

TEST(Reconcile, SubcomponentsCountOnlyInsideTheProduct) {
  const auto about = [](std::string product, std::string part, std::uint32_t c) {
    return outcome({document({{.product = std::move(product), .part = std::move(part)}})}, exposures(c));
  };
  auto o = about("pkg:npm/app@1", "pkg:npm/lib@1", 1);
  EXPECT_EQ(o.status, VexStatus::kNotAffected);
  EXPECT_EQ(o.considered[0].rank, 4);
  EXPECT_EQ(o.considered[0].why, "names exactly this purl as a subcomponent, inside the product pkg:npm/app@1");
  // Ranks by its vaguest part.
  EXPECT_EQ(about("pkg:npm/app", "pkg:npm/lib@1", 1).considered[0].rank, 1);
  EXPECT_EQ(about("pkg:npm/app@1", "pkg:npm/lib", 1).considered[0].rank, 1);
  o = about("pkg:npm/app@1", "pkg:npm/other@1", 2);
  EXPECT_EQ(o.status, VexStatus::kNone);
  EXPECT_EQ(o.considered[0].why, "component is not inside the product pkg:npm/app@1");
  EXPECT_EQ(about("pkg:npm/app@2", "pkg:npm/lib@1", 1).considered[0].why, "this SBOM has the product in another version");
  EXPECT_EQ(about("pkg:npm/elsewhere@1", "pkg:npm/lib@1", 1).considered[0].why, "its product is not part of this SBOM");
  EXPECT_EQ(about("pkg:npm/app@1", "pkg:npm/lib@3", 1).considered[0].why, "names another version of the subcomponent");
  // It speaks about the part, not about the product itself.
  EXPECT_TRUE(about("pkg:npm/app@1", "pkg:npm/lib@1", 0).considered.empty());
}

TEST(Reconcile, AWholeProductCoversWhatLiesInside) {
  EXPECT_EQ(outcome({document({{.product = "pkg:npm/app@1"}})}).status, VexStatus::kNotAffected);
  EXPECT_EQ(outcome({document({{.product = "pkg:npm/app@1"}})}, exposures(2)).considered[0].why, "component is not inside the product pkg:npm/app@1");
  EXPECT_EQ(outcome({document({{.product = "pkg:npm/app@2"}})}).considered[0].why, "this SBOM has the product in another version");
  EXPECT_TRUE(outcome({document({{.product = "pkg:npm/unrelated@1"}})}).considered.empty());
}

// app@1 and other@1 both use lib@1: the statement about app's copy can harm it, but cannot clear the other use.
TEST(Reconcile, APartThatAlsoLiesOutsideCanBeHarmedButNotCleared) {
  auto t = table();
  t.edges = {{0, 1, EdgeKind::kDependsOn}, {2, 1, EdgeKind::kDependsOn}};
  const auto decided = [&](const std::vector<Say>& says, std::string_view rule = kVexPrecedenceRule) {
    const auto d = document(says);
    const std::vector<VexSource> sources = {{&d, 0}};
    const auto result = reconcile(t, exposures(), sources, rule);
    EXPECT_TRUE(result && result->outcomes.size() == 1u && result->rule == rule);
    return result->outcomes.at(0);
  };
  const auto in_app = [](std::string status) { return Say{.product = "pkg:npm/app@1", .part = "pkg:npm/lib@1", .status = std::move(status), .time = "2026-01-01T00:00:00Z"}; };
  const Say vague{.product = "pkg:npm/lib", .status = "not_affected", .time = "2020-01-01T00:00:00Z"};
  for (const auto* harm : {"affected", "under_investigation"}) {
    const auto o = decided({in_app(harm), vague});
    EXPECT_EQ(contracts::to_string(o.status), harm);
    EXPECT_EQ(o.considered[0].rank, 4);
    EXPECT_EQ(o.considered[0].why, "names exactly this purl as a subcomponent, inside the product pkg:npm/app@1 and outside of it too, in pkg:npm/other@1");
    EXPECT_EQ(decided({in_app(harm), vague}, kVexPrecedenceRule1).status, VexStatus::kNotAffected);  // what was sealed under version 1 comes out as it did
  }
  for (const auto* clear : {"fixed", "not_affected"}) {
    const auto o = decided({in_app(clear)});
    EXPECT_EQ(o.status, VexStatus::kNone);
    EXPECT_EQ(o.considered[0].why, "component also lies outside of the product, in pkg:npm/other@1");
  }
  EXPECT_EQ(decided({{.product = "pkg:npm/app@1", .status = "affected"}}).status, VexStatus::kAffected);  // the product as a whole
  const std::vector<VexSource> none;
  EXPECT_EQ(reconcile(t, exposures(), none, "stella.vex-precedence/3").error().code(), base_errors::kInvalid);
}

// syft: the module github.com/hashicorp/consul/api stands in the document as github.com/hashicorp/consul#api.
TEST(Reconcile, AGoSubpathThatIsPartOfTheModule) {
  contracts::ComponentTable t;
  t.components = {component("pkg:golang/github.com/hashicorp/consul@v1.12.0#api", "golang", "1.12.0"), component("pkg:golang/github.com/a/b@v1#cmd/x", "golang", "1")};
  t.components[0].name = "github.com/hashicorp/consul/api";
  t.components[1].name = "github.com/a/b";  // a package of the module
  const auto status = [&](std::uint32_t c, std::string product, std::string part = {}, std::string_view rule = kVexPrecedenceRule) {
    const auto d = document({{.product = std::move(product), .part = std::move(part)}});
    const std::vector<VexSource> sources = {{&d, 0}};
    const auto result = reconcile(t, exposures(c), sources, rule);
    return result && !result->outcomes.empty() ? result->outcomes[0].status : VexStatus::kNone;
  };
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul@v1.12.0"), VexStatus::kNone);
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul"), VexStatus::kNone);
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul/api@v1.12.0"), VexStatus::kNotAffected);
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul@v1.12.0#api"), VexStatus::kNotAffected);
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul@v1.12.0#sdk"), VexStatus::kNone);
  EXPECT_EQ(status(1, "pkg:golang/github.com/a/b@v1"), VexStatus::kNotAffected);
  EXPECT_EQ(status(1, "pkg:golang/github.com/a/b/cmd/x@v1"), VexStatus::kNone);
  // As a product with a part in it.
  t.edges = {{0, 1, EdgeKind::kDependsOn}};
  EXPECT_EQ(status(1, "pkg:golang/github.com/hashicorp/consul/api@v1.12.0", "pkg:golang/github.com/a/b@v1"), VexStatus::kNotAffected);
  EXPECT_EQ(status(1, "pkg:golang/github.com/hashicorp/consul@v1.12.0", "pkg:golang/github.com/a/b@v1"), VexStatus::kNone);
  // As version 1 had it, for what was sealed under it.
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul@v1.12.0", {}, kVexPrecedenceRule1), VexStatus::kNotAffected);
  EXPECT_EQ(status(0, "pkg:golang/github.com/hashicorp/consul/api@v1.12.0", {}, kVexPrecedenceRule1), VexStatus::kNone);
}

// Scanners and authors of statements do not agree on what Go's own packages are called.
TEST(Reconcile, GoStandardLibraryInEverySpelling) {
  const auto status = [](std::string of, std::string version, std::string product, std::string_view rule = kVexPrecedenceRule) {
    contracts::ComponentTable t;
    t.components = {component(std::move(of), "golang", std::move(version))};
    const auto d = document({{.product = std::move(product)}});
    const std::vector<VexSource> sources = {{&d, 0}};
    const auto result = reconcile(t, exposures(0), sources, rule);
    return result && !result->outcomes.empty() ? result->outcomes[0].status : VexStatus::kNone;
  };
  EXPECT_EQ(status("pkg:golang/std@go1.21.0", "go1.21.0", "pkg:golang/stdlib@1.21.0"), VexStatus::kNotAffected);
  EXPECT_EQ(status("pkg:golang/stdlib@v1.21.0", "v1.21.0", "pkg:golang/std@go1.21.0"), VexStatus::kNotAffected);
  EXPECT_EQ(status("pkg:golang/std", "go1.21.0", "pkg:golang/stdlib@1.21.0"), VexStatus::kNotAffected);  // the version beside the purl
  EXPECT_EQ(status("pkg:golang/std@1.21.0", "1.21.0", "pkg:golang/stdlib"), VexStatus::kNotAffected);
  EXPECT_EQ(status("pkg:golang/std@go1.21.0", "go1.21.0", "pkg:golang/stdlib@1.21.1"), VexStatus::kNone);
  EXPECT_EQ(status("pkg:golang/example.org/std@1", "1", "pkg:golang/stdlib@1"), VexStatus::kNone);
  EXPECT_EQ(status("pkg:golang/std@go1.21.0", "go1.21.0", "pkg:golang/stdlib@1.21.0", kVexPrecedenceRule1), VexStatus::kNone);  // as it was sealed
}

TEST(Reconcile, EveryProductOfAStatementIsLookedAt) {
  auto d = parse_vex(R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"i","author":"a","timestamp":"2025-01-01T00:00:00Z","statements":[
    {"vulnerability":{"name":"CVE-1"},"status":"fixed","products":[{"@id":"pkg:npm/lib@7"},{"@id":"not a purl"},{"@id":"x","identifiers":{"purl":"pkg:npm/lib@1"}}]}]})");
  ASSERT_TRUE(d);
  EXPECT_EQ(outcome({*d}).status, VexStatus::kFixed);
}

TEST(Reconcile, WhatCannotBeUnderstoodNeverApplies) {
  auto o = outcome({document({{.extra = ""}})});
  EXPECT_EQ(o.status, VexStatus::kNone);
  EXPECT_EQ(o.considered[0].why, "not_affected with neither justification nor impact statement");
  o = outcome({document({{.status = "resolved"}})});
  EXPECT_EQ(o.status, VexStatus::kNone);
  EXPECT_EQ(o.considered[0].why, "its status is none that we know");
  EXPECT_EQ(o.considered[0].source_label, "resolved");
}

TEST(Reconcile, StatementsThatDoNotApplyForOneReasonAreListedOnce) {
  const auto o = outcome({document({{.product = "pkg:npm/lib@2"}, {}, {.product = "pkg:npm/lib@3"}, {.product = "pkg:npm/lib@4"}}, "x"), document({{.product = "pkg:npm/lib@5"}}, "y")});
  ASSERT_EQ(o.considered.size(), 3u);
  std::vector<std::string> why;
  for (const auto& s : o.considered) why.push_back(s.pointer + " " + s.why);
  std::sort(why.begin(), why.end());
  EXPECT_EQ(why, (std::vector<std::string>{"/statements/0 names another version", "/statements/0 names another version (and 2 more statements of this document likewise)",
                                           "/statements/1 names exactly this purl"}));
}

TEST(Reconcile, DependsOnNothingButWhatIsConsidered) {
  const auto one = document({{}}, "one");
  const auto two = document({{.product = "pkg:npm/lib@2", .status = "affected"}}, "two");
  const auto unrelated = document({{.product = "pkg:npm/zzz@1"}, {.vulnerability = "CVE-7"}}, "unrelated");
  const std::string base = contracts::encode(run({one, two}));
  EXPECT_EQ(contracts::encode(run({two, one})), base);                   // order
  EXPECT_EQ(contracts::encode(run({one, unrelated, two, one})), base);   // documents that say nothing, and repetition
  EXPECT_TRUE(contracts::decode_vex_result(base));
  EXPECT_TRUE(run({unrelated}).outcomes.empty());
}

TEST(Reconcile, RevisionsOfOneAdvisoryAreOnePair) {
  auto set = exposures();
  set.exposures.push_back(set.exposures[0]);
  set.exposures[1].advisory.aliases = {"CVE-2"};
  const auto result = run({document({{.vulnerability = "CVE-2"}})}, set);
  ASSERT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.outcomes[0].status, VexStatus::kNotAffected);
}

TEST(Reconcile, ComponentsWithoutPurlOrOutOfRangeHarmNothing) {
  auto t = table();
  t.components[1].purl = "";
  const auto d = document({{}});
  const std::vector<VexSource> sources = {{&d, 0}};
  EXPECT_TRUE(reconcile(t, exposures(), sources).value().outcomes.empty());
  EXPECT_TRUE(reconcile(t, exposures(99), sources).value().outcomes.empty());
}

}  // namespace
}  // namespace stella::pipeline
