// What is stated about decisions: every effect as level and result, findings by vulnerability, nothing left out silently.
#include "stella/provenance/decision.h"

#include <gtest/gtest.h>

#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/predicates.h"

namespace stella::attest {
namespace {

using contracts::Effect;

DecisionFacts facts() {
  DecisionFacts f;
  f.sbom = {.name = "sbom", .sha256 = crypto::sha256("sbom")};
  f.sbom_id = "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012";
  f.policy = crypto::sha256("policy");
  f.policy_version = "strict prod@0123456789ab";
  f.advisory_set = crypto::sha256("advisories");
  f.engine_version = "1.2.3";
  f.advisories_as_of = Timestamp::parse("2026-11-01T00:00:00Z").value();
  f.started_at = Timestamp::parse("2026-11-02T00:00:00Z").value();
  f.finished_at = Timestamp::parse("2026-11-02T00:00:05Z").value();
  return f;
}

json::Value predicate(const std::vector<evidence::Stated>& all, std::string_view type) {
  for (const evidence::Stated& s : all)
    if (s.predicate_type == type) {
      const auto parsed = evidence::parse_statement(s.bytes);
      EXPECT_TRUE(parsed.has_value());
      EXPECT_EQ(parsed->predicate_type, type);
      EXPECT_EQ(parsed->subjects.size(), 1u);
      EXPECT_EQ(parsed->subjects.front().sha256, crypto::sha256("sbom"));
      EXPECT_EQ(s.subjects.front().sha256, crypto::sha256("sbom"));
      EXPECT_TRUE(evidence::check_predicate(type, parsed->predicate).has_value());
      return parsed->predicate;
    }
  ADD_FAILURE() << "no statement of type " << type;
  return {};
}

TEST(DecisionStatements, EveryEffectIsALevelAndOnlyAllowAndWarnPass) {
  const struct {
    Effect effect;
    const char *result, *levels;
  } rows[] = {{Effect::kAllow, "PASSED", R"(["STELLA_POLICY_ALLOW"])"},
              {Effect::kWarn, "PASSED", R"(["STELLA_POLICY_WARN"])"},
              {Effect::kDefer, "FAILED", R"(["FAILED","STELLA_POLICY_DEFER"])"},
              {Effect::kDeny, "FAILED", R"(["FAILED","STELLA_POLICY_DENY"])"}};
  for (const auto& row : rows) {
    contracts::Decision d;
    d.effect = row.effect;
    d.counts.affected = 1;
    const auto all = decision_statements(facts(), d, {});
    ASSERT_TRUE(all.has_value()) << all.error().describe();
    const json::Value vsa = predicate(*all, evidence::kVsaPredicate);
    EXPECT_EQ(vsa.str("verificationResult"), row.result);
    EXPECT_EQ(json::dump(*vsa.find("verifiedLevels")), row.levels);
    EXPECT_EQ(vsa.str("resourceUri"), "urn:stellaops:sbom:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012");
    EXPECT_EQ(vsa.str("timeVerified"), "2026-11-02T00:00:05Z");
    EXPECT_EQ(vsa.find("policy")->find("digest")->str("sha256"), crypto::sha256("policy").hex());
    EXPECT_EQ(vsa.find("policy")->str("uri"), "urn:stellaops:policy:strict%20prod%400123456789ab");
    EXPECT_EQ(vsa.find("inputAttestations"), nullptr);  // if any were named, all would have to be
    const std::string properties = json::dump(*predicate(*all, evidence::kSvrPredicate).find("properties"));
    EXPECT_NE(properties.find(json::dump(vsa.find("verifiedLevels")->as_array().back())), std::string::npos) << properties;
    EXPECT_EQ(properties.find("NO_AFFECTED"), std::string::npos);
    EXPECT_NE(properties.find("STELLA_NO_UNKNOWN"), std::string::npos);
  }
}

TEST(DecisionStatements, FindingsAreGatheredByVulnerability) {
  std::vector<contracts::Finding> findings(25);
  for (std::size_t i = 0; i < findings.size(); ++i) {
    findings[i].purl = "pkg:npm/a@" + std::to_string(i);
    findings[i].advisory_id = "CVE-2026-1";
    findings[i].verdict = contracts::Verdict::kAffected;
    findings[i].severity = "high";
    findings[i].score = 7.5;
  }
  findings[3].score = 9.8;
  findings[3].severity = "critical";
  findings[4].effect = Effect::kDeny;
  contracts::Finding unknown;
  unknown.purl = "pkg:generic/mystery@1";
  unknown.severity = "unknown";
  unknown.effect = Effect::kWarn;
  findings.push_back(unknown);
  contracts::Decision d;
  const auto all = decision_statements(facts(), d, findings);
  ASSERT_TRUE(all.has_value()) << all.error().describe();
  const json::Value vulns = predicate(*all, evidence::kVulnsPredicate);
  EXPECT_EQ(vulns.find("scanner")->find("db")->str("lastUpdate"), "2026-11-01T00:00:00Z");
  EXPECT_EQ(vulns.find("scanner")->find("db")->str("uri"), "urn:stellaops:advisory-set:" + crypto::sha256("advisories").hex());
  EXPECT_EQ(vulns.find("metadata")->str("scanStartedOn"), "2026-11-02T00:00:00Z");
  const json::Array& result = vulns.find("scanner")->items("result");
  ASSERT_EQ(result.size(), 2u);
  EXPECT_EQ(result[0].str("id"), "CVE-2026-1");
  EXPECT_EQ(json::dump(*result[0].find("severity")), R"([{"method":"CVSS base score","score":"9.8"},{"method":"rating","score":"critical"}])");
  const json::Value& said = result[0].items("annotations").front();
  EXPECT_EQ(said.items("purls").size(), kPurlsPerVulnerability);
  EXPECT_EQ(said.integer("more"), 5);
  EXPECT_EQ(said.str("effect"), "deny");
  EXPECT_EQ(result[1].str("id"), kNotJudged);
  EXPECT_EQ(json::dump(*result[1].items("annotations").front().find("purls")), R"(["pkg:generic/mystery@1"])");
}

}  // namespace
}  // namespace stella::attest
