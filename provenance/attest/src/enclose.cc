// Statements of an evaluation, for its bundle.
#include "stella/provenance/enclose.h"

#include "stella/contracts/errors.h"
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

// The stored document where it is a Sigstore bundle, else its statement signed alone; verified before either.
Result<std::string> alone(const std::string& document, const crypto::Signer& signer, std::span<const crypto::PublicKey> trust, std::string_view predicate_type) {
  auto verified = STELLA_TRY(evidence::verify_statement(document, {.trust = trust, .predicate_type = predicate_type}));
  const auto doc = json::parse(document);
  if (doc && !evidence::is_batch_member(doc->str("mediaType"))) return document;
  return evidence::sign_statement(signer, std::move(verified.bytes));
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> evaluation_statements(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer,
                                                                               std::span<const crypto::PublicKey> trust, const TenantId& tenant, std::string_view evaluation_id) {
  // Link and reconcile have provenance too: the decision's is that of the job which the other statements came from.
  const auto rows = STELLA_TRY(tx.query(
      "SELECT DISTINCT ON (f.predicate_type) f.predicate_type, f.statement_sha256 FROM attestations a JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id "
      "WHERE a.tenant_id = $1 AND a.subject_id = $2 AND f.predicate_type IN ($3, $4, $5, $6) "
      "AND f.job_id IN (SELECT d.job_id FROM attestations b JOIN attestation_facts d ON d.tenant_id = b.tenant_id AND d.attestation_id = b.id WHERE b.tenant_id = $1 AND b.subject_id = $2 AND d.predicate_type = $4) "
      "ORDER BY f.predicate_type, a.created_at DESC, a.id DESC",
      {tenant, evaluation_id, evidence::kProvenancePredicate, evidence::kVsaPredicate, evidence::kSvrPredicate, evidence::kVulnsPredicate}));
  std::vector<std::pair<std::string, std::string>> out;
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(i, 1));
    const std::string document = STELLA_TRY(store.get(object_key::attestation(tenant, evaluation_id, digest), kStatementBytes));
    if (crypto::sha256(document) != digest) return Error(contracts::errors::kIntegrity, "a stored statement was changed: its digest is not the one that was recorded");
    std::string file = STELLA_TRY(alone(document, signer, trust, rows.text(i, 0)));
    out.emplace_back(file_of(rows.text(i, 0)), std::move(file));
  }
  return out;
}

}  // namespace stella::attest
