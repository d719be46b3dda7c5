// The partial tiles of a log as a database row keeps them, and as a source of tiles.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline {

// The hashes of the partial tiles of every level, lowest first: their number follows from the size.
std::string edge_bytes(const TileEdge& edge);

// Serves the partial tiles of a log of `size` leaves from those bytes, and their beginnings: the same tiles when the log was smaller. `bytes` must
// outlive it.
class EdgeSource final : public TileSource {
 public:
  EdgeSource(std::string_view bytes, std::uint64_t size) : bytes_(bytes), size_(size) {}
  Result<std::string> read(const TileId& id) override;

 private:
  std::string_view bytes_;
  std::uint64_t size_;
};

}  // namespace stella::timeline
