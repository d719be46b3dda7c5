// What a tenant's log states and proves: its newest checkpoint, inclusion and consistency. Every proof is verified before it is given out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log/proofs.h"

namespace stella::timeline {

// The newest checkpoint; size 0 and empty texts before the first.
struct SignedHead {
  std::string origin;
  std::string note;        // C2SP signed note, byte for byte
  std::uint64_t size = 0;
  Sha256 root;
};

namespace detail {
Result<SignedHead> signed_head(pg::Tx& tx, const TenantId& tenant);
Result<Proof> consistency(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::uint64_t from, std::uint64_t to);
Result<std::vector<std::string>> inclusion_files(pg::Tx& tx, objects::Store& store, const TenantId& tenant, const SignedHead& head, std::span<const std::uint64_t> indexes);
Result<std::vector<Sha256>> stored_leaves(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::span<const std::uint64_t> indexes);
}  // namespace detail

inline Result<SignedHead> signed_head(pg::TenantTx& tx) { return detail::signed_head(tx, tx.tenant()); }
template <class Role>
Result<SignedHead> signed_head(pg::SystemTx<Role>& tx, const TenantId& tenant) {
  return detail::signed_head(tx, tenant);
}

// That the log of size `to` continues the one of size `from`; both must have been signed as checkpoints, or be the newest. kInvalid for sizes out of
// order or above the newest checkpoint, kNotFound where no checkpoint of that size was signed.
inline Result<Proof> consistency(pg::TenantTx& tx, objects::Store& store, std::uint64_t from, std::uint64_t to) {
  return detail::consistency(tx, store, tx.tenant(), from, to);
}

// A C2SP tlog-proof file for the entry at `index` under `head`. kInvalid where the checkpoint does not cover it yet.
inline Result<std::string> inclusion_file(pg::TenantTx& tx, objects::Store& store, const SignedHead& head, std::uint64_t index) {
  return STELLA_TRY(detail::inclusion_files(tx, store, tx.tenant(), head, {&index, 1})).front();
}
// The same for many entries, in their order: head, edge and tiles are read once. All or nothing.
inline Result<std::vector<std::string>> inclusion_files(pg::TenantTx& tx, objects::Store& store, const SignedHead& head, std::span<const std::uint64_t> indexes) {
  return detail::inclusion_files(tx, store, tx.tenant(), head, indexes);
}
template <class Role>
Result<std::vector<std::string>> inclusion_files(pg::SystemTx<Role>& tx, objects::Store& store, const TenantId& tenant, const SignedHead& head, std::span<const std::uint64_t> indexes) {
  return detail::inclusion_files(tx, store, tenant, head, indexes);
}

// The leaf hashes that tiles and edge hold for these entries, in their order; rows are never asked, so they are there when the entries are gone. Not
// verified: whoever builds the tree from them sees whether they lead to the signed root. kInvalid where no checkpoint covers one of them, kNotFound
// where a tile is lost.
inline Result<std::vector<Sha256>> stored_leaves(pg::TenantTx& tx, objects::Store& store, std::span<const std::uint64_t> indexes) {
  return detail::stored_leaves(tx, store, tx.tenant(), indexes);
}
template <class Role>
Result<std::vector<Sha256>> stored_leaves(pg::SystemTx<Role>& tx, objects::Store& store, const TenantId& tenant, std::span<const std::uint64_t> indexes) {
  return detail::stored_leaves(tx, store, tenant, indexes);
}

// Asks for a checkpoint of at least `size`: the checkpointer signs within its poll. Part of the caller's transaction.
Result<void> want_checkpoint(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, std::uint64_t size);

}  // namespace stella::timeline
