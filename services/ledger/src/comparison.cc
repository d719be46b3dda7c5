// Findings are compared by component and advisory; the cause is read off the inputs.
#include "stella/services/comparison.h"

#include <map>

#include "stella/contracts/components.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/exposures.h"
#include "stella/crypto/digest.h"
#include "stella/tenancy/paths.h"

namespace stella::ledger {
namespace {

using contracts::Finding;

constexpr std::uint64_t kObjectBytes = 1ull << 30;
constexpr std::string_view kSide =
    "SELECT state, sbom_id, policy_version, as_of, decision_effect, decision_reason, sbom_sha256, components_sha256, policy_sha256, advisory_set_sha256, vex_set_sha256, findings_sha256"
    " FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2";

using Key = std::pair<std::string_view, std::string_view>;  // purl, advisory
using Index = std::map<Key, const Finding*>;

Index index_of(const std::vector<Finding>& findings) {
  Index out;
  for (const Finding& f : findings) out.emplace(Key{f.purl, f.advisory_id}, &f);
  return out;
}

bool same_input(const EvaluationSide& a, const EvaluationSide& b, std::string_view name) {
  const auto digest = [&](const EvaluationSide& side) {
    for (const auto& [n, d] : side.inputs)
      if (n == name) return d;
    return Sha256();
  };
  return digest(a) == digest(b);
}

// What all findings of this pair of evaluations can be explained by.
struct Differences {
  bool advisories, vex, policy, time;
  Differences(const EvaluationSide& a, const EvaluationSide& b)
      : advisories(!same_input(a, b, "advisories")), vex(!same_input(a, b, "vex")), policy(!same_input(a, b, "policy")), time(a.as_of != b.as_of) {}
  std::string_view any() const { return policy ? "policy_changed" : time ? "time" : "unexplained"; }
};

std::string_view cause_of(const EvaluationSide& before, const EvaluationSide& after, const Differences& differ, const Finding* was, const Finding* is) {
  const Finding& one = was != nullptr ? *was : *is;
  if (!before.purls.contains(one.purl)) return "component_added";
  if (!after.purls.contains(one.purl)) return "component_removed";
  if (was == nullptr || is == nullptr) return differ.advisories ? "advisory_changed" : differ.vex ? "vex_changed" : differ.any();
  if (was->advisory_sha256 != is->advisory_sha256 || was->verdict != is->verdict) return differ.advisories ? "advisory_changed" : differ.any();
  if (was->vex != is->vex) return differ.vex ? "vex_changed" : differ.any();
  return differ.any();
}

bool same(const Finding& a, const Finding& b) {
  return a.verdict == b.verdict && a.severity == b.severity && a.vex == b.vex && a.effect == b.effect && a.rule_id == b.rule_id && a.reason == b.reason && a.advisory_sha256 == b.advisory_sha256;
}

json::Value shown(const Finding* f) {
  if (f == nullptr) return {};
  return json::Value::object({{"verdict", contracts::to_string(f->verdict)}, {"severity", f->severity}, {"vex_status", contracts::to_string(f->vex)}, {"effect", contracts::to_string(f->effect)},
                              {"rule_id", f->rule_id}, {"reason", f->reason}, {"advisory_sha256", f->advisory_sha256 == Sha256() ? json::Value() : json::Value(f->advisory_sha256.hex())}});
}

json::Value summary(const EvaluationSide& s) {
  return json::Value::object({{"evaluation_id", s.evaluation_id}, {"sbom_id", s.sbom_id}, {"policy_version", s.policy_version}, {"as_of", s.as_of}, {"effect", s.effect}, {"reason", s.reason},
                              {"findings", s.findings.size()}});
}

Result<EvaluationSide> load(pg::TenantTx& tx, objects::Store& store, const EvaluationId& id) {
  const auto rows = STELLA_TRY(tx.query(kSide, {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such evaluation").with("field", id.str());
  if (rows.text(0, 0) != "finished") return Error(contracts::errors::kNotReady, "the evaluation has not finished").with("field", id.str()).with("state", std::string(rows.text(0, 0)));
  EvaluationSide side;
  side.evaluation_id = id.str();
  side.sbom_id = rows.text(0, 1);
  side.policy_version = rows.text(0, 2);
  side.as_of = rows.timestamp(0, 3).rfc3339();
  side.effect = rows.text(0, 4);
  side.reason = rows.text(0, 5);
  static constexpr std::string_view kInputs[] = {"sbom", "components", "policy", "advisories", "vex"};
  for (int i = 0; i < 5; ++i) {
    if (rows.is_null(0, 6 + i)) continue;
    const Sha256 digest = STELLA_TRY(rows.sha256(0, 6 + i));
    side.inputs.emplace_back(kInputs[i], digest);
  }
  const auto object = [&](const Sha256& digest) -> Result<std::string> {
    std::string bytes = STELLA_TRY(store.get(object_key::object(tx.tenant(), digest), kObjectBytes));
    if (crypto::sha256(bytes) != digest) return Error(contracts::errors::kIntegrity, "a result of the evaluation was changed in the store").with("part", "objects").with("expected", digest.hex());
    return bytes;
  };
  const Sha256 findings = STELLA_TRY(rows.sha256(0, 11));
  const Sha256 components = STELLA_TRY(rows.sha256(0, 7));
  side.findings = STELLA_TRY(contracts::decode_findings(STELLA_TRY(object(findings))));
  const auto table = STELLA_TRY(contracts::decode_components(STELLA_TRY(object(components))));
  for (const auto& c : table.components) side.purls.insert(c.purl.empty() ? c.raw_purl : c.purl);
  // A component without purl has findings under the text that stands for it.
  for (const Finding& f : side.findings) side.purls.insert(f.purl);
  return side;
}

}  // namespace

json::Value compare_sides(const EvaluationSide& before, const EvaluationSide& after) {
  json::Array inputs;
  for (const auto& [name, digest] : before.inputs) {
    json::Value other;
    for (const auto& [n, d] : after.inputs)
      if (n == name) other = d.hex();
    inputs.push_back(json::Value::object({{"name", name}, {"before", digest.hex()}, {"after", other}, {"changed", !same_input(before, after, name)}}));
  }
  const Differences differ(before, after);
  const Index was = index_of(before.findings), is = index_of(after.findings);
  json::Array findings;
  std::map<std::string, std::int64_t> counts{{"opened", 0}, {"closed", 0}, {"changed", 0}, {"same", 0}};
  bool explained = true;
  const auto add = [&](const Key& key, const Finding* a, const Finding* b) {
    const std::string change = a == nullptr ? "opened" : b == nullptr ? "closed" : same(*a, *b) ? "same" : "changed";
    ++counts[change];
    if (change == "same") return;
    const std::string_view cause = cause_of(before, after, differ, a, b);
    explained = explained && cause != "unexplained";
    findings.push_back(json::Value::object({{"change", change}, {"cause", cause}, {"purl", key.first}, {"advisory_id", key.second}, {"before", shown(a)}, {"after", shown(b)}}));
  };
  auto a = was.begin();
  auto b = is.begin();
  while (a != was.end() || b != is.end()) {
    if (b == is.end() || (a != was.end() && a->first < b->first)) {
      add(a->first, a->second, nullptr);
      ++a;
    } else if (a == was.end() || b->first < a->first) {
      add(b->first, nullptr, b->second);
      ++b;
    } else {
      add(a->first, a->second, b->second);
      ++a;
      ++b;
    }
  }
  // The decision follows from the findings, the policy and the time: alone it cannot change.
  if (before.effect != after.effect && findings.empty() && differ.any() == "unexplained") explained = false;
  json::Value totals = json::Value::object();
  for (const auto& [name, n] : counts) totals.set(name, n);
  return json::Value::object({{"before", summary(before)}, {"after", summary(after)}, {"inputs", std::move(inputs)}, {"findings", std::move(findings)}, {"counts", std::move(totals)},
                              {"decision_changed", before.effect != after.effect}, {"explained", explained}});
}

Result<json::Value> compare_evaluations(pg::TenantTx& tx, objects::Store& store, const EvaluationId& before, const EvaluationId& after) {
  const EvaluationSide a = STELLA_TRY(load(tx, store, before));
  const EvaluationSide b = STELLA_TRY(load(tx, store, after));
  return compare_sides(a, b);
}

}  // namespace stella::ledger
