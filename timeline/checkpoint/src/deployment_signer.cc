// Checkpoint rows to leaves, leaves to tiles and a checkpoint of their own.
#include "deployment_signer.h"

#include <algorithm>
#include <vector>

#include "edge.h"
#include "signed_log.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kDue = "SELECT placed <> size OR EXISTS (SELECT FROM timeline_checkpoints WHERE deployment_index IS NULL) FROM deployment_log";
constexpr std::string_view kLock = "SELECT origin, size, root, note, edge, placed FROM deployment_log FOR UPDATE";
constexpr std::string_view kPlace =
    "WITH due AS (SELECT tenant_id, size, row_number() OVER (ORDER BY signed_at, tenant_id, size) - 1 AS n FROM (SELECT tenant_id, size, signed_at FROM timeline_checkpoints"
    " WHERE deployment_index IS NULL ORDER BY signed_at, tenant_id, size LIMIT 10000) c)"
    " UPDATE timeline_checkpoints c SET deployment_index = $1 + due.n FROM due WHERE c.tenant_id = due.tenant_id AND c.size = due.size";
constexpr std::string_view kLeaves =
    "SELECT deployment_index, note FROM timeline_checkpoints WHERE deployment_index >= $1 AND deployment_index < $2 ORDER BY deployment_index LIMIT 1000";
constexpr std::uint64_t kPage = 1000;
constexpr std::uint64_t kStep = 100'000;  // leaves of one checkpoint

const LogPlace& place() {
  static const LogPlace kPlaceOfAll{.name = std::string(kDeploymentName), .tile = object_key::deployment_tile, .checkpoint = object_key::deployment_checkpoint};
  return kPlaceOfAll;
}

Result<void> place_new(pg::SystemPool<pg::IndexerRole>& pool) {
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool));
  const auto row = STELLA_TRY(tx.query(kLock, {}));
  if (row.empty()) return not_what_was_signed("the row of the log is gone", place());
  if (row.integer(0, 5) < row.integer(0, 1)) return not_what_was_signed("the log became shorter than its last checkpoint", place());
  const auto placed = STELLA_TRY(tx.query(kPlace, {row.integer(0, 5)}));
  // Its name is committed before anything is signed under it, as that of a tenant's log is.
  STELLA_TRY_VOID(tx.query("UPDATE deployment_log SET placed = placed + $1, origin = CASE origin WHEN '' THEN $2 ELSE origin END",
                           {static_cast<std::int64_t>(placed.affected()), "stellaops.dev/deployment/" + EventId::generate().str()}));
  return tx.commit();
}

Result<void> append_placed(pg::Tx& tx, objects::Store& store, TileEdge& edge, std::uint64_t to) {
  while (edge.size() < to) {
    const std::uint64_t from = edge.size();
    const auto rows = STELLA_TRY(tx.query(kLeaves, {from, std::min(to, from + kPage)}));
    std::vector<Sha256> leaves;
    for (int i = 0; i < rows.size() && static_cast<std::uint64_t>(rows.integer(i, 0)) == from + leaves.size(); ++i) leaves.push_back(leaf_hash(rows.text(i, 1)));
    if (leaves.empty() || leaves.size() != static_cast<std::size_t>(rows.size()))
      return not_what_was_signed("the checkpoint that is leaf " + std::to_string(from + leaves.size()) + " is missing", place());
    STELLA_TRY_VOID(append_leaves(store, place(), edge, leaves));
  }
  return {};
}

}  // namespace

Result<bool> sign_deployment(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, const crypto::Ed25519Signer& signer, std::span<const crypto::Ed25519PublicKey> former) {
  const auto due = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool, kDue, {}));
  if (!due.empty() && !due.boolean(0, 0)) return false;
  STELLA_TRY_VOID(place_new(pool));
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool));
  const auto row = STELLA_TRY(tx.query(kLock, {}));
  const LogState state = STELLA_TRY(LogState::read(row));
  const auto placed = static_cast<std::uint64_t>(row.integer(0, 5));
  if (placed <= state.size) return false;  // another process was faster
  TileEdge edge = STELLA_TRY(load_edge(state, place(), signer.public_key(), former));
  STELLA_TRY_VOID(append_placed(tx, store, edge, std::min(placed, state.size + kStep)));
  const std::string note = STELLA_TRY(sign_edge(store, place(), state.origin, edge, signer, former));
  STELLA_TRY_VOID(tx.query("UPDATE deployment_log SET size = $1, root = $2, note = $3, edge = $4", {edge.size(), edge.root(), note, pg::Param::bytes(edge_bytes(edge))}));
  STELLA_TRY_VOID(tx.query("INSERT INTO deployment_checkpoints (size, root, note) VALUES ($1, $2, $3)", {edge.size(), edge.root(), note}));
  STELLA_TRY_VOID(tx.commit());
  return true;
}

}  // namespace stella::timeline
