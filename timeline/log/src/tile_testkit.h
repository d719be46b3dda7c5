// Logs as tests need them: tiles in a map, the published log on disk, and a log of any size whose leaves are all the same. Tests only.
#pragma once

#include <array>
#include <bit>
#include <map>
#include <string>
#include <vector>

#include "log_testkit.h"
#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline::testkit {

class MapSource final : public TileSource {
 public:
  std::map<std::string, std::string> files;
  std::map<std::string, int> reads;
  Result<std::string> read(const TileId& id) override {
    const std::string path = id.path();
    ++reads[path];
    const auto found = files.find(path);
    if (found == files.end()) return Error(base_errors::kNotFound, "no such tile");
    return found->second;
  }
};

inline std::string entry_of(std::uint64_t i) { return "entry " + std::to_string(i); }

// Every full and partial tile and bundle of a log whose entries are entry_of(0) … entry_of(size - 1), as a writer makes them.
inline MapSource log_of(std::uint64_t size, std::vector<Sha256>* leaves = nullptr) {
  MapSource log;
  TileEdge edge;
  std::vector<std::string> entries;
  const auto put_bundle = [&](const TileId& id) {
    const std::vector<std::string_view> views(entries.begin(), entries.end());
    log.files[id.path()] = encode_bundle(views).value();
    entries.clear();
  };
  for (std::uint64_t i = 0; i < size; ++i) {
    entries.push_back(entry_of(i));
    const Sha256 leaf = leaf_hash(entries.back());
    if (leaves != nullptr) leaves->push_back(leaf);
    if (entries.size() == kTileWidth) put_bundle(TileId::entries(i / kTileWidth));
    EXPECT_TRUE(edge.append(leaf, [&](const TileId& id, std::string bytes) -> Result<void> {
      EXPECT_TRUE(log.files.emplace(id.path(), std::move(bytes)).second) << id.path() << " was written before";
      return {};
    }).has_value());
  }
  for (const auto& id : partial_tiles(size)) {
    if (id.kind == TileKind::kEntries) put_bundle(id);
    else log.files[id.path()] = encode_tile(edge.partial(id.level));
  }
  return log;
}

// A log of up to 2^63 leaves, all `leaf`: no tile of it is stored, each is worked out when it is read.
class UniformSource final : public TileSource {
 public:
  explicit UniformSource(const Sha256& leaf) {
    Sha256 node = leaf;
    for (auto& level : levels_) {
      level = node;
      for (int i = 0; i < 8; ++i) node = node_hash(node, node);
    }
  }
  Result<std::string> read(const TileId& id) override { return encode_tile(std::vector<Sha256>(id.width, levels_[id.level])); }

 private:
  std::array<Sha256, kTileLevels> levels_;
};

// Root of `size` leaves that are all `leaf`, by the recursion of RFC 6962: independent of tiles.
inline Sha256 uniform_root(const Sha256& leaf, std::uint64_t size) {
  if (size == 1) return leaf;
  const std::uint64_t left = std::bit_floor(size - 1);
  Sha256 perfect = leaf;
  for (std::uint64_t n = 1; n < left; n *= 2) perfect = node_hash(perfect, perfect);
  return node_hash(perfect, uniform_root(leaf, size - left));
}

}  // namespace stella::timeline::testkit
