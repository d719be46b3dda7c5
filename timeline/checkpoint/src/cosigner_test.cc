// A real deployment log and real witnesses: the note that is served reaches the quorum with one witness down, and a rewritten log is refused.
#include "stella/timeline/cosigner.h"

#include <gtest/gtest.h>

#include <atomic>
#include <list>

#include "stella/contracts/errors.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/deployment.h"
#include "stella/timeline/log/tlog_proof.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/witness_service.h"
#include "stella/testing/work_seen.h"

namespace stella::timeline {
namespace {

struct Witness {
  std::shared_ptr<crypto::Ed25519KeyPair> key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::unique_ptr<WitnessStore> store;
  std::unique_ptr<http::Server> server;
};

class CosignerTest : public ::testing::Test {
 protected:
  CosignerTest() {
    db.tenant("acme");
    store = objects::open_posix_store(dir.path() + "/objects").value();
  }
  void grow(int count, const std::string& salt = "") {
    std::string sql;
    for (int i = 0; i < count; ++i) {
      const std::string entry = R"({"kind":"annotation.added","n":")" + salt + std::to_string(tree.size()) + "\"}";
      sql += "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('acme'," + std::to_string(tree.size()) + ",gen_random_uuid(),'" + entry + "'::bytea);";
      tree.append_entry(entry);
    }
    db.sql(sql + "INSERT INTO timeline_heads (tenant_id, shard, size, root) VALUES ('acme',0," + std::to_string(tree.size()) + ",'\\x" + tree.root().hex() +
           "') ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, root = excluded.root;");
    Checkpointer c(pool, *store, key, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)});
    const auto done = c.round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
  }
  DeploymentProof proof(std::optional<std::uint64_t> size = std::nullopt) {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make("acme")).value();
    auto out = deployment_proof(tx, *store, size);
    EXPECT_TRUE(out.has_value()) << out.error().describe();
    return out.value();
  }
  SignedHead head() { return proof().head; }
  // Needs a first checkpoint: it names the log.
  LogPolicy start_witnesses(int count, int quorum) {
    const std::string log = "log " + VerifierKey::ed25519(head().origin, key->public_key())->str() + "\n";
    std::string policy = log, names;
    for (int i = 0; i < count; ++i) {
      Witness& w = witnesses.emplace_back();
      const std::string name = "w" + std::to_string(i);
      const LogPolicy logs = LogPolicy::parse(log + "quorum none\n").value();
      EXPECT_TRUE(WitnessStore::init(dir.path() + "/" + name, logs).has_value());
      w.store = WitnessStore::open(dir.path() + "/" + name, logs, name + ".example", w.key).value();
      http::ServerOptions options;
      options.workers = 1;
      w.server = serve_witness(options, *w.store).value();
      policy += "witness " + name + " " + w.store->vkey()->str() + " http://127.0.0.1:" + std::to_string(w.server->port()) + "\n";
      names += " " + name;
    }
    return LogPolicy::parse(policy + "group some " + std::to_string(quorum) + names + "\nquorum some\n").value();
  }

  testing::TestDatabase db;
  testing::TempDir dir;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> pool{db.options("stella_indexer")};
  std::unique_ptr<objects::Store> store;
  std::shared_ptr<crypto::Ed25519KeyPair> key = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  CompactTree tree;
  std::list<Witness> witnesses;
};

TEST_F(CosignerTest, TheQuorumIsMetWithOneDownAndTheNextCheckpointIsANewChance) {
  grow(5);
  const LogPolicy policy = start_witnesses(3, 2);
  Cosigner cosigner(pool, *store, policy);
  EXPECT_EQ(cosigner.round().value(), 1);
  EXPECT_EQ(policy.open(head().note)->cosigners.size(), 3u);
  EXPECT_EQ(cosigner.round().value(), 0) << "nothing new";
  witnesses.front().server.reset();
  grow(300);
  EXPECT_EQ(cosigner.round().value(), 1);
  EXPECT_EQ(policy.open(head().note)->cosigners.size(), 2u);
  EXPECT_EQ(policy.open(head().note)->checkpoint.size, 2u);
  EXPECT_EQ(proof().covers.size, 305u);
  EXPECT_TRUE(proof().witnessed);
  EXPECT_EQ(store->get(object_key::deployment_cosigned(2), 1 << 16).value(), head().note);
  EXPECT_FALSE(cosigner.trouble().has_value());
  // From the entry's checkpoint to the witnesses, offline.
  const DeploymentProof there = proof();
  const auto accepted = verify_tlog_proof(parse_tlog_proof(there.file).value(), leaf_hash(there.covers.note), policy);
  ASSERT_TRUE(accepted.has_value()) << accepted.error().describe();
  EXPECT_EQ(accepted->cosigners.size(), 2u);
  witnesses.back().server.reset();
  grow(1);
  const auto alone = cosigner.round();
  ASSERT_FALSE(alone.has_value());
  EXPECT_EQ(alone.error().code(), contracts::errors::kUnavailable) << alone.error().describe();
  EXPECT_FALSE(policy.open(head().note).has_value());
  EXPECT_TRUE(cosigner.trouble().has_value());
  // A cosigned note does not stop the next signature, and who begins anew is told by the witness where it was.
  grow(10);
  Cosigner restarted(pool, *store, policy);
  EXPECT_FALSE(restarted.round().has_value());
  const auto one = head();
  EXPECT_EQ(one.size, 4u);
  EXPECT_EQ(parse_note(one.note)->signatures.size(), 2u) << "the log's and that of the witness that is left";
  EXPECT_FALSE(proof().witnessed);
  // The older one is given out as it was, byte for byte.
  EXPECT_EQ(proof(305).file, there.file);
  EXPECT_TRUE(proof(5).witnessed);
}

// Any number may run: while one waits for a witness, another has a newer checkpoint cosigned by the next. Nobody saw another history.
TEST_F(CosignerTest, WhoeverIsOvertakenAsksAgain) {
  grow(5);
  const LogPolicy policy = start_witnesses(2, 1);
  Cosigner slow(pool, *store, policy), fast(pool, *store, policy);
  http::ServerOptions options;
  options.workers = 2;
  options.port = witnesses.front().server->port();
  witnesses.front().server.reset();
  std::atomic<int> asked{0};
  auto busy = http::Server::start(
      options,
      [&](http::Request&) {
        if (++asked == 1) {
          grow(1);
          EXPECT_EQ(fast.round().value(), 1);
        }
        http::Response later;
        later.status = 503;
        return later;
      },
      nullptr, nullptr);
  ASSERT_TRUE(busy.has_value()) << busy.error().describe();
  const auto overtaken = slow.round();
  ASSERT_FALSE(overtaken.has_value());
  EXPECT_EQ(overtaken.error().code(), contracts::errors::kUnavailable) << overtaken.error().describe();
  EXPECT_EQ(slow.round().value(), 1);
  EXPECT_FALSE(slow.trouble().has_value());
}

TEST_F(CosignerTest, EachQuestionHasItsSpanAndIsCounted) {
  const auto counted = [](const char* outcome) { return testing::WorkSeen::counted("stella_timeline_cosignatures", {outcome}); };
  grow(5);
  const LogPolicy policy = start_witnesses(2, 2);
  Cosigner cosigner(pool, *store, policy);
  const testing::WorkSeen seen;
  const double cosigned = counted("cosigned"), shortfall = counted("short");
  ASSERT_EQ(cosigner.round().value(), 1);
  ASSERT_EQ(cosigner.round().value(), 0);
  ASSERT_EQ(seen.spans("timeline.cosign").size(), 1u) << "an idle look has none";
  EXPECT_EQ(seen.spans("timeline.cosign")[0].status, "ok");
  EXPECT_EQ(seen.spans("timeline.cosign")[0].parent_span_id, "");
  EXPECT_FALSE(seen.spans("http.request").empty());
  for (const auto& call : seen.spans("http.request")) EXPECT_EQ(call.trace_id, seen.spans("timeline.cosign")[0].trace_id);
  witnesses.back().server.reset();
  grow(1);
  ASSERT_FALSE(cosigner.round().has_value());
  EXPECT_EQ(seen.spans("timeline.cosign").back().status, "error");
  EXPECT_EQ(counted("cosigned") - cosigned, 1);
  EXPECT_EQ(counted("short") - shortfall, 1);
}

TEST_F(CosignerTest, ARewrittenLogIsRefusedAndSaid) {
  grow(20);
  const LogPolicy policy = start_witnesses(2, 2);
  Cosigner cosigner(pool, *store, policy);
  ASSERT_EQ(cosigner.round().value(), 1);
  // The whole database goes back to nothing but the log's name, and another history is signed, with good signatures.
  const std::string origin = head().origin;
  grow(1);
  ASSERT_EQ(cosigner.round().value(), 1);
  db.sql("DELETE FROM timeline_log; DELETE FROM timeline_heads; DELETE FROM timeline_checkpoints; UPDATE timeline_logs SET size = 0, root = '', note = '', edge = '';"
         "DELETE FROM deployment_checkpoints; UPDATE deployment_log SET placed = 0, size = 0, root = '', note = '', edge = ''");
  store = objects::open_posix_store(dir.path() + "/other").value();
  tree = CompactTree();
  grow(30, "other");
  ASSERT_EQ(head().origin, origin);
  Cosigner after(pool, *store, policy);
  const auto refused = after.round();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), contracts::errors::kIntegrity) << refused.error().describe();
  EXPECT_EQ(refused.error().field("actual"), "2");
  EXPECT_EQ(after.trouble()->code(), contracts::errors::kIntegrity);
  EXPECT_FALSE(policy.open(head().note).has_value());
  grow(5, "other");
  EXPECT_EQ(after.round().error().code(), contracts::errors::kIntegrity);
  EXPECT_EQ(after.trouble()->code(), contracts::errors::kIntegrity);
}

}  // namespace
}  // namespace stella::timeline
