// Edges as bytes.
#include "edge.h"

namespace stella::timeline {

std::string edge_bytes(const TileEdge& edge) {
  std::string out;
  for (unsigned level = 0; level < kTileLevels; ++level)
    for (const Sha256& hash : edge.partial(level)) out.append(hash.view());
  return out;
}

Result<std::string> EdgeSource::read(const TileId& id) {
  const auto absent = [] { return Error(base_errors::kNotFound, "the edge of the log has no such tile"); };
  if (id.kind != TileKind::kHashes || id.full() || id.level >= kTileLevels) return absent();
  std::size_t at = 0;
  for (unsigned level = 0; level < id.level; ++level) at += tile_hashes(size_, level) % kTileWidth * Sha256::kSize;
  const std::uint64_t hashes = tile_hashes(size_, id.level);
  if (id.index != hashes / kTileWidth || id.width > hashes % kTileWidth) return absent();
  if (bytes_.size() < at + id.width * Sha256::kSize) return Error(base_errors::kMalformed, "the edge of the log is cut off");
  return std::string(bytes_.substr(at, id.width * Sha256::kSize));
}

}  // namespace stella::timeline
