// SBOMs: received as they are, computed by a job, rejected with the reason.
#include <map>

#include "common.h"
#include "stella/base/encoding.h"
#include "stella/contracts/components.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"

namespace stella::ledger {

Result<ProjectId> find_project(pg::TenantTx& tx, std::string_view slug) {
  const auto rows = STELLA_TRY(tx.query("SELECT project_id FROM projects WHERE tenant_id = $1 AND slug = $2", {tx.tenant(), slug.empty() ? "default" : slug}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such project");
  return ProjectId::parse(rows.text(0, 0));
}

Result<ReceivedSbom> receive_sbom(pg::TenantTx& tx, objects::Store& store, const ProjectId& project, std::string_view bytes, const Trace& trace) {
  if (bytes.empty()) return Error(base_errors::kMalformed, "the SBOM is empty").with("line", 1).with("column", 1).with("expected", "a CycloneDX or SPDX JSON document");
  const Sha256 digest = crypto::sha256(bytes);
  STELLA_TRY_VOID(store.put(object_key::object(tx.tenant(), digest), bytes));
  ReceivedSbom out;
  out.id = SbomId::generate();
  auto inserted = STELLA_TRY(tx.query(
      "INSERT INTO sboms (tenant_id, sbom_id, project_id, sha256, size, state, received_by, trace_id) VALUES ($1, $2, $3, $4, $5, 'received', $6, $7) "
      "ON CONFLICT (tenant_id, project_id, sha256) DO NOTHING RETURNING sbom_id",
      {tx.tenant(), out.id, project, digest, bytes.size(), tx.actor(), trace.id.hex()}));
  if (inserted.empty()) {
    const auto before = STELLA_TRY(tx.query("SELECT sbom_id FROM sboms WHERE tenant_id = $1 AND project_id = $2 AND sha256 = $3", {tx.tenant(), project, digest}));
    if (before.empty()) return Error(contracts::errors::kConflict, "the same SBOM is being received right now");
    out.id = STELLA_TRY(SbomId::parse(before.text(0, 0)));
    out.existed = true;
    return out;
  }
  STELLA_TRY_VOID(tx.query("INSERT INTO source_documents (tenant_id, sha256, kind, source_id, media_type, size) VALUES ($1, $2, 'sbom', 'upload', 'application/json', $3) "
                           "ON CONFLICT DO NOTHING",
                           {tx.tenant(), digest, bytes.size()}));
  jobs::Spec spec;
  spec.kind = std::string(contracts::job_kinds::kSbomCompute);
  spec.inputs.push_back({"sbom", digest, tx.tenant()});
  spec.project = project;
  spec.resource_type = "sbom";
  spec.resource_id = out.id.str();
  spec.requested_by = tx.actor();
  spec.traceparent = trace.traceparent;
  spec.trace = trace.id;
  const jobs::Scheduled job = STELLA_TRY(jobs::schedule(tx, spec));
  STELLA_TRY_VOID(tx.query("UPDATE sboms SET job_id = $3 WHERE tenant_id = $1 AND sbom_id = $2", {tx.tenant(), out.id, job.job_id}));
  timeline::Event event = make_event(contracts::events::kSbomReceived, tx.actor(), "sbom", out.id.str(), trace,
                                     json::Value::object({{"sbom_id", out.id.str()}, {"sha256", digest.hex()}, {"bytes", bytes.size()}, {"format", "json"},
                                                          {"outputs", json::Value::array({digest_entry("sbom", digest)})}}));
  event.project = project;
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return out;
}

namespace {

constexpr std::size_t kComponentsPerStatement = 5000;

class SbomCompute final : public jobs::KindHandler {
 public:
  explicit SbomCompute(objects::Store& store) : store_(store) {}

  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    const std::string text = STELLA_TRY(read_output(store_, job, "components.ndjson"));
    const auto table = STELLA_TRY(contracts::decode_components(text));
    std::map<std::string, int> by_ecosystem;
    int unknown = 0;
    for (const contracts::Component& c : table.components) {
      ++by_ecosystem[c.ecosystem.empty() ? "unknown" : c.ecosystem.substr(0, c.ecosystem.find(':'))];
      if (!c.problem.empty()) ++unknown;
    }
    json::Value ecosystems = json::Value::object();
    for (const auto& [name, count] : by_ecosystem) ecosystems.set(name, count);
    const json::Value counts = json::Value::object({{"components", table.components.size()}, {"edges", table.edges.size()}, {"problems", table.problems.size()},
                                                    {"unknown", unknown}, {"by_ecosystem", ecosystems}});
    STELLA_TRY_VOID(tx.query(
        "UPDATE sboms SET state = 'computed', source_format = $3, document_name = $4, document_version = $5, document_id = $6, counts = $7, components_sha256 = $8, "
        "error = NULL, computed_at = now() WHERE tenant_id = $1 AND sbom_id = $2",
        {job.tenant, job.resource_id, table.source_format, table.document_name, table.document_version, table.document_id, pg::Param::json(json::dump(counts)), job.output("components.ndjson")->sha256}));
    STELLA_TRY_VOID(insert_components(tx, job, table.components));
    json::Value details = json::Value::object({{"sbom_id", job.resource_id}, {"component_count", table.components.size()}, {"unknown_count", unknown},
                                               {"edge_count", table.edges.size()}, {"problem_count", table.problems.size()}, {"cached", job.cached},
                                               {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, make_event(contracts::events::kSbomComputed, job, "sbom", job.resource_id, std::move(details))));
    return {};
  }

  Result<void> on_failed(OrchestratorTx& tx, const jobs::FailedJob& job) override {
    STELLA_TRY_VOID(tx.query("UPDATE sboms SET state = 'rejected', error = $3 WHERE tenant_id = $1 AND sbom_id = $2", {job.tenant, job.resource_id, pg::Param::json(json::dump(jobs::error_json(job)))}));
    json::Value details = json::Value::object({{"sbom_id", job.resource_id}, {"error_code", job.error_code}, {"error_message", job.error_message},
                                               {"inputs", jobs::digest_list(job.inputs)}});
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, make_event(contracts::events::kSbomRejected, job, "sbom", job.resource_id, std::move(details))));
    return {};
  }

 private:
  // Which SBOMs have a component is asked by its name alone; one without a package URL under the text that stands for it.
  static Result<void> insert_components(OrchestratorTx& tx, const jobs::FinishedJob& job, const std::vector<contracts::Component>& components) {
    std::vector<std::string> purls;
    for (std::size_t i = 0; i < components.size(); ++i) {
      const std::string& purl = components[i].purl.empty() ? components[i].raw_purl : components[i].purl;
      if (!purl.empty()) purls.emplace_back(clip_utf8(purl, timeline::kMaxResourceId));
      if (purls.size() < kComponentsPerStatement && i + 1 < components.size()) continue;
      STELLA_TRY_VOID(tx.query("INSERT INTO sbom_components (tenant_id, purl, sbom_id) SELECT DISTINCT $1::text, purl, $2::uuid FROM unnest($3::text[]) AS p(purl) ON CONFLICT DO NOTHING",
                               {job.tenant, job.resource_id, pg::Param::text_array(purls)}));
      purls.clear();
    }
    return {};
  }

  objects::Store& store_;
};

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> sbom_handlers(objects::Store& store) {
  return {{std::string(contracts::job_kinds::kSbomCompute), std::make_shared<SbomCompute>(store)}};
}

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers(objects::Store& store) {
  auto all = sbom_handlers(store);
  for (auto& more : batch_handlers(store)) all.push_back(std::move(more));
  for (auto& more : evaluation_handlers(store)) all.push_back(std::move(more));
  return all;
}

}  // namespace stella::ledger
