// SLSA provenance of jobs: statement, signature, object, rows, event.
#include "stella/provenance/attest.h"

#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/telemetry/metrics.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::attest {
namespace {

constexpr telemetry::Counter kSigned{contracts::metrics::kAttestationsSigned};

evidence::Resource resource(const evidence::Subject& subject) {
  evidence::Resource r;
  r.name = subject.name;
  r.sha256 = subject.sha256;
  return r;
}

Result<std::string> statement_of(const JobProvenance& job) {
  evidence::Provenance p;
  p.external_parameters = json::Value::object({{"kind", job.kind}, {"params", job.params}, {"subject_id", job.subject_id}});
  p.internal_parameters = json::Value::object({{"engine_version", job.engine_version}, {"scheduler", "stella-orchestrator"}, {"job_id", job.job_id.str()}, {"trace_id", job.trace.hex()}});
  for (const evidence::Subject& input : job.inputs) p.resolved_dependencies.push_back(resource(input));
  p.builder_versions.emplace_back("stella-runner", job.engine_version);
  if (job.runner_image != Sha256()) p.builder_versions.emplace_back("stella-runner-sha256", job.runner_image.hex());
  p.invocation_id = job.run_id ? job.run_id->str() : job.job_id.str();
  p.started_on = job.started_at;
  p.finished_on = job.finished_at;
  if (job.transcript) p.byproducts.push_back(resource({"transcript.ndjson", *job.transcript}));
  return evidence::make_provenance(job.outputs, p);
}

}  // namespace

Result<std::optional<Attested>> attest_job(pg::SystemTx<pg::OrchestratorRole>& tx, objects::Store& store, const crypto::Signer& signer, const JobProvenance& job) {
  if (job.outputs.empty()) return std::optional<Attested>();
  const std::string statement = STELLA_TRY(statement_of(job));
  const std::string bundle = STELLA_TRY(evidence::sign_statement(signer, statement));
  const std::string subject_id = job.subject_id.empty() ? job.job_id.str() : job.subject_id;
  Attested out;
  out.statement = crypto::sha256(bundle);
  const std::string path = object_key::attestation(job.tenant, subject_id, out.statement);
  STELLA_TRY_VOID(store.put(path, bundle));
  const std::string key_id = signer.public_key().id().str();
  std::vector<std::vector<pg::Param>> rows;
  std::vector<std::vector<pg::Param>> facts;
  for (const evidence::Subject& subject : job.outputs) {
    const AttestationId id = AttestationId::generate();
    if (rows.empty()) out.id = id;
    rows.push_back({id, job.tenant, subject_id, subject.sha256, path, key_id});
    facts.push_back({job.tenant, id, evidence::kProvenancePredicate, subject.name, out.statement, job.job_id, job.trace.hex()});
  }
  STELLA_TRY_VOID(tx.query_many("INSERT INTO attestations (id, tenant_id, subject_id, subject_digest, statement_path, signer_key_id) VALUES ($1, $2, $3, $4, $5, $6)", rows));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO attestation_facts (tenant_id, attestation_id, predicate_type, subject_name, statement_sha256, job_id, trace_id) "
                                "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                                facts));
  timeline::Event event;
  event.kind = contracts::events::kAttestationCreated;
  event.actor = "system:orchestrator";
  event.resource_type = "attestation";
  event.resource_id = out.id.str();
  event.trace = job.trace;
  event.traceparent = job.traceparent;
  event.details = json::Value::object({{"attestation_id", out.id.str()}, {"predicate_type", evidence::kProvenancePredicate}, {"subject_id", subject_id},
                                       {"subject_sha256", job.outputs.front().sha256.hex()}, {"statement_sha256", out.statement.hex()}, {"signer_key_id", key_id},
                                       {"job_id", job.job_id.str()},
                                       {"outputs", json::Value::array({json::Value::object({{"name", "statement"}, {"sha256", out.statement.hex()}})})}});
  event.resources.emplace_back("job", job.job_id.str());
  STELLA_TRY_VOID(timeline::emit(tx, job.tenant, std::move(event)));
  tx.on_commit([] { kSigned.add(1); });
  return std::optional<Attested>(out);
}

}  // namespace stella::attest
