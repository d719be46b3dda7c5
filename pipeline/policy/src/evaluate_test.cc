// Decisions: first match, fold, waivers, VEX, unknowns, failing rules, trace, determinism.
#include "stella/pipeline/policy/evaluate.h"

#include <gtest/gtest.h>

#include "stella/base/json.h"

namespace stella::pipeline {
namespace {

using namespace contracts;  // NOLINT: a test

Sha256 digest(std::uint8_t first) {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = first;
  return Sha256(bytes);
}

Timestamp at(std::string_view text) { return *Timestamp::parse(text); }

constexpr std::string_view kCritical = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";  // 9.8
constexpr std::string_view kMedium = "CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:N";    // 4.8

struct World {
  ComponentTable components;
  ExposureSet exposures;
  VexResultSet vex{.rule = "stella.vex-precedence/2"};

  std::uint32_t component(std::string name, std::string version) {
    components.components.push_back({.purl = "pkg:npm/" + name + "@" + version, .type = "npm", .ecosystem = "npm", .name = name, .version = version, .label = name});
    return static_cast<std::uint32_t>(components.components.size() - 1);
  }
  Exposure& exposure(std::uint32_t c, Verdict verdict, std::string id, std::string_view vector = "", bool fix = false) {
    Exposure e{.component = c, .purl = components.components[c].purl, .ecosystem = "npm", .name = components.components[c].name, .version = components.components[c].version, .verdict = verdict};
    if (!id.empty()) {
      e.advisory = {.id = id, .sha256 = digest(static_cast<std::uint8_t>(exposures.exposures.size() + 1)), .aliases = {"CVE-1-" + id}, .published = "2024-01-01T00:00:00Z"};
      e.clause = {.by = "range", .affected_index = 0, .range_index = 0, .range_type = "SEMVER", .introduced = "0"};
    } else {
      e.clause.by = "reason";
    }
    if (!vector.empty()) e.advisory.severity = {{"CVSS_V3", std::string(vector)}};
    if (fix) e.fixed_versions = {"9.9.9"};
    return exposures.exposures.emplace_back(std::move(e));
  }
};

World world() {
  World w;
  const auto a = w.component("a", "1.0.0");
  const auto b = w.component("b", "1.0.0");
  const auto c = w.component("c", "");
  w.exposure(a, Verdict::kAffected, "GHSA-a1", kCritical, true);
  w.exposure(a, Verdict::kNotAffected, "GHSA-a2", kCritical, true);
  w.exposure(a, Verdict::kWithdrawn, "GHSA-a3", kCritical, true);
  w.exposure(b, Verdict::kAffected, "GHSA-b1", kMedium);
  w.exposure(b, Verdict::kAffected, "GHSA-b2", kCritical, true);
  w.exposure(c, Verdict::kUnknown, "").reason = "no version";
  w.vex.outcomes.push_back({.component = b, .purl = "pkg:npm/b@1.0.0", .advisory_id = "GHSA-b2", .status = VexStatus::kNotAffected, .justification = "vulnerable_code_not_in_execute_path",
                            .considered = {{.document = digest(7), .pointer = "/statements/0", .status = VexStatus::kNotAffected, .rank = 4, .applies = true, .why = "exact purl"}}});
  return w;
}

PolicySet policy(std::string_view rules, std::string_view defaults = "{effect: allow, reason: nothing against it}") {
  auto set = parse_policy_set("label: t\ndefaults: " + std::string(defaults) + "\nrules:\n" + std::string(rules));
  if (!set) ADD_FAILURE() << set.error().describe();
  return set ? std::move(*set) : PolicySet{};
}

constexpr std::string_view kRules = R"(
  - {id: vex, priority: 10, when: 'vex.status in ["not_affected", "fixed"]', effect: allow, reason: VEX says so}
  - {id: unknown, priority: 20, when: 'exposure.verdict == "unknown"', effect: defer, reason: look at it}
  - {id: critical, priority: 30, when: 'score >= 9 && fix_available', effect: deny, reason: critical with a fix}
  - {id: rest, priority: 40, when: 'true', effect: warn, reason: affected}
)";

Evaluation run(const World& w, const PolicySet& p, std::string_view as_of = "2025-01-01T00:00:00Z", const EvaluateOptions& options = {}) {
  auto result = evaluate(w.components, w.exposures, w.vex, p, at(as_of), options);
  if (!result) ADD_FAILURE() << result.error().describe();
  return result ? std::move(*result) : Evaluation{};
}

// Lines of the trace behind its header.
std::vector<json::Value> trace_lines(const Evaluation& e) {
  std::vector<json::Value> out;
  for (std::size_t from = 0; from < e.trace.size();) {
    const std::size_t end = e.trace.find('\n', from);
    auto line = json::parse(std::string_view(e.trace).substr(from, end - from));
    if (!line) ADD_FAILURE() << line.error().describe() << e.trace.substr(from, end - from);
    else out.push_back(std::move(*line));
    from = end + 1;
  }
  return out;
}

TEST(Evaluate, FirstMatchPerFindingThenFold) {
  const Evaluation e = run(world(), policy(kRules));
  ASSERT_EQ(e.findings.size(), 4u);
  EXPECT_EQ(e.findings[0].effect, Effect::kDeny);
  EXPECT_EQ(e.findings[0].rule_id, "critical");
  EXPECT_EQ(e.findings[0].severity, "critical");
  EXPECT_EQ(e.findings[0].score, 9.8);
  EXPECT_EQ(e.findings[1].rule_id, "rest");
  EXPECT_EQ(e.findings[2].effect, Effect::kAllow);
  EXPECT_EQ(e.findings[2].vex, VexStatus::kNotAffected);
  EXPECT_EQ(e.findings[3].rule_id, "unknown");
  EXPECT_EQ(e.findings[3].reason, "no version");  // of the verdict
  const auto& d = e.decision;
  EXPECT_EQ(d.effect, Effect::kDeny);
  EXPECT_EQ(d.reason, "critical with a fix");
  EXPECT_EQ(d.rule_ids, (std::vector<std::string>{"critical", "rest", "unknown", "vex"}));
  EXPECT_EQ(d.counts.components, 3u);
  EXPECT_EQ(d.counts.findings, 4u);
  EXPECT_EQ(d.counts.affected, 3u);
  EXPECT_EQ(d.counts.not_affected, 1u);
  EXPECT_EQ(d.counts.withdrawn, 1u);
  EXPECT_EQ(d.counts.unknown, 1u);
  EXPECT_EQ(d.counts.deny, 1u);
  EXPECT_EQ(d.counts.warn, 1u);
  EXPECT_EQ(d.counts.defer, 1u);
  EXPECT_EQ(d.counts.allow, 1u);
  // What leaves the function survives the wire.
  auto findings = decode_findings(encode(e.findings));
  ASSERT_TRUE(findings) << findings.error().describe();
  EXPECT_TRUE(decode_decision(encode(d)));
}

TEST(Evaluate, FoldOrder) {
  World w = world();
  const auto overall = [&](std::string_view rules) { return run(w, policy(rules)).decision.effect; };
  EXPECT_EQ(overall("  - {id: x, priority: 1, when: 'true', effect: allow, reason: r}\n"), Effect::kAllow);
  EXPECT_EQ(overall("  - {id: x, priority: 1, when: 'component.name == \"c\"', effect: defer, reason: r}\n"), Effect::kDefer);
  EXPECT_EQ(overall("  - {id: x, priority: 1, when: 'component.name == \"c\"', effect: defer, reason: r}\n  - {id: y, priority: 2, when: 'component.name == \"b\"', effect: warn, reason: r}\n"), Effect::kWarn);
  const Evaluation none = run(World{}, policy(kRules));
  EXPECT_EQ(none.decision.effect, Effect::kAllow);
  EXPECT_EQ(none.decision.reason, "no finding");
  EXPECT_TRUE(none.decision.rule_ids.empty());
}

TEST(Evaluate, DefaultDecidesWhereNoRuleMatches) {
  const auto set = policy("  - {id: x, priority: 1, when: 'false', effect: allow, reason: r}\n", "{effect: warn}");
  const Evaluation e = run(world(), set);
  EXPECT_EQ(e.findings[0].rule_id, "default");
  EXPECT_EQ(e.findings[0].reason, "no rule matched");
  EXPECT_EQ(e.decision.effect, Effect::kWarn);
  auto bare = parse_policy_set("label: t\nrules: []\n");
  ASSERT_TRUE(bare);
  EXPECT_EQ(run(world(), *bare).decision.effect, Effect::kDefer);  // a set that says nothing about it asks a person
}

TEST(Evaluate, WaiversEndAtTheirInstant) {
  const auto set = policy(R"(
  - {id: waiver, priority: 1, when: 'true', effect: allow, reason: accepted, expires: 2025-06-01, owner: someone, scope: {purls: ["pkg:npm/a@*"], advisories: [CVE-1-GHSA-a1]}}
  - {id: deny, priority: 2, when: 'true', effect: deny, reason: no}
)");
  EXPECT_EQ(run(world(), set, "2025-05-31T23:59:59.999999Z").findings[0].rule_id, "waiver");
  EXPECT_EQ(run(world(), set, "2025-06-01T00:00:00Z").findings[0].rule_id, "deny");
  const Evaluation before = run(world(), set, "2025-05-31T23:59:59Z");
  EXPECT_EQ(before.findings[1].rule_id, "deny");  // out of scope
  const auto lines = trace_lines(run(world(), set, "2025-06-01T00:00:00Z"));
  EXPECT_EQ(lines[1].items("rules")[0].str("result"), "expired");
  EXPECT_EQ(trace_lines(before)[2].items("rules")[0].str("result"), "out_of_scope");
}

// Names and purls as people write them, against components as we spell them.
TEST(Evaluate, ScopesKnowEverySpelling) {
  const auto fires = [](std::string ecosystem, std::string name, std::string purl, std::string scope) {
    World w;
    w.components.components.push_back({.purl = purl, .type = "x", .ecosystem = std::move(ecosystem), .name = std::move(name), .version = "1", .label = "x"});
    w.exposure(0, Verdict::kAffected, "GHSA-1").purl = purl;
    return run(w, policy("  - {id: ban, priority: 1, when: 'true', effect: deny, reason: r, scope: {" + scope + "}}\n")).decision.effect == Effect::kDeny;
  };
  EXPECT_TRUE(fires("PyPI", "django", "pkg:pypi/django@4.2", "packages: [Django]"));
  EXPECT_TRUE(fires("PyPI", "zope-interface", "pkg:pypi/zope-interface@5", "packages: ['zope.interface']"));
  EXPECT_TRUE(fires("PyPI", "zope-interface", "pkg:pypi/zope-interface@5", "packages: ['Zope_*']"));
  EXPECT_TRUE(fires("Go", "github.com/Masterminds/sprig", "pkg:golang/github.com/Masterminds/sprig@v3", "packages: ['github.com/masterminds/*']"));
  EXPECT_FALSE(fires("npm", "django", "pkg:npm/django@1", "packages: [Django]"));  // npm tells them apart
  EXPECT_FALSE(fires("PyPI", "django-cms", "pkg:pypi/django-cms@4", "packages: [Django]"));
  EXPECT_TRUE(fires("npm", "@babel/core", "pkg:npm/%40babel/core@7.0.0", "purls: ['pkg:npm/@babel/core@7.0.0']"));
  EXPECT_TRUE(fires("npm", "@babel/core", "pkg:npm/%40babel/core@7.0.0", "purls: ['pkg:npm/@babel/*']"));
  EXPECT_TRUE(fires("PyPI", "django", "pkg:pypi/django@4.2", "purls: ['pkg:PyPI/Django@4.2']"));
  EXPECT_FALSE(fires("npm", "@babel/core", "pkg:npm/%40babel/core@7.0.0", "purls: ['pkg:npm/@babel/core@7.0.1']"));
  for (const std::string scope : {"purls: ['pkg:golang/stdlib@1.21.0']", "purls: ['pkg:golang/std@go1.21.0']", "purls: ['pkg:golang/stdlib@go1.*']", "purls: ['pkg:golang/std@*']", "purls: ['pkg:golang/std*']", "packages: [std]", "packages: [stdlib]"})
    for (const std::string purl : {"pkg:golang/std@go1.21.0", "pkg:golang/stdlib@1.21.0", "pkg:golang/stdlib@v1.21.0"}) EXPECT_TRUE(fires("Go", "stdlib", purl, scope)) << scope << " " << purl;
  EXPECT_FALSE(fires("Go", "stdlib", "pkg:golang/std@go1.21.0", "purls: ['pkg:golang/stdlib@1.21.1']"));
  EXPECT_FALSE(fires("Go", "stdx", "pkg:golang/stdx@v1.21.0", "purls: ['pkg:golang/std@*']"));
}

TEST(Evaluate, ScopeByEcosystemCoversItsReleases) {
  World w;
  const auto c = w.component("curl", "7.88");
  w.components.components[c].ecosystem = "Debian:12";
  w.exposure(c, Verdict::kAffected, "DSA-1");
  const auto effect_for = [&](std::string_view ecosystem) {
    return run(w, policy("  - {id: x, priority: 1, when: 'true', effect: deny, reason: r, scope: {ecosystems: [\"" + std::string(ecosystem) + "\"]}}\n")).decision.effect;
  };
  EXPECT_EQ(effect_for("Debian"), Effect::kDeny);
  EXPECT_EQ(effect_for("Debian:12"), Effect::kDeny);
  EXPECT_EQ(effect_for("Debian:1"), Effect::kAllow);
  EXPECT_EQ(effect_for("Deb"), Effect::kAllow);
}

TEST(Evaluate, FailingRulesNeverAllow) {
  // The rule divides by zero; what follows would allow.
  const auto set = policy(R"(
  - {id: broken, priority: 1, when: '100 / size(exposure.fixed_versions) > 200', effect: deny, reason: r}
  - {id: fine, priority: 2, when: 'true', effect: allow, reason: fine}
)");
  const Evaluation e = run(world(), set);
  EXPECT_EQ(e.findings[0].effect, Effect::kAllow);  // one fixed version: no error
  EXPECT_EQ(e.findings[1].effect, Effect::kDefer);
  EXPECT_EQ(e.findings[1].rule_id, "broken");
  EXPECT_EQ(e.findings[1].reason, "this rule could not be evaluated: division by zero");
  EXPECT_EQ(e.decision.effect, Effect::kDefer);
  const auto lines = trace_lines(e);
  const auto& rules = lines[2].items("rules");
  EXPECT_EQ(rules[0].str("result"), "error");
  EXPECT_EQ(rules[0].str("error"), "division by zero");
  EXPECT_EQ(rules[0].integer("column"), 5);
  EXPECT_EQ(rules[1].str("result"), "true");
  // A stronger effect of a later rule stays.
  const auto strict = policy(R"(
  - {id: broken, priority: 1, when: '100 / size(exposure.fixed_versions) > 200', effect: allow, reason: r}
  - {id: deny, priority: 2, when: 'true', effect: deny, reason: no}
)");
  EXPECT_EQ(run(world(), strict).findings[1].rule_id, "deny");
}

TEST(Evaluate, TraceHoldsEveryRuleLookedAtAndOnlyWhatWasRead) {
  const Evaluation e = run(world(), policy(kRules));
  const auto lines = trace_lines(e);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].str("format"), "stella.trace/v1");
  EXPECT_EQ(lines[0].items("rules").size(), 4u);
  const auto& first = lines[1];
  ASSERT_EQ(first.items("rules").size(), 3u);  // "rest" was never reached
  EXPECT_EQ(first.items("rules")[2].str("id"), "critical");
  EXPECT_EQ(json::dump(*first.find("operands")), R"({"exposure.verdict":"affected","score":9.8,"vex.status":"none","fix_available":true})");
  EXPECT_EQ(lines[3].find("vex")->str("status"), "not_affected");
  EXPECT_EQ(lines[3].find("vex")->items("considered")[0].str("pointer"), "/statements/0");
  EXPECT_EQ(json::dump(*lines[3].find("operands")), R"({"vex.status":"not_affected"})");
}

TEST(Evaluate, AgesAreRelativeToAsOf) {
  const auto set = policy("  - {id: old, priority: 1, when: 'age_days > 30', effect: deny, reason: r}\n");
  EXPECT_EQ(run(world(), set, "2024-01-31T23:00:00Z").findings[0].rule_id, "default");
  EXPECT_EQ(run(world(), set, "2024-02-01T00:00:00Z").findings[0].rule_id, "old");
  EXPECT_EQ(run(world(), set, "2023-01-01T00:00:00Z").findings[0].rule_id, "default");
}

TEST(Evaluate, SameInputsSameBytes) {
  const Evaluation one = run(world(), policy(kRules));
  const Evaluation two = run(world(), policy(kRules));
  EXPECT_EQ(encode(one.decision), encode(two.decision));
  EXPECT_EQ(encode(one.findings), encode(two.findings));
  EXPECT_EQ(one.trace, two.trace);
  const Evaluation silent = run(world(), policy(kRules), "2025-01-01T00:00:00Z", {.trace = false});
  EXPECT_TRUE(silent.trace.empty());
  EXPECT_EQ(encode(one.decision), encode(silent.decision));
  EXPECT_EQ(encode(one.findings), encode(silent.findings));
}

TEST(Evaluate, RefusesContradictingInputsAndOversizeTraces) {
  const auto set = policy(kRules);
  const auto error_of = [&](const World& w, EvaluateOptions options = {}) {
    auto result = evaluate(w.components, w.exposures, w.vex, set, at("2025-01-01T00:00:00Z"), options);
    return result ? std::string() : result.error().describe();
  };
  World w = world();
  EXPECT_EQ(error_of(w), "");
  w.exposures.exposures.back().component = 3;
  EXPECT_NE(error_of(w).find("exposures.component"), std::string::npos);
  w = world();
  std::swap(w.exposures.exposures[0], w.exposures.exposures[1]);
  EXPECT_NE(error_of(w).find("ascending"), std::string::npos);
  w = world();
  w.vex.outcomes[0].component = 99;
  EXPECT_NE(error_of(w).find("vex.component"), std::string::npos);
  EXPECT_NE(error_of(world(), {.max_trace_bytes = 500}).find("too large"), std::string::npos);
  EXPECT_NE(error_of(world(), {.max_steps = 20}).find("too expensive"), std::string::npos);
}

}  // namespace
}  // namespace stella::pipeline
