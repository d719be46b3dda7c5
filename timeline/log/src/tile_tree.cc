// Subtree roots from tiles. A perfect subtree of height h lies in one tile of level h / 8; every other subtree falls into those.
#include "stella/timeline/log/tile_tree.h"

#include <bit>

#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

constexpr std::size_t kKeptTiles = 64;  // half a megabyte; one proof needs 16 at most

Error tiles_lead_elsewhere(Error why, const Checkpoint& checkpoint) {
  Error error(base_errors::kInvalid, "the tiles do not lead to the checkpoint's root; check the log to find the bad one");
  error.add("size", std::to_string(checkpoint.size));
  error.add("root", checkpoint.root.hex());
  error.add("cause", std::string(why.message()));
  return error;
}

}  // namespace

Result<std::string> build_tile(TileSource& below, const TileId& id) {
  if (id.kind != TileKind::kHashes || id.level == 0) return Error(base_errors::kInvalid, "this tile is made from rows, not from tiles").with("tile", id.path());
  std::vector<Sha256> hashes;
  for (unsigned i = 0; i < id.width; ++i) {
    const TileId child = TileId::hashes(id.level - 1, id.index * kTileWidth + i);
    const std::string bytes = STELLA_TRY(below.read(child));
    auto row = decode_tile(bytes, kTileWidth);
    if (!row) return std::move(row.error()).with("tile", child.path());
    hashes.push_back(merkle_root_in_place(*row));
  }
  return encode_tile(hashes);
}

Result<std::string> PartialTileSource::read(const TileId& id) {
  if (id.full()) return full_.read(id);
  const std::uint64_t begin = id.index * kTileWidth;
  const std::uint64_t end = begin + id.width;
  if (id.kind == TileKind::kEntries) {
    const std::vector<std::string> entries = STELLA_TRY(entries_(begin, end));
    const std::vector<std::string_view> views(entries.begin(), entries.end());
    return encode_bundle(views);
  }
  if (id.level == 0) {
    const std::vector<Sha256> leaves = STELLA_TRY(leaves_(begin, end));
    return encode_tile(leaves);
  }
  return build_tile(full_, id);
}

// Preconditions: size is a power of two, begin a multiple of it, the range lies within the tree.
Result<Sha256> TileTree::perfect_root(std::uint64_t begin, std::uint64_t size) {
  const auto height = static_cast<unsigned>(std::countr_zero(size));
  const unsigned level = height / 8;
  const std::uint64_t first = begin >> (8 * level);
  const std::uint64_t index = first / kTileWidth;
  auto found = tiles_.find({level, index});
  if (found == tiles_.end()) {
    const TileId id = TileId::hashes(level, index, tile_width(size_, level, index));
    const std::string bytes = STELLA_TRY(source_.read(id));
    auto hashes = decode_tile(bytes, id.width);
    if (!hashes) return std::move(hashes.error()).with("tile", id.path());
    if (tiles_.size() >= kKeptTiles) tiles_.clear();
    found = tiles_.emplace(std::pair(level, index), std::move(*hashes)).first;
  }
  return merkle_root(std::span(found->second).subspan(first % kTileWidth, std::size_t{1} << (height % 8)));
}

Result<Sha256> TileTree::subtree_root(std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t size = end - begin;
  const bool aligned = begin < end && end <= size_ && (size > (1ull << 63) ? begin == 0 : begin % std::bit_ceil(size) == 0);
  if (!aligned) return Error(base_errors::kInvalid, "no subtree has these bounds").with("begin", begin).with("end", end).with("size", size_);
  // Largest perfect subtree first, then what is right of it; joined from the right.
  std::vector<Sha256> peaks;
  while (begin < end) {
    const std::uint64_t part = std::bit_floor(end - begin);
    peaks.push_back(STELLA_TRY(perfect_root(begin, part)));
    begin += part;
  }
  Sha256 node = peaks.back();
  for (std::size_t i = peaks.size() - 1; i > 0; --i) node = node_hash(peaks[i - 1], node);
  return node;
}

Result<Sha256> TileTree::root() {
  if (size_ == 0) return empty_root();
  return subtree_root(0, size_);
}

Result<Sha256> TileTree::leaf(std::uint64_t index) {
  if (index >= size_) return Error(base_errors::kInvalid, "no such leaf").with("index", index).with("size", size_);
  return perfect_root(index, 1);
}

Result<Proof> TileTree::inclusion_proof(std::uint64_t index) {
  return timeline::inclusion_proof(size_, index, [this](std::uint64_t begin, std::uint64_t end) { return subtree_root(begin, end); });
}

Result<Proof> TileTree::consistency_proof(std::uint64_t old_size) {
  return timeline::consistency_proof(size_, old_size, [this](std::uint64_t begin, std::uint64_t end) { return subtree_root(begin, end); });
}

Result<LeafProof> prove_inclusion(TileSource& source, const Checkpoint& checkpoint, std::uint64_t index) {
  TileTree tree(source, checkpoint.size);
  LeafProof out;
  out.leaf = STELLA_TRY(tree.leaf(index));
  out.proof = STELLA_TRY(tree.inclusion_proof(index));
  auto verified = verify_inclusion(out.leaf, index, checkpoint.size, out.proof, checkpoint.root);
  if (!verified) return tiles_lead_elsewhere(std::move(verified.error()), checkpoint);
  return out;
}

Result<Proof> prove_growth(TileSource& source, const Checkpoint& older, const Checkpoint& newer) {
  Proof proof;
  if (older.size != 0 && older.size < newer.size) {
    TileTree tree(source, newer.size);
    proof = STELLA_TRY(tree.consistency_proof(older.size));
  }
  auto verified = verify_growth(older, newer, proof);
  if (!verified && proof.empty()) return std::move(verified.error());
  if (!verified) return tiles_lead_elsewhere(std::move(verified.error()), newer);
  return proof;
}

Result<TileEdge> TileEdge::load(TileSource& source, std::uint64_t size) {
  TileEdge edge;
  edge.size_ = size;
  for (const auto& id : partial_tiles(size)) {
    if (id.kind != TileKind::kHashes) continue;
    const std::string bytes = STELLA_TRY(source.read(id));
    auto hashes = decode_tile(bytes, id.width);
    if (!hashes) return std::move(hashes.error()).with("tile", id.path());
    edge.levels_[id.level] = std::move(*hashes);
  }
  return edge;
}

Result<void> TileEdge::append(const Sha256& leaf, const OnFull& on_full) {
  ++size_;
  levels_[0].push_back(leaf);
  for (unsigned level = 0; level < kTileLevels && levels_[level].size() == kTileWidth; ++level) {
    auto& hashes = levels_[level];
    STELLA_TRY_VOID(on_full(TileId::hashes(level, tile_hashes(size_, level) / kTileWidth - 1), encode_tile(hashes)));
    if (level + 1 < kTileLevels) levels_[level + 1].push_back(merkle_root_in_place(hashes));
    hashes.clear();
  }
  return {};
}

Result<void> TileEdge::append(std::span<const Sha256> leaves, const OnFull& on_full) {
  for (const auto& leaf : leaves) STELLA_TRY_VOID(append(leaf, on_full));
  return {};
}

// What is right of the full subtrees of a level is promoted beside them, as RFC 6962 splits do.
Sha256 TileEdge::root() const {
  std::vector<Sha256> nodes;
  for (const auto& hashes : levels_) {
    nodes.insert(nodes.begin(), hashes.begin(), hashes.end());
    if (nodes.size() > 1) nodes = {merkle_root_in_place(nodes)};
  }
  return nodes.empty() ? empty_root() : nodes.front();
}

}  // namespace stella::timeline
