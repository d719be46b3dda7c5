// Statements of an evaluation, a job or an export, for its bundle.
#include "stella/provenance/enclose.h"

#include <optional>

#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/predicates.h"
#include "stella/tenancy/paths.h"

namespace stella::attest {
namespace {

constexpr std::uint64_t kStatementBytes = 32u << 20;

std::string_view file_of(std::string_view predicate_type) {
  if (predicate_type == evidence::kProvenancePredicate) return "attest/provenance.sigstore.json";
  if (predicate_type == evidence::kVsaPredicate) return "attest/vsa.sigstore.json";
  if (predicate_type == evidence::kSvrPredicate) return "attest/svr.sigstore.json";
  return "attest/vulns.sigstore.json";
}

// The stored document where it is a Sigstore bundle, else its statement signed alone; verified before either. None, and why, where it cannot be enclosed.
Result<std::optional<std::string>> alone(objects::Store& store, const std::string& key, const Sha256& digest, const crypto::Signer& signer, const evidence::StatementExpectation& expected, std::string& why_not) {
  std::optional<std::string> none;
  const auto document = store.get(key, kStatementBytes);
  if (!document && document.error().code() != base_errors::kNotFound && document.error().code() != base_errors::kLimit) return Error(document.error());
  if (!document || crypto::sha256(*document) != digest) {
    why_not = document ? "the stored statement was changed: its digest is not the one that was recorded" : "the stored statement is not in the store any more, or was changed";
    return none;
  }
  auto verified = evidence::verify_statement(*document, expected);
  if (!verified) {
    why_not = "it does not verify with the evidence keys that are trusted now: " + std::string(verified.error().message());
    return none;
  }
  const auto doc = json::parse(*document);
  if (doc && !evidence::is_batch_member(doc->str("mediaType"))) return std::optional(*document);
  return std::optional(STELLA_TRY(evidence::sign_statement(signer, std::move(verified->bytes))));
}

// `about`: what they were about is the first subject, for verifiers accept no statement about what is not in the bundle. `resource`: name and id of that.
Result<std::string> left_out_statement(const crypto::Signer& signer, std::vector<evidence::Subject> about, std::pair<std::string_view, std::string_view> resource, const std::vector<Enclosed::LeftOut>& left_out) {
  json::Array files;
  for (const auto& one : left_out) {
    about.push_back({one.file, one.sha256});
    files.push_back(json::Value::object({{"file", one.file}, {"sha256", one.sha256.hex()}, {"reason", one.reason}}));
  }
  json::Value predicate = json::Value::object({{"left_out", std::move(files)}});
  predicate.set(std::string(resource.first), resource.second);
  return evidence::sign_statement(signer, STELLA_TRY(evidence::make_statement(about, evidence::kLeftOutPredicate, std::move(predicate))));
}

// The rows of the provenance of one job, newest first: subject_id, digest of the stored document, name and digest of an output.
constexpr std::string_view kOfJob =
    "SELECT a.subject_id, f.statement_sha256, f.subject_name, a.subject_digest FROM jobs j JOIN attestations a ON a.tenant_id = j.tenant_id AND a.subject_id IN (j.resource_id, j.job_id::text) "
    "JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id AND f.job_id = j.job_id WHERE j.tenant_id = $1 AND j.job_id = $2 AND f.predicate_type = $3 ORDER BY a.created_at DESC, f.statement_sha256, a.id";
constexpr std::string_view kOfExport =
    "SELECT a.subject_id, f.statement_sha256, f.subject_name, a.subject_digest FROM attestations a JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id "
    "WHERE a.tenant_id = $1 AND a.subject_id = $2 AND f.predicate_type = $3 ORDER BY a.created_at DESC, f.statement_sha256, a.id";

}  // namespace

Result<Enclosed> provenance_statement(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer, std::span<const crypto::PublicKey> trust,
                                      const TenantId& tenant, std::string_view kind, std::string_view resource_id) {
  const bool job = kind == "job";
  const auto rows = STELLA_TRY(tx.query(job ? kOfJob : kOfExport, {tenant, resource_id, evidence::kProvenancePredicate}));
  Enclosed out;
  if (rows.empty()) return out;
  const Sha256 digest = STELLA_TRY(rows.sha256(0, 1));
  const std::string file(file_of(evidence::kProvenancePredicate));
  std::string why_not;
  auto bytes = STELLA_TRY(alone(store, object_key::attestation(tenant, rows.text(0, 0), digest), digest, signer, {.trust = trust, .predicate_type = evidence::kProvenancePredicate}, why_not));
  if (bytes) {
    out.files.emplace_back(file, std::move(*bytes));
    return out;
  }
  out.left_out.push_back({file, digest, std::move(why_not)});
  std::vector<evidence::Subject> made;
  for (int i = 0; i < rows.size(); ++i)
    if (STELLA_TRY(rows.sha256(i, 1)) == digest) made.push_back({"data/outputs/" + std::string(rows.text(i, 2)), STELLA_TRY(rows.sha256(i, 3))});
  out.files.emplace_back(kLeftOutFile, STELLA_TRY(left_out_statement(signer, std::move(made), {job ? "job_id" : "export_id", resource_id}, out.left_out)));
  return out;
}

Result<Enclosed> evaluation_statements(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer, std::span<const crypto::PublicKey> trust,
                                       const TenantId& tenant, std::string_view evaluation_id) {
  // Link and reconcile have provenance too: the decision's is that of the job which the other statements came from.
  const auto rows = STELLA_TRY(tx.query(
      "SELECT DISTINCT ON (f.predicate_type) f.predicate_type, f.statement_sha256 FROM attestations a JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id "
      "WHERE a.tenant_id = $1 AND a.subject_id = $2 AND f.predicate_type IN ($3, $4, $5, $6) "
      "AND f.job_id IN (SELECT d.job_id FROM attestations b JOIN attestation_facts d ON d.tenant_id = b.tenant_id AND d.attestation_id = b.id WHERE b.tenant_id = $1 AND b.subject_id = $2 AND d.predicate_type = $4) "
      "ORDER BY f.predicate_type, a.created_at DESC, a.id DESC",
      {tenant, evaluation_id, evidence::kProvenancePredicate, evidence::kVsaPredicate, evidence::kSvrPredicate, evidence::kVulnsPredicate}));
  Enclosed out;
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(i, 1));
    const std::string file(file_of(rows.text(i, 0)));
    std::string why_not;
    auto bytes = STELLA_TRY(alone(store, object_key::attestation(tenant, evaluation_id, digest), digest, signer, {.trust = trust, .predicate_type = rows.text(i, 0)}, why_not));
    if (bytes) out.files.emplace_back(file, std::move(*bytes));
    else out.left_out.push_back({file, digest, std::move(why_not)});
  }
  if (out.left_out.empty()) return out;
  std::vector<evidence::Subject> about;
  const auto decision = STELLA_TRY(tx.query("SELECT decision_sha256 FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2 AND decision_sha256 IS NOT NULL", {tenant, evaluation_id}));
  if (!decision.empty()) about.push_back({"data/outputs/decision.json", STELLA_TRY(decision.sha256(0, 0))});
  out.files.emplace_back(kLeftOutFile, STELLA_TRY(left_out_statement(signer, std::move(about), {"evaluation_id", evaluation_id}, out.left_out)));
  return out;
}

Result<std::vector<std::string>> files_left_out(std::string_view left_out_statement) {
  const auto envelope = STELLA_TRY(evidence::parse_attestation(left_out_statement));
  const auto statement = STELLA_TRY(evidence::parse_statement(envelope.payload));
  std::vector<std::string> out;
  for (const json::Value& one : statement.predicate.items("left_out")) out.emplace_back(one.str("file"));
  return out;
}

}  // namespace stella::attest
