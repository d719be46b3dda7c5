// What both kinds of log, a tenant's and the deployment's, have in common when they are signed: the state that goes on, and objects that are written once.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/ed25519.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline {

// A log's row: the newest checkpoint, and the partial tiles at its size.
struct LogState {
  std::string origin, note, edge;
  std::uint64_t size = 0;
  Sha256 root;

  // From the columns origin, size, root, note, edge.
  static Result<LogState> read(const pg::Rows& rows);
};

// Where a log writes, and what errors call it.
struct LogPlace {
  std::string name;  // a tenant's id, or kDeploymentName
  std::function<std::string(std::string_view path)> tile;
  std::function<std::string(std::uint64_t size)> checkpoint;
};
inline constexpr std::string_view kDeploymentName = "(deployment)";

Error not_what_was_signed(std::string_view reason, const LogPlace& place);

// The edge, held against the checkpoint signed last: whoever changes the row does not change the signature. `former`: keys that
// signed before this one; the log goes on from a checkpoint of one of them.
Result<TileEdge> load_edge(const LogState& state, const LogPlace& place, const crypto::Ed25519PublicKey& key, std::span<const crypto::Ed25519PublicKey> former);

// Create-only; what is there already must be the same.
Result<void> put_same(objects::Store& store, const std::string& key, std::string_view bytes, const LogPlace& place);
// Appends leaves; each tile that they fill becomes an object.
Result<void> append_leaves(objects::Store& store, const LogPlace& place, TileEdge& edge, std::span<const Sha256> leaves);
// Signs what the edge is; the checkpoint is an object before it is anything else. The note: the one that lies there already, where this key or one of
// `former` signed the same size and root in it.
Result<std::string> sign_edge(objects::Store& store, const LogPlace& place, const std::string& origin, const TileEdge& edge, const crypto::Ed25519Signer& signer, std::span<const crypto::Ed25519PublicKey> former);

}  // namespace stella::timeline
