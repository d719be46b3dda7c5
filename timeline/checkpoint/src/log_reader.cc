// Proofs from full tiles in the store, the edge of the newest checkpoint, and rows.
#include "stella/timeline/log_reader.h"

#include <optional>

#include "log_tiles.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kHead = "SELECT origin, note, size, root, edge FROM timeline_logs WHERE tenant_id = $1";
constexpr std::string_view kOlder = "SELECT note, root FROM timeline_checkpoints WHERE tenant_id = $1 AND size = $2";
constexpr std::string_view kLeaves = "SELECT entry FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 AND log_index < $3 ORDER BY log_index LIMIT 256";

Result<std::vector<Sha256>> leaves_of(pg::Tx& tx, const TenantId& tenant, std::uint64_t begin, std::uint64_t end) {
  const auto rows = STELLA_TRY(tx.query(kLeaves, {tenant, begin, end}));
  if (static_cast<std::uint64_t>(rows.size()) != end - begin) return Error(base_errors::kNotFound, "entries of the log are gone");
  std::vector<Sha256> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(leaf_hash(rows.bytes(i, 0)));
  return out;
}

LogTiles tiles_of(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::string edge, std::uint64_t size) {
  return LogTiles(store, [&tenant](std::string_view path) { return object_key::log_tile(tenant, path); }, std::move(edge), size,
                  [&tx, &tenant](std::uint64_t begin, std::uint64_t end) { return leaves_of(tx, tenant, begin, end); });
}

struct Newest {
  SignedHead head;
  std::string edge;
};

Result<Newest> newest(pg::Tx& tx, const TenantId& tenant) {
  const auto rows = STELLA_TRY(tx.query(kHead, {tenant}));
  Newest out;
  if (rows.empty() || rows.integer(0, 2) == 0) return out;
  out.head = {std::string(rows.text(0, 0)), std::string(rows.text(0, 1)), static_cast<std::uint64_t>(rows.integer(0, 2)), STELLA_TRY(rows.sha256(0, 3))};
  out.edge = rows.bytes(0, 4);
  return out;
}

Result<Checkpoint> checkpoint_of(pg::Tx& tx, const TenantId& tenant, const SignedHead& head, std::uint64_t size) {
  if (size == head.size) return Checkpoint{.origin = head.origin, .size = size, .root = head.root, .extensions = {}};
  const auto rows = STELLA_TRY(tx.query(kOlder, {tenant, size}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no checkpoint of this size was signed").with("field", size);
  return Checkpoint{.origin = head.origin, .size = size, .root = STELLA_TRY(rows.sha256(0, 1)), .extensions = {}};
}

}  // namespace

namespace detail {

Result<SignedHead> signed_head(pg::Tx& tx, const TenantId& tenant) { return STELLA_TRY(newest(tx, tenant)).head; }

Result<Proof> consistency(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::uint64_t from, std::uint64_t to) {
  Newest now = STELLA_TRY(newest(tx, tenant));
  if (from == 0 || from > to || to > now.head.size)
    return Error(base_errors::kInvalid, "no such proof").with("field", "from_size, to_size").with("expected", "1 to " + std::to_string(now.head.size) + ", the former not above the latter");
  const Checkpoint older = STELLA_TRY(checkpoint_of(tx, tenant, now.head, from));
  const Checkpoint newer = STELLA_TRY(checkpoint_of(tx, tenant, now.head, to));
  LogTiles tiles = tiles_of(tx, store, tenant, std::move(now.edge), now.head.size);
  return prove_growth(tiles, older, newer);
}

Result<std::vector<std::string>> inclusion_files(pg::Tx& tx, objects::Store& store, const TenantId& tenant, const SignedHead& head, std::span<const std::uint64_t> indexes) {
  for (const std::uint64_t index : indexes)
    if (index >= head.size) return Error(base_errors::kInvalid, "no checkpoint covers this entry yet").with("field", index).with("expected", "below " + std::to_string(head.size));
  std::vector<std::string> out;
  if (indexes.empty()) return out;
  Newest now = STELLA_TRY(newest(tx, tenant));
  LogTiles tiles = tiles_of(tx, store, tenant, std::move(now.edge), now.head.size);
  RememberedTiles remembered(tiles);
  const Note note = STELLA_TRY(parse_note(head.note));
  const Checkpoint checkpoint{.origin = head.origin, .size = head.size, .root = head.root, .extensions = {}};
  out.reserve(indexes.size());
  for (const std::uint64_t index : indexes) out.push_back(STELLA_TRY(make_tlog_proof(remembered, {.checkpoint = checkpoint, .note = note}, index)).str());
  return out;
}

Result<std::vector<Sha256>> stored_leaves(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::span<const std::uint64_t> indexes) {
  const Newest now = STELLA_TRY(newest(tx, tenant));
  LogTiles tiles(store, [&tenant](std::string_view path) { return object_key::log_tile(tenant, path); }, now.edge, now.head.size,
                 [](std::uint64_t, std::uint64_t) -> Result<std::vector<Sha256>> { return Error(base_errors::kNotFound, "a tile of the log is lost"); });
  std::vector<Sha256> out, tile;
  std::optional<std::uint64_t> of;  // the tile that was read last: neighbours are in it
  out.reserve(indexes.size());
  for (const std::uint64_t index : indexes) {
    const unsigned width = tile_width(now.head.size, 0, index / kTileWidth);
    if (index % kTileWidth >= width) return Error(base_errors::kInvalid, "no checkpoint covers this entry yet").with("field", index).with("expected", "below " + std::to_string(now.head.size));
    if (of != index / kTileWidth) {
      const TileId id = TileId::hashes(0, index / kTileWidth, width);
      const std::string bytes = STELLA_TRY(tiles.read(id));
      tile = STELLA_TRY(decode_tile(bytes, width));
      of = id.index;
    }
    out.push_back(tile[index % kTileWidth]);
  }
  return out;
}

}  // namespace detail

Result<void> want_checkpoint(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, std::uint64_t size) {
  STELLA_TRY_VOID(tx.query("INSERT INTO timeline_logs (tenant_id, wanted) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET wanted = greatest(timeline_logs.wanted, excluded.wanted)", {tenant, size}));
  return {};
}

}  // namespace stella::timeline
