// Decisions as statements: the shapes of the specifications, and what their readers refuse.
#include "stella/evidence/format/predicates.h"

#include <gtest/gtest.h>

#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

const Timestamp kNow = Timestamp::from_micros(1'764'000'000'000'000);
const Subject kSubject{.name = "sbom.json", .sha256 = crypto::sha256("sbom")};

VerificationSummary summary() {
  VerificationSummary s;
  s.time_verified = kNow;
  s.resource_uri = "pkg:generic/app@1";
  s.policy = {.name = "", .uri = "https://stellaops.dev/policy/p1", .sha256 = crypto::sha256("policy"), .media_type = {}, .annotations = {}};
  s.inputs = {{.name = "", .uri = "urn:sbom", .sha256 = crypto::sha256("sbom"), .media_type = {}, .annotations = {}}};
  s.passed = true;
  s.levels = {"STELLA_POLICY_ALLOW"};
  return s;
}
VulnerabilityScan scan() {
  VulnerabilityScan s;
  s.scanner_uri = "https://stellaops.dev/matcher/v1";
  s.db_last_update = s.started = s.finished = kNow;
  s.result = {{.id = "GHSA-35jh-r3h4-6jhm", .severities = {{"CVSS_V3", "7.2"}}, .annotations = {}}};
  return s;
}

TEST(Predicates, AreWhatTheSpecificationsName) {
  const auto vsa = parse_statement(make_vsa(std::span(&kSubject, 1), summary()).value());
  ASSERT_TRUE(vsa.has_value());
  EXPECT_EQ(vsa->predicate_type, kVsaPredicate);
  EXPECT_EQ(vsa->predicate.str("verificationResult"), "PASSED");
  EXPECT_EQ(vsa->subjects.front().sha256, kSubject.sha256);
  const VerificationResult passed{.policies = {summary().policy}, .time_created = kNow, .properties = {"STELLA_POLICY_ALLOW"}};
  const auto svr = parse_statement(make_svr(std::span(&kSubject, 1), passed).value());
  ASSERT_TRUE(svr.has_value());
  EXPECT_EQ(svr->predicate.str("timeCreated"), kNow.rfc3339_seconds());
  const auto vulns = parse_statement(make_vulns(std::span(&kSubject, 1), scan()).value());
  ASSERT_TRUE(vulns.has_value());
  EXPECT_EQ(vulns->predicate.find("scanner")->items("result").front().str("id"), "GHSA-35jh-r3h4-6jhm");
  for (const auto* s : {&*vsa, &*svr, &*vulns}) EXPECT_TRUE(check_predicate(s->predicate_type, s->predicate).has_value());
}

TEST(Predicates, MakersRefuseWhatReadersWould) {
  const auto subjects = std::span(&kSubject, 1);
  auto s = summary();
  s.levels = {"SLSA_BUILD_LEVEL_3"};
  EXPECT_FALSE(make_vsa(subjects, s).has_value());
  s = summary();
  s.resource_uri.clear();
  EXPECT_FALSE(make_vsa(subjects, s).has_value());
  s = summary();
  s.levels.clear();
  EXPECT_FALSE(make_vsa(subjects, s).has_value());
  s = summary();
  s.policy.uri.clear();
  EXPECT_FALSE(make_vsa(subjects, s).has_value());
  EXPECT_FALSE(make_vsa({}, summary()).has_value());
  EXPECT_FALSE(make_svr(subjects, {.policies = {}, .time_created = kNow, .properties = {}}).has_value());
  auto v = scan();
  v.scanner_uri.clear();
  EXPECT_FALSE(make_vulns(subjects, v).has_value());
  v = scan();
  v.result.front().id.clear();
  EXPECT_FALSE(make_vulns(subjects, v).has_value());
}

TEST(Predicates, ReadersRefuse) {
  struct Case {
    std::string_view type, predicate;
  };
  const Case cases[] = {
      {kVsaPredicate, R"({"resourceUri":"a","policy":{"uri":"p"},"verificationResult":"PASSED","verifiedLevels":["x"]})"},
      {kVsaPredicate, R"({"verifier":{"id":""},"resourceUri":"a","policy":{"uri":"p"},"verificationResult":"PASSED","verifiedLevels":["x"]})"},
      {kVsaPredicate, R"({"verifier":{"id":"v"},"resourceUri":"a","policy":{},"verificationResult":"PASSED","verifiedLevels":["x"]})"},
      {kVsaPredicate, R"({"verifier":{"id":"v"},"resourceUri":"a","policy":{"uri":"p"},"verificationResult":"passed","verifiedLevels":["x"]})"},
      {kVsaPredicate, R"({"verifier":{"id":"v"},"resourceUri":"a","policy":{"uri":"p"},"verificationResult":"PASSED","verifiedLevels":[]})"},
      {kVsaPredicate, R"({"verifier":{"id":"v"},"resourceUri":"a","policy":{"uri":"p"},"verificationResult":"PASSED","verifiedLevels":["x"],"timeVerified":"yesterday"})"},
      {kSvrPredicate, R"({"verifier":{"id":"v"},"timeCreated":"2024-03-15T14:22:00+01:00","properties":["x"]})"},
      {kSvrPredicate, R"({"verifier":{"id":"v"},"timeCreated":"2024-03-15T14:22:00Z","properties":[7]})"},
      {kVulnsPredicate, R"({"scanner":{"uri":"s","db":{},"result":[]},"metadata":{"scanStartedOn":"2024-03-15T14:22:00Z","scanFinishedOn":"2024-03-15T14:22:00Z"}})"},
      {kVulnsPredicate, R"({"scanner":{"uri":"s","db":{"lastUpdate":"2024-03-15T14:22:00Z"}},"metadata":{"scanStartedOn":"2024-03-15T14:22:00Z","scanFinishedOn":"2024-03-15T14:22:00Z"}})"},
      {kVulnsPredicate, R"({"scanner":{"uri":"s","db":{"lastUpdate":"2024-03-15T14:22:00Z"},"result":[{"id":"a"}]},"metadata":{"scanStartedOn":"2024-03-15T14:22:00Z","scanFinishedOn":"2024-03-15T14:22:00Z"}})"},
  };
  for (const auto& c : cases) EXPECT_FALSE(check_predicate(c.type, json::parse(c.predicate).value()).has_value()) << c.predicate;
  EXPECT_TRUE(check_predicate("https://example.com/other/v1", json::Value::object()).has_value());
}

// The example of the specification page shortens its digests; the predicate is whole.
TEST(Predicates, PublishedExamples) {
  const auto dir = STELLA_SHARED_OR_SKIP("vectors/in-toto/examples");
  const auto doc = json::parse(testing::slurp(dir + "/statement--predicates-svr-3.json"));
  ASSERT_TRUE(doc.has_value());
  json::Value predicate = *doc->find("predicate");
  const auto checked = check_svr(predicate);
  ASSERT_FALSE(checked.has_value());  // "789abc012def..." is no digest
  EXPECT_NE(checked.error().describe().find("digest"), std::string::npos);
  predicate.set("verifier", json::Value::object({{"id", predicate.find("verifier")->str("id")}}));
  EXPECT_TRUE(check_svr(predicate).has_value());
}

}  // namespace
}  // namespace stella::evidence
