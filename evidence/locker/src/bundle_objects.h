// The objects that a sealed bundle consists of in the store.
#pragma once

#include <algorithm>
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
  struct Shared {
    Sha256 digest;
    std::string key;
  };
  std::vector<Shared> shared;  // payload, items, and what its closure wrote (logs, spans, transcripts …): by content, so that bundles share them

  // For ANY($n::bytea[]).
  std::vector<std::string> digests() const {
    std::vector<std::string> out;
    for (const Shared& object : shared) out.emplace_back(object.digest.view());
    return out;
  }
};

inline Result<BundleObjects> objects_of(pg::Tx& tx, const TenantId& tenant, const BundleId& bundle) {
  const auto rows = STELLA_TRY(tx.query("SELECT case_id, payload_sha256, items_sha256, array_to_string(ARRAY(SELECT encode(m, 'hex') FROM unnest(made_objects) m), ',') FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));
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
    out.shared.push_back({digest, object_key::object(tenant, digest)});
  }
  for (std::string_view made = rows.text(0, 3); !made.empty();) {
    const std::size_t end = std::min(made.find(','), made.size());
    const Sha256 digest = STELLA_TRY(Sha256::parse(made.substr(0, end)));
    out.shared.push_back({digest, object_key::object(tenant, digest)});
    made.remove_prefix(std::min(end + 1, made.size()));
  }
  return out;
}

}  // namespace stella::evidence
