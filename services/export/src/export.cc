// Exports as rows, and what the end of their job means.
#include "stella/services/export.h"

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/timeline/emit.h"

namespace stella::exports {
namespace {

using OrchestratorTx = pg::SystemTx<pg::OrchestratorRole>;

timeline::Event export_event(std::string_view kind, std::string_view actor, std::string id, TraceId trace, std::string traceparent, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.actor = std::string(actor);
  event.resource_type = "export";
  event.resource_id = std::move(id);
  event.trace = trace;
  event.traceparent = std::move(traceparent);
  event.details = std::move(details);
  return event;
}

}  // namespace

Result<ExportId> request_export(pg::TenantTx& tx, const ExportRequest& request) {
  if (request.format != "json") return Error(base_errors::kInvalid, "the export format is not supported").with("field", "format").with("expected", "json");
  const auto rows = STELLA_TRY(tx.query("SELECT state, components_sha256, exposures_sha256, vex_sha256, decision_sha256, findings_sha256, project_id FROM evaluations "
                                        "WHERE tenant_id = $1 AND evaluation_id = $2",
                                        {tx.tenant(), request.evaluation}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such evaluation");
  if (rows.text(0, 0) != "finished") return Error(contracts::errors::kNotReady, "the evaluation is not finished").with("state", std::string(rows.text(0, 0)));
  const ExportId id = ExportId::generate();
  STELLA_TRY_VOID(tx.query("INSERT INTO exports (tenant_id, export_id, evaluation_id, format, state, requested_by, trace_id) VALUES ($1, $2, $3, $4, 'requested', $5, $6)",
                           {tx.tenant(), id, request.evaluation, request.format, tx.actor(), request.trace.hex()}));
  jobs::Spec spec;
  spec.kind = std::string(contracts::job_kinds::kExportBundle);
  spec.params = json::Value::object({{"format", request.format}});
  constexpr std::string_view kNames[] = {"components.ndjson", "exposures.ndjson", "vex.ndjson", "decision.json", "findings.ndjson"};
  for (int i = 0; i < 5; ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(0, i + 1));
    spec.inputs.push_back({std::string(kNames[i]), digest, tx.tenant()});
  }
  spec.project = STELLA_TRY(ProjectId::parse(rows.text(0, 6)));
  spec.resource_type = "export";
  spec.resource_id = id.str();
  spec.requested_by = tx.actor();
  spec.traceparent = request.traceparent;
  spec.trace = request.trace;
  const jobs::Scheduled job = STELLA_TRY(jobs::schedule(tx, spec));
  STELLA_TRY_VOID(tx.query("UPDATE exports SET job_id = $3 WHERE tenant_id = $1 AND export_id = $2", {tx.tenant(), id, job.job_id}));
  timeline::Event event = export_event(contracts::events::kExportRequested, tx.actor(), id.str(), request.trace, request.traceparent,
                                       json::Value::object({{"export_id", id.str()}, {"evaluation_id", request.evaluation.str()}, {"format", request.format}, {"job_id", job.job_id.str()}, {"inputs", jobs::digest_list(spec.inputs)}}));
  event.project = spec.project;
  event.resources.emplace_back("evaluation", request.evaluation.str());
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return id;
}

namespace {

class ExportBundle final : public jobs::KindHandler {
 public:
  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const jobs::OutputRef* report = job.output("exposure-report.json");
    const jobs::OutputRef* manifest = job.output("manifest.json");
    if (report == nullptr || manifest == nullptr) return Error(base_errors::kInternal, "an export without report or manifest");
    // The attestation of this very job was written just before, in this transaction.
    const auto attested = STELLA_TRY(tx.query("SELECT f.attestation_id FROM attestation_facts f JOIN attestations a ON a.tenant_id = f.tenant_id AND a.id = f.attestation_id "
                                              "WHERE f.tenant_id = $1 AND f.job_id = $2 AND a.subject_digest = $3 LIMIT 1",
                                              {job.tenant, job.job_id, report->sha256}));
    const pg::Param attestation = attested.empty() ? pg::Param(nullptr) : pg::Param(attested.text(0, 0));
    const auto rows = STELLA_TRY(tx.query("UPDATE exports SET state = 'created', error = NULL, report_sha256 = $3, manifest_sha256 = $4, attestation_id = $5, finished_at = now() "
                                          "WHERE tenant_id = $1 AND export_id = $2 RETURNING evaluation_id, format",
                                          {job.tenant, job.resource_id, report->sha256, manifest->sha256, attestation}));
    if (rows.empty()) return Error(base_errors::kInternal, "a job works for an export that does not exist");
    json::Value details = json::Value::object({{"export_id", job.resource_id}, {"evaluation_id", rows.text(0, 0)}, {"format", rows.text(0, 1)}, {"report_sha256", report->sha256.hex()},
                                               {"manifest_sha256", manifest->sha256.hex()}, {"bytes", report->size}, {"job_id", job.job_id.str()},
                                               {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
    if (!attested.empty()) details.set("attestation_id", attested.text(0, 0));
    timeline::Event event = export_event(contracts::events::kExportCreated, "system:orchestrator", job.resource_id, job.trace, job.traceparent, std::move(details));
    event.project = job.project;
    event.resources.emplace_back("evaluation", std::string(rows.text(0, 0)));
    event.resources.emplace_back("job", job.job_id.str());
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, std::move(event)));
    return {};
  }

  Result<void> on_failed(OrchestratorTx& tx, const jobs::FailedJob& job) override {
    STELLA_TRY_VOID(tx.query("UPDATE exports SET state = 'failed', error = $3, finished_at = now() WHERE tenant_id = $1 AND export_id = $2",
                             {job.tenant, job.resource_id, pg::Param::json(json::dump(jobs::error_json(job)))}));
    json::Value details = json::Value::object({{"export_id", job.resource_id}, {"error_code", job.error_code}, {"error_message", job.error_message}, {"job_id", job.job_id.str()}});
    timeline::Event event = export_event(contracts::events::kExportFailed, "system:orchestrator", job.resource_id, job.trace, job.traceparent, std::move(details));
    event.project = job.project;
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, std::move(event)));
    return {};
  }
};

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers() {
  return {{std::string(contracts::job_kinds::kExportBundle), std::make_shared<ExportBundle>()}};
}

}  // namespace stella::exports
