// The walk of check_log(): from the root's partial tiles down to the entries.
#include "stella/timeline/log/tile_check.h"

#include <array>
#include <vector>

#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

class Checker {
 public:
  Checker(TileSource& source, const LogCheckOptions& options) : source_(source), options_(options) {}

  Result<void> run(std::uint64_t size, const Sha256& root) {
    // Not TileEdge::load(): errors must name the tile.
    std::array<std::vector<Sha256>, kTileLevels> edge;
    Sha256 node = empty_root();
    bool any = false;
    for (const auto& id : partial_tiles(size)) {
      if (id.kind == TileKind::kEntries) continue;
      std::vector<Sha256> hashes = STELLA_TRY(hash_tile(id));
      edge[id.level] = hashes;
      if (any) hashes.push_back(node);
      node = merkle_root_in_place(hashes);
      any = true;
    }
    const bool leads = node == root;
    for (unsigned level = kTileLevels; level-- > 0;) STELLA_TRY_VOID(edge_tile(level, tile_hashes(size, level) / kTileWidth, edge[level], leads));
    if (!leads) return Error(base_errors::kInvalid, "all tiles agree, but they are another log than the one with this root").with("size", size).with("root", root.hex());
    return {};
  }

  LogCheck done;

 private:
  // `trusted`: the hashes have led to the root.
  Result<void> edge_tile(unsigned level, std::uint64_t index, const std::vector<Sha256>& hashes, bool trusted) {
    const auto width = static_cast<unsigned>(hashes.size());
    if (width == 0) return {};
    if (level == 0) return bundle(TileId::entries(index, width), hashes);
    for (unsigned i = 0; i < width; ++i) {
      const TileId below = TileId::hashes(level - 1, index * kTileWidth + i);
      if (!trusted && merkle_root(STELLA_TRY(hash_tile(below))) != hashes[i])
        return Error(base_errors::kInvalid, "a partial tile contradicts the full tile below it")
            .with("tile", TileId::hashes(level, index, width).path())
            .with("index", i)
            .with("below", below.path());
      STELLA_TRY_VOID(full_tile(below, hashes[i]));
    }
    return {};
  }

  Result<void> full_tile(const TileId& id, const Sha256& expected) {
    const std::vector<Sha256> hashes = STELLA_TRY(hash_tile(id));
    if (merkle_root(hashes) != expected)
      return Error(base_errors::kInvalid, "a tile does not have the hash that its parent states").with("tile", id.path()).with("expected", expected.hex());
    if (id.level == 0) return bundle(TileId::entries(id.index), hashes);
    for (unsigned i = 0; i < kTileWidth; ++i) STELLA_TRY_VOID(full_tile(TileId::hashes(id.level - 1, id.index * kTileWidth + i), hashes[i]));
    return {};
  }

  Result<void> bundle(const TileId& id, const std::vector<Sha256>& leaves) {
    const std::uint64_t begin = id.index * kTileWidth;
    if (!options_.entries || begin + id.width <= options_.first_entry) return {};
    auto bytes = source_.read(id);
    if (!bytes) return std::move(bytes.error()).with("tile", id.path());
    const auto entries = decode_bundle(*bytes, id.width);
    if (!entries) return Error(entries.error()).with("tile", id.path());
    for (unsigned i = 0; i < id.width; ++i) {
      if (leaf_hash((*entries)[i]) != leaves[i])
        return Error(base_errors::kInvalid, "an entry is not the one in the tree").with("tile", id.path()).with("index", begin + i).with("expected", leaves[i].hex());
      ++done.entries;
    }
    return {};
  }

  Result<std::vector<Sha256>> hash_tile(const TileId& id) {
    auto bytes = source_.read(id);
    if (!bytes) return std::move(bytes.error()).with("tile", id.path());
    auto hashes = decode_tile(*bytes, id.width);
    if (!hashes) return std::move(hashes.error()).with("tile", id.path());
    ++done.tiles;
    return hashes;
  }

  TileSource& source_;
  const LogCheckOptions& options_;
};

}  // namespace

Result<LogCheck> check_log(TileSource& source, std::uint64_t size, const Sha256& root, const LogCheckOptions& options) {
  Checker checker(source, options);
  STELLA_TRY_VOID(checker.run(size, root));
  return checker.done;
}

}  // namespace stella::timeline
