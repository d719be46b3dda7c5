// Checkpoints of a real log in PostgreSQL: what is signed verifies, proofs hold, every tampering stops the signature, and nothing is signed twice.
#include <gtest/gtest.h>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"
#include "stella/timeline/log_reader.h"

namespace stella::timeline {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() {
    for (const char* id : {"acme", "rival"}) db.tenant(id);
    store = objects::open_posix_store(dir.path() + "/objects").value();
  }
  // Straight into the log, as the indexer would; the log of a tenant grows by `count`.
  void grow(int count, const std::string& tenant = "acme") {
    CompactTree& tree = trees[tenant];
    std::string sql;
    for (int i = 0; i < count; ++i) {
      const std::string entry = R"({"kind":"annotation.added","n":)" + std::to_string(tree.size()) + "}";
      sql += "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('" + tenant + "'," + std::to_string(tree.size()) + ",gen_random_uuid(),'" + entry + "'::bytea);";
      tree.append_entry(entry);
    }
    sql += "INSERT INTO timeline_heads (tenant_id, shard, size, root) VALUES ('" + tenant + "',0," + std::to_string(tree.size()) + ",'\\x" + tree.root().hex() +
           "') ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, root = excluded.root;";
    db.sql(sql);
  }
  Checkpointer checkpointer(CheckpointerOptions options = {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)}) { return Checkpointer(pool, *store, key, options); }
  int sign() {
    Checkpointer c(pool, *store, key, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)});
    auto done = c.round();
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().describe());
    return done.value_or(-1);
  }
  std::string refused() {
    Checkpointer c(pool, *store, key, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)});
    const auto done = c.round();
    EXPECT_FALSE(done.has_value());
    return done ? std::string() : done.error().describe();
  }
  pg::TenantTx open(const char* tenant = "acme") { return pg::TenantTx::open(web, testing::TestScope::make(tenant)).value(); }
  Checkpoint verified(const SignedHead& head) {
    const VerifierKey keys[] = {VerifierKey::ed25519(head.origin, key->public_key()).value()};
    return open_checkpoint(head.note, head.origin, keys)->checkpoint;
  }

  testing::TestDatabase db;
  testing::TempDir dir;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> pool{db.options("stella_indexer")};
  std::unique_ptr<objects::Store> store;
  std::shared_ptr<crypto::Ed25519KeyPair> key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::map<std::string, CompactTree> trees;
};

TEST_F(CheckpointTest, SignsWhatTheLogIs) {
  {
    auto tx = open();
    EXPECT_EQ(signed_head(tx)->size, 0u);
  }
  std::vector<Checkpoint> all;
  for (const int count : {1, 2, 300, 253, 1, 513, 40}) {
    grow(count);
    EXPECT_EQ(sign(), 1);
    auto tx = open();
    const SignedHead head = signed_head(tx).value();
    const Checkpoint checkpoint = verified(head);
    EXPECT_EQ(checkpoint.size, trees["acme"].size());
    EXPECT_EQ(checkpoint.root, trees["acme"].root());
    EXPECT_EQ(store->get(object_key::checkpoint(*TenantId::parse("acme"), checkpoint.size), 1 << 16).value(), head.note);
    all.push_back(checkpoint);
  }
  EXPECT_EQ(sign(), 0);  // nothing new
  // Every two checkpoints ever signed are consistent, and every entry is provable under the newest.
  auto tx = open();
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = i; j < all.size(); ++j) {
      const auto proof = consistency(tx, *store, all[i].size, all[j].size);
      ASSERT_TRUE(proof.has_value()) << proof.error().describe();
      EXPECT_TRUE(verify_growth(all[i], all[j], *proof).has_value());
    }
  const SignedHead head = signed_head(tx).value();
  const VerifierKey keys[] = {VerifierKey::ed25519(head.origin, key->public_key()).value()};
  for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{511}, std::uint64_t{512}, std::uint64_t{1024}, head.size - 1}) {
    const auto file = inclusion_file(tx, *store, head, index);
    ASSERT_TRUE(file.has_value()) << index << " " << file.error().describe();
    const auto proof = parse_tlog_proof(*file);
    ASSERT_TRUE(proof.has_value());
    EXPECT_TRUE(verify_tlog_proof(*proof, leaf_hash(R"({"kind":"annotation.added","n":)" + std::to_string(index) + "}"), head.origin, keys).has_value());
    EXPECT_FALSE(verify_tlog_proof(*proof, leaf_hash("other"), head.origin, keys).has_value());
  }
  EXPECT_FALSE(inclusion_file(tx, *store, head, head.size).has_value());
  // Many at once are the same files, in the order asked for; one that is not covered refuses all.
  const std::uint64_t many[] = {1024, 0, 255, 256, 0, head.size - 1};
  const auto files = inclusion_files(tx, *store, head, many);
  ASSERT_TRUE(files.has_value()) << files.error().describe();
  ASSERT_EQ(files->size(), std::size(many));
  for (std::size_t i = 0; i < std::size(many); ++i) EXPECT_EQ(files->at(i), inclusion_file(tx, *store, head, many[i]).value());
  const std::uint64_t beyond[] = {0, head.size};
  EXPECT_FALSE(inclusion_files(tx, *store, head, beyond).has_value());
  EXPECT_TRUE(inclusion_files(tx, *store, head, {}).value().empty());
  for (const auto& [from, to] : {std::pair<std::uint64_t, std::uint64_t>{0, 3}, {3, 1}, {1, head.size + 1}, {2, 3}}) EXPECT_FALSE(consistency(tx, *store, from, to).has_value()) << from << " " << to;
}

TEST_F(CheckpointTest, LogsAreApart) {
  grow(5);
  grow(3, "rival");
  EXPECT_EQ(sign(), 2);
  auto mine = open(), other = open("rival");
  const SignedHead a = signed_head(mine).value(), b = signed_head(other).value();
  EXPECT_NE(a.origin, b.origin);
  EXPECT_EQ(a.origin.find("acme"), std::string::npos);
  EXPECT_EQ(verified(b).size, 3u);
  // The web's login sees its own tenant's rows alone.
  EXPECT_EQ(mine.query("SELECT count(*) FROM timeline_logs")->integer(0, 0), 1);
  EXPECT_EQ(mine.query("SELECT count(*) FROM timeline_checkpoints WHERE tenant_id = 'rival'")->integer(0, 0), 0);
}

TEST_F(CheckpointTest, ACheckpointIsSignedWhenItIsDue) {
  grow(3);
  const CheckpointerOptions rarely{.every = std::chrono::hours(24), .events = 10, .poll = std::chrono::milliseconds(10)};
  EXPECT_EQ(checkpointer(rarely).round().value(), 1);  // the first at once
  grow(9);
  EXPECT_EQ(checkpointer(rarely).round().value(), 0);
  grow(1);
  EXPECT_EQ(checkpointer(rarely).round().value(), 1);
  grow(1);
  EXPECT_EQ(checkpointer(rarely).round().value(), 0);
  pg::SystemPool<pg::LockerRole> lockers{db.options("stella_locker")};
  {
    auto tx = pg::SystemTx<pg::LockerRole>::open(lockers).value();
    ASSERT_TRUE(want_checkpoint(tx, *TenantId::parse("acme"), 14).has_value());
    ASSERT_TRUE(tx.commit().has_value());
  }
  EXPECT_EQ(checkpointer(rarely).round().value(), 1);
  grow(1);
  db.sql("UPDATE timeline_logs SET signed_at = now() - interval '2 days'");
  EXPECT_EQ(checkpointer(rarely).round().value(), 1);
}

// Whatever a superuser of the database changes: no signature over it.
TEST_F(CheckpointTest, NothingTamperedIsSigned) {
  const auto expect = [&](const std::string& attack, std::string_view reason, const std::string& repair) {
    db.sql(attack);
    const std::string problem = refused();
    EXPECT_NE(problem.find(reason), std::string::npos) << attack << ": " << problem;
    db.sql(repair);
  };
  grow(300);
  EXPECT_EQ(sign(), 1);
  grow(10);
  db.sql("CREATE TABLE kept AS SELECT * FROM timeline_log; CREATE TABLE kept_logs AS SELECT * FROM timeline_logs; CREATE TABLE kept_heads AS SELECT * FROM timeline_heads");
  const std::string rows = "TRUNCATE timeline_log; INSERT INTO timeline_log SELECT * FROM kept";
  const std::string logs = "TRUNCATE timeline_logs; INSERT INTO timeline_logs SELECT * FROM kept_logs";
  const std::string heads = "TRUNCATE timeline_heads; INSERT INTO timeline_heads SELECT * FROM kept_heads";
  expect("UPDATE timeline_log SET entry = '{}'::bytea WHERE log_index = 305", "indexer's root", rows);
  expect("DELETE FROM timeline_log WHERE log_index = 304", "entry 304 is missing", rows);
  expect("DELETE FROM timeline_log WHERE log_index = 309", "entry 309 is missing", rows);
  expect("UPDATE timeline_heads SET root = '\\x" + std::string(64, '0') + "'", "indexer's root", heads);
  expect("UPDATE timeline_heads SET size = 301", "indexer's root", heads);
  expect("UPDATE timeline_logs SET edge = set_byte(edge, 5, get_byte(edge, 5) # 1)", "does not lead to the last checkpoint", logs);
  expect("UPDATE timeline_logs SET size = 299, root = '\\x" + std::string(64, '0') + "'", "", logs);
  expect("UPDATE timeline_logs SET note = replace(note, '300', '301')", "does not verify", logs);
  EXPECT_EQ(sign(), 1);
  // The tail cut off together with the head.
  db.sql("DELETE FROM timeline_log WHERE log_index >= 290; UPDATE timeline_heads SET size = 290");
  grow(0);
  db.sql("UPDATE timeline_heads SET size = 290; UPDATE timeline_logs SET size = 280");
  EXPECT_FALSE(refused().empty());
}

// Leaf hashes, tiles and checkpoints outlive the entries: where rows are gone for good, all that was ever signed is proved as before and goes on.
class RowsGoneTest : public CheckpointTest {
 protected:
  void grow_and_sign(int count) {
    grow(count);
    EXPECT_EQ(sign(), 1);
    auto tx = open();
    heads.push_back(signed_head(tx).value());
  }
  // Entries under every head that covers them, and growth between every two.
  void everything_is_proved() {
    auto tx = open();
    for (std::size_t j = 0; j < heads.size(); ++j) {
      const SignedHead& head = heads[j];
      const VerifierKey keys[] = {VerifierKey::ed25519(head.origin, key->public_key()).value()};
      for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{99}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{511}, std::uint64_t{599}, head.size - 1}) {
        if (index >= head.size) continue;
        const auto file = inclusion_file(tx, *store, head, index);
        ASSERT_TRUE(file.has_value()) << head.size << " " << index << " " << file.error().describe();
        EXPECT_TRUE(verify_tlog_proof(*parse_tlog_proof(*file), leaf_hash(R"({"kind":"annotation.added","n":)" + std::to_string(index) + "}"), head.origin, keys).has_value());
      }
      for (std::size_t i = 0; i <= j; ++i) {
        const auto proof = consistency(tx, *store, heads[i].size, head.size);
        ASSERT_TRUE(proof.has_value()) << heads[i].size << " " << head.size << " " << proof.error().describe();
        EXPECT_TRUE(verify_growth(verified(heads[i]), verified(head), *proof).has_value());
      }
    }
  }
  std::vector<SignedHead> heads;
};

TEST_F(RowsGoneTest, ProofsOutliveTheEntries) {
  for (const int count : {100, 200, 10, 280, 10}) grow_and_sign(count);  // the last two end in the same tile
  db.sql("DELETE FROM timeline_log WHERE log_index < 512");
  everything_is_proved();
  db.sql("DELETE FROM timeline_log");
  everything_is_proved();
  grow_and_sign(5);
  everything_is_proved();
  grow_and_sign(163);  // 768: no tile is partial any more but the one of level 1
  db.sql("DELETE FROM timeline_log");
  everything_is_proved();
}

// The same one level higher: a tile of level 1 has become full since.
TEST_F(RowsGoneTest, HigherTilesOutliveThemToo) {
  grow_and_sign(40'000);
  grow_and_sign(30'000);
  db.sql("DELETE FROM timeline_log");
  everything_is_proved();
}

// What grew from a partial tile is damaged: the older checkpoint is not proved from it, and it is said why. Lost, the rows serve as long as they are there.
TEST_F(RowsGoneTest, ADamagedTileProvesNothing) {
  grow_and_sign(100);
  grow_and_sign(200);
  const std::string tile = dir.path() + "/objects/" + object_key::log_tile(*TenantId::parse("acme"), "tile/0/000");
  const std::string bytes = read_file(tile, 1 << 16).value();
  const auto first_under_oldest = [&] {
    auto tx = open();
    const auto file = inclusion_file(tx, *store, heads[0], 0);
    return file ? std::string() : file.error().describe();
  };
  EXPECT_EQ(first_under_oldest(), "");
  ASSERT_EQ(::chmod(tile.c_str(), 0644), 0);
  std::string changed = bytes;
  changed[99 * 32] ^= 1;
  ASSERT_TRUE(write_file_durable(tile, changed).has_value());
  EXPECT_NE(first_under_oldest().find("do not lead to the checkpoint's root"), std::string::npos) << first_under_oldest();
  ASSERT_TRUE(write_file_durable(tile, bytes.substr(0, 100 * 32)).has_value());
  EXPECT_NE(first_under_oldest().find("does not have its size"), std::string::npos) << first_under_oldest();
  ASSERT_EQ(::unlink(tile.c_str()), 0);
  EXPECT_EQ(first_under_oldest(), "");
  db.sql("DELETE FROM timeline_log");
  EXPECT_NE(first_under_oldest().find("entries of the log are gone"), std::string::npos) << first_under_oldest();
}

// Killed between the objects and the commit: the next one finds them there and goes on; other bytes there are an alarm.
TEST_F(CheckpointTest, BeginsAgainAfterACrash) {
  grow(256);
  EXPECT_EQ(sign(), 1);
  db.sql("DELETE FROM timeline_checkpoints; UPDATE timeline_logs SET size = 0, root = '', note = '', edge = ''");
  EXPECT_EQ(sign(), 1);
  const TenantId acme = *TenantId::parse("acme");
  const std::string tile = dir.path() + "/objects/" + object_key::log_tile(acme, "tile/0/000");
  const std::string bytes = read_file(tile, 1 << 16).value();
  EXPECT_EQ(bytes.size(), 8192u);
  ASSERT_EQ(::chmod(tile.c_str(), 0644), 0);
  ASSERT_TRUE(write_file_durable(tile, std::string(8192, 'x')).has_value());
  // Proofs that rest on the rewritten tile are not given out.
  grow(5);
  EXPECT_EQ(sign(), 1);
  {
    auto tx = open();
    const SignedHead head = signed_head(tx).value();
    EXPECT_FALSE(inclusion_file(tx, *store, head, 3).has_value());
    EXPECT_FALSE(consistency(tx, *store, 256, 261).has_value() && inclusion_file(tx, *store, head, 3).has_value());
  }
  db.sql("DELETE FROM timeline_checkpoints; UPDATE timeline_logs SET size = 0, root = '', note = '', edge = ''");
  EXPECT_NE(refused().find("other bytes"), std::string::npos);
}

// The same before a log has its first checkpoint: what was signed then is of this log and of no other, also when more came since.
TEST_F(CheckpointTest, ACrashBeforeTheFirstCommitLeavesNoOtherLog) {
  grow(10);
  db.sql("ALTER TABLE timeline_checkpoints ADD CONSTRAINT crash CHECK (size < 0)");
  EXPECT_FALSE(refused().empty());
  db.sql("ALTER TABLE timeline_checkpoints DROP CONSTRAINT crash");
  const std::string left = store->get(object_key::checkpoint(*TenantId::parse("acme"), 10), 1 << 16).value();
  EXPECT_EQ(sign(), 1);
  auto tx = open();
  const SignedHead head = signed_head(tx).value();
  EXPECT_EQ(head.note, left);
  EXPECT_EQ(verified(head).root, trees["acme"].root());
}

// Killed between a checkpoint's object and its row, and the key is rotated before the next start: the object stands, and the log goes on under the new key.
TEST_F(CheckpointTest, AKeyIsRotatedOverACheckpointWithoutARow) {
  grow(5);
  EXPECT_EQ(sign(), 1);
  grow(5);
  db.sql("ALTER TABLE timeline_checkpoints ADD CONSTRAINT crash CHECK (size < 10)");
  EXPECT_FALSE(refused().empty());
  db.sql("ALTER TABLE timeline_checkpoints DROP CONSTRAINT crash");
  const std::string left = store->get(object_key::checkpoint(*TenantId::parse("acme"), 10), 1 << 16).value();
  const auto last = key;
  key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  CheckpointerOptions options{.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)};
  EXPECT_NE(refused().find("does not verify"), std::string::npos) << "a key that nobody named";
  options.former = {last->public_key()};
  const auto done = checkpointer(options).round();
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  {
    auto tx = open();
    EXPECT_EQ(signed_head(tx)->note, left);
  }
  grow(1);
  ASSERT_TRUE(checkpointer(options).round().has_value());
  auto tx = open();
  const Checkpoint newest = verified(signed_head(tx).value());
  EXPECT_EQ(newest.root, trees["acme"].root());
  // Somebody else's word about that size is none.
  EXPECT_TRUE(tx.commit().has_value());
  grow(1);
  const auto stranger = crypto::Ed25519KeyPair::generate().value();
  const Note forged = sign_checkpoint({.origin = db.sql("SELECT origin FROM timeline_logs WHERE tenant_id = 'acme'"), .size = 12, .root = trees["acme"].root(), .extensions = {}}, stranger).value();
  ASSERT_TRUE(store->put(object_key::checkpoint(*TenantId::parse("acme"), 12), forged.str()).has_value());
  EXPECT_NE(checkpointer(options).round().error().describe().find("other bytes"), std::string::npos);
}

}  // namespace
}  // namespace stella::timeline
