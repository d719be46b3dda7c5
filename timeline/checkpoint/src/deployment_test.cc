// The deployment log in PostgreSQL: every tenant's signed checkpoint is a leaf, provable to that tenant alone; restarts go on, tampering stops it.
#include "stella/timeline/deployment.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::timeline {
namespace {

class DeploymentTest : public ::testing::Test {
 protected:
  DeploymentTest() {
    for (const char* id : {"acme", "rival"}) db.tenant(id);
    store = objects::open_posix_store(dir.path() + "/objects").value();
  }
  // The tenant's log grows by one entry, as the indexer would make it.
  void grow(const std::string& tenant) {
    CompactTree& tree = trees[tenant];
    const std::string entry = R"({"kind":"annotation.added","n":)" + std::to_string(tree.size()) + "}";
    std::string sql = "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('" + tenant + "'," + std::to_string(tree.size()) + ",gen_random_uuid(),'" + entry + "'::bytea);";
    tree.append_entry(entry);
    db.sql(sql + "INSERT INTO timeline_heads (tenant_id, shard, size, root) VALUES ('" + tenant + "',0," + std::to_string(tree.size()) + ",'\\x" + tree.root().hex() +
           "') ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, root = excluded.root");
  }
  Result<int> try_sign() {
    Checkpointer c(pool, *store, key, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10), .former = former});
    return c.round();
  }
  void sign() {
    const auto done = try_sign();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
  }
  // Many heads at once, as of many tenants over a long time. Their notes are any text: the deployment log does not read them.
  void heads(int count) {
    db.sql("INSERT INTO timeline_checkpoints (tenant_id, size, root, note) SELECT 'rival', 1000000 + n, '', 'head ' || n FROM generate_series((SELECT count(*) FROM timeline_checkpoints) + 1, (SELECT count(*) FROM timeline_checkpoints) + " +
           std::to_string(count) + ") n");
  }
  Result<DeploymentProof> proof(const char* tenant, std::optional<std::uint64_t> size = std::nullopt) {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make(tenant)).value();
    return deployment_proof(tx, *store, size);
  }
  // "" where the file proves, to somebody who has nothing but the log's key, that the checkpoint is in the deployment log.
  std::string verified(const DeploymentProof& p) {
    const VerifierKey keys[] = {VerifierKey::ed25519(p.head.origin, key->public_key()).value()};
    const auto parsed = parse_tlog_proof(p.file);
    if (!parsed) return parsed.error().describe();
    const auto opened = verify_tlog_proof(*parsed, leaf_hash(p.covers.note), p.head.origin, keys);
    return opened ? "" : opened.error().describe();
  }
  std::uint64_t size() { return static_cast<std::uint64_t>(std::stoull(db.sql("SELECT size FROM deployment_log"))); }
  Checkpoint signed_of(std::uint64_t size) {
    const std::string note = store->get(object_key::deployment_checkpoint(size), 1 << 16).value();
    const std::string origin = note.substr(0, note.find('\n'));
    const VerifierKey keys[] = {VerifierKey::ed25519(origin, key->public_key()).value()};
    return open_checkpoint(note, origin, keys)->checkpoint;
  }
  std::string refused() {
    const auto done = try_sign();
    return done ? std::string() : done.error().describe();
  }

  testing::TestDatabase db;
  testing::TempDir dir;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> pool{db.options("stella_indexer")};
  std::unique_ptr<objects::Store> store;
  std::shared_ptr<crypto::Ed25519KeyPair> key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::vector<crypto::Ed25519PublicKey> former;
  std::map<std::string, CompactTree> trees;
};

TEST_F(DeploymentTest, EveryHeadIsALeaf) {
  sign();
  EXPECT_EQ(size(), 0u) << "nothing is signed over nothing";
  EXPECT_EQ(proof("acme").error().code(), base_errors::kNotFound);
  std::vector<std::uint64_t> sizes;
  for (int round = 0; round < 3; ++round) {
    grow("acme");
    if (round != 1) grow("rival");
    sign();
    sizes.push_back(size());
  }
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>{2, 3, 5}));
  for (const auto& [tenant, newest] : {std::pair{"acme", 3}, {"rival", 2}})
    for (int n = 1; n <= newest; ++n) {
      const auto p = proof(tenant, n);
      ASSERT_TRUE(p.has_value()) << tenant << n << p.error().describe();
      EXPECT_EQ(p->covers.size, static_cast<std::uint64_t>(n));
      EXPECT_EQ(verified(*p), "") << tenant << n;
    }
  // Across the boundaries of tiles, and every two sizes that were signed are consistent.
  for (const int more : {250, 1, 1, 600, 2}) {
    heads(more);
    sign();
    sizes.push_back(size());
  }
  grow("acme");
  sign();
  for (int n = 1; n <= 4; ++n) EXPECT_EQ(verified(proof("acme", n).value()), "") << n;
  auto tx = pg::SystemTx<pg::IndexerRole>::open(pool).value();
  for (std::size_t i = 0; i < sizes.size(); ++i)
    for (std::size_t j = i; j < sizes.size(); ++j) {
      const auto grown = deployment_consistency(tx, *store, sizes[i], sizes[j]);
      ASSERT_TRUE(grown.has_value()) << sizes[i] << " " << sizes[j] << grown.error().describe();
      EXPECT_TRUE(verify_growth(signed_of(sizes[i]), signed_of(sizes[j]), *grown).has_value());
    }
  EXPECT_EQ(deployment_consistency(tx, *store, 4, 5).error().code(), base_errors::kNotFound) << "a size that was never signed";
}

TEST_F(DeploymentTest, ATenantIsToldOfItsOwnHeadsAlone) {
  grow("acme");
  grow("rival");
  sign();
  grow("rival");
  sign();
  const DeploymentProof mine = proof("acme").value(), other = proof("rival").value();
  EXPECT_EQ(proof("acme", 2).error().code(), base_errors::kNotFound) << "a size that only the other's log has";
  EXPECT_EQ(mine.head.origin, other.head.origin);
  EXPECT_TRUE(mine.head.origin.starts_with("stellaops.dev/deployment/")) << mine.head.origin;
  for (const std::string& secret : {std::string("rival"), other.covers.origin, other.covers.note, other.covers.root.hex()}) EXPECT_EQ(mine.file.find(secret), std::string::npos) << secret;
  // What comes after changes nothing of what the tenant is given: it cannot tell when others are active.
  for (int i = 0; i < 3; ++i) {
    grow("rival");
    sign();
    EXPECT_EQ(proof("acme")->file, mine.file);
  }
  auto tx = pg::TenantTx::open(web, testing::TestScope::make("acme")).value();
  EXPECT_EQ(tx.query("SELECT count(*) FROM timeline_checkpoints WHERE deployment_index IS NOT NULL")->integer(0, 0), 1);
  EXPECT_FALSE(tx.query("UPDATE timeline_checkpoints SET deployment_index = 7", {}).has_value());
}

TEST_F(DeploymentTest, AHeadThatHasNoPlaceYetIsWaitedFor) {
  grow("acme");
  sign();
  db.sql("INSERT INTO timeline_checkpoints (tenant_id, size, root, note) VALUES ('acme', 2, decode(repeat('00', 32), 'hex'), 'later')");
  EXPECT_EQ(proof("acme").error().code(), contracts::errors::kNotReady);
  // It has a place, and no signature covers it.
  db.sql("UPDATE timeline_checkpoints SET deployment_index = 1 WHERE size = 2; UPDATE deployment_log SET placed = 2");
  EXPECT_EQ(proof("acme").error().code(), contracts::errors::kNotReady);
  EXPECT_EQ(verified(proof("acme", 1).value()), "");
  sign();
  EXPECT_EQ(verified(proof("acme").value()), "");
}

// The place is decided before the signature: who commits late comes late, whatever its clock said.
TEST_F(DeploymentTest, ALateHeadDoesNotMoveTheOthers) {
  grow("acme");
  sign();
  db.sql("INSERT INTO timeline_checkpoints (tenant_id, size, root, note, signed_at) VALUES ('rival', 1, '', 'early', now() - interval '1 hour')");
  sign();
  EXPECT_EQ(db.sql("SELECT deployment_index FROM timeline_checkpoints WHERE tenant_id = 'rival'"), "1");
  EXPECT_EQ(verified(proof("acme", 1).value()), "");
}

// Killed between the objects and the commit, and begun anew with nothing but the rows: the same log, byte for byte.
TEST_F(DeploymentTest, ItIsMadeAgainFromTheRows) {
  grow("acme");
  grow("rival");
  sign();
  heads(300);
  sign();
  grow("acme");
  sign();
  const DeploymentProof before = proof("acme").value();
  const std::string tile = store->get(object_key::deployment_tile("tile/0/000"), 1 << 16).value();
  const std::string forget = "DELETE FROM deployment_checkpoints; UPDATE deployment_log SET size = 0, root = '', note = '', edge = ''";
  db.sql(forget);
  sign();  // the objects are there, and are the same
  EXPECT_EQ(proof("acme")->file, before.file);
  db.sql(forget);
  store = objects::open_posix_store(dir.path() + "/empty").value();
  sign();
  EXPECT_EQ(proof("acme")->file, before.file);
  EXPECT_EQ(store->get(object_key::deployment_tile("tile/0/000"), 1 << 16).value(), tile);
  EXPECT_EQ(size(), 303u);
}

// Killed between the first checkpoint's object and its row: the object is of this log and of no other.
TEST_F(DeploymentTest, ACrashBeforeTheFirstCommitLeavesNoOtherLog) {
  grow("acme");
  db.sql("ALTER TABLE deployment_checkpoints ADD CONSTRAINT crash CHECK (size < 0)");
  EXPECT_FALSE(refused().empty());
  db.sql("ALTER TABLE deployment_checkpoints DROP CONSTRAINT crash");
  const std::string left = store->get(object_key::deployment_checkpoint(1), 1 << 16).value();
  sign();
  EXPECT_EQ(db.sql("SELECT note FROM deployment_log"), left);
  EXPECT_EQ(verified(proof("acme").value()), "");
}

TEST_F(DeploymentTest, NothingTamperedIsSignedOrProved) {
  grow("acme");
  grow("rival");
  sign();
  heads(2);
  const auto expect = [&](const std::string& attack, std::string_view reason, const std::string& repair) {
    db.sql(attack);
    const std::string problem = refused();
    EXPECT_NE(problem.find(reason), std::string::npos) << attack << ": " << problem;
    EXPECT_NE(problem.find("(deployment)"), std::string::npos) << problem;
    db.sql(repair);
  };
  db.sql("CREATE TABLE kept AS SELECT * FROM deployment_log; CREATE TABLE kept_heads AS SELECT * FROM timeline_checkpoints");
  const std::string log = "TRUNCATE deployment_log; INSERT INTO deployment_log SELECT * FROM kept";
  const std::string heads_back = log + "; TRUNCATE timeline_checkpoints; INSERT INTO timeline_checkpoints SELECT * FROM kept_heads";
  expect("UPDATE deployment_log SET edge = set_byte(edge, 5, get_byte(edge, 5) # 1)", "does not lead to the last checkpoint", heads_back);
  expect("UPDATE deployment_log SET note = replace(note, E'\\n2\\n', E'\\n3\\n')", "does not verify", heads_back);
  expect("UPDATE deployment_log SET placed = 1; UPDATE timeline_checkpoints SET deployment_index = 9 + size WHERE deployment_index IS NULL", "became shorter", heads_back);
  expect("UPDATE deployment_log SET placed = 3; UPDATE timeline_checkpoints SET deployment_index = 9 WHERE deployment_index IS NULL AND note = (SELECT min(note) FROM timeline_checkpoints WHERE deployment_index IS NULL)",
         "leaf 2 is missing", heads_back);
  expect("DELETE FROM deployment_log", "row of the log is gone", log);
  sign();
  // Heads that change places, and one that was changed after it was signed.
  ASSERT_EQ(verified(proof("acme").value()), "");
  db.sql("UPDATE timeline_checkpoints SET deployment_index = -deployment_index - 1 WHERE deployment_index < 2; UPDATE timeline_checkpoints SET deployment_index = 2 + deployment_index WHERE deployment_index < 0");
  EXPECT_EQ(proof("acme").error().code(), contracts::errors::kIntegrity);
  db.sql("UPDATE timeline_checkpoints c SET deployment_index = NULL WHERE deployment_index < 2; UPDATE timeline_checkpoints c SET deployment_index = k.deployment_index FROM kept_heads k WHERE c.tenant_id = k.tenant_id AND c.size = k.size AND k.deployment_index IS NOT NULL");
  ASSERT_EQ(verified(proof("acme").value()), "");
  db.sql("UPDATE timeline_checkpoints SET note = replace(note, 'stellaops', 'elsewhere') WHERE tenant_id = 'acme'");
  EXPECT_EQ(proof("acme").error().code(), contracts::errors::kIntegrity);
}

TEST_F(DeploymentTest, ItGoesOnUnderTheNextKey) {
  grow("acme");
  sign();
  const Checkpoint before = signed_of(1);
  const auto last = key->public_key();
  key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  grow("rival");  // no key but the deployment log's stands in the way of its first checkpoint
  EXPECT_NE(refused().find("(deployment)"), std::string::npos) << "a key that nobody named";
  EXPECT_EQ(size(), 1u);
  former = {last};
  sign();
  EXPECT_EQ(size(), 2u);
  EXPECT_EQ(verified(proof("rival").value()), "");
  auto tx = pg::SystemTx<pg::IndexerRole>::open(pool).value();
  EXPECT_TRUE(verify_growth(before, signed_of(2), deployment_consistency(tx, *store, 1, 2).value()).has_value());
}

// As for a tenant's log: what the key before signed, and whose row was lost, stands.
TEST_F(DeploymentTest, AKeyIsRotatedOverACheckpointWithoutARow) {
  grow("acme");
  db.sql("ALTER TABLE deployment_checkpoints ADD CONSTRAINT crash CHECK (size < 0)");
  EXPECT_FALSE(refused().empty());
  db.sql("ALTER TABLE deployment_checkpoints DROP CONSTRAINT crash");
  const std::string left = store->get(object_key::deployment_checkpoint(1), 1 << 16).value();
  former = {key->public_key()};
  key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  sign();
  EXPECT_EQ(db.sql("SELECT note FROM deployment_log"), left);
  grow("rival");
  sign();
  EXPECT_EQ(verified(proof("rival").value()), "");
}

// Whoever kept a checkpoint of it can check it later, and learns nothing of the others by asking.
TEST_F(DeploymentTest, AKeptCheckpointIsContinued) {
  const auto growth = [&](const char* tenant, std::uint64_t from, std::uint64_t to) {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make(tenant)).value();
    return deployment_growth(tx, *store, from, to);
  };
  grow("rival");
  sign();
  EXPECT_EQ(growth("acme", 1, 1).error().code(), base_errors::kNotFound) << "nothing covers this tenant yet";
  std::vector<std::uint64_t> kept;
  for (const int others : {0, 3, 300, 0}) {
    if (others > 0) heads(others);
    grow("acme");
    sign();
    const DeploymentProof p = proof("acme").value();
    kept.push_back(p.head.size);
    EXPECT_EQ(growth("acme", 0, p.head.size).error().code(), base_errors::kInvalid);
    EXPECT_EQ(growth("acme", 2, 1).error().code(), base_errors::kInvalid);
    for (const std::uint64_t from : kept) EXPECT_TRUE(verify_growth(signed_of(from), signed_of(p.head.size), growth("acme", from, p.head.size).value()).has_value()) << from;
  }
  ASSERT_EQ(kept, (std::vector<std::uint64_t>{2, 6, 307, 308}));
  // A size that nobody signed is answered like one that somebody did, and what came after is not there.
  EXPECT_TRUE(growth("acme", 4, 5).has_value());
  heads(1);
  sign();
  ASSERT_EQ(size(), 309u);
  EXPECT_EQ(growth("acme", 1, 309).error().code(), base_errors::kInvalid);
  EXPECT_EQ(growth("acme", 1, 309).error().describe(), growth("acme", 1, 9000).error().describe());
  // Leaves that are not those that were signed prove nothing.
  const std::string tile = dir.path() + "/objects/" + object_key::deployment_tile("tile/0/000");
  std::string bytes = read_file(tile, 8192).value();
  bytes[0] = static_cast<char>(bytes[0] ^ 1);
  ASSERT_EQ(::chmod(tile.c_str(), 0644), 0);
  ASSERT_TRUE(write_file_durable(tile, bytes).has_value());
  EXPECT_FALSE(growth("acme", 2, 6).has_value());
}

// A rewritten tile: no proof that rests on it is given out.
TEST_F(DeploymentTest, ADamagedTileProvesNothing) {
  grow("acme");
  sign();
  heads(300);
  sign();
  EXPECT_EQ(verified(proof("acme").value()), "");  // under size 1
  db.sql("DELETE FROM deployment_checkpoints WHERE size = 1");
  EXPECT_EQ(verified(proof("acme").value()), "");  // under size 301
  const std::string tile = dir.path() + "/objects/" + object_key::deployment_tile("tile/0/000");
  ASSERT_EQ(::chmod(tile.c_str(), 0644), 0);
  ASSERT_TRUE(write_file_durable(tile, std::string(8192, 'x')).has_value());
  EXPECT_FALSE(proof("acme").has_value());
}

}  // namespace
}  // namespace stella::timeline
