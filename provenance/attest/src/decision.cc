// VSA, SVR and vulns of a decision.
#include "stella/provenance/decision.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "stella/base/encoding.h"
#include "stella/evidence/format/predicates.h"

namespace stella::attest {
namespace {

constexpr std::string_view kScannerUri = "https://stellaops.dev/advisory-link/v1";

std::string level_of(contracts::Effect effect) {
  std::string out = "STELLA_POLICY_";
  for (char c : to_string(effect)) out += static_cast<char>(c - 'a' + 'A');
  return out;
}

// A VSA knows passed and failed only: what is deferred has not passed.
bool passed(contracts::Effect effect) { return effect == contracts::Effect::kAllow || effect == contracts::Effect::kWarn; }

evidence::Resource policy_of(const DecisionFacts& facts) {
  evidence::Resource out;
  out.uri = "urn:stellaops:policy:" + percent_encode(facts.policy_version);
  out.sha256 = facts.policy;
  return out;
}

Result<std::string> summary(const DecisionFacts& facts, const contracts::Decision& decision) {
  evidence::VerificationSummary s;
  s.verifier_versions.emplace_back("stella-runner", facts.engine_version);
  s.time_verified = facts.finished_at;
  s.resource_uri = "urn:stellaops:sbom:" + facts.sbom_id;
  s.policy = policy_of(facts);
  s.passed = passed(decision.effect);
  if (!s.passed) s.levels.emplace_back("FAILED");
  s.levels.push_back(level_of(decision.effect));
  return evidence::make_vsa(std::span(&facts.sbom, 1), s);
}

Result<std::string> result(const DecisionFacts& facts, const contracts::Decision& decision) {
  evidence::VerificationResult r;
  r.policies.push_back(policy_of(facts));
  r.time_created = facts.finished_at;
  r.properties = {"STELLA_POLICY_EVALUATED", level_of(decision.effect)};
  if (decision.counts.affected == 0) r.properties.emplace_back("STELLA_NO_AFFECTED");
  if (decision.counts.unknown == 0) r.properties.emplace_back("STELLA_NO_UNKNOWN");
  return evidence::make_svr(std::span(&facts.sbom, 1), r);
}

// What the findings say about one vulnerability.
struct Gathered {
  std::string severity;
  double score = -1;
  std::set<std::string_view> verdicts, vex;
  contracts::Effect effect = contracts::Effect::kAllow;
  std::set<std::string_view> purls;
};

std::string score_text(double score) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f", score);
  return text;
}

json::Array list(const std::set<std::string_view>& texts, std::size_t most = 100) {
  json::Array out;
  for (std::string_view text : texts)
    if (out.size() < most) out.emplace_back(std::string(text));
  return out;
}

evidence::Vulnerability entry(const std::string& id, const Gathered& g) {
  evidence::Vulnerability v;
  v.id = id;
  if (g.score >= 0) v.severities.emplace_back("CVSS base score", score_text(g.score));
  if (!g.severity.empty()) v.severities.emplace_back("rating", g.severity);
  v.annotations = json::Value::object({{"verdicts", list(g.verdicts)}, {"vex", list(g.vex)}, {"effect", to_string(g.effect)}, {"purls", list(g.purls, kPurlsPerVulnerability)}});
  if (g.purls.size() > kPurlsPerVulnerability) v.annotations.set("more", g.purls.size() - kPurlsPerVulnerability);
  return v;
}

Result<std::string> found(const DecisionFacts& facts, std::span<const contracts::Finding> findings) {
  std::map<std::string, Gathered> by_id;
  for (const contracts::Finding& f : findings) {
    Gathered& g = by_id[f.advisory_id.empty() ? std::string(kNotJudged) : f.advisory_id];
    if (f.score > g.score || g.severity.empty()) {
      g.score = std::max(g.score, f.score);
      g.severity = f.severity;
    }
    g.verdicts.insert(to_string(f.verdict));
    g.vex.insert(to_string(f.vex));
    g.effect = std::max(g.effect, f.effect);  // the order of the enumeration is the fold order
    g.purls.insert(f.purl);
  }
  evidence::VulnerabilityScan scan;
  scan.scanner_uri = std::string(kScannerUri);
  scan.scanner_version = facts.engine_version;
  scan.db_uri = "urn:stellaops:advisory-set:" + facts.advisory_set.hex();
  scan.db_last_update = facts.advisories_as_of;
  scan.started = facts.started_at;
  scan.finished = facts.finished_at;
  for (const auto& [id, gathered] : by_id) scan.result.push_back(entry(id, gathered));
  return evidence::make_vulns(std::span(&facts.sbom, 1), scan);
}

}  // namespace

Result<std::vector<evidence::Stated>> decision_statements(const DecisionFacts& facts, const contracts::Decision& decision, std::span<const contracts::Finding> findings) {
  std::vector<evidence::Stated> out;
  const auto add = [&](std::string_view type, std::string bytes) { out.push_back({.predicate_type = std::string(type), .subjects = {facts.sbom}, .bytes = std::move(bytes)}); };
  add(evidence::kVsaPredicate, STELLA_TRY(summary(facts, decision)));
  add(evidence::kSvrPredicate, STELLA_TRY(result(facts, decision)));
  add(evidence::kVulnsPredicate, STELLA_TRY(found(facts, findings)));
  return out;
}

}  // namespace stella::attest
