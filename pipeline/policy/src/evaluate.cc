// Meets every finding with the rules, folds the effects, writes the trace.
#include "stella/pipeline/policy/evaluate.h"

#include <algorithm>
#include <deque>
#include <set>
#include <tuple>
#include <unordered_map>

#include "finding_values.h"
#include "scope_match.h"
#include "stella/base/json.h"

namespace stella::pipeline {
namespace {

using contracts::Effect;
using contracts::Exposure;
using contracts::Finding;
using contracts::Verdict;
using contracts::VexOutcome;

constexpr std::string_view kDefaultRule = "default";

// What the rules said of one finding.
struct Ruling {
  Effect effect = Effect::kAllow;
  std::string_view rule_id;
  std::string reason;
};

class Run {
 public:
  Run(const contracts::ComponentTable& components, const contracts::ExposureSet& exposures, const contracts::VexResultSet& vex,
      const PolicySet& policy, Timestamp as_of, const EvaluateOptions& options)
      : components_(components), exposures_(exposures), vex_(vex), policy_(policy), as_of_(as_of), as_of_text_(as_of.rfc3339()), options_(options) {
    for (const Rule& r : policy_.rules) scopes_.emplace_back(r.scope);
  }

  Result<Evaluation> run() {
    STELLA_TRY_VOID(check_inputs());
    contracts::Decision& decision = out_.decision;
    decision.as_of = as_of_text_;
    decision.policy_version = policy_.version;
    decision.policy_sha256 = policy_.sha256;
    decision.counts.components = static_cast<std::uint32_t>(components_.components.size());
    if (options_.trace) trace_header();
    for (const Exposure& e : exposures_.exposures) {
      count(e.verdict);
      if (e.verdict != Verdict::kAffected && e.verdict != Verdict::kUnknown) continue;
      add_finding(e);
      if (out_.trace.size() > options_.max_trace_bytes)
        return Error(base_errors::kLimit, "decision trace is too large").with("limit", std::uint64_t{options_.max_trace_bytes});
      if (steps_ > options_.max_steps) return Error(base_errors::kLimit, "evaluation is too expensive").with("limit", options_.max_steps);
    }
    fold();
    return std::move(out_);
  }

 private:
  Result<void> check_inputs() const {
    const auto contradiction = [](std::string_view field, std::string_view expected) {
      return Error(base_errors::kInvalid, "inputs of the evaluation contradict each other").with("field", std::string(field)).with("expected", std::string(expected));
    };
    const Exposure* last = nullptr;
    for (const Exposure& e : exposures_.exposures) {
      if (e.component >= components_.components.size()) return contradiction("exposures.component", "an index of the component table");
      if (last != nullptr && std::tie(last->component, last->advisory.id, last->advisory.sha256) >= std::tie(e.component, e.advisory.id, e.advisory.sha256))
        return contradiction("exposures", "ascending (component, advisory id, advisory digest)");
      last = &e;
    }
    for (std::size_t i = 0; i < vex_.outcomes.size(); ++i) {
      const VexOutcome& o = vex_.outcomes[i];
      if (o.component >= components_.components.size()) return contradiction("vex.component", "an index of the component table");
      if (i != 0 && std::tie(vex_.outcomes[i - 1].component, vex_.outcomes[i - 1].advisory_id) >= std::tie(o.component, o.advisory_id))
        return contradiction("vex", "ascending (component, advisory id)");
    }
    return {};
  }

  void count(Verdict verdict) {
    auto& n = out_.decision.counts;
    switch (verdict) {
      case Verdict::kAffected: ++n.affected; break;
      case Verdict::kNotAffected: ++n.not_affected; break;
      case Verdict::kWithdrawn: ++n.withdrawn; break;
      case Verdict::kUnknown: ++n.unknown; break;
    }
  }

  const VexOutcome* outcome_of(const Exposure& e) const {
    const auto found = std::lower_bound(vex_.outcomes.begin(), vex_.outcomes.end(), e, [](const VexOutcome& o, const Exposure& x) {
      return std::tie(o.component, o.advisory_id) < std::tie(x.component, x.advisory.id);
    });
    return found != vex_.outcomes.end() && found->component == e.component && found->advisory_id == e.advisory.id ? &*found : nullptr;
  }

  // Vectors are computed once per advisory document, not per finding.
  const Severity& severity(const Exposure& e) {
    static const Severity kUnknown;
    if (e.advisory.id.empty()) return kUnknown;
    // affected[] entries of one document may state their own vectors.
    auto& known = severities_[e.advisory.sha256];
    for (const auto& [vectors, severity] : known)
      if (std::equal(vectors->begin(), vectors->end(), e.advisory.severity.begin(), e.advisory.severity.end(),
                     [](const auto& a, const auto& b) { return a.type == b.type && a.score == b.score; }))
        return severity;
    return known.emplace_back(&e.advisory.severity, severity_of(e.advisory.severity, e.advisory.database_severity)).second;
  }

  void add_finding(const Exposure& e) {
    const VexOutcome* vex = outcome_of(e);
    const Severity& sev = severity(e);
    FindingValues values(components_.components[e.component], e, vex, sev, as_of_, as_of_text_);
    if (options_.trace) trace_finding(e, vex);
    const Ruling ruling = rule(e, values);
    if (options_.trace) trace_ruling(ruling, values);

    Finding f;
    f.component = e.component;
    f.purl = e.purl;
    f.advisory_id = e.advisory.id;
    f.advisory_sha256 = e.advisory.sha256;
    f.verdict = e.verdict;
    f.severity = sev.word;
    f.score = sev.score;
    f.vex = vex != nullptr ? vex->status : contracts::VexStatus::kNone;
    f.effect = ruling.effect;
    f.rule_id = ruling.rule_id;
    f.reason = ruling.reason;
    f.clause = e.clause;
    f.fixed_versions = e.fixed_versions;
    out_.findings.push_back(std::move(f));
  }

  // Looks at the rules in order until one matches.
  Ruling rule(const Exposure& e, const FindingValues& values) {
    const auto& component = components_.components[e.component];
    Ruling ruling{policy_.default_effect, kDefaultRule, policy_.default_reason.empty() ? "no rule matched" : policy_.default_reason};
    const Rule* failed = nullptr;
    std::string_view failure;
    reads_ = 0;
    rules_trace_.clear();
    for (std::size_t i = 0; i < policy_.rules.size(); ++i) {
      const Rule& r = policy_.rules[i];
      if (r.expires && *r.expires <= as_of_) {
        trace_rule(r, "expired");
        continue;
      }
      if (!r.scope.empty() && !scopes_[i].covers(e, component)) {
        trace_rule(r, "out_of_scope");
        continue;
      }
      const cel::Value result = r.program.evaluate(values, scratch_);
      reads_ |= scratch_.reads();
      steps_ += scratch_.steps();
      if (!result.is_bool()) {
        if (failed == nullptr) failed = &r, failure = result.is_error() ? result.as_text() : std::string_view("not a bool");
        trace_rule(r, "error", &result);
        continue;
      }
      trace_rule(r, result.as_bool() ? "true" : "false", &result);
      if (!result.as_bool()) continue;
      ruling = {r.effect, r.id, r.reason};
      break;
    }
    if (failed != nullptr && ruling.effect < Effect::kDefer)
      ruling = {Effect::kDefer, failed->id, std::string("this rule could not be evaluated: ").append(failure)};
    else if (e.verdict == Verdict::kUnknown && !e.reason.empty())
      ruling.reason = e.reason;
    return ruling;
  }

  void fold() {
    contracts::Decision& d = out_.decision;
    d.counts.findings = static_cast<std::uint32_t>(out_.findings.size());
    d.reason = "no finding";
    const Finding* decisive = nullptr;
    std::set<std::string_view> ids;
    for (const Finding& f : out_.findings) {
      ids.insert(f.rule_id);
      switch (f.effect) {
        case Effect::kAllow: ++d.counts.allow; break;
        case Effect::kDefer: ++d.counts.defer; break;
        case Effect::kWarn: ++d.counts.warn; break;
        case Effect::kDeny: ++d.counts.deny; break;
      }
      if (decisive == nullptr || f.effect > decisive->effect || (f.effect == decisive->effect && f.score > decisive->score)) decisive = &f;
    }
    d.rule_ids.assign(ids.begin(), ids.end());
    if (decisive == nullptr) return;
    d.effect = decisive->effect;
    d.reason = decisive->reason;
  }

  // ---- trace ----

  void trace_header() {
    std::string& t = out_.trace;
    t += "{\"format\":\"stella.trace/v1\",\"as_of\":";
    json::append_quoted(t, as_of_text_);
    t.append(",\"policy_sha256\":\"").append(policy_.sha256.hex()).append("\",\"policy_version\":");
    json::append_quoted(t, policy_.version);
    t.append(",\"vex_rule\":");
    json::append_quoted(t, vex_.rule);
    t += ",\"rules\":[";
    for (std::size_t i = 0; i < policy_.rules.size(); ++i) {
      const Rule& r = policy_.rules[i];
      t += i == 0 ? "{\"id\":" : ",{\"id\":";
      json::append_quoted(t, r.id);
      t.append(",\"priority\":").append(std::to_string(r.priority)).append(",\"effect\":\"").append(to_string(r.effect)).append("\",\"when\":");
      json::append_quoted(t, r.when);
      if (r.expires) t.append(",\"expires\":\"").append(r.expires->rfc3339()).append("\"");
      t += '}';
    }
    t += "]}\n";
  }

  void trace_finding(const Exposure& e, const VexOutcome* vex) {
    std::string& t = out_.trace;
    t.append("{\"component\":").append(std::to_string(e.component)).append(",\"purl\":");
    json::append_quoted(t, e.purl);
    if (!e.advisory.id.empty()) {
      t += ",\"advisory_id\":";
      json::append_quoted(t, e.advisory.id);
      t.append(",\"advisory_sha256\":\"").append(e.advisory.sha256.hex()).append("\"");
    }
    t.append(",\"verdict\":\"").append(to_string(e.verdict)).append("\"");
    if (vex == nullptr) return;
    t.append(",\"vex\":{\"status\":\"").append(to_string(vex->status)).append(vex->conflict ? "\",\"conflict\":true,\"considered\":[" : "\",\"considered\":[");
    for (std::size_t i = 0; i < vex->considered.size(); ++i) {
      const auto& s = vex->considered[i];
      t.append(i == 0 ? "{\"document\":\"" : ",{\"document\":\"").append(s.document.hex()).append("\",\"pointer\":");
      json::append_quoted(t, s.pointer);
      t.append(",\"status\":\"").append(to_string(s.status)).append("\",\"rank\":").append(std::to_string(s.rank));
      t.append(s.applies ? ",\"applies\":true,\"why\":" : ",\"applies\":false,\"why\":");
      json::append_quoted(t, s.why);
      t += '}';
    }
    t += "]}";
  }

  void trace_rule(const Rule& r, std::string_view result, const cel::Value* value = nullptr) {
    if (!options_.trace) return;
    std::string& t = rules_trace_;
    t += t.empty() ? "{\"id\":" : ",{\"id\":";
    json::append_quoted(t, r.id);
    t.append(",\"result\":\"").append(result).append("\"");
    if (value != nullptr) {
      t += ",\"reads\":[";
      bool first = true;
      for (std::size_t i = 0; i < kVariableCount; ++i) {
        if ((scratch_.reads() >> i & 1) == 0) continue;
        if (!std::exchange(first, false)) t += ',';
        json::append_quoted(t, policy_variables()[i].name);
      }
      t += ']';
      if (value->is_error()) {
        const auto [line, column] = r.program.position(value->error_offset());
        t += ",\"error\":";
        json::append_quoted(t, value->as_text());
        t.append(",\"line\":").append(std::to_string(line)).append(",\"column\":").append(std::to_string(column));
      }
    }
    t += '}';
  }

  void trace_ruling(const Ruling& ruling, const FindingValues& values) {
    std::string& t = out_.trace;
    t += ",\"operands\":{";
    bool first = true;
    for (std::size_t i = 0; i < kVariableCount; ++i) {
      if ((reads_ >> i & 1) == 0) continue;
      if (!std::exchange(first, false)) t += ',';
      json::append_quoted(t, policy_variables()[i].name);
      t += ':';
      cel::append_json(t, values.get(i));
    }
    t.append("},\"rules\":[").append(rules_trace_).append("],\"rule_id\":");
    json::append_quoted(t, ruling.rule_id);
    t.append(",\"effect\":\"").append(to_string(ruling.effect)).append("\",\"reason\":");
    json::append_quoted(t, ruling.reason);
    t += "}\n";
  }

  const contracts::ComponentTable& components_;
  const contracts::ExposureSet& exposures_;
  const contracts::VexResultSet& vex_;
  const PolicySet& policy_;
  const Timestamp as_of_;
  const std::string as_of_text_;
  const EvaluateOptions& options_;
  std::vector<ScopeMatch> scopes_;  // of the rules
  cel::Scratch scratch_;
  std::uint64_t reads_ = 0;     // of all rules of the current finding
  std::uint64_t steps_ = 0;     // of all findings so far
  std::string rules_trace_;     // of the current finding
  std::unordered_map<Sha256, std::deque<std::pair<const std::vector<contracts::SeverityVector>*, Severity>>> severities_;
  Evaluation out_;
};

}  // namespace

Result<Evaluation> evaluate(const contracts::ComponentTable& components, const contracts::ExposureSet& exposures,
                            const contracts::VexResultSet& vex, const PolicySet& policy, Timestamp as_of, const EvaluateOptions& options) {
  return Run(components, exposures, vex, policy, as_of, options).run();
}

}  // namespace stella::pipeline
