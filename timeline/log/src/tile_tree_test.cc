// Trees over tiles against trees over leaves: roots, subtrees and proofs of the published log, of logs that fill tiles, and of huge ones.
#include "stella/timeline/log/tile_tree.h"

#include "tile_testkit.h"

namespace stella::timeline {
namespace {

using testkit::MapSource;

class DirectorySource final : public TileSource {
 public:
  explicit DirectorySource(std::string dir) : dir_(std::move(dir)) {}
  Result<std::string> read(const TileId& id) override { return testing::slurp(dir_ + "/" + id.path()); }

 private:
  std::string dir_;
};

Checkpoint published(const std::string& dir, std::size_t n) {
  return parse_checkpoint_text(parse_note(testing::slurp(dir + "/checkpoint." + std::to_string(n)))->text).value();
}

TEST(TileTree, ThePublishedLog) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/tlog-tiles/log");
  DirectorySource source(dir);
  for (std::size_t n = 0; n <= 15; ++n) {
    const Checkpoint checkpoint = published(dir, n);
    EXPECT_EQ(TileTree(source, n).root().value(), checkpoint.root) << n;
    EXPECT_EQ(TileEdge::load(source, n)->root(), checkpoint.root) << n;
    for (std::size_t i = 0; i < n; ++i) EXPECT_TRUE(prove_inclusion(source, checkpoint, i).has_value()) << i << " of " << n;
    EXPECT_FALSE(prove_inclusion(source, checkpoint, n).has_value());
    for (std::size_t old = 0; old <= n; ++old) {
      const auto proof = prove_growth(source, published(dir, old), checkpoint);
      ASSERT_TRUE(proof.has_value()) << old << " to " << n << proof.error().describe();
      EXPECT_TRUE(verify_growth(published(dir, old), checkpoint, *proof).has_value());
    }
  }
}

// Sizes around every border of two levels: roots, edges and proofs are those of the tree over the leaves.
TEST(TileTree, SizesAroundTheBordersOfTiles) {
  std::vector<Sha256> leaves;
  const MapSource largest = testkit::log_of(66'100, &leaves);
  for (const std::uint64_t size : {1u, 2u, 255u, 256u, 257u, 511u, 512u, 513u, 1'000u, 65'535u, 65'536u, 65'537u, 65'793u, 66'048u, 66'100u}) {
    MapSource full;
    for (const auto& id : completed_tiles(0, size)) full.files[id.path()] = largest.files.at(id.path());
    PartialTileSource source(
        full, [&](std::uint64_t begin, std::uint64_t end) -> Result<std::vector<Sha256>> { return std::vector(leaves.begin() + static_cast<long>(begin), leaves.begin() + static_cast<long>(end)); },
        [](std::uint64_t begin, std::uint64_t end) -> Result<std::vector<std::string>> {
          std::vector<std::string> out;
          for (; begin < end; ++begin) out.push_back(testkit::entry_of(begin));
          return out;
        });
    const auto here = std::span(leaves).first(size);
    const Checkpoint checkpoint{"log", size, merkle_root(here), {}};
    TileTree tree(source, size);
    EXPECT_EQ(tree.root().value(), checkpoint.root) << size;
    EXPECT_EQ(TileEdge::load(source, size)->root(), checkpoint.root) << size;
    for (const std::uint64_t index : {std::uint64_t{0}, size / 3, size / 2, size - 1}) {
      const auto proven = prove_inclusion(source, checkpoint, index);
      ASSERT_TRUE(proven.has_value()) << index << " of " << size << proven.error().describe();
      EXPECT_EQ(proven->leaf, leaves[index]);
      EXPECT_EQ(proven->proof, inclusion_proof(here, index).value());
      if (index != 0) { EXPECT_EQ(tree.consistency_proof(index).value(), consistency_proof(here, index).value()) << index << " to " << size; }
    }
    for (const auto& id : partial_tiles(size)) {
      if (id.kind == TileKind::kEntries) { EXPECT_EQ(decode_bundle(source.read(id).value(), id.width)->front(), testkit::entry_of(id.index * kTileWidth)); }
    }
  }
}

TEST(TileTree, AnEdgeGrowsLikeOneMadeAtOnce) {
  std::vector<Sha256> leaves;
  MapSource whole = testkit::log_of(1'300, &leaves);
  for (const std::uint64_t start : {0u, 1u, 255u, 256u, 700u, 1'024u}) {
    MapSource at = testkit::log_of(start);
    auto edge = TileEdge::load(at, start);
    ASSERT_TRUE(edge.has_value());
    std::vector<std::string> written;
    ASSERT_TRUE(edge->append(std::span(leaves).subspan(start), [&](const TileId& id, std::string bytes) -> Result<void> {
      EXPECT_EQ(bytes, whole.files.at(id.path())) << id.path();
      written.push_back(id.path());
      return {};
    }).has_value());
    EXPECT_EQ(edge->root(), merkle_root(leaves));
    EXPECT_EQ(edge->size(), leaves.size());
    std::vector<std::string> expected;
    for (const auto& id : completed_tiles(start, leaves.size())) {
      if (id.kind == TileKind::kHashes) expected.push_back(id.path());
    }
    std::sort(expected.begin(), expected.end());
    std::sort(written.begin(), written.end());
    EXPECT_EQ(written, expected) << "exactly the tiles that the growth completes, from " << start;
  }
  TileEdge edge;
  const auto refused = edge.append(std::span(leaves).first(300), [](const TileId&, std::string) -> Result<void> { return Error(base_errors::kIo, "disk full"); });
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base_errors::kIo);
}

// A writer without an edge: bundles and level 0 from rows, the rest from what it has just written. Twice the same bytes.
TEST(TileTree, HigherTilesAreMadeFromLowerOnes) {
  MapSource log = testkit::log_of(65'536 + 300);
  MapSource written;
  for (const auto& id : completed_tiles(0, 65'536 + 300)) {
    if (id.kind == TileKind::kEntries) continue;
    if (id.level == 0) {
      written.files[id.path()] = log.files.at(id.path());
      EXPECT_FALSE(build_tile(written, id).has_value());
      continue;
    }
    const auto bytes = build_tile(written, id);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().describe();
    EXPECT_EQ(*bytes, log.files.at(id.path())) << id.path();
    written.files[id.path()] = *bytes;
  }
  EXPECT_EQ(build_tile(written, TileId::hashes(1, 1, 1)).value(), log.files.at("tile/1/001.p/1"));
  EXPECT_EQ(build_tile(written, TileId::hashes(1, 1, 2)).error().code(), base_errors::kNotFound);
  written.files.at("tile/0/003").pop_back();
  EXPECT_EQ(build_tile(written, TileId::hashes(1, 0)).error().field("tile"), "tile/0/003");
  EXPECT_FALSE(build_tile(written, TileId::entries(0)).has_value());
}

TEST(TileTree, LogsOfManyLevels) {
  const Sha256 leaf = leaf_hash("the same");
  testkit::UniformSource source(leaf);
  for (const std::uint64_t size : std::vector<std::uint64_t>{(1ull << 24) - 1, 1ull << 24, (1ull << 24) + 1, (1ull << 40) + 12'345, (1ull << 56) - 1, (1ull << 63) - 1,
                                                          1ull << 63, UINT64_MAX}) {
    const Checkpoint checkpoint{"log", size, testkit::uniform_root(leaf, size), {}};
    EXPECT_EQ(TileTree(source, size).root().value(), checkpoint.root) << size;
    EXPECT_EQ(TileEdge::load(source, size)->root(), checkpoint.root) << size;
    for (const std::uint64_t index : {std::uint64_t{0}, size / 3, size - 1}) EXPECT_TRUE(prove_inclusion(source, checkpoint, index).has_value()) << index << " of " << size;
    for (const std::uint64_t old : {std::uint64_t{1}, size / 7, size - 1}) {
      const Checkpoint older{"log", old, testkit::uniform_root(leaf, old), {}};
      EXPECT_TRUE(prove_growth(source, older, checkpoint).has_value()) << old << " to " << size;
    }
  }
}

TEST(TileTree, ChangedTilesProveNothing) {
  std::vector<Sha256> leaves;
  MapSource log = testkit::log_of(1'000, &leaves);
  const Checkpoint checkpoint{"log", 1'000, merkle_root(leaves), {}};
  ASSERT_TRUE(prove_inclusion(log, checkpoint, 700).has_value());
  std::string& tile = log.files.at("tile/0/002");
  tile[5] ^= 1;
  const auto proven = prove_inclusion(log, checkpoint, 700);
  ASSERT_FALSE(proven.has_value());
  EXPECT_EQ(proven.error().code(), base_errors::kInvalid);
  EXPECT_EQ(proven.error().field("root"), checkpoint.root.hex());
  tile[5] ^= 1;
  tile += "x";
  EXPECT_EQ(prove_inclusion(log, checkpoint, 700).error().field("tile"), "tile/0/002");
  log.files.erase("tile/0/002");
  EXPECT_EQ(prove_inclusion(log, checkpoint, 700).error().code(), base_errors::kNotFound);
  // Another history of the same size.
  Checkpoint other = checkpoint;
  other.root = leaf_hash("elsewhere");
  EXPECT_FALSE(prove_inclusion(log, other, 3).has_value());
  EXPECT_EQ(prove_growth(log, checkpoint, other).error().field("root"), "") << "no tile is to blame";
}

TEST(TileTree, OnlySubtreesHaveRoots) {
  MapSource log = testkit::log_of(20);
  TileTree tree(log, 20);
  EXPECT_TRUE(tree.subtree_root(16, 20).has_value());
  EXPECT_TRUE(tree.subtree_root(8, 15).has_value());
  EXPECT_FALSE(tree.subtree_root(4, 12).has_value());
  EXPECT_FALSE(tree.subtree_root(5, 5).has_value());
  EXPECT_FALSE(tree.subtree_root(8, 4).has_value());
  EXPECT_FALSE(tree.subtree_root(16, 21).has_value());
  EXPECT_FALSE(tree.leaf(20).has_value());
  EXPECT_EQ(TileTree(log, 0).root().value(), empty_root());
}

}  // namespace
}  // namespace stella::timeline
