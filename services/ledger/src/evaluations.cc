// Evaluations: link → reconcile → evaluate, each a job over objects; the decision becomes rows, a decision record and an event.
#include <algorithm>
#include <map>
#include <set>

#include "common.h"
#include "finding_changes.h"
#include "stella/base/encoding.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/job_kinds.h"
#include "stella/contracts/vex_result.h"
#include "stella/crypto/digest.h"
#include "stella/provenance/decision.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"

namespace stella::ledger {
namespace {

constexpr telemetry::Logger kLog{"ledger"};
// An event must stay small; decision record and objects have everything.
constexpr std::size_t kReasonBytes = 2000;
constexpr std::size_t kRulesPerEvent = 100;

// The concatenation of sorted, distinct digests: how a set of documents is named by one digest and handed to a job.
std::string digest_set(std::vector<Sha256> digests) {
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  std::string out;
  for (const Sha256& d : digests) out.append(d.view());
  return out;
}

Result<std::vector<Sha256>> digests_of(const pg::Rows& rows, int column) {
  std::vector<Sha256> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(STELLA_TRY(rows.sha256(i, column)));
  return out;
}

jobs::Spec next_job(const jobs::JobFacts& job, std::string_view kind) {
  jobs::Spec spec;
  spec.kind = std::string(kind);
  spec.project = job.project;
  spec.resource_type = "evaluation";
  spec.resource_id = job.resource_id;
  spec.requested_by = job.requested_by;
  spec.traceparent = job.traceparent;
  spec.trace = job.trace;
  return spec;
}

// The evaluation that a job works for, locked; an ended one takes no more results.
struct Evaluation {
  std::string id;
  std::string state;
  std::string sbom_id;
  Sha256 sbom_sha256, components, policy, advisory_set;
  Sha256 vex_set;  // all zero until linking has ended
  std::string policy_version;
  std::string as_of;
  std::string requested_by;
  Timestamp requested_at;  // when its advisories were put together
};

Result<std::optional<Evaluation>> lock_evaluation(OrchestratorTx& tx, const jobs::JobFacts& job, std::string_view expected_state) {
  const auto rows = STELLA_TRY(tx.query(
      "SELECT evaluation_id, state, sbom_id, sbom_sha256, components_sha256, policy_sha256, advisory_set_sha256, policy_version, "
      "to_char(as_of AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), requested_by, requested_at, vex_set_sha256 FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2 FOR UPDATE",
      {job.tenant, job.resource_id}));
  if (rows.empty()) return Error(base_errors::kInternal, "a job works for an evaluation that does not exist");
  Evaluation e;
  e.id = std::string(rows.text(0, 0));
  e.state = std::string(rows.text(0, 1));
  e.sbom_id = std::string(rows.text(0, 2));
  e.sbom_sha256 = STELLA_TRY(rows.sha256(0, 3));
  e.components = STELLA_TRY(rows.sha256(0, 4));
  e.policy = STELLA_TRY(rows.sha256(0, 5));
  e.advisory_set = STELLA_TRY(rows.sha256(0, 6));
  e.policy_version = std::string(rows.text(0, 7));
  e.as_of = std::string(rows.text(0, 8));
  e.requested_by = std::string(rows.text(0, 9));
  e.requested_at = rows.timestamp(0, 10);
  if (!rows.is_null(0, 11)) e.vex_set = STELLA_TRY(rows.sha256(0, 11));
  // A retried job may find its evaluation failed or cancelled: it goes on from there.
  if (e.state != expected_state && e.state != "failed" && e.state != "cancelled") return std::optional<Evaluation>();
  return std::optional<Evaluation>(std::move(e));
}

timeline::Event evaluation_event(std::string_view kind, const jobs::JobFacts& job, const Evaluation& e, std::string type, std::string id, json::Value details) {
  timeline::Event event = make_event(kind, job, std::move(type), std::move(id), std::move(details));
  if (event.resource_type != "evaluation") event.resources.emplace_back("evaluation", e.id);
  if (event.resource_type != "sbom") event.resources.emplace_back("sbom", e.sbom_id);
  return event;
}

// The segments that a component of these ecosystems can be looked up in: its ecosystem's own, and the one of ecosystems that have none.
// Segments carry the slug of their ecosystem without release (pipeline/conseiller).
Result<std::vector<std::string>> segment_slugs(std::string_view by_ecosystem) {
  const json::Value counts = STELLA_TRY(json::parse(by_ecosystem));
  std::set<std::string> slugs{"other"};
  for (const auto& [name, count] : counts.as_object()) {
    std::string slug;
    for (char c : std::string_view(name)) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
      const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      if (plain) slug += c;
      else if (!slug.empty() && slug.back() != '-') slug += '-';
    }
    if (!slug.empty()) slugs.insert(std::move(slug));
  }
  return std::vector<std::string>(slugs.begin(), slugs.end());
}

// Documents in force of this tenant and of the public knowledge base, with the tenant that holds their bytes.
struct Document {
  Sha256 sha256;
  TenantId tenant;
};

}  // namespace

Result<EvaluationId> start_evaluation(pg::TenantTx& tx, objects::Store& store, const EvaluationRequest& request, const Trace& trace) {
  const auto sbom = STELLA_TRY(tx.query("SELECT project_id, state, sha256, components_sha256, coalesce(counts->'by_ecosystem', '{}')::text FROM sboms WHERE tenant_id = $1 AND sbom_id = $2", {tx.tenant(), request.sbom}));
  if (sbom.empty()) return Error(base_errors::kNotFound, "no such SBOM");
  if (sbom.text(0, 1) != "computed") return Error(contracts::errors::kNotReady, "the SBOM is not computed").with("state", std::string(sbom.text(0, 1)));
  const auto policy = request.policy_version.empty()
                          ? STELLA_TRY(tx.query("SELECT p.policy_version, p.sha256 FROM policy_activations a JOIN policies p USING (tenant_id, policy_version) "
                                                "WHERE a.tenant_id = $1 ORDER BY a.activated_at DESC, a.activation_id DESC LIMIT 1",
                                                {tx.tenant()}))
                          : STELLA_TRY(tx.query("SELECT policy_version, sha256 FROM policies WHERE tenant_id = $1 AND policy_version = $2", {tx.tenant(), request.policy_version}));
  if (policy.empty())
    return request.policy_version.empty() ? Error(contracts::errors::kNotReady, "no policy is active: publish and activate one").with("state", "no active policy")
                                          : Error(base_errors::kNotFound, "no such policy version");
  const ProjectId project = STELLA_TRY(ProjectId::parse(sbom.text(0, 0)));
  const Sha256 sbom_sha256 = STELLA_TRY(sbom.sha256(0, 2));
  const Sha256 components = STELLA_TRY(sbom.sha256(0, 3));
  const Sha256 policy_sha256 = STELLA_TRY(policy.sha256(0, 1));
  // The advisories in force, frozen as one object; row-level security shows exactly this tenant's and the public ones.
  const auto active = STELLA_TRY(tx.query("SELECT doc_sha256 FROM advisory_current WHERE tenant_id IN ($1, 'global')", {tx.tenant()}));
  const std::string active_set = digest_set(STELLA_TRY(digests_of(active, 0)));
  const Sha256 advisory_set = crypto::sha256(active_set);
  STELLA_TRY_VOID(store.put(object_key::object(tx.tenant(), advisory_set), active_set));
  const std::vector<std::string> slugs = STELLA_TRY(segment_slugs(sbom.text(0, 4)));
  const auto segments = STELLA_TRY(tx.query("SELECT DISTINCT ON (sha256) sha256, tenant_id FROM advisory_segments WHERE tenant_id IN ($1, 'global') AND ecosystem = ANY($2::text[]) "
                                            "ORDER BY sha256, tenant_id",
                                            {tx.tenant(), pg::Param::text_array(slugs)}));

  const EvaluationId id = EvaluationId::generate();
  const Timestamp as_of = request.as_of.value_or(Timestamp::now());
  STELLA_TRY_VOID(tx.query(
      "INSERT INTO evaluations (tenant_id, evaluation_id, project_id, sbom_id, policy_version, as_of, state, sbom_sha256, components_sha256, policy_sha256, "
      "advisory_set_sha256, requested_by, traceparent, trace_id) VALUES ($1, $2, $3, $4, $5, $6, 'linking', $7, $8, $9, $10, $11, $12, $13)",
      {tx.tenant(), id, project, request.sbom, policy.text(0, 0), as_of, sbom_sha256, components, policy_sha256, advisory_set, tx.actor(), trace.traceparent, trace.id.hex()}));
  jobs::Spec spec;
  spec.kind = std::string(contracts::job_kinds::kAdvisoryLink);
  spec.inputs.push_back({"components.ndjson", components, tx.tenant()});
  for (int i = 0; i < segments.size(); ++i) {
    jobs::InputRef ref;
    std::string number = std::to_string(i);
    ref.name = "segment-" + std::string(4 - std::min<std::size_t>(4, number.size()), '0') + number + ".idx";
    ref.sha256 = STELLA_TRY(segments.sha256(i, 0));
    ref.tenant = STELLA_TRY(TenantId::parse(segments.text(i, 1)));
    spec.inputs.push_back(std::move(ref));
  }
  spec.inputs.push_back({"active.bin", advisory_set, tx.tenant()});
  spec.made.push_back(spec.inputs.back());
  spec.project = project;
  spec.resource_type = "evaluation";
  spec.resource_id = id.str();
  spec.requested_by = tx.actor();
  spec.traceparent = trace.traceparent;
  spec.trace = trace.id;
  const jobs::Scheduled job = STELLA_TRY(jobs::schedule(tx, spec));
  STELLA_TRY_VOID(tx.query("UPDATE evaluations SET link_job = $3 WHERE tenant_id = $1 AND evaluation_id = $2", {tx.tenant(), id, job.job_id}));
  return id;
}

namespace {

// What the three handlers share: an evaluation whose job failed has failed, with that job's reason.
class EvaluationHandler : public jobs::KindHandler {
 public:
  explicit EvaluationHandler(objects::Store& store) : store_(store) {}
  Result<void> on_failed(OrchestratorTx& tx, const jobs::FailedJob& job) override {
    STELLA_TRY_VOID(tx.query("UPDATE evaluations SET state = $3, error = $4, finished_at = now() WHERE tenant_id = $1 AND evaluation_id = $2 AND state <> 'finished'",
                             {job.tenant, job.resource_id, job.cancelled ? "cancelled" : "failed", pg::Param::json(json::dump(jobs::error_json(job)))}));
    return {};
  }

 protected:
  objects::Store& store_;
};

class Link final : public EvaluationHandler {
 public:
  using EvaluationHandler::EvaluationHandler;
  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const auto evaluation = STELLA_TRY(lock_evaluation(tx, job, "linking"));
    if (!evaluation) return {};
    const contracts::ExposureSet set = STELLA_TRY(contracts::decode_exposures(STELLA_TRY(read_output(store_, job, "exposures.ndjson"))));
    std::map<contracts::Verdict, int> counts;
    std::set<std::string> vulnerabilities;
    for (const contracts::Exposure& e : set.exposures) {
      ++counts[e.verdict];
      if (e.verdict == contracts::Verdict::kUnknown && e.advisory.id.empty()) continue;
      vulnerabilities.insert(e.advisory.id);
      vulnerabilities.insert(e.advisory.aliases.begin(), e.advisory.aliases.end());
      vulnerabilities.insert(e.advisory.upstream.begin(), e.advisory.upstream.end());
    }
    const auto documents = STELLA_TRY(documents_about(tx, job.tenant, vulnerabilities));
    std::vector<Sha256> digests;
    for (const Document& d : documents) digests.push_back(d.sha256);
    const std::string vex_set = digest_set(std::move(digests));
    const Sha256 vex_set_sha256 = crypto::sha256(vex_set);
    STELLA_TRY_VOID(store_.put(object_key::object(job.tenant, vex_set_sha256), vex_set));

    jobs::Spec spec = next_job(job, contracts::job_kinds::kVexReconcile);
    const jobs::OutputRef& exposures = *job.output("exposures.ndjson");  // it was read above
    spec.inputs.push_back({"components.ndjson", evaluation->components, job.tenant});
    spec.inputs.push_back({"exposures.ndjson", exposures.sha256, job.tenant});
    for (std::size_t i = 0; i < documents.size(); ++i) {
      std::string number = std::to_string(i);
      spec.inputs.push_back({"vex-" + std::string(4 - std::min<std::size_t>(4, number.size()), '0') + number + ".json", documents[i].sha256, documents[i].tenant});
    }
    const jobs::Scheduled next = STELLA_TRY(jobs::schedule(tx, job.tenant, spec));
    STELLA_TRY_VOID(tx.query("UPDATE evaluations SET state = 'reconciling', error = NULL, finished_at = NULL, exposures_sha256 = $3, vex_set_sha256 = $4, reconcile_job = $5 "
                             "WHERE tenant_id = $1 AND evaluation_id = $2",
                             {job.tenant, job.resource_id, exposures.sha256, vex_set_sha256, next.job_id}));
    using contracts::Verdict;
    json::Value details = json::Value::object({{"sbom_id", evaluation->sbom_id}, {"evaluation_id", evaluation->id}, {"affected_count", counts[Verdict::kAffected]},
                                               {"not_affected_count", counts[Verdict::kNotAffected]}, {"unknown_count", counts[Verdict::kUnknown]},
                                               {"advisory_set_sha256", evaluation->advisory_set.hex()}, {"cached", job.cached},
                                               {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
    details.set("counts", json::Value::object({{"withdrawn", counts[Verdict::kWithdrawn]}}));
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, evaluation_event(contracts::events::kAdvisoryLinked, job, *evaluation, "sbom", evaluation->sbom_id, std::move(details))));
    return {};
  }

 private:
  // VEX documents in force that speak about any of the ids; others cannot change the result, so they are no inputs.
  static Result<std::vector<Document>> documents_about(OrchestratorTx& tx, const TenantId& tenant, const std::set<std::string>& vulnerabilities) {
    const std::vector<std::string> ids(vulnerabilities.begin(), vulnerabilities.end());
    const auto rows = STELLA_TRY(tx.query("SELECT DISTINCT c.doc_sha256, c.tenant_id FROM vex_statement_ids s JOIN vex_current c USING (tenant_id, doc_sha256) "
                                          "WHERE s.tenant_id IN ($1, 'global') AND s.vulnerability = ANY($2::text[]) ORDER BY c.doc_sha256, c.tenant_id",
                                          {tenant, pg::Param::text_array(ids)}));
    std::vector<Document> out;
    for (int i = 0; i < rows.size(); ++i) {
      Document d;
      d.sha256 = STELLA_TRY(rows.sha256(i, 0));
      d.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 1)));
      if (out.empty() || out.back().sha256 != d.sha256) out.push_back(std::move(d));
    }
    return out;
  }
};

class Reconcile final : public EvaluationHandler {
 public:
  using EvaluationHandler::EvaluationHandler;
  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const auto evaluation = STELLA_TRY(lock_evaluation(tx, job, "reconciling"));
    if (!evaluation) return {};
    const contracts::VexResultSet set = STELLA_TRY(contracts::decode_vex_result(STELLA_TRY(read_output(store_, job, "vex.ndjson"))));
    const jobs::OutputRef& vex = *job.output("vex.ndjson");
    const auto exposures = std::find_if(job.inputs.begin(), job.inputs.end(), [](const jobs::InputRef& i) { return i.name == "exposures.ndjson"; });
    if (exposures == job.inputs.end()) return Error(base_errors::kInternal, "a reconcile job without exposures");
    jobs::Spec spec = next_job(job, contracts::job_kinds::kPolicyEvaluate);
    spec.params = json::Value::object({{"as_of", evaluation->as_of}});
    spec.inputs.push_back({"components.ndjson", evaluation->components, job.tenant});
    spec.inputs.push_back({"exposures.ndjson", exposures->sha256, job.tenant});
    spec.inputs.push_back({"vex.ndjson", vex.sha256, job.tenant});
    spec.inputs.push_back({"policy", evaluation->policy, job.tenant});
    const jobs::Scheduled next = STELLA_TRY(jobs::schedule(tx, job.tenant, spec));
    STELLA_TRY_VOID(tx.query("UPDATE evaluations SET state = 'evaluating', error = NULL, finished_at = NULL, vex_sha256 = $3, evaluate_job = $4 WHERE tenant_id = $1 AND evaluation_id = $2",
                             {job.tenant, job.resource_id, vex.sha256, next.job_id}));
    int considered = 0, applied = 0, conflicts = 0;
    std::vector<timeline::Event> events;
    for (const contracts::VexOutcome& o : set.outcomes) {
      considered += static_cast<int>(o.considered.size());
      applied += static_cast<int>(std::count_if(o.considered.begin(), o.considered.end(), [](const auto& s) { return s.applies; }));
      if (!o.conflict) continue;
      ++conflicts;
      std::set<std::string> statuses;
      json::Array documents;
      for (const contracts::ConsideredStatement& s : o.considered)
        if (s.applies) {
          statuses.emplace(to_string(s.status));
          if (documents.size() < jobs::kDigestsPerEvent) documents.push_back(digest_entry("vex", s.document));
        }
      events.push_back(evaluation_event(contracts::events::kVexConflict, job, *evaluation, "evaluation", evaluation->id, conflict_details(*evaluation, o, statuses, std::move(documents))));
    }
    json::Value details = json::Value::object({{"sbom_id", evaluation->sbom_id}, {"evaluation_id", evaluation->id}, {"statement_count", considered}, {"applied_count", applied},
                                               {"conflict_count", conflicts}, {"cached", job.cached},
                                               {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
    events.push_back(evaluation_event(contracts::events::kVexReconciled, job, *evaluation, "sbom", evaluation->sbom_id, std::move(details)));
    STELLA_TRY_VOID(timeline::emit_many(tx, job.tenant, std::move(events)));
    return {};
  }

 private:
  static json::Value conflict_details(const Evaluation& e, const contracts::VexOutcome& o, const std::set<std::string>& statuses, json::Array documents) {
    json::Value inputs(documents);  // the statements' documents, which is what the event speaks of
    return json::Value::object({{"evaluation_id", e.id}, {"sbom_id", e.sbom_id}, {"vulnerability_id", clip_utf8(o.advisory_id, kReasonBytes)}, {"purl", clip_utf8(o.purl, kReasonBytes)},
                                {"statuses", json::Array(statuses.begin(), statuses.end())}, {"documents", std::move(documents)}, {"inputs", std::move(inputs)}});
  }
};

json::Value counts_json(const contracts::DecisionCounts& c) {
  return json::Value::object({{"components", static_cast<int>(c.components)}, {"findings", static_cast<int>(c.findings)}, {"affected", static_cast<int>(c.affected)},
                              {"not_affected", static_cast<int>(c.not_affected)}, {"withdrawn", static_cast<int>(c.withdrawn)}, {"unknown", static_cast<int>(c.unknown)},
                              {"allow", static_cast<int>(c.allow)}, {"warn", static_cast<int>(c.warn)}, {"defer", static_cast<int>(c.defer)}, {"deny", static_cast<int>(c.deny)}});
}

std::string summary_of(const contracts::Decision& d) {
  const auto part = [](std::string_view name, std::uint32_t n) { return std::string(name).append("=").append(std::to_string(n)); };
  return part("components", d.counts.components) + part(" findings", d.counts.findings) + part(" deny", d.counts.deny) + part(" defer", d.counts.defer) + part(" warn", d.counts.warn) +
         part(" allow", d.counts.allow) + part(" unknown", d.counts.unknown);
}

json::Array rule_ids(const contracts::Decision& d, std::size_t most) {
  json::Array out;
  for (const std::string& id : d.rule_ids)
    if (out.size() < most) out.push_back(id);
  return out;
}

json::Value clause_json(const contracts::Clause& c) {
  return json::Value::object({{"by", c.by}, {"affected_index", c.affected_index}, {"range_index", c.range_index}, {"range_type", c.range_type},
                              {"introduced", c.introduced}, {"fixed", c.fixed}, {"last_affected", c.last_affected}});
}

class Evaluate final : public EvaluationHandler {
 public:
  using EvaluationHandler::EvaluationHandler;
  // A late result, which on_finished() will drop, is no decision: nothing is stated about it.
  Result<std::vector<evidence::Stated>> statements(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const auto evaluation = STELLA_TRY(lock_evaluation(tx, job, "evaluating"));
    if (!evaluation) return std::vector<evidence::Stated>();
    const contracts::Decision decision = STELLA_TRY(contracts::decode_decision(STELLA_TRY(read_output(store_, job, "decision.json"))));
    const std::vector<contracts::Finding> findings = STELLA_TRY(contracts::decode_findings(STELLA_TRY(read_output(store_, job, "findings.ndjson"))));
    attest::DecisionFacts facts;
    facts.sbom = {.name = "sbom", .sha256 = evaluation->sbom_sha256};
    facts.sbom_id = evaluation->sbom_id;
    facts.policy = evaluation->policy;
    facts.policy_version = evaluation->policy_version;
    facts.advisory_set = evaluation->advisory_set;
    facts.advisories_as_of = evaluation->requested_at;
    facts.engine_version = job.engine_version;
    facts.finished_at = Timestamp::now();
    facts.started_at = facts.finished_at - std::chrono::milliseconds(job.duration_ms);
    return attest::decision_statements(facts, decision, findings);
  }
  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const auto evaluation = STELLA_TRY(lock_evaluation(tx, job, "evaluating"));
    if (!evaluation) return {};
    const contracts::Decision decision = STELLA_TRY(contracts::decode_decision(STELLA_TRY(read_output(store_, job, "decision.json"))));
    const std::vector<contracts::Finding> findings = STELLA_TRY(contracts::decode_findings(STELLA_TRY(read_output(store_, job, "findings.ndjson"))));
    const DecisionId decision_id = DecisionId::generate();
    const jobs::OutputRef* trace = job.output("trace.ndjson");
    if (trace == nullptr) return Error(base_errors::kInternal, "an evaluation without a trace");
    STELLA_TRY_VOID(insert_findings(tx, job, findings));
    STELLA_TRY_VOID(insert_decision(tx, job, *evaluation, decision, decision_id, trace->sha256));
    const Baseline baseline = STELLA_TRY(take_baseline(tx, job, evaluation->sbom_id));
    STELLA_TRY_VOID(tx.query("UPDATE evaluations SET state = 'finished', error = NULL, decision_id = $3, decision_effect = $4, decision_reason = $5, counts = $6, decision_sha256 = $7, "
                             "findings_sha256 = $8, trace_sha256 = $9, finished_at = clock_timestamp() WHERE tenant_id = $1 AND evaluation_id = $2",
                             {job.tenant, job.resource_id, decision_id, to_string(decision.effect), decision.reason, json::dump(counts_json(decision.counts)),
                              job.output("decision.json")->sha256, job.output("findings.ndjson")->sha256, trace->sha256}));
    json::Value details = json::Value::object({{"evaluation_id", evaluation->id}, {"decision_id", decision_id.str()}, {"sbom_id", evaluation->sbom_id},
                                               {"effect", to_string(decision.effect)}, {"reason", clip_utf8(decision.reason, kReasonBytes)}, {"policy_version", evaluation->policy_version},
                                               {"policy_sha256", evaluation->policy.hex()}, {"rule_ids", rule_ids(decision, kRulesPerEvent)},
                                               {"counts", counts_json(decision.counts)}, {"as_of", evaluation->as_of}, {"engine_version", job.engine_version},
                                               {"trace_sha256", trace->sha256.hex()}, {"decision_sha256", job.output("decision.json")->sha256.hex()}, {"cached", job.cached},
                                               {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, evaluation_event(contracts::events::kPolicyEvaluated, job, *evaluation, "evaluation", evaluation->id, std::move(details))));
    STELLA_TRY_VOID(emit_finding_changes(tx, store_, job, baseline));
    tell_decided(tx, job, *evaluation, decision, decision_id);
    return {};
  }

 private:
  // The decision on a span and a log line of the evaluation's trace; after the commit, for a decision that was rolled back never was.
  static void tell_decided(OrchestratorTx& tx, const jobs::FinishedJob& job, const Evaluation& row, const contracts::Decision& decision, const DecisionId& id) {
    const auto evaluation = EvaluationId::parse(job.resource_id);
    const auto sbom = SbomId::parse(row.sbom_id);
    if (!evaluation || !sbom) return;
    tx.on_commit([context = decision_context(job), id, evaluation = *evaluation, sbom = *sbom, policy = row.policy_version, rules = joined_rules(decision),
                  summary = summary_of(decision), effect = decision.effect, reason = decision.reason, cached = job.cached, began = Timestamp::now()]() mutable {
      const telemetry::ContextScope scope(std::move(context));
      telemetry::Span span("policy.decide", telemetry::SpanKind::kInternal,
                           {f::decision_id(id), f::evaluation_id(evaluation), f::sbom_id(sbom), f::policy_version(policy), f::decision_effect(to_string(effect)), f::decision_reason(reason),
                            f::rule_ids(rules), f::decision_summary(summary), f::cached(cached)});
      span.started_at(began);
      span.ok();
      kLog.info("evaluation decided", {f::action("policy.evaluate"), f::decision_id(id), f::evaluation_id(evaluation), f::sbom_id(sbom), f::policy_version(policy), f::decision_effect(to_string(effect)),
                                       f::decision_reason(reason), f::rule_ids(rules), f::decision_summary(summary), f::cached(cached)});
    });
  }

  // Inside the orchestrator's span of this job where there is one: then the decision stands below it.
  static telemetry::Context decision_context(const jobs::FinishedJob& job) {
    if (telemetry::Context::current().job_id == job.job_id) return telemetry::Context::current();
    return jobs::context_of(job);
  }

  static std::string joined_rules(const contracts::Decision& decision) {
    std::string out;
    std::size_t count = 0;
    for (const std::string& rule : decision.rule_ids) {
      if (++count > 32) break;
      out.append(out.empty() ? "" : ",").append(rule);
    }
    return out;
  }

  static Result<void> insert_findings(OrchestratorTx& tx, const jobs::FinishedJob& job, const std::vector<contracts::Finding>& findings) {
    std::vector<std::vector<pg::Param>> rows;
    rows.reserve(findings.size());
    for (std::size_t i = 0; i < findings.size(); ++i) {
      const contracts::Finding& f = findings[i];
      rows.push_back({job.tenant, job.resource_id, i, f.purl, f.advisory_id, to_string(f.verdict), f.severity, f.score, to_string(f.vex), to_string(f.effect), f.rule_id,
                      f.reason, pg::Param::text_array(f.fixed_versions), pg::Param::json(json::dump(clause_json(f.clause)))});
    }
    STELLA_TRY_VOID(tx.query_many("INSERT INTO findings (tenant_id, evaluation_id, finding_no, purl, advisory_id, verdict, severity, score, vex_status, decision_effect, rule_id, reason, "
                                  "fixed_versions, clause) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
                                  rows));
    return {};
  }

  // The decision record of pipeline.md §3: OPA's fields and ours, with the digests that a reader needs to check it.
  static Result<void> insert_decision(OrchestratorTx& tx, const jobs::FinishedJob& job, const Evaluation& e, const contracts::Decision& d, const DecisionId& id, const Sha256& trace) {
    Sha256 vex;
    for (const jobs::InputRef& input : job.inputs)
      if (input.name == "vex.ndjson") vex = input.sha256;
    const Timestamp now = Timestamp::now();
    json::Value record = json::Value::object(
        {{"decision_id", id.str()}, {"timestamp", now.rfc3339()}, {"path", "stella/policy"}, {"evaluation_id", e.id}, {"as_of", e.as_of}, {"engine_version", job.engine_version},
         {"policy_version", e.policy_version}, {"rule_ids", json::Array(d.rule_ids.begin(), d.rule_ids.end())}, {"decision_effect", to_string(d.effect)},
         {"decision_reason", d.reason}, {"result", to_string(d.effect)}, {"requested_by", e.requested_by},
         {"inputs", json::Value::object({{"sbom_digest", e.sbom_sha256.hex()}, {"advisory_set_digest", e.advisory_set.hex()}, {"vex_set_digest", e.vex_set.hex()},
                                         {"vex_result_digest", vex.hex()}, {"config_digest", e.policy.hex()}})},
         {"counts", counts_json(d.counts)}, {"trace_digest", trace.hex()}, {"trace_id", job.trace.hex()}});
    STELLA_TRY_VOID(tx.query("INSERT INTO decisions (tenant_id, decision_id, ts, kind, decision_effect, decision_reason, actor, evaluation_id, policy_version, trace_id, record) "
                             "VALUES ($1, $2, $3, 'evaluation', $4, $5, $6, $7, $8, $9, $10)",
                             {job.tenant, id, now, to_string(d.effect), d.reason, e.requested_by, e.id, e.policy_version, job.trace.hex(), pg::Param::json(json::dump(record))}));
    return {};
  }
};

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> evaluation_handlers(objects::Store& store) {
  return {{std::string(contracts::job_kinds::kAdvisoryLink), std::make_shared<Link>(store)},
          {std::string(contracts::job_kinds::kVexReconcile), std::make_shared<Reconcile>(store)},
          {std::string(contracts::job_kinds::kPolicyEvaluate), std::make_shared<Evaluate>(store)}};
}

}  // namespace stella::ledger
