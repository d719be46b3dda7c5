// The arithmetic and the bytes of tiles.
#include "stella/timeline/log/tiles.h"

#include <algorithm>

#include "text.h"

namespace stella::timeline {
namespace {

constexpr unsigned kPathLevels = 63;  // the largest level that a path may name

// Groups of three digits, all but the last with an x before them: 1234067 is x001/x234/067.
std::string index_path(std::uint64_t index) {
  const auto group = [](std::uint64_t value) {
    const std::string digits = std::to_string(value);
    return std::string(3 - digits.size(), '0') + digits;
  };
  std::string out = group(index % 1000);
  while ((index /= 1000) != 0) out = "x" + group(index % 1000) + "/" + out;
  return out;
}

Error malformed() {
  return Error(base_errors::kMalformed, "not the path of a tile").with("expected", "tile/<level or entries>/<index in groups of three digits>[.p/<width>]");
}

// Reads index_path() and leaves what follows it in `path`. Not yet: that the spelling is the shortest, which the caller compares.
bool take_index(std::string_view& path, std::uint64_t& index) {
  index = 0;
  for (bool more = true; more;) {
    more = path.starts_with('x');
    if (more) path.remove_prefix(1);
    if (path.size() < 3) return false;
    for (const char c : path.substr(0, 3)) {
      if (c < '0' || c > '9' || __builtin_mul_overflow(index, 10u, &index) || __builtin_add_overflow(index, static_cast<unsigned>(c - '0'), &index))
        return false;
    }
    path.remove_prefix(3);
    if (!more) break;
    if (!path.starts_with('/')) return false;
    path.remove_prefix(1);
  }
  return true;
}

}  // namespace

std::string TileId::path() const {
  std::string out = kind == TileKind::kEntries ? std::string("tile/entries/") : "tile/" + std::to_string(level) + "/";
  out += index_path(index);
  if (!full()) out += ".p/" + std::to_string(width);
  return out;
}

Result<TileId> TileId::parse(std::string_view path) {
  constexpr std::string_view kPrefix = "tile/";
  const std::string_view whole = path;
  if (!path.starts_with(kPrefix)) return malformed();
  path.remove_prefix(kPrefix.size());
  TileId id;
  const auto slash = path.find('/');
  if (slash == std::string_view::npos) return malformed();
  if (path.substr(0, slash) == "entries") {
    id.kind = TileKind::kEntries;
  } else {
    const auto level = decimal(path.substr(0, slash), kPathLevels);
    if (!level) return malformed();
    id.level = static_cast<unsigned>(*level);
  }
  path.remove_prefix(slash + 1);
  if (!take_index(path, id.index)) return malformed();
  if (!path.empty()) {
    constexpr std::string_view kPartial = ".p/";
    const auto width = path.starts_with(kPartial) ? decimal(path.substr(kPartial.size()), kTileWidth - 1) : std::nullopt;
    if (!width || *width == 0) return malformed();
    id.width = static_cast<unsigned>(*width);
  }
  if (id.path() != whole) return malformed();
  return id;
}

std::uint64_t tile_hashes(std::uint64_t size, unsigned level) { return level < kTileLevels ? size >> (8 * level) : 0; }

unsigned tile_width(std::uint64_t size, unsigned level, std::uint64_t index) {
  const std::uint64_t hashes = tile_hashes(size, level);
  if (index > hashes / kTileWidth) return 0;
  return static_cast<unsigned>(std::min<std::uint64_t>(kTileWidth, hashes - index * kTileWidth));
}

std::vector<TileId> completed_tiles(std::uint64_t old_size, std::uint64_t new_size) {
  std::vector<TileId> out;
  if (old_size >= new_size) return out;
  for (std::uint64_t i = old_size / kTileWidth; i < new_size / kTileWidth; ++i) out.push_back(TileId::entries(i));
  for (unsigned level = 0; level < kTileLevels; ++level) {
    for (std::uint64_t i = tile_hashes(old_size, level) / kTileWidth; i < tile_hashes(new_size, level) / kTileWidth; ++i)
      out.push_back(TileId::hashes(level, i));
  }
  return out;
}

std::vector<TileId> partial_tiles(std::uint64_t size) {
  std::vector<TileId> out;
  for (unsigned level = 0; level < kTileLevels; ++level) {
    const std::uint64_t hashes = tile_hashes(size, level);
    const auto width = static_cast<unsigned>(hashes % kTileWidth);
    if (width == 0) continue;
    if (level == 0) out.push_back(TileId::entries(hashes / kTileWidth, width));
    out.push_back(TileId::hashes(level, hashes / kTileWidth, width));
  }
  return out;
}

std::string encode_tile(std::span<const Sha256> hashes) {
  std::string out;
  out.reserve(hashes.size() * Sha256::kSize);
  for (const auto& hash : hashes) out += hash.view();
  return out;
}

Result<std::vector<Sha256>> decode_tile(std::string_view bytes, unsigned width) {
  if (width == 0 || width > kTileWidth || bytes.size() != width * Sha256::kSize)
    return Error(base_errors::kMalformed, "a tile of the wrong length").with("expected", width * Sha256::kSize).with("actual", bytes.size());
  std::vector<Sha256> out(width);
  for (auto& hash : out) {
    std::copy_n(reinterpret_cast<const std::uint8_t*>(bytes.data()), Sha256::kSize, hash.mutable_bytes().begin());
    bytes.remove_prefix(Sha256::kSize);
  }
  return out;
}

Result<std::string> encode_bundle(std::span<const std::string_view> entries) {
  if (entries.empty()) return Error(base_errors::kInvalid, "a bundle without entries").with("expected", "1 to 256 entries");
  if (entries.size() > kTileWidth) return Error(base_errors::kLimit, "too many entries").with("limit", kTileWidth).with("actual", entries.size());
  std::string out;
  for (const auto entry : entries) {
    if (entry.size() > kEntryBytes)
      return Error(base_errors::kLimit, "an entry too large for a bundle; log its digest").with("limit", kEntryBytes).with("actual", entry.size());
    out += static_cast<char>(entry.size() >> 8);
    out += static_cast<char>(entry.size() & 0xff);
    out += entry;
  }
  return out;
}

Result<std::vector<std::string_view>> decode_bundle(std::string_view bytes, unsigned width) {
  std::vector<std::string_view> out;
  out.reserve(width);
  while (out.size() < width) {
    const std::size_t size = bytes.size() < 2 ? 0 : static_cast<std::size_t>(static_cast<unsigned char>(bytes[0])) << 8 | static_cast<unsigned char>(bytes[1]);
    if (bytes.size() < 2 || bytes.size() - 2 < size)
      return Error(base_errors::kMalformed, "an entry bundle that ends too early").with("entry", out.size()).with("expected", std::to_string(width) + " entries");
    out.push_back(bytes.substr(2, size));
    bytes.remove_prefix(2 + size);
  }
  if (width == 0 || width > kTileWidth || !bytes.empty())
    return Error(base_errors::kMalformed, "an entry bundle with bytes after its last entry").with("expected", std::to_string(width) + " entries");
  return out;
}

}  // namespace stella::timeline
