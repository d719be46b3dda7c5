// Tiles: names and widths of the standard's examples, bytes of the published log, hostile paths and bundles.
#include "stella/timeline/log/tiles.h"

#include <set>

#include "log_testkit.h"

namespace stella::timeline {
namespace {

TEST(Tiles, PathsOfTheStandard) {
  struct Case {
    TileId id;
    std::string_view path;
  };
  for (const auto& c : {Case{TileId::hashes(0, 1234067), "tile/0/x001/x234/067"}, Case{TileId::hashes(0, 0), "tile/0/000"},
                        Case{TileId::hashes(3, 999, 255), "tile/3/999.p/255"}, Case{TileId::hashes(1, 1000), "tile/1/x001/000"},
                        Case{TileId::entries(67), "tile/entries/067"}, Case{TileId::entries(1'000'000, 1), "tile/entries/x001/x000/000.p/1"},
                        Case{TileId::hashes(63, UINT64_MAX), "tile/63/x018/x446/x744/x073/x709/x551/615"}}) {
    EXPECT_EQ(c.id.path(), c.path);
    const auto read = TileId::parse(c.path);
    ASSERT_TRUE(read.has_value()) << c.path;
    EXPECT_EQ(*read, c.id);
  }
}

TEST(Tiles, HostilePaths) {
  for (const char* bad : {"", "tile", "tile/", "tile/0", "tile/0/", "tile/64/000", "tile/00/000", "tile/-1/000", "tile/0/0", "tile/0/0000", "tile/0/00a",
                          "tile/0/x000/000", "tile/0/001/000", "tile/0/x001", "tile/0/x001/", "tile/0/x001/x000", "tile/0/X001/000", "tile/0/000.p/0",
                          "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000.p/1/", "tile/0/000/", "tile/entries/000.p/+1",
                          "tile/0/x018/x446/x744/x073/x709/x551/616", "tile/0/x999/x999/x999/x999/x999/x999/x999/999", "/tile/0/000", "tile/entries",
                          "tile/data/000", "tile/0/../000", "tile/0/000\n"})
    EXPECT_FALSE(TileId::parse(bad).has_value()) << bad;
}

// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, one partial
// level 1 tile of width 17, and one partial level 2 tile of width 1."
TEST(Tiles, ShapesOfTheStandard) {
  const auto full = completed_tiles(0, 70'000);
  std::size_t level0 = 0, level1 = 0, bundles = 0;
  for (const auto& id : full) {
    if (id.kind == TileKind::kEntries) ++bundles;
    else ++(id.level == 0 ? level0 : level1);
  }
  EXPECT_EQ(bundles, 273u);
  EXPECT_EQ(level0, 273u);
  EXPECT_EQ(level1, 1u);
  EXPECT_EQ(full.back(), TileId::hashes(1, 0));
  EXPECT_EQ(partial_tiles(70'000), (std::vector{TileId::entries(273, 112), TileId::hashes(0, 273, 112), TileId::hashes(1, 1, 17), TileId::hashes(2, 0, 1)}));
  EXPECT_EQ(partial_tiles(256), std::vector{TileId::hashes(1, 0, 1)});
  EXPECT_TRUE(partial_tiles(0).empty());
  EXPECT_TRUE(completed_tiles(5, 5).empty());
  EXPECT_TRUE(completed_tiles(600, 5).empty());
  EXPECT_EQ(tile_width(70'000, 0, 272), 256u);
  EXPECT_EQ(tile_width(70'000, 0, 273), 112u);
  EXPECT_EQ(tile_width(70'000, 0, 274), 0u);
  EXPECT_EQ(tile_width(70'000, 3, 0), 0u);
  EXPECT_EQ(tile_width(UINT64_MAX, 7, 0), 255u);
  EXPECT_EQ(tile_width(UINT64_MAX, 0, UINT64_MAX), 0u);
  EXPECT_EQ(tile_hashes(UINT64_MAX, 8), 0u);
}

// However a log grows, the steps complete what one step completes: each tile once.
TEST(Tiles, GrowthInSteps) {
  std::vector<std::string> whole;
  for (const auto& id : completed_tiles(0, 140'000)) whole.push_back(id.path());
  for (const std::uint64_t step : {1u, 100u, 255u, 256u, 257u, 65'535u, 65'536u, 70'001u}) {
    std::set<std::string> seen;
    std::size_t count = 0;
    for (std::uint64_t at = 0; at < 140'000; at += step) {
      for (const auto& id : completed_tiles(at, std::min<std::uint64_t>(at + step, 140'000))) {
        seen.insert(id.path());
        ++count;
      }
    }
    EXPECT_EQ(count, whole.size()) << step;
    EXPECT_EQ(seen, std::set<std::string>(whole.begin(), whole.end())) << step;
  }
}

TEST(Tiles, BytesOfThePublishedLog) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/tlog-tiles/log");
  for (unsigned n = 1; n <= 15; ++n) {
    const std::string tile = testing::slurp(dir + "/" + TileId::hashes(0, 0, n).path());
    const std::string bundle = testing::slurp(dir + "/" + TileId::entries(0, n).path());
    const auto hashes = decode_tile(tile, n);
    const auto entries = decode_bundle(bundle, n);
    ASSERT_TRUE(hashes && entries) << n;
    EXPECT_EQ(encode_tile(*hashes), tile);
    EXPECT_EQ(encode_bundle(*entries).value(), bundle);
    for (unsigned i = 0; i < n; ++i) EXPECT_EQ(leaf_hash((*entries)[i]), (*hashes)[i]) << n << " " << i;
    for (const unsigned other : {n - 1, n + 1}) {
      EXPECT_FALSE(decode_tile(tile, other).has_value());
      EXPECT_FALSE(decode_bundle(bundle, other).has_value());
    }
  }
}

TEST(Tiles, BundlesKeepEveryByteAndStateTheirLimits) {
  const std::string largest(kEntryBytes, '\xff'), too_large(kEntryBytes + 1, 'x');
  const std::vector<std::string_view> entries{"", std::string_view("a\0b", 3), largest};
  const std::string bytes = encode_bundle(entries).value();
  EXPECT_EQ(bytes.size(), 2u + 2 + 3 + 2 + kEntryBytes);
  EXPECT_EQ(decode_bundle(bytes, 3).value(), entries);
  EXPECT_EQ(encode_bundle(std::vector<std::string_view>{too_large}).error().code(), base_errors::kLimit);
  EXPECT_EQ(encode_bundle(std::vector<std::string_view>(257, "x")).error().code(), base_errors::kLimit);
  EXPECT_FALSE(encode_bundle({}).has_value());
  EXPECT_FALSE(decode_bundle(bytes + "x", 3).has_value());
  EXPECT_FALSE(decode_bundle(std::string_view(bytes).substr(0, bytes.size() - 1), 3).has_value());
  EXPECT_FALSE(decode_bundle("", 0).has_value());
  EXPECT_FALSE(decode_bundle(std::string(1, '\0'), 1).has_value());
  EXPECT_FALSE(decode_tile("", 0).has_value());
  EXPECT_FALSE(decode_tile(std::string(32 * 257, 'x'), 257).has_value());
}

}  // namespace
}  // namespace stella::timeline
