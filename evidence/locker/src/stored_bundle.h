// A sealed bundle as its row has it. Private to requests on the locker.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

struct StoredBundle {
  BundleId id;
  CaseId case_id;
  std::string kind, resource_id, state;
  Sha256 bundle_sha256, seal_sha256;
  std::uint64_t size = 0;
  std::optional<BundleId> derived_from;  // of a redacted copy: what it was made from
};

// From here to the end of the transaction no deletion of it can begin. kNotFound, also for one that was lawfully deleted; kNotReady.
Result<StoredBundle> find_bundle(pg::TenantTx& tx, const BundleId& id);

// First of all locks of whoever asks for a bundle: until the end of the transaction the tenant's key is not destroyed, and a destruction that is under way
// is waited for.
Result<void> keep_tenant_key(pg::TenantTx& tx);
// After that: kConflict with reason=key_destroyed where the key is gone, or about to go. What is only planned does not stand in the way: the destruction
// will be refused while a bundle is being built.
Result<void> expect_tenant_key(pg::TenantTx& tx);

}  // namespace stella::evidence
