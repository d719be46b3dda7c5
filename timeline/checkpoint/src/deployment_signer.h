// Puts the signed checkpoints of all tenants into the deployment log and signs that.
#pragma once

#include <span>

#include "stella/base/result.h"
#include "stella/crypto/ed25519.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::timeline {

// Two transactions: first every new checkpoint gets the next free index for good, then the leaves are signed in that order. So a signature that was
// lost to a crash is made again over the same leaves, and the log can be made anew from the rows at any time. `former` is as
// for load_edge. Whether anything was signed.
Result<bool> sign_deployment(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, const crypto::Ed25519Signer& signer, std::span<const crypto::Ed25519PublicKey> former);

}  // namespace stella::timeline
