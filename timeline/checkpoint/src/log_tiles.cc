// Store, edge, rows: in that order of trust in being there.
#include "log_tiles.h"

namespace stella::timeline {

LogTiles::LogTiles(objects::Store& store, Key key, std::string edge, std::uint64_t edge_size, PartialTileSource::LeafHashes rows)
    : edge_bytes_(std::move(edge)), edge_(edge_bytes_, edge_size), stored_(store, std::move(key)),
      partial_(stored_, std::move(rows),
               [](std::uint64_t, std::uint64_t) -> Result<std::vector<std::string>> { return Error(base_errors::kNotFound, "entry bundles are not served here"); }) {}

Result<std::string> LogTiles::Stored::read(const TileId& id) {
  if (!id.full() || id.kind != TileKind::kHashes) return Error(base_errors::kNotFound, "no such tile is stored");
  return store_.get(key_(id.path()), kTileWidth * Sha256::kSize);
}

Result<std::string> LogTiles::read(const TileId& id) {
  if (id.full() || id.kind != TileKind::kHashes) return partial_.read(id);
  if (auto found = edge_.read(id)) return found;
  auto grown = beginning(id);
  // Lost, or not there yet: the rows may still be. Anything else is said as it is.
  if (!grown && grown.error().code() == base_errors::kNotFound) return partial_.read(id);
  return grown;
}

Result<std::string> LogTiles::beginning(const TileId& id) {
  const TileId full = TileId::hashes(id.level, id.index);
  std::string bytes = STELLA_TRY(stored_.read(full));
  if (bytes.size() != kTileWidth * Sha256::kSize) return Error(base_errors::kMalformed, "a stored tile does not have its size").with("tile", full.path()).with("bytes", bytes.size());
  bytes.resize(id.width * Sha256::kSize);
  return bytes;
}

Result<std::string> RememberedTiles::read(const TileId& id) {
  const std::string path = id.path();
  if (const auto found = tiles_.find(path); found != tiles_.end()) return found->second;
  std::string bytes = STELLA_TRY(source_.read(id));
  if (tiles_.size() == kMost) tiles_.clear();
  return tiles_.emplace(path, std::move(bytes)).first->second;
}

}  // namespace stella::timeline
