// Each cause alone, and that equal inputs with other results are never explained away.
#include "stella/services/comparison.h"

#include <gtest/gtest.h>

#include "stella/crypto/digest.h"

namespace stella::ledger {
namespace {

using contracts::Finding;

Finding finding(std::string purl, std::string advisory, contracts::Effect effect = contracts::Effect::kDeny) {
  Finding f;
  f.purl = std::move(purl);
  f.advisory_id = std::move(advisory);
  f.advisory_sha256 = crypto::sha256(f.advisory_id);
  f.verdict = contracts::Verdict::kAffected;
  f.severity = "high";
  f.effect = effect;
  f.rule_id = "r1";
  return f;
}
EvaluationSide side() {
  EvaluationSide s;
  s.as_of = "2026-01-01T00:00:00Z";
  s.effect = "deny";
  for (const char* name : {"sbom", "components", "policy", "advisories", "vex"}) s.inputs.emplace_back(name, crypto::sha256(name));
  s.findings = {finding("pkg:npm/a@1", "GHSA-1"), finding("pkg:npm/b@1", "GHSA-2")};
  s.purls = {"pkg:npm/a@1", "pkg:npm/b@1", "pkg:npm/c@1"};
  return s;
}
void change_input(EvaluationSide& s, std::string_view name) {
  for (auto& [n, digest] : s.inputs)
    if (n == name) digest = crypto::sha256("other");
}
std::string only_cause(const EvaluationSide& a, const EvaluationSide& b, std::string_view change) {
  const json::Value out = compare_sides(a, b);
  EXPECT_EQ(out.items("findings").size(), 1u) << json::dump(out);
  if (out.items("findings").empty()) return {};
  EXPECT_EQ(out.items("findings")[0].str("change"), change);
  EXPECT_EQ(out.find("explained")->as_bool(), out.items("findings")[0].str("cause") != "unexplained");
  return std::string(out.items("findings")[0].str("cause"));
}

TEST(Comparison, EqualSidesDifferInNothing) {
  const json::Value out = compare_sides(side(), side());
  EXPECT_TRUE(out.items("findings").empty());
  EXPECT_EQ(out.find("counts")->integer("same"), 2);
  for (const auto& input : out.items("inputs")) EXPECT_FALSE(input.find("changed")->as_bool());
  EXPECT_TRUE(out.find("explained")->as_bool());
}

TEST(Comparison, NamesTheCause) {
  EvaluationSide b = side();
  b.findings.push_back(finding("pkg:npm/d@1", "GHSA-3"));
  b.purls.insert("pkg:npm/d@1");
  EXPECT_EQ(only_cause(side(), b, "opened"), "component_added");
  EXPECT_EQ(only_cause(b, side(), "closed"), "component_removed");

  b = side();
  change_input(b, "advisories");
  b.findings.push_back(finding("pkg:npm/c@1", "GHSA-9"));
  EXPECT_EQ(only_cause(side(), b, "opened"), "advisory_changed");
  b = side();
  change_input(b, "advisories");
  b.findings[0].advisory_sha256 = crypto::sha256("revised");
  EXPECT_EQ(only_cause(side(), b, "changed"), "advisory_changed");

  b = side();
  change_input(b, "vex");
  b.findings[0].vex = contracts::VexStatus::kNotAffected;
  b.findings[0].effect = contracts::Effect::kAllow;
  EXPECT_EQ(only_cause(side(), b, "changed"), "vex_changed");

  b = side();
  change_input(b, "policy");
  b.findings[1].effect = contracts::Effect::kWarn;
  b.findings[1].rule_id = "r2";
  EXPECT_EQ(only_cause(side(), b, "changed"), "policy_changed");

  b = side();
  b.as_of = "2026-02-01T00:00:00Z";
  b.findings[1].effect = contracts::Effect::kWarn;
  EXPECT_EQ(only_cause(side(), b, "changed"), "time");
}

TEST(Comparison, NothingIsExplainedAway) {
  EvaluationSide b = side();
  b.findings[1].effect = contracts::Effect::kWarn;
  EXPECT_EQ(only_cause(side(), b, "changed"), "unexplained");
  b = side();
  b.findings.pop_back();
  EXPECT_EQ(only_cause(side(), b, "closed"), "unexplained");
  // A VEX status that changed although the VEX documents did not.
  b = side();
  b.findings[0].vex = contracts::VexStatus::kFixed;
  EXPECT_EQ(only_cause(side(), b, "changed"), "unexplained");
  // A decision that changed alone.
  b = side();
  b.effect = b.effect == "deny" ? "allow" : "deny";
  const json::Value alone = compare_sides(side(), b);
  EXPECT_TRUE(alone.find("decision_changed")->as_bool());
  EXPECT_FALSE(alone.find("explained")->as_bool());
}

}  // namespace
}  // namespace stella::ledger
