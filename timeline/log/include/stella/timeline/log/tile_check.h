// Checks a whole log, tiles and entries, against a root that the caller trusts, and names the first thing that is wrong. Pure.
#pragma once

#include <cstdint>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline {

struct LogCheckOptions {
  bool entries = true;            // false: hash tiles only
  std::uint64_t first_entry = 0;  // bundles that end at or before it are not read: their entries have been pruned
};

struct LogCheck {
  std::uint64_t tiles = 0;    // hash tiles read and right
  std::uint64_t entries = 0;  // entries whose hash stands in the tree
};

// Every full and partial tile of a log of `size` leaves must lead to `root`, every entry to its leaf hash. Parents are checked before children, so
// that the first tile which does not have the hash its parent states is the bad one. Reads each tile once, left to right.
// Errors: kNotFound where the source lacks a tile, kMalformed and kInvalid otherwise; field `tile` is the path, `index` the leaf (entries) or the
// position within the tile. Where the partial tiles themselves do not lead to `root`, it says which of them contradict the tiles below, or that
// all agree with each other and the log is another one.
Result<LogCheck> check_log(TileSource& source, std::uint64_t size, const Sha256& root, const LogCheckOptions& options = {});

}  // namespace stella::timeline
