// Which bundle is embedded, and its way into the closure.
#include "embedded.h"

#include "case_lock.h"
#include "long_read.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {

json::Value Embedded::json() const { return json::Value::object({{"bundle_id", bundle.str()}, {"root", root.hex()}}); }

Result<Embedded> find_embedded(pg::TenantTx& tx, const SnapshotRequest& request) {
  const auto evaluation = STELLA_TRY(tx.query("SELECT evaluation_id FROM exports WHERE tenant_id = $1 AND export_id = $2", {tx.tenant(), request.resource_id}));
  if (evaluation.empty()) return Error(base_errors::kNotFound, "no such export");
  // Locked first, then read: what a deletion that was under way left is what counts.
  const auto newest = STELLA_TRY(tx.query("SELECT bundle_id FROM evidence_snapshots WHERE tenant_id = $1 AND kind = 'eval' AND resource_id = $2 AND case_id = $3 AND derived_from IS NULL AND state = 'sealed' ORDER BY request_no DESC LIMIT 1",
                                          {tx.tenant(), evaluation.text(0, 0), request.case_id.str()}));
  const std::string bundle = newest.empty() ? std::string() : std::string(newest.text(0, 0));
  if (!bundle.empty()) STELLA_TRY_VOID(tx.query(kLockBundleShared, {tx.tenant(), bundle}));
  const auto rows = STELLA_TRY(tx.query("SELECT s.bundle_id, b.root_hash, s.bundle_sha256, s.bundle_size FROM evidence_snapshots s JOIN evidence_bundles b ON b.tenant_id = s.tenant_id AND b.id = s.bundle_id "
                                        "WHERE s.tenant_id = $1 AND s.bundle_id = nullif($2, '')::uuid AND s.state = 'sealed'",
                                        {tx.tenant(), bundle}));
  if (rows.empty())
    return Error(contracts::errors::kNotReady, "the evaluation of the export has no sealed bundle in this case: make that one first").with("field", "embed_evaluation").with("expected", "a sealed bundle of kind eval").with("resource_id", std::string(evaluation.text(0, 0)));
  Embedded out;
  out.bundle = STELLA_TRY(BundleId::parse(rows.text(0, 0)));
  out.case_id = request.case_id;
  out.root = STELLA_TRY(rows.sha256(0, 1));
  out.digest = STELLA_TRY(rows.sha256(0, 2));
  out.size = static_cast<std::uint64_t>(rows.integer(0, 3));
  return out;
}

Result<void> embed(pg::TenantTx& tx, objects::Store& store, const Embedded& embedded, Closure& closure) {
  const std::string target = object_key::object(tx.tenant(), embedded.digest);
  if (!store.stat(target)) {
    STELLA_TRY_VOID(expect_long_read(tx));
    const Fd archive = STELLA_TRY(store.open(object_key::evidence(tx.tenant(), embedded.case_id, embedded.bundle, "bundle.tgz")));
    bool same = true;
    const auto copied = store.put_fd(archive.get(), embedded.size, [&](const Sha256& digest) {
      same = digest == embedded.digest;
      return same ? target : std::string();
    });
    if (!same || (!copied && copied.error().code() == base_errors::kLimit))
      return Error(contracts::errors::kIntegrity, "the evaluation's bundle is not what was sealed: it was changed in the store").with("bundle_id", embedded.bundle.str());
    if (!copied) return copied.error();
  }
  closure.add("data/bundles/" + embedded.bundle.str() + ".tgz", std::string(kBundleRole), "application/gzip", embedded.digest, tx.tenant());
  return {};
}

Result<std::vector<SealFacts::Parent>> parents_in(std::string_view request) {
  std::vector<SealFacts::Parent> out;
  const json::Value document = STELLA_TRY(json::parse(request));
  const json::Value* embedded = document.find("embedded");
  if (embedded == nullptr) return out;
  SealFacts::Parent parent;
  parent.bundle_id = STELLA_TRY(BundleId::parse(embedded->str("bundle_id")));
  parent.root = STELLA_TRY(Sha256::parse(embedded->str("root")));
  out.push_back(parent);
  return out;
}

}  // namespace stella::evidence
