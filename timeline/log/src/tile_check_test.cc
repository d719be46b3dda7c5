// Whole logs: right ones pass, and whatever is changed, missing or exchanged is named.
#include "stella/timeline/log/tile_check.h"

#include "tile_testkit.h"

namespace stella::timeline {
namespace {

using testkit::MapSource;

TEST(TileCheck, EveryByteOfThePublishedLogCounts) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/tlog-tiles/log");
  for (unsigned n = 0; n <= 15; ++n) {
    const auto checkpoint = parse_checkpoint_text(parse_note(testing::slurp(dir + "/checkpoint." + std::to_string(n)))->text).value();
    MapSource log;
    for (const auto& id : partial_tiles(n)) log.files[id.path()] = testing::slurp(dir + "/" + id.path());
    const auto checked = check_log(log, n, checkpoint.root);
    ASSERT_TRUE(checked.has_value()) << n << checked.error().describe();
    EXPECT_EQ(checked->entries, n);
    EXPECT_EQ(checked->tiles, n == 0 ? 0u : 1u);
    for (auto& [path, bytes] : log.files) {
      for (char& byte : bytes) {
        byte ^= 1;
        EXPECT_FALSE(check_log(log, n, checkpoint.root).has_value()) << n << " " << path;
        byte ^= 1;
      }
    }
    EXPECT_FALSE(check_log(log, n, leaf_hash("elsewhere")).has_value());
  }
}

class TileCheckTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 66'100;  // tiles on three levels, partial ones on each
  static void SetUpTestSuite() {
    std::vector<Sha256> leaves;
    whole_ = new MapSource(testkit::log_of(kSize, &leaves));
    root_ = merkle_root(leaves);
  }
  static void TearDownTestSuite() { delete whole_; }
  Error failure(const LogCheckOptions& options = {}) {
    auto checked = check_log(log, kSize, root_, options);
    EXPECT_FALSE(checked.has_value());
    return checked ? Error(base_errors::kInternal, "it passed") : std::move(checked.error());
  }
  static MapSource* whole_;
  static Sha256 root_;
  MapSource log = *whole_;
};
MapSource* TileCheckTest::whole_ = nullptr;
Sha256 TileCheckTest::root_;

TEST_F(TileCheckTest, PassesAndReadsEachTileOnce) {
  const auto checked = check_log(log, kSize, root_);
  ASSERT_TRUE(checked.has_value()) << checked.error().describe();
  EXPECT_EQ(checked->entries, kSize);
  EXPECT_EQ(checked->tiles + kSize / kTileWidth + 1, log.files.size());
  for (const auto& [path, count] : log.reads) EXPECT_EQ(count, 1) << path;
  EXPECT_EQ(log.reads.size(), log.files.size());
}

TEST_F(TileCheckTest, NamesTheChangedTile) {
  for (const char* path : {"tile/0/000", "tile/0/123", "tile/0/257", "tile/1/000"}) {
    log = *whole_;
    log.files.at(path)[77] ^= 1;
    const auto error = failure();
    EXPECT_EQ(error.field("tile"), path);
    EXPECT_EQ(error.code(), base_errors::kInvalid);
  }
}

TEST_F(TileCheckTest, NamesTheFirstOfSeveral) {
  log.files.at("tile/0/200")[0] ^= 1;
  log.files.at("tile/0/100")[0] ^= 1;
  log.files.at("tile/entries/099")[10] ^= 1;
  EXPECT_EQ(failure().field("tile"), "tile/entries/099");
}

TEST_F(TileCheckTest, NamesTheChangedEntry) {
  std::string& bundle = log.files.at("tile/entries/003");
  const auto at = bundle.find(testkit::entry_of(3 * 256 + 17));
  ASSERT_NE(at, std::string::npos);
  bundle[at] = 'E';
  const auto error = failure();
  EXPECT_EQ(error.field("tile"), "tile/entries/003");
  EXPECT_EQ(error.field("index"), std::to_string(3 * 256 + 17));
  // Nobody asks for entries, or those have been pruned.
  EXPECT_TRUE(check_log(log, kSize, root_, {.entries = false}).has_value());
  EXPECT_TRUE(check_log(log, kSize, root_, {.first_entry = 4 * 256}).has_value());
  EXPECT_FALSE(check_log(log, kSize, root_, {.first_entry = 4 * 256 - 1}).has_value());
}

TEST_F(TileCheckTest, NamesChangedPartialTiles) {
  log.files.at("tile/1/001.p/2")[0] ^= 1;
  auto error = failure();
  EXPECT_EQ(error.field("tile"), "tile/1/001.p/2");
  EXPECT_EQ(error.field("index"), "0");
  log = *whole_;
  log.files.at("tile/2/000.p/1")[0] ^= 1;
  error = failure();
  EXPECT_EQ(error.field("tile"), "tile/2/000.p/1");
  EXPECT_EQ(error.field("below"), "tile/1/000");
}

TEST_F(TileCheckTest, NamesAChangedLeafAtTheEdge) {
  const TileId edge = partial_tiles(kSize)[1];
  ASSERT_EQ(edge.level, 0u);
  log.files.at(edge.path())[32 * 5] ^= 1;
  const auto error = failure();
  EXPECT_EQ(error.field("tile"), TileId::entries(edge.index, edge.width).path());
  EXPECT_EQ(error.field("index"), std::to_string(edge.index * kTileWidth + 5)) << "the leaf where tile and bundle contradict each other";
}

TEST_F(TileCheckTest, NamesMissingTiles) {
  for (const std::string path : {"tile/0/007", "tile/1/000", "tile/entries/123", "tile/2/000.p/1"}) {
    log = *whole_;
    ASSERT_EQ(log.files.erase(path), 1u);
    const auto error = failure();
    EXPECT_EQ(error.code(), base_errors::kNotFound);
    EXPECT_EQ(error.field("tile"), path);
  }
}

TEST_F(TileCheckTest, ExchangedEntriesAndTiles) {
  std::swap(log.files.at("tile/entries/010"), log.files.at("tile/entries/011"));
  EXPECT_EQ(failure().field("index"), std::to_string(10 * 256));
  std::swap(log.files.at("tile/0/010"), log.files.at("tile/0/011"));  // now both agree with each other
  EXPECT_EQ(failure().field("tile"), "tile/0/010");
}

// A second history, whole and consistent in itself: nothing is bad in it but that it is not the one of the checkpoint.
TEST_F(TileCheckTest, AnotherHistoryIsNotThisLog) {
  const auto checked = check_log(log, kSize, leaf_hash("another root"));
  ASSERT_FALSE(checked.has_value());
  EXPECT_EQ(checked.error().field("tile"), "");
  EXPECT_EQ(checked.error().field("size"), std::to_string(kSize));
}

}  // namespace
}  // namespace stella::timeline
