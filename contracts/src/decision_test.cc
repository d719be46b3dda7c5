// Decision and findings on the wire: round trip, canonical form, one spelling.
#include "stella/contracts/decision.h"

#include <gtest/gtest.h>

#include "stella/base/json.h"

namespace stella::contracts {
namespace {

Decision decision() {
  Decision d{.as_of = "2026-11-25T00:00:00.000000Z", .policy_version = "default@0123456789ab", .effect = Effect::kDeny, .reason = "critical \"with\" fix",
             .rule_ids = {"default", "deny-critical"}};
  d.counts = {.components = 20, .findings = 5, .affected = 4, .not_affected = 7, .withdrawn = 1, .unknown = 1, .allow = 1, .warn = 2, .defer = 1, .deny = 1};
  return d;
}

std::vector<Finding> findings() {
  Finding unknown{.component = 1, .purl = "", .verdict = Verdict::kUnknown, .severity = "unknown", .effect = Effect::kDefer, .rule_id = "default", .reason = "malformed purl", .clause = {.by = "reason"}};
  Finding hit{.component = 2, .purl = "pkg:npm/minimist@1.2.5", .advisory_id = "GHSA-xvch-5gv4-984h", .verdict = Verdict::kAffected, .severity = "critical", .score = 9.8,
              .vex = VexStatus::kAffected, .effect = Effect::kDeny, .rule_id = "deny-critical", .reason = "r", .clause = {.by = "range", .affected_index = 0, .range_index = 0, .range_type = "SEMVER", .introduced = "1.0.0", .fixed = "1.2.6"},
              .fixed_versions = {"1.2.6"}};
  return {unknown, hit};
}

TEST(Decision, RoundTripInCanonicalForm) {
  const std::string text = encode(decision());
  auto tree = json::parse(text);
  ASSERT_TRUE(tree);
  EXPECT_EQ(*json::canonical(*tree), text);
  auto back = decode_decision(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), text);
  EXPECT_EQ(back->counts.warn, 2u);
}

TEST(Decision, RefusesWhatItWouldNotWrite) {
  const std::string good = encode(decision());
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    return !decode_decision(bad);
  };
  EXPECT_TRUE(refused("\"warn\":2", "\"warn\":-2"));
  EXPECT_TRUE(refused("\"warn\":2", "\"warn\":4294967296"));
  EXPECT_TRUE(refused("\"deny\",\"format\"", "\"block\",\"format\""));
  EXPECT_TRUE(refused("decision/v1", "decision/v2"));
  EXPECT_TRUE(refused("{\"as_of\"", "{ \"as_of\""));
  EXPECT_TRUE(refused("\"default\",\"deny-critical\"", "\"deny-critical\",\"default\""));
  EXPECT_TRUE(refused("2026-11-25T", "yesterday"));
  EXPECT_FALSE(decode_decision("[]"));
  EXPECT_FALSE(decode_decision(""));
}

TEST(Findings, RoundTripIsIdentical) {
  const std::string text = encode(findings());
  auto back = decode_findings(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), text);
  EXPECT_EQ((*back)[1].score, 9.8);
  EXPECT_EQ((*back)[0].score, -1);
  ASSERT_TRUE(decode_findings(""));
  EXPECT_TRUE(decode_findings("")->empty());
}

TEST(Findings, EveryScoreRoundTrips) {
  for (int tenths = 0; tenths <= 100; ++tenths) {
    auto list = findings();
    list[1].score = tenths / 10.0;
    const std::string text = encode(list);
    auto back = decode_findings(text);
    ASSERT_TRUE(back) << tenths;
    EXPECT_EQ(encode(*back), text);
  }
}

TEST(Findings, RefusesWhatItWouldNotWrite) {
  const std::string good = encode(findings());
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    return !decode_findings(bad);
  };
  EXPECT_TRUE(refused("9.8", "9.80"));
  EXPECT_TRUE(refused("9.8", "10.1"));
  EXPECT_TRUE(refused("\"critical\"", "\"urgent\""));
  EXPECT_TRUE(refused("\"component\":2", "\"component\":1,\"x\":0"));
  EXPECT_TRUE(refused("\"component\":2", "\"component\":0"));
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const char c : {'\0', '"', '}', '0', '\xfe'}) {
      std::string bad = good;
      bad[i] = c;
      auto back = decode_findings(bad);
      if (back) { EXPECT_EQ(encode(*back), bad); }
    }
}

}  // namespace
}  // namespace stella::contracts
