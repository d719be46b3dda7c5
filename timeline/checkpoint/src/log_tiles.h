// All tiles of a log and of its older checkpoints, from what is stored.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "edge.h"
#include "stella/platform/objects.h"
#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline {

// Full tiles come from the store. A partial one is the beginning of a tile that the edge of the newest checkpoint holds or that has become full
// since; rows are asked last, because retention deletes them.
class LogTiles final : public TileSource {
 public:
  using Key = std::function<std::string(std::string_view path)>;  // of a tile's object
  LogTiles(objects::Store& store, Key key, std::string edge, std::uint64_t edge_size, PartialTileSource::LeafHashes rows);
  LogTiles(const LogTiles&) = delete;
  LogTiles& operator=(const LogTiles&) = delete;
  Result<std::string> read(const TileId& id) override;

 private:
  class Stored final : public TileSource {
   public:
    Stored(objects::Store& store, Key key) : store_(store), key_(std::move(key)) {}
    Result<std::string> read(const TileId& id) override;

   private:
    objects::Store& store_;
    const Key key_;
  };
  Result<std::string> beginning(const TileId& id);

  std::string edge_bytes_;
  EdgeSource edge_;
  Stored stored_;
  PartialTileSource partial_;
};

// Tiles read once for many proofs: those of neighbours are nearly the same. Starts afresh when full, so that it holds 8 MiB at most.
class RememberedTiles final : public TileSource {
 public:
  explicit RememberedTiles(TileSource& source) : source_(source) {}
  Result<std::string> read(const TileId& id) override;

 private:
  static constexpr std::size_t kMost = 1024;
  TileSource& source_;
  std::map<std::string, std::string> tiles_;
};

}  // namespace stella::timeline
