// Trees read from tiles: where tiles come from (TileSource), subtree roots and proofs of one size, and the right edge of a growing log.
// Pure: the I/O is the source's.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/proofs.h"
#include "stella/timeline/log/tiles.h"

namespace stella::timeline {

// Where tiles and bundles lie: an object store, a directory, another party's HTTP server.
class TileSource {
 public:
  virtual ~TileSource() = default;
  // The bytes of exactly this tile or bundle; kNotFound where there is none.
  virtual Result<std::string> read(const TileId& id) = 0;
};

// The bytes of a hash tile of level 1 or above from the full tiles below it: what a writer does for the higher tiles of completed_tiles(), and how a
// lost tile is made again. kInvalid for level 0 and entries, which come from the rows.
Result<std::string> build_tile(TileSource& below, const TileId& id);

// A source of full tiles made into a source of all: partial ones are worked out, since nobody stores them. Level 0 and entries come from the
// rows through two functions, higher levels from the full tiles below (255 reads at most).
class PartialTileSource final : public TileSource {
 public:
  using LeafHashes = std::function<Result<std::vector<Sha256>>(std::uint64_t begin, std::uint64_t end)>;
  using Entries = std::function<Result<std::vector<std::string>>(std::uint64_t begin, std::uint64_t end)>;
  PartialTileSource(TileSource& full, LeafHashes leaves, Entries entries)
      : full_(full), leaves_(std::move(leaves)), entries_(std::move(entries)) {}
  Result<std::string> read(const TileId& id) override;

 private:
  TileSource& full_;
  LeafHashes leaves_;
  Entries entries_;
};

// The tree of one size over a source. Tiles are read once and kept as long as there are few of them. Nothing here is verified: see prove_…().
class TileTree {
 public:
  TileTree(TileSource& source, std::uint64_t size) : source_(source), size_(size) {}

  std::uint64_t size() const { return size_; }
  Result<Sha256> root();
  // Root of leaves [begin, end), which must be a subtree of the tree: begin a multiple of the smallest power of two ≥ end - begin. kInvalid
  // otherwise.
  Result<Sha256> subtree_root(std::uint64_t begin, std::uint64_t end);
  Result<Sha256> leaf(std::uint64_t index);
  Result<Proof> inclusion_proof(std::uint64_t index);
  Result<Proof> consistency_proof(std::uint64_t old_size);

 private:
  Result<Sha256> perfect_root(std::uint64_t begin, std::uint64_t size);
  TileSource& source_;
  std::uint64_t size_;
  std::map<std::pair<unsigned, std::uint64_t>, std::vector<Sha256>> tiles_;
};

struct LeafProof {
  Sha256 leaf;
  Proof proof;
};
// Leaf and inclusion proof from tiles, verified against the checkpoint: kInvalid where the tiles lead elsewhere, whoever changed them.
Result<LeafProof> prove_inclusion(TileSource& source, const Checkpoint& checkpoint, std::uint64_t index);
// The same between two checkpoints (empty from size 0, and for one size).
Result<Proof> prove_growth(TileSource& source, const Checkpoint& older, const Checkpoint& newer);

// What a writer keeps of a growing log: the partial tile of each level. Appending gives the tiles that became full. A value; not thread-safe.
class TileEdge {
 public:
  // Receives each tile once, when it is full; lower levels before higher. Its error ends the appending (the edge is then unusable).
  using OnFull = std::function<Result<void>(const TileId& id, std::string bytes)>;

  TileEdge() = default;
  // The edge of a log of `size` leaves, from its partial tiles.
  static Result<TileEdge> load(TileSource& source, std::uint64_t size);

  Result<void> append(const Sha256& leaf, const OnFull& on_full);
  Result<void> append(std::span<const Sha256> leaves, const OnFull& on_full);

  std::uint64_t size() const { return size_; }
  Sha256 root() const;
  // The hashes of the partial tile of `level` (< kTileLevels), at most 255.
  const std::vector<Sha256>& partial(unsigned level) const { return levels_[level]; }

 private:
  std::uint64_t size_ = 0;
  std::array<std::vector<Sha256>, kTileLevels> levels_;
};

}  // namespace stella::timeline
