// Policy sets: canonical form and name, errors with their place, hostile documents.
#include "stella/pipeline/policy/policy_set.h"

#include <gtest/gtest.h>

#include "policy_variables.h"
#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/crypto/digest.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kGood = R"(# comment
label: team-a
description: >
  what we
  accept
defaults: {effect: allow, reason: fine}
rules:
  - id: late
    priority: 20
    when: severity == "low"
    effect: allow
    reason: low
  - id: early
    priority: 10
    scope:
      ecosystems: [npm, Debian]
      packages: ["lodash*"]
    when: |
      severity in ["critical", "high"] &&
      fix_available
    effect: deny
    reason: "has a fix"
    expires: 2027-01-31
    owner: team-a@example.com
)";

TEST(PolicySet, ReadsAndOrders) {
  auto set = parse_policy_set(kGood);
  ASSERT_TRUE(set) << set.error().describe();
  EXPECT_EQ(set->label, "team-a");
  EXPECT_EQ(set->description, "what we accept");
  EXPECT_EQ(set->default_effect, contracts::Effect::kAllow);
  ASSERT_EQ(set->rules.size(), 2u);
  EXPECT_EQ(set->rules[0].id, "early");
  EXPECT_EQ(set->rules[0].expires->rfc3339(), "2027-01-31T00:00:00.000000Z");
  EXPECT_EQ(set->rules[0].scope.ecosystems, (std::vector<std::string>{"Debian", "npm"}));
  EXPECT_EQ(set->version, "team-a@" + crypto::sha256(set->canonical).hex().substr(0, 12));
}

TEST(PolicySet, CanonicalFormReadsBackToItself) {
  auto set = parse_policy_set(kGood);
  ASSERT_TRUE(set);
  auto tree = json::parse(set->canonical);
  ASSERT_TRUE(tree);
  EXPECT_EQ(*json::canonical(*tree), set->canonical);
  auto again = parse_policy_set(set->canonical);
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(again->canonical, set->canonical);
  EXPECT_EQ(again->version, set->version);
  // Comments, quoting and order of keys do not change what a set is; an effect does.
  std::string same(kGood);
  same.replace(same.find("# comment"), 9, "# other");
  same.replace(same.find("severity == \"low\""), 17, "'severity == \"low\"'");
  EXPECT_EQ(parse_policy_set(same)->sha256, set->sha256);
  std::string other(kGood);
  other.replace(other.find("effect: deny"), 12, "effect: warn");
  EXPECT_NE(parse_policy_set(other)->sha256, set->sha256);
}

// The error of kGood with one replacement.
std::string error_with(std::string_view from, std::string_view to) {
  std::string bad(kGood);
  bad.replace(bad.find(from), from.size(), to);
  auto set = parse_policy_set(bad);
  return set ? "accepted" : set.error().describe();
}

TEST(PolicySet, ErrorsNamePlaceFieldAndExpectation) {
  EXPECT_EQ(error_with("label: team-a", "lable: team-a"),
            "not an acceptable policy set (line=2, column=1, field=lable, expected=one of the keys format, label, description, defaults, rules)");
  EXPECT_EQ(error_with("    effect: deny", "    effect: block"),
            "not an acceptable policy set (line=21, column=13, field=rules[1].effect, expected=allow, defer, warn or deny)");
  EXPECT_EQ(error_with("id: early", "id: late"), "not an acceptable policy set (line=13, column=9, field=rules[1].id, expected=an id that no other rule has)");
  EXPECT_EQ(error_with("id: early", "id: default"),
            "not an acceptable policy set (line=13, column=9, field=rules[1].id, expected=[A-Za-z0-9][A-Za-z0-9._-]{0,63}, but not \"default\")");
  EXPECT_EQ(error_with("    owner: team-a@example.com\n", ""), "not an acceptable policy set (line=13, column=5, field=rules[1].owner, expected=the key owner)");
  EXPECT_EQ(error_with("expires: 2027-01-31", "expires: next week"),
            "not an acceptable policy set (line=23, column=14, field=rules[1].expires, expected=a date (2027-01-31) or an RFC 3339 time)");
  EXPECT_EQ(error_with("priority: 10", "priority: ten"), "not an acceptable policy set (line=14, column=15, field=rules[1].priority, expected=an integer from 0 to 1000000)");
  EXPECT_EQ(error_with("priority: 10", "prio: 10"),
            "not an acceptable policy set (line=14, column=5, field=rules[1].prio, expected=one of the keys id, priority, scope, when, effect, reason, expires, owner)");
  EXPECT_EQ(error_with("packages:", "package:"), "not an acceptable policy set (line=17, column=7, field=rules[1].scope.package, expected=one of the keys ecosystems, packages, purls, advisories)");
  EXPECT_EQ(error_with("reason: low", "reason: low\n    reason: high"), "YAML that a policy set may not use (line=13, column=5, expected=each key once)");
  EXPECT_EQ(error_with("when: severity == \"low\"", "when: severity"), "not an acceptable policy set (line=10, column=11, field=rules[0].when, expected=an expression of type bool, found string)");
}

// A waiver or a ban that can never match helps nobody; one that was published is still read.
TEST(PolicySet, PurlsOfAScopeMustBePurls) {
  const auto set_of = [](std::string_view purl, PolicyText from) {
    return parse_policy_set("label: t\nrules:\n  - {id: a, priority: 1, when: 'true', effect: deny, reason: r, scope: {purls: ['" + std::string(purl) + "']}}\n", from);
  };
  for (const auto* good : {"pkg:npm/lodash@4.17.20", "pkg:npm/@babel/core@7.0.0", "pkg:npm/lodash*", "pkg:*", "*"}) EXPECT_TRUE(set_of(good, PolicyText::kWritten)) << good;
  for (const auto* bad : {"lodash", "npm/lodash@4", "pkg:npm"}) {
    const auto refused = set_of(bad, PolicyText::kWritten);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().field("field"), "rules[0].scope.purls");
    EXPECT_EQ(refused.error().field("line"), "3");
    const auto stored = set_of(bad, PolicyText::kStored);
    ASSERT_TRUE(stored) << bad;
    EXPECT_EQ(stored->rules[0].scope.purls.at(0), bad);  // its digest stays
  }
}

TEST(PolicySet, ExpressionErrorsPointIntoTheDocument) {
  // plain: column 11 is the expression's first character
  EXPECT_EQ(error_with("severity == \"low\"", "severty == \"low\"").substr(0, 63), "faulty expression in a policy set (line=10, column=11, field=ru");
  EXPECT_EQ(error_with("severity == \"low\"", "'severity == 7'").substr(0, 56), "faulty expression in a policy set (line=10, column=21, f");
  // second line of a block
  const auto block = error_with("      fix_available", "      fix_availabel");
  EXPECT_EQ(block.substr(0, 55), "faulty expression in a policy set (line=20, column=7, f");
  EXPECT_NE(block.find("field=rules[1].when, expected=unknown name: expected one of component.purl"), std::string::npos) << block;
}

TEST(PolicySet, RefusesHostileDocuments) {
  const auto error_of = [](std::string_view text) {
    auto set = parse_policy_set(text);
    return set ? std::string("accepted") : set.error().describe();
  };
  std::string laughs = "label: &a [x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) laughs += std::string("k") + c + ": &" + c + " [*" + static_cast<char>(c - 1) + ", *" + static_cast<char>(c - 1) + "]\n";
  EXPECT_NE(error_of(laughs).find("line=1"), std::string::npos) << error_of(laughs);
  EXPECT_NE(error_of("label: *x").find("line=1"), std::string::npos);
  EXPECT_NE(error_of("label: !!python/object x").find("no tag"), std::string::npos);
  EXPECT_NE(error_of("").find("a document"), std::string::npos);
  EXPECT_NE(error_of("label: a\nrules: []\n---\nlabel: b\n").find("one document"), std::string::npos);
  EXPECT_NE(error_of("\xff\xfe").find("UTF-8"), std::string::npos);
  EXPECT_NE(error_of("label: [unclosed").find("malformed YAML"), std::string::npos);
  EXPECT_NE(error_of("label: a\nrules: {}\n").find("a list of rules"), std::string::npos);
  EXPECT_NE(error_of("[]").find("a map with the keys"), std::string::npos);
  EXPECT_NE(error_of("just text").find("a map with the keys"), std::string::npos);
  EXPECT_NE(error_of("? [a]\n: b\n").find("a text as key"), std::string::npos);
  EXPECT_NE(error_of(std::string(100, '[') + std::string(100, ']')).find("nested too deeply"), std::string::npos);
  EXPECT_NE(error_of(std::string(500'000, '[')), "accepted");
  EXPECT_NE(error_of(std::string(500'000, '{')), "accepted");
  std::string keys;
  for (int i = 0; i < 50'000; ++i) keys += "k" + std::to_string(i) + ": x\n";
  EXPECT_NE(error_of(keys).find("at most 64 keys"), std::string::npos);
  std::string steps;
  for (int i = 0; i < 2000; ++i) steps += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_NE(error_of(steps).find("too"), std::string::npos);
  EXPECT_NE(error_of(std::string(limits::kPolicyBytes + 1, '#')).find("too large"), std::string::npos);
  EXPECT_NE(error_of(std::string(limits::kPolicyBytes, '#')).find("a document"), std::string::npos);
  std::string many = "label: a\nrules:\n";
  for (std::size_t i = 0; i <= kPolicyRules; ++i) many += "  - {id: r" + std::to_string(i) + ", priority: 1, when: 'true', effect: allow, reason: x}\n";
  EXPECT_NE(error_of(many).find("too many rules"), std::string::npos);
}

TEST(PolicySet, MutilatedDocumentsNeverCrash) {
  for (std::size_t i = 0; i < kGood.size(); ++i) {
    (void)parse_policy_set(kGood.substr(0, i));
    for (const char c : {'\0', '\n', '\t', ':', '[', '{', '"', '&', '*', '\xff'}) {
      std::string bad(kGood);
      bad[i] = c;
      (void)parse_policy_set(bad);
    }
  }
}

TEST(PolicySet, VariablesMatchTheirIndexes) {
  const auto& v = policy_variables();
  ASSERT_EQ(v.size(), static_cast<std::size_t>(kVariableCount));
  EXPECT_EQ(v[kAdvisoryIds].name, "advisory.ids");
  EXPECT_EQ(v[kExposureFixedVersions].name, "exposure.fixed_versions");
  EXPECT_EQ(v[kSeverity].name, "severity");
  EXPECT_EQ(v[kVexStatements].name, "vex.statements");
  EXPECT_EQ(v[kAsOf].name, "as_of");
}

}  // namespace
}  // namespace stella::pipeline
