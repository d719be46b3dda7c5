// Wire forms of the decision (`decision.json`, canonical JSON) and its findings (`findings.ndjson`).
#include "stella/contracts/decision.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "advisory_fields.h"
#include "stella/base/time.h"

namespace stella::contracts {
namespace {

constexpr std::array<std::string_view, 4> kEffectText = {"allow", "defer", "warn", "deny"};
constexpr std::array<std::string_view, 6> kSeverities = {"critical", "high", "medium", "low", "none", "unknown"};

struct CountField {
  std::string_view name;
  std::uint32_t DecisionCounts::*member;
};
constexpr std::array<CountField, 10> kCountFields = {{{"affected", &DecisionCounts::affected}, {"allow", &DecisionCounts::allow},
    {"components", &DecisionCounts::components}, {"defer", &DecisionCounts::defer}, {"deny", &DecisionCounts::deny},
    {"findings", &DecisionCounts::findings}, {"not_affected", &DecisionCounts::not_affected}, {"unknown", &DecisionCounts::unknown},
    {"warn", &DecisionCounts::warn}, {"withdrawn", &DecisionCounts::withdrawn}}};

// Scores have one decimal: -1 (unknown) has none.
std::string score_text(double score) {
  std::string out;
  json::append_number(out, score);
  return out;
}

void append(std::string& out, const Finding& f) {
  out.append("{\"component\":").append(std::to_string(f.component)).append(",\"purl\":");
  json::append_quoted(out, f.purl);
  if (!f.advisory_id.empty()) {
    out += ",\"advisory_id\":";
    json::append_quoted(out, f.advisory_id);
    out.append(",\"advisory_sha256\":\"").append(f.advisory_sha256.hex()).append("\"");
  }
  out.append(",\"verdict\":\"").append(to_string(f.verdict)).append("\",\"severity\":");
  json::append_quoted(out, f.severity);
  out.append(",\"score\":").append(score_text(f.score));
  out.append(",\"vex\":\"").append(to_string(f.vex)).append("\",\"effect\":\"").append(to_string(f.effect)).append("\",\"rule_id\":");
  json::append_quoted(out, f.rule_id);
  append_optional(out, ",\"reason\":", f.reason);
  append_clause(out, f.clause);
  append_list(out, ",\"fixed_versions\":", f.fixed_versions);
  out += "}\n";
}

bool read_score(LineReader& in, double& out) {
  if (!in.expect(",\"score\":")) return false;
  if (in.accept("-1")) return out = -1, true;
  int whole = 0;
  int tenth = 0;
  if (!in.integer(whole) || whole < 0 || whole > 10) return in.fail("a score from 0 to 10, or -1");
  if (in.accept(".") && (!in.integer(tenth) || tenth < 1 || tenth > 9 || whole == 10)) return in.fail("one decimal");
  out = (whole * 10 + tenth) / 10.0;
  return true;
}

// One of a closed list of words.
template <class Parse, class T>
bool read_word(LineReader& in, std::string_view prefix, Parse parse, T& out, std::string_view expected) {
  std::string text;
  if (!in.expect(prefix) || !in.string(text)) return false;
  auto word = parse(text);
  if (!word) return in.fail(expected);
  out = *word;
  return true;
}

bool read(LineReader& in, Finding& f) {
  if (!in.expect("{\"component\":") || !in.integer(f.component) || !in.expect(",\"purl\":") || !in.string(f.purl)) return false;
  if (in.accept(",\"advisory_id\":") &&
      (!in.string(f.advisory_id) || (f.advisory_id.empty() && !in.fail("an advisory id")) || !in.expect(",\"advisory_sha256\":") ||
       !read_digest(in, f.advisory_sha256)))
    return false;
  if (!read_verdict(in, f.verdict) || !in.expect(",\"severity\":") || !in.string(f.severity)) return false;
  if (std::find(kSeverities.begin(), kSeverities.end(), f.severity) == kSeverities.end()) return in.fail("a severity");
  return read_score(in, f.score) && read_word(in, ",\"vex\":", parse_vex_status, f.vex, "a VEX status") &&
         read_word(in, ",\"effect\":", parse_effect, f.effect, "an effect") && in.expect(",\"rule_id\":") && in.string(f.rule_id) &&
         in.optional(",\"reason\":", f.reason) && read_clause(in, f.clause) && read_list(in, ",\"fixed_versions\":", f.fixed_versions) &&
         in.expect("}\n");
}

Error malformed(std::string_view expected) {
  return Error(base_errors::kMalformed, "not a decision").with("line", std::uint64_t{1}).with("expected", std::string(expected));
}

Result<DecisionCounts> counts_of(const json::Value& v) {
  DecisionCounts counts;
  for (const auto& field : kCountFields) {
    const std::int64_t n = v.integer(field.name, -1);
    if (n < 0 || n > UINT32_MAX) return malformed("counts of components, findings, verdicts and effects");
    counts.*field.member = static_cast<std::uint32_t>(n);
  }
  return counts;
}

}  // namespace

std::string_view to_string(Effect effect) { return kEffectText[static_cast<std::size_t>(effect)]; }

Result<Effect> parse_effect(std::string_view text) {
  for (std::size_t i = 0; i < kEffectText.size(); ++i)
    if (kEffectText[i] == text) return static_cast<Effect>(i);
  return Error(base_errors::kInvalid, "not an effect").with("field", std::string("effect")).with("expected", std::string("allow, defer, warn or deny"));
}

// Names are ASCII and stand in code-unit order, so the text is the RFC 8785 form without building a tree.
std::string encode(const Decision& d) {
  std::string out = "{\"as_of\":";
  json::append_quoted(out, d.as_of);
  out += ",\"counts\":{";
  for (std::size_t i = 0; i < kCountFields.size(); ++i) {
    if (i != 0) out += ',';
    out.append("\"").append(kCountFields[i].name).append("\":").append(std::to_string(d.counts.*kCountFields[i].member));
  }
  out.append("},\"effect\":\"").append(to_string(d.effect)).append("\",\"format\":\"").append(kDecisionFormat).append("\",\"policy_sha256\":\"");
  out.append(d.policy_sha256.hex()).append("\",\"policy_version\":");
  json::append_quoted(out, d.policy_version);
  out += ",\"reason\":";
  json::append_quoted(out, d.reason);
  out += ",\"rule_ids\":[";
  for (std::size_t i = 0; i < d.rule_ids.size(); ++i) {
    if (i != 0) out += ',';
    json::append_quoted(out, d.rule_ids[i]);
  }
  out += "]}";
  return out;
}

Result<Decision> decode_decision(std::string_view text) {
  const json::Value v = STELLA_TRY(json::parse(text));
  Decision d;
  const json::Value* counts = v.find("counts");
  if (counts == nullptr) return malformed("member counts");
  d.counts = STELLA_TRY(counts_of(*counts));
  d.as_of = v.str("as_of");
  if (!Timestamp::parse(d.as_of)) return malformed("as_of as RFC 3339");
  d.policy_version = v.str("policy_version");
  auto digest = Sha256::parse(v.str("policy_sha256"));
  if (!digest) return malformed("policy_sha256 as 64 hex digits");
  d.policy_sha256 = *digest;
  auto effect = parse_effect(v.str("effect"));
  if (!effect) return malformed("effect: allow, defer, warn or deny");
  d.effect = *effect;
  d.reason = v.str("reason");
  for (const auto& id : v.items("rule_ids")) {
    if (!id.is_string()) return malformed("rule_ids as texts");
    if (!d.rule_ids.empty() && d.rule_ids.back() >= id.as_string()) return malformed("rule_ids sorted and unique");
    d.rule_ids.push_back(id.as_string());
  }
  if (encode(d) != text) return malformed("the canonical form and no further members");
  return d;
}

std::string encode(const std::vector<Finding>& findings) {
  std::string out;
  out.reserve(findings.size() * 320);
  for (const auto& f : findings) append(out, f);
  return out;
}

Result<std::vector<Finding>> decode_findings(std::string_view ndjson) {
  std::vector<Finding> findings;
  if (ndjson.empty()) return findings;
  LineReader in(ndjson);
  bool ok = in.well_formed();
  while (ok && !in.at_end()) {
    Finding f;
    ok = read(in, f);
    if (ok && !findings.empty()) {
      const auto& last = findings.back();
      if (std::tie(last.component, last.advisory_id, last.advisory_sha256) >= std::tie(f.component, f.advisory_id, f.advisory_sha256))
        ok = in.fail("findings in ascending order of (component, advisory id, advisory digest)");
    }
    findings.push_back(std::move(f));
  }
  if (!ok) return in.error("not a list of findings");
  return findings;
}

}  // namespace stella::contracts
