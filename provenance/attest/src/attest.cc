// Statements of jobs: provenance, signature (one for all of a job), objects, rows, events.
#include "stella/provenance/attest.h"

#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
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
  if (job.reused_from) p.internal_parameters.set("reused_from_job", job.reused_from->str());
  for (const evidence::Subject& input : job.inputs) p.resolved_dependencies.push_back(resource(input));
  p.builder_versions.emplace_back("stella-runner", job.engine_version);
  if (job.runner_image != Sha256()) p.builder_versions.emplace_back("stella-runner-sha256", job.runner_image.hex());
  p.invocation_id = job.run_id ? job.run_id->str() : job.job_id.str();
  p.started_on = job.started_at;
  p.finished_on = job.finished_at;
  if (job.transcript) p.byproducts.push_back(resource({"transcript.ndjson", *job.transcript}));
  return evidence::make_provenance(job.outputs, p);
}

// The stored document of each statement: a Sigstore bundle where there is one, else members of one signed batch.
Result<std::vector<std::string>> sign_all(const crypto::Signer& signer, const std::vector<evidence::Stated>& statements) {
  std::vector<std::string> out;
  if (statements.size() == 1) {
    out.push_back(STELLA_TRY(evidence::sign_statement(signer, statements.front().bytes)));
    return out;
  }
  std::vector<Sha256> digests;
  for (const evidence::Stated& s : statements) digests.push_back(crypto::sha256(s.bytes));
  const auto batch = STELLA_TRY(evidence::SignedBatch::sign(signer, std::move(digests)));
  for (std::size_t i = 0; i < statements.size(); ++i) out.push_back(STELLA_TRY(batch.document(i, statements[i].bytes)));
  return out;
}

timeline::Event created(const JobProvenance& job, const evidence::Stated& stated, const AttestationId& id, const Sha256& document, const std::string& subject_id, const std::string& key_id) {
  timeline::Event event;
  event.kind = contracts::events::kAttestationCreated;
  event.actor = "system:orchestrator";
  event.resource_type = "attestation";
  event.resource_id = id.str();
  event.trace = job.trace;
  event.traceparent = job.traceparent;
  event.details = json::Value::object({{"attestation_id", id.str()}, {"predicate_type", stated.predicate_type}, {"subject_id", subject_id},
                                       {"subject_sha256", stated.subjects.front().sha256.hex()}, {"statement_sha256", document.hex()}, {"payload_sha256", crypto::sha256(stated.bytes).hex()}, {"signer_key_id", key_id},
                                       {"job_id", job.job_id.str()},
                                       {"outputs", json::Value::array({json::Value::object({{"name", "statement"}, {"sha256", document.hex()}})})}});
  event.resources.emplace_back("job", job.job_id.str());
  return event;
}

}  // namespace

Result<std::optional<Attested>> attest_job(pg::SystemTx<pg::OrchestratorRole>& tx, objects::Store& store, const crypto::Signer& signer, const JobProvenance& job, std::vector<evidence::Stated> others) {
  if (job.outputs.empty()) {
    if (!others.empty()) return Error(base_errors::kInternal, "something is stated about a job without outputs");
    return std::optional<Attested>();
  }
  std::vector<evidence::Stated> statements = std::move(others);
  statements.insert(statements.begin(), {.predicate_type = std::string(evidence::kProvenancePredicate), .subjects = job.outputs, .bytes = STELLA_TRY(statement_of(job))});
  const std::vector<std::string> documents = STELLA_TRY(sign_all(signer, statements));
  const std::string subject_id = job.subject_id.empty() ? job.job_id.str() : job.subject_id;
  const std::string key_id = signer.public_key().id().str();
  Attested out;
  std::vector<std::vector<pg::Param>> rows, facts;
  std::vector<timeline::Event> events;
  for (std::size_t i = 0; i < statements.size(); ++i) {
    const Sha256 document = crypto::sha256(documents[i]);
    const std::string path = object_key::attestation(job.tenant, subject_id, document);
    STELLA_TRY_VOID(store.put(path, documents[i]));
    std::optional<AttestationId> first;
    for (const evidence::Subject& subject : statements[i].subjects) {
      const AttestationId id = AttestationId::generate();
      if (!first) first = id;
      rows.push_back({id, job.tenant, subject_id, subject.sha256, path, key_id});
      facts.push_back({job.tenant, id, statements[i].predicate_type, subject.name, document, job.job_id, job.trace.hex()});
    }
    if (!first) return Error(base_errors::kInternal, "a statement without a subject");
    if (i == 0) out = {.id = *first, .statement = document};
    events.push_back(created(job, statements[i], *first, document, subject_id, key_id));
  }
  STELLA_TRY_VOID(tx.query_many("INSERT INTO attestations (id, tenant_id, subject_id, subject_digest, statement_path, signer_key_id) VALUES ($1, $2, $3, $4, $5, $6)", rows));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO attestation_facts (tenant_id, attestation_id, predicate_type, subject_name, statement_sha256, job_id, trace_id) "
                                "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                                facts));
  STELLA_TRY_VOID(timeline::emit_many(tx, job.tenant, std::move(events)));
  tx.on_commit([count = statements.size()] { kSigned.add(count); });
  return std::optional<Attested>(out);
}

}  // namespace stella::attest
