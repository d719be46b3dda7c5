// C2SP tlog-tiles: names, widths and bytes of hash tiles and entry bundles, and which of them a growing log completes. Pure; no I/O.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::timeline {

inline constexpr unsigned kTileWidth = 256;       // hashes of a full tile, entries of a full bundle
inline constexpr unsigned kTileLevels = 8;        // a log of 2^64 - 1 leaves has tiles on levels 0 to 7
inline constexpr std::size_t kEntryBytes = 65'535;  // uint16 length prefix: larger payloads go in by digest

enum class TileKind : std::uint8_t { kHashes, kEntries };

// One tile. Hash i of a hash tile is the root of leaves [(index · 256 + i) · 256^level, (index · 256 + i + 1) · 256^level).
struct TileId {
  TileKind kind = TileKind::kHashes;
  unsigned level = 0;  // 0 for entries
  std::uint64_t index = 0;
  unsigned width = kTileWidth;  // 1 to 256; below 256 the tile is partial

  static TileId hashes(unsigned level, std::uint64_t index, unsigned width = kTileWidth) { return {TileKind::kHashes, level, index, width}; }
  static TileId entries(std::uint64_t index, unsigned width = kTileWidth) { return {TileKind::kEntries, 0, index, width}; }

  bool full() const { return width == kTileWidth; }
  // "tile/0/x001/x234/067", "tile/entries/067.p/12": below the prefix of the log. One spelling for each tile.
  std::string path() const;
  // kMalformed for anything but that spelling.
  static Result<TileId> parse(std::string_view path);

  friend bool operator==(const TileId&, const TileId&) = default;
};

// How many hashes level `level` of a log of `size` leaves has: each the root of a complete subtree of 256^level leaves.
std::uint64_t tile_hashes(std::uint64_t size, unsigned level);
// Width of tile `index` on `level` in a log of `size` leaves: 0 (there is none) to 256. Bundles are as wide as the tiles of level 0.
unsigned tile_width(std::uint64_t size, unsigned level, std::uint64_t index);

// The tiles and bundles that become full on the way from old_size to new_size: exactly what a writer has to write. Lower levels come before
// higher ones, so that no tile is there before those it is made of; entries come first. Empty unless old_size < new_size.
// About (new_size - old_size) / 128 elements.
std::vector<TileId> completed_tiles(std::uint64_t old_size, std::uint64_t new_size);
// The partial tiles and the partial bundle of a log of `size` leaves: served, never stored.
std::vector<TileId> partial_tiles(std::uint64_t size);

// 32 bytes a hash. Precondition: 1 to 256 hashes.
std::string encode_tile(std::span<const Sha256> hashes);
// kMalformed unless `bytes` holds exactly `width` hashes.
Result<std::vector<Sha256>> decode_tile(std::string_view bytes, unsigned width);

// Each entry after its big-endian uint16 length. kLimit for an entry of more than 65,535 bytes or for more than 256 of them, kInvalid for none.
Result<std::string> encode_bundle(std::span<const std::string_view> entries);
// Views into `bytes`. kMalformed unless it holds exactly `width` entries.
Result<std::vector<std::string_view>> decode_bundle(std::string_view bytes, unsigned width);

}  // namespace stella::timeline
