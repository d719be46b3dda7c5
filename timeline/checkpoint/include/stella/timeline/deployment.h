// What the deployment log states and proves. Its leaves are the signed checkpoints of all tenants' logs: leaf = RFC 6962 leaf hash of the note's bytes as
// the log signed it, without cosignatures. A tenant is given proofs of its own checkpoints alone; of others it sees hashes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log_reader.h"

namespace stella::timeline {

struct DeploymentProof {
  SignedHead covers;       // the tenant's checkpoint, byte for byte the leaf
  SignedHead head;         // of the deployment log, with cosignatures where there are some
  bool witnessed = false;  // whether they are the quorum of the platform's policy
  std::uint64_t index = 0;
  std::string file;        // C2SP tlog-proof: the leaf is in `head`
};

namespace detail {
Result<DeploymentProof> deployment_proof(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::optional<std::uint64_t> size);
Result<SignedHead> head_to_keep(pg::Tx& tx, const TenantId& tenant, std::uint64_t size, std::chrono::seconds patience);
Result<Proof> deployment_growth(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::uint64_t from, std::uint64_t to);
}  // namespace detail

// For the tenant's checkpoint of `size`, or its newest, under the first deployment checkpoint with a quorum of cosignatures that covers it, else
// the first that does. So a tenant learns nothing of what came after, and is given the same file again. Verified before it is given out.
// kNotFound where no checkpoint of that size was signed; kNotReady where it is not in the deployment log yet.
inline Result<DeploymentProof> deployment_proof(pg::TenantTx& tx, objects::Store& store, std::optional<std::uint64_t> size = std::nullopt) {
  return detail::deployment_proof(tx, store, tx.tenant(), size);
}
template <class Role>
Result<DeploymentProof> deployment_proof(pg::SystemTx<Role>& tx, objects::Store& store, const TenantId& tenant, std::optional<std::uint64_t> size = std::nullopt) {
  return detail::deployment_proof(tx, store, tenant, size);
}

// The newest checkpoint of at least `size` entries that has a proof; with `patience` only under a quorum of witnesses, until the first such checkpoint
// is so old. Size 0 where there is none yet.
template <class Role>
Result<SignedHead> head_to_keep(pg::SystemTx<Role>& tx, const TenantId& tenant, std::uint64_t size, std::chrono::seconds patience) {
  return detail::head_to_keep(tx, tenant, size, patience);
}

// That the deployment log of size `to` continues the one of size `from`: for whoever kept one of its checkpoints. Any two sizes up to that of the
// checkpoint which covers the tenant's newest, signed or not: the answer tells neither when others signed nor how many came since. Verified against
// that checkpoint before it is given out. kNotFound while no checkpoint covers one of the tenant's, kInvalid for other sizes.
inline Result<Proof> deployment_growth(pg::TenantTx& tx, objects::Store& store, std::uint64_t from, std::uint64_t to) {
  return detail::deployment_growth(tx, store, tx.tenant(), from, to);
}

// The same between any two that were signed. For witnesses: who may ask sees no tenant's data.
Result<Proof> deployment_consistency(pg::SystemTx<pg::IndexerRole>& tx, objects::Store& store, std::uint64_t from, std::uint64_t to);

}  // namespace stella::timeline
