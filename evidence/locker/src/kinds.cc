// What belongs to a snapshot of an evaluation, of a job, of an export.
#include <algorithm>
#include <map>

#include "closure.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/job_kinds.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kObjectBytes = 1ull << 30;
constexpr std::size_t kReportFindings = 500;

json::Value pair(std::string_view name, std::string_view value) { return json::Value::array({name, value}); }

std::string tone(std::string_view effect) { return effect == "deny" ? "bad" : effect == "allow" ? "good" : "warn"; }

// The jobs as steps of the story: each with the digests it consumed and produced.
Result<json::Value> chain_of(pg::TenantTx& tx, const std::vector<std::string>& ids) {
  const auto rows = STELLA_TRY(tx.query("SELECT kind, inputs, coalesce(outputs, '[]'::jsonb), cached_from IS NOT NULL FROM jobs WHERE tenant_id = $1 AND job_id = ANY($2::uuid[]) ORDER BY created_at, job_id",
                                        {tx.tenant(), pg::Param::uuid_array(ids)}));
  json::Array chain;
  for (int i = 0; i < rows.size(); ++i) {
    json::Array inputs, outputs;
    for (const auto& in : STELLA_TRY(jobs::inputs_from_json(rows.text(i, 1)))) inputs.push_back(pair(in.name, in.sha256.hex()));
    for (const auto& out : STELLA_TRY(jobs::outputs_from_json(rows.text(i, 2)))) outputs.push_back(pair(out.name, out.sha256.hex()));
    chain.push_back(json::Value::object({{"title", rows.text(i, 0)}, {"detail", rows.boolean(i, 3) ? "Same inputs as an earlier run: its outputs were reused." : "Ran in the sandbox of the Task Runner."},
                                         {"inputs", std::move(inputs)}, {"outputs", std::move(outputs)}}));
  }
  return json::Value(std::move(chain));
}

json::Value findings_table(const std::vector<contracts::Finding>& findings) {
  std::vector<const contracts::Finding*> order;
  for (const contracts::Finding& f : findings) order.push_back(&f);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->effect > b->effect; });
  json::Array rows;
  for (std::size_t i = 0; i < std::min(order.size(), kReportFindings); ++i) {
    const contracts::Finding& f = *order[i];
    rows.push_back(json::Value::array({contracts::to_string(f.effect), f.purl, f.advisory_id, f.severity, contracts::to_string(f.vex), f.rule_id, f.reason}));
  }
  const std::string note = order.size() > kReportFindings ? "The first " + std::to_string(kReportFindings) + " of " + std::to_string(order.size()) + ", worst first; all are in data/outputs/findings.ndjson." : "All findings, worst first.";
  return json::Value::object({{"title", "Findings"}, {"note", note}, {"columns", json::Value::array({"effect", "component", "advisory", "severity", "VEX", "rule", "reason"})}, {"rows", std::move(rows)}});
}

// Where it ran, and in what; without a run, outputs of an earlier one were reused, or none was begun.
json::Value runs_table(json::Array rows) {
  const std::string note = rows.empty() ? "None: outputs of an earlier job were reused, or it never began." : "All of each is in data/record/runs.ndjson, digests of its environment in data/inputs/config/environment.ndjson.";
  return json::Value::object({{"title", "Runs"}, {"note", note}, {"columns", json::Value::array({"attempt", "state", "runner", "runner image", "sandbox"})}, {"rows", std::move(rows)}});
}

struct Column {
  int index;
  std::string_view path;
  std::string_view role;
  std::string_view media_type;
};

// Of which revision each kind was that made the outputs: replay by another one says so, and does not call the outputs different.
Result<json::Value> revisions_of(pg::TenantTx& tx, const pg::Rows& evaluation) {
  constexpr std::pair<int, std::string_view> kJobs[] = {
      {19, contracts::job_kinds::kSbomCompute}, {20, contracts::job_kinds::kAdvisoryLink}, {21, contracts::job_kinds::kVexReconcile}, {22, contracts::job_kinds::kPolicyEvaluate}};
  json::Value out = json::Value::object();
  for (const auto& [column, kind] : kJobs) {
    const auto job = JobId::parse(evaluation.text(0, column));
    const auto revision = job ? jobs::revision_of(tx, *job) : Result<std::uint32_t>(1u);
    if (!revision && revision.error().code() != base_errors::kNotFound) return Error(revision.error());
    out.set(std::string(kind), std::int64_t{revision ? *revision : 1u});
  }
  return out;
}

Result<void> not_ready(std::string_view state) { return Error(contracts::errors::kNotReady, "it has not ended successfully, so there is nothing to preserve yet").with("state", std::string(state)); }

}  // namespace

Result<void> close_over_evaluation(pg::TenantTx& tx, objects::Store& store, std::string_view id, Closure& closure) {
  if (!EvaluationId::parse(id)) return Error(base_errors::kNotFound, "no such evaluation");
  const auto rows = STELLA_TRY(tx.query(
      "SELECT e.state, e.sbom_sha256, e.components_sha256, e.policy_sha256, e.exposures_sha256, e.vex_sha256, e.decision_sha256, e.findings_sha256, e.trace_sha256, e.vex_set_sha256, "
      "p.source_sha256, to_char(e.as_of AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), e.policy_version, e.trace_id, s.trace_id, s.document_name, s.document_version, e.decision_effect, "
      "e.decision_reason, coalesce(s.job_id::text, ''), e.link_job, e.reconcile_job, e.evaluate_job, e.project_id, s.source_format, p.trace_id, d.record::text, j.engine_version "
      "FROM evaluations e JOIN sboms s USING (tenant_id, sbom_id) JOIN policies p USING (tenant_id, policy_version) LEFT JOIN decisions d USING (tenant_id, decision_id) "
      "LEFT JOIN jobs j ON j.tenant_id = e.tenant_id AND j.job_id = e.evaluate_job WHERE e.tenant_id = $1 AND e.evaluation_id = $2",
      {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such evaluation");
  if (rows.text(0, 0) != "finished") return not_ready(rows.text(0, 0));
  constexpr Column kFiles[] = {{1, "data/inputs/sbom/sbom.json", "input", "application/json"},
                               {3, "data/inputs/policy/policy.json", "input", "application/json"},
                               {10, "data/inputs/policy/policy.yaml", "source", "application/yaml"},
                               {2, "data/outputs/components.ndjson", "output", "application/x-ndjson"},
                               {4, "data/outputs/exposures.ndjson", "output", "application/x-ndjson"},
                               {5, "data/outputs/vex.ndjson", "output", "application/x-ndjson"},
                               {6, "data/outputs/decision.json", "output", "application/json"},
                               {7, "data/outputs/findings.ndjson", "output", "application/x-ndjson"},
                               {8, "data/outputs/trace.ndjson", "output", "application/x-ndjson"}};
  for (const Column& file : kFiles) {
    const Sha256 digest = STELLA_TRY(rows.sha256(0, file.index));
    closure.add(std::string(file.path), std::string(file.role), std::string(file.media_type), digest, tx.tenant());
  }
  json::Value config = json::Value::object({{"as_of", rows.text(0, 11)}, {"engine_version", rows.text(0, 27)}, {"policy_version", rows.text(0, 12)}});
  config.set("revisions", STELLA_TRY(revisions_of(tx, rows)));
  const std::string config_text = STELLA_TRY(json::canonical(config));
  STELLA_TRY_VOID(closure.add_bytes("data/inputs/config/config.json", "input", "application/json", config_text));
  if (!rows.is_null(0, 26)) STELLA_TRY_VOID(closure.add_bytes("data/record/decision.json", "record", "application/json", rows.text(0, 26)));

  // Every candidate advisory, matching or not, as received: linking can be done again from these alone.
  const Sha256 exposures_digest = STELLA_TRY(rows.sha256(0, 4));
  const auto exposures = STELLA_TRY(contracts::decode_exposures(STELLA_TRY(store.get(object_key::object(tx.tenant(), exposures_digest), kObjectBytes))));
  std::vector<Sha256> advisories;
  for (const contracts::Exposure& e : exposures.exposures)
    if (!e.advisory.id.empty()) advisories.push_back(e.advisory.sha256);
  STELLA_TRY_VOID(closure.add_documents("data/inputs/advisories", "advisory_observations", advisories));
  const Sha256 vex_set = STELLA_TRY(rows.sha256(0, 9));
  const std::string vex_digests = STELLA_TRY(store.get(object_key::object(tx.tenant(), vex_set), kObjectBytes));
  std::vector<Sha256> documents;
  for (std::size_t at = 0; at + Sha256::kSize <= vex_digests.size(); at += Sha256::kSize) documents.push_back(STELLA_TRY(Sha256::from_bytes(std::string_view(vex_digests).substr(at, Sha256::kSize))));
  STELLA_TRY_VOID(closure.add_documents("data/inputs/vex", "vex_observations", documents));

  std::vector<std::string> job_ids;
  for (const int column : {19, 20, 21, 22})
    if (!rows.text(0, column).empty()) job_ids.emplace_back(rows.text(0, column));
  for (const int column : {13, 14, 25}) closure.traces.emplace(rows.text(0, column));
  closure.project = STELLA_TRY(ProjectId::parse(rows.text(0, 23)));
  STELLA_TRY_VOID(closure.add_telemetry({std::string(rows.text(0, 13)), std::string(rows.text(0, 14))}));
  STELLA_TRY_VOID(closure.add_transcripts(job_ids));

  const Sha256 findings_digest = STELLA_TRY(rows.sha256(0, 7));
  const auto findings = STELLA_TRY(contracts::decode_findings(STELLA_TRY(store.get(object_key::object(tx.tenant(), findings_digest), kObjectBytes))));
  const std::string subject = std::string(rows.text(0, 15)) + (rows.text(0, 16).empty() ? "" : " " + std::string(rows.text(0, 16)));
  closure.report = json::Value::object(
      {{"title", "Evaluation of " + (subject.empty() ? std::string("an SBOM") : subject)}, {"outcome", rows.text(0, 17)}, {"tone", tone(rows.text(0, 17))},
       {"summary", "Policy " + std::string(rows.text(0, 12)) + " decided " + std::string(rows.text(0, 17)) + ": " + std::string(rows.text(0, 18)) + "\nEvery input lies in this bundle as it was received; the decision can be made again from them, offline."},
       {"facts", json::Value::array({pair("SBOM format", rows.text(0, 24)), pair("policy version", rows.text(0, 12)), pair("as of", rows.text(0, 11)), pair("engine version", rows.text(0, 27)),
                                     pair("findings", std::to_string(findings.size())), pair("advisories considered", std::to_string(std::set<Sha256>(advisories.begin(), advisories.end()).size()))})},
       {"tables", json::Value::array({findings_table(findings)})}, {"replayable", true}});
  closure.report.set("chain", STELLA_TRY(chain_of(tx, job_ids)));
  return {};
}

Result<void> close_over_job(pg::TenantTx& tx, objects::Store&, std::string_view id, Closure& closure) {
  if (!JobId::parse(id)) return Error(base_errors::kNotFound, "no such job");
  const auto rows = STELLA_TRY(tx.query("SELECT state, kind, params, inputs, coalesce(outputs, '[]'::jsonb), engine_version, trace_id, project_id, coalesce(root_cause, '') FROM jobs WHERE tenant_id = $1 AND job_id = $2", {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such job");
  const std::string state(rows.text(0, 0));
  if (state == "queued" || state == "running") return not_ready(state);
  const json::Value params = STELLA_TRY(json::parse(rows.text(0, 2)));
  const auto inputs = STELLA_TRY(jobs::inputs_from_json(rows.text(0, 3)));
  const json::Value call = json::Value::object({{"kind", rows.text(0, 1)}, {"engine_version", rows.text(0, 5)}, {"params", params}, {"inputs", jobs::to_json(inputs)}});
  const std::string call_text = STELLA_TRY(json::canonical(call));
  STELLA_TRY_VOID(closure.add_bytes("data/inputs/job.json", "input", "application/json", call_text));
  for (const jobs::OutputRef& out : STELLA_TRY(jobs::outputs_from_json(rows.text(0, 4)))) closure.add("data/outputs/" + out.name, "output", out.media_type.empty() ? "application/octet-stream" : out.media_type, out.sha256, tx.tenant());
  const auto runs = STELLA_TRY(tx.query("SELECT json_build_object('run_id', run_id, 'attempt', attempt, 'runner_id', runner_id, 'state', state, 'runner_image_sha256', encode(image_sha256, 'hex'), 'sandbox', sandbox, 'usage', usage, "
                                        "'root_cause', root_cause)::text, coalesce(environment, '{}'::jsonb)::text, attempt::text, state, runner_id, encode(image_sha256, 'hex'), sandbox::text FROM runs WHERE tenant_id = $1 AND job_id = $2 ORDER BY attempt",
                                        {tx.tenant(), id}));
  std::string runs_text, environment_text;
  json::Array shown;
  for (int i = 0; i < runs.size(); ++i) {
    shown.push_back(json::Value::array({runs.text(i, 2), runs.text(i, 3), runs.text(i, 4), runs.text(i, 5), runs.text(i, 6)}));
    runs_text.append(runs.text(i, 0)).append("\n");
    environment_text.append(runs.text(i, 1)).append("\n");
  }
  STELLA_TRY_VOID(closure.add_bytes("data/record/runs.ndjson", "record", "application/x-ndjson", runs_text));
  STELLA_TRY_VOID(closure.add_bytes("data/inputs/config/environment.ndjson", "input", "application/x-ndjson", environment_text));
  closure.traces.emplace(rows.text(0, 6));
  if (!rows.is_null(0, 7)) closure.project = STELLA_TRY(ProjectId::parse(rows.text(0, 7)));
  STELLA_TRY_VOID(closure.add_telemetry(closure.traces));
  STELLA_TRY_VOID(closure.add_transcripts({std::string(id)}));
  // What it took in was made by traces of their own.
  const auto before = STELLA_TRY(tx.query(
      "SELECT e.trace_id, s.trace_id, p.trace_id FROM jobs j JOIN evaluations e ON e.tenant_id = j.tenant_id AND e.evaluation_id = CASE j.resource_type WHEN 'evaluation' THEN j.resource_id::uuid "
      "WHEN 'export' THEN (SELECT x.evaluation_id FROM exports x WHERE x.tenant_id = j.tenant_id AND x.export_id = j.resource_id::uuid) END "
      "JOIN sboms s ON s.tenant_id = e.tenant_id AND s.sbom_id = e.sbom_id JOIN policies p ON p.tenant_id = e.tenant_id AND p.policy_version = e.policy_version WHERE j.tenant_id = $1 AND j.job_id = $2",
      {tx.tenant(), id}));
  for (int column = 0; !before.empty() && column < 3; ++column) closure.traces.emplace(before.text(0, column));
  closure.report = json::Value::object({{"title", "Job capsule: " + std::string(rows.text(0, 1))}, {"outcome", state}, {"tone", state == "finished" ? "good" : "bad"},
                                        {"summary", state == "finished" ? std::string("The job finished; its outputs are in this bundle, its inputs are named by digest.") : "The job ended as " + state + ": " + std::string(rows.text(0, 8))},
                                        {"facts", json::Value::array({pair("kind", rows.text(0, 1)), pair("engine version", rows.text(0, 5)), pair("runs", std::to_string(runs.size()))})},
                                        {"tables", json::Value::array({runs_table(std::move(shown))})}});
  closure.report.set("chain", STELLA_TRY(chain_of(tx, {std::string(id)})));
  return {};
}

Result<void> close_over_export(pg::TenantTx& tx, objects::Store&, std::string_view id, Closure& closure) {
  if (!ExportId::parse(id)) return Error(base_errors::kNotFound, "no such export");
  const auto rows = STELLA_TRY(tx.query("SELECT x.state, x.report_sha256, x.manifest_sha256, x.format, x.evaluation_id, x.trace_id, x.job_id, e.project_id, e.trace_id, s.trace_id, p.trace_id FROM exports x JOIN evaluations e USING (tenant_id, evaluation_id) "
                                        "JOIN sboms s USING (tenant_id, sbom_id) JOIN policies p USING (tenant_id, policy_version) "
                                        "WHERE x.tenant_id = $1 AND x.export_id = $2",
                                        {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such export");
  if (rows.text(0, 0) != "created") return not_ready(rows.text(0, 0));
  const Sha256 report = STELLA_TRY(rows.sha256(0, 1));
  const Sha256 manifest = STELLA_TRY(rows.sha256(0, 2));
  closure.add("data/outputs/exposure-report.json", "output", "application/json", report, tx.tenant());
  closure.add("data/outputs/manifest.json", "output", "application/json", manifest, tx.tenant());
  const json::Value request = json::Value::object({{"evaluation_id", rows.text(0, 4)}, {"format", rows.text(0, 3)}, {"recipients", json::Value::array()}});
  const std::string request_text = STELLA_TRY(json::canonical(request));
  STELLA_TRY_VOID(closure.add_bytes("data/inputs/export.json", "input", "application/json", request_text));
  // What the evaluation was made from came in by traces of its own.
  for (const int column : {5, 8, 9, 10}) closure.traces.emplace(rows.text(0, column));
  closure.project = STELLA_TRY(ProjectId::parse(rows.text(0, 7)));
  STELLA_TRY_VOID(closure.add_telemetry({std::string(rows.text(0, 5))}));
  STELLA_TRY_VOID(closure.add_transcripts({std::string(rows.text(0, 6))}));
  closure.report = json::Value::object({{"title", "Export manifest"}, {"outcome", "created"}, {"tone", "good"}, {"summary", "The exported files, their checksums and what they were made from."},
                                        {"facts", json::Value::array({pair("evaluation", rows.text(0, 4)), pair("format", rows.text(0, 3))})},
                                        {"tables", json::Value::array({json::Value::object({{"title", "Files"}, {"note", ""}, {"columns", json::Value::array({"file", "sha256"})},
                                                                                            {"rows", json::Value::array({json::Value::array({"exposure-report.json", report.hex()}), json::Value::array({"manifest.json", manifest.hex()})})}})})}});
  closure.report.set("chain", STELLA_TRY(chain_of(tx, {std::string(rows.text(0, 6))})));
  return {};
}

}  // namespace stella::evidence
