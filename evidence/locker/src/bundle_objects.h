// The objects that a sealed bundle consists of in the store.
#pragma once

#include <string>
#include <vector>

#include "renewals.h"
#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/platform/pg.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {

struct BundleObjects {
  std::vector<std::string> own;     // bundle.tgz first, then the commitments that outlive it: manifest.json, root.merkle, renewal-<n>.tsr and .pem
  std::vector<std::string> shared;  // the payload that it was built from and its items: by content, so that bundles of the same inputs share them
};

inline Result<BundleObjects> objects_of(pg::Tx& tx, const TenantId& tenant, const BundleId& bundle) {
  const auto rows = STELLA_TRY(tx.query("SELECT case_id, payload_sha256, items_sha256 FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));
  BundleObjects out;
  if (rows.empty()) return out;
  const CaseId case_id = STELLA_TRY(CaseId::parse(rows.text(0, 0)));
  for (const std::string_view file : {"bundle.tgz", "manifest.json", "root.merkle"}) out.own.push_back(object_key::evidence(tenant, case_id, bundle, file));
  const auto renewals = STELLA_TRY(tx.query("SELECT n FROM evidence_time WHERE tenant_id = $1 AND bundle_id = $2 AND n > 0 ORDER BY n LIMIT 1000", {tenant, bundle}));
  for (int i = 0; i < renewals.size(); ++i)
    for (const std::string_view ending : {".tsr", ".pem"}) out.own.push_back(object_key::evidence(tenant, case_id, bundle, renewal_file(renewals.integer(i, 0), ending)));
  for (const int column : {1, 2}) {
    if (rows.is_null(0, column)) continue;
    const Sha256 digest = STELLA_TRY(rows.sha256(0, column));
    out.shared.push_back(object_key::object(tenant, digest));
  }
  return out;
}

}  // namespace stella::evidence
