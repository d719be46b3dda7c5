// Witnesses over real sockets and real files: what is cosigned verifies under a policy, what was cosigned is never forgotten, no second history passes.
#include "stella/timeline/witness_service.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "stella/contracts/errors.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tile_tree.h"
#include "stella/timeline/witness_client.h"

namespace stella::timeline {
namespace {

constexpr const char* kOrigin = "log.example/one";

struct Key {
  std::shared_ptr<crypto::Ed25519KeyPair> pair = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
};

// A log of `name0`, `name1`, …: its checkpoints and its proofs, from all leaves.
struct TestLog {
  std::string name;
  std::vector<Sha256> leaves = {};
  void grow(std::uint64_t to) {
    while (leaves.size() < to) leaves.push_back(leaf_hash(name + std::to_string(leaves.size())));
  }
  Sha256 root(std::size_t begin, std::size_t end) const {
    if (end - begin == 1) return leaves[begin];
    std::size_t half = 1;
    while (half * 2 < end - begin) half *= 2;
    return node_hash(root(begin, begin + half), root(begin + half, end));
  }
  // RFC 6962, 2.1.2, as it is written there.
  Proof subproof(std::size_t m, std::size_t begin, std::size_t end, bool whole) const {
    if (m == end - begin) return whole ? Proof() : Proof{root(begin, end)};
    std::size_t half = 1;
    while (half * 2 < end - begin) half *= 2;
    Proof out = m <= half ? subproof(m, begin, begin + half, whole) : subproof(m - half, begin + half, end, false);
    out.push_back(m <= half ? root(begin + half, end) : root(begin, begin + half));
    return out;
  }
  WitnessQuestion question(const crypto::Ed25519Signer& key, std::uint64_t size, std::uint64_t known = 0) {
    grow(size);
    WitnessQuestion q;
    q.checkpoint = {.origin = kOrigin, .size = size, .root = root(0, size), .extensions = {}};
    q.note = sign_checkpoint(q.checkpoint, key).value();
    q.known_size = known;
    q.prove = [this, size](std::uint64_t from) -> Result<Proof> { return subproof(from, 0, size, true); };
    return q;
  }
};

class WitnessService : public ::testing::Test {
 protected:
  LogPolicy logs() const { return LogPolicy::parse("log " + VerifierKey::ed25519(kOrigin, log_key.pair->public_key())->str() + "\nquorum none\n").value(); }
  struct Running {
    std::unique_ptr<WitnessStore> store;
    std::unique_ptr<http::Server> server;
  };
  Running serve(const std::string& name, const Key& key) {
    Running out;
    out.store = WitnessStore::open(dir / name, logs(), name + ".example/w", key.pair).value();
    http::ServerOptions options;
    options.workers = 2;
    out.server = serve_witness(options, *out.store).value();
    return out;
  }
  LogPolicy::Witness witness(const std::string& name, const Key& key, const Running& running) const {
    return {.name = name, .key = VerifierKey::cosigner(name + ".example/w", key.pair->public_key()).value(), .url = "http://127.0.0.1:" + std::to_string(running.server->port())};
  }
  testing::TempDir dir;
  Key log_key, key;
  TestLog log{"entry"}, other{"another"};
};

TEST_F(WitnessService, CosignsWhatContinuesAndNothingElse) {
  ASSERT_TRUE(WitnessStore::init(dir / "w1", logs()).has_value());
  const Running running = serve("w1", key);
  const auto w = witness("w1", key, running);
  for (const auto& [size, known] : {std::pair<std::uint64_t, std::uint64_t>{3, 0}, {3, 3}, {10, 3}, {64, 0}, {65, 7}}) {
    const auto got = ask_witness(w, log.question(*log_key.pair, size, known));
    ASSERT_TRUE(got.has_value()) << size << " " << got.error().describe();
    ASSERT_EQ(got->size(), 1u);
    EXPECT_EQ(got->front().name, "w1.example/w");
  }
  // Another root for the same size, another history behind it, and a shorter log.
  for (const std::uint64_t size : {65u, 80u}) {
    const auto got = ask_witness(w, other.question(*log_key.pair, size, 65));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code(), contracts::errors::kIntegrity) << got.error().describe();
    EXPECT_EQ(got.error().field("status"), size == 65 ? "409" : "422");
  }
  const auto shorter = ask_witness(w, log.question(*log_key.pair, 64));
  ASSERT_FALSE(shorter.has_value());
  EXPECT_EQ(shorter.error().code(), contracts::errors::kIntegrity);
  EXPECT_EQ(shorter.error().field("actual"), "65");
  const Key stranger;
  EXPECT_EQ(ask_witness(w, log.question(*stranger.pair, 70, 65)).error().field("status"), "403");
  EXPECT_TRUE(ask_witness(w, log.question(*log_key.pair, 80, 65)).has_value());
}

TEST_F(WitnessService, RemembersAcrossRestartsAndRefusesToForget) {
  ASSERT_TRUE(WitnessStore::init(dir / "w1", logs()).has_value());
  {
    const Running running = serve("w1", key);
    ASSERT_TRUE(ask_witness(witness("w1", key, running), log.question(*log_key.pair, 20)).has_value());
    EXPECT_EQ(WitnessStore::open(dir / "w1", logs(), "w1.example/w", key.pair).error().code(), contracts::errors::kConflict);
  }
  ASSERT_TRUE(WitnessStore::init(dir / "w1", logs()).has_value()) << "a second init changes nothing";
  {
    const Running running = serve("w1", key);
    EXPECT_EQ(ask_witness(witness("w1", key, running), other.question(*log_key.pair, 20)).error().field("status"), "409");
    EXPECT_TRUE(ask_witness(witness("w1", key, running), log.question(*log_key.pair, 21)).has_value());
  }
  const std::string state = dir / ("w1/" + log_id(kOrigin).hex() + ".checkpoint");
  const std::string kept = read_file(state, 1 << 16).value();
  EXPECT_EQ(parse_checkpoint_text(kept)->size, 21u);
  for (const std::string& broken : {std::string(), kept.substr(0, kept.size() - 1), kept + "x", std::string("other\n") + kept.substr(kept.find('\n') + 1)}) {
    ASSERT_TRUE(write_file_durable(state, broken).has_value());
    EXPECT_EQ(WitnessStore::open(dir / "w1", logs(), "w1.example/w", key.pair).error().code(), base_errors::kMalformed) << broken;
  }
  ASSERT_EQ(::unlink(state.c_str()), 0);
  EXPECT_EQ(WitnessStore::open(dir / "w1", logs(), "w1.example/w", key.pair).error().code(), base_errors::kNotFound);
}

// Two of three must have cosigned; one is down.
TEST_F(WitnessService, AQuorumIsReachedWithOneDown) {
  const Key keys[3];
  std::vector<Running> running;
  std::string policy = "log " + VerifierKey::ed25519(kOrigin, log_key.pair->public_key())->str() + "\n";
  for (int i = 0; i < 3; ++i) {
    const std::string name = "w" + std::to_string(i);
    ASSERT_TRUE(WitnessStore::init(dir / name, logs()).has_value());
    running.push_back(serve(name, keys[i]));
    const auto w = witness(name, keys[i], running.back());
    policy += "witness " + name + " " + w.key.str() + " " + w.url + "\n";
  }
  policy += "group two 2 w0 w1 w2\nquorum two\n";
  const LogPolicy parsed = LogPolicy::parse(policy).value();
  running[1].server.reset();
  WitnessQuestion q = log.question(*log_key.pair, 100);
  Note note = q.note;
  EXPECT_FALSE(parsed.open(note.str()).has_value());
  int down = 0;
  for (const auto& w : parsed.witnesses()) {
    const auto got = ask_witness(w, q);
    if (got) note.signatures.insert(note.signatures.end(), got->begin(), got->end());
    else {
      ++down;
      EXPECT_EQ(got.error().code(), contracts::errors::kUnavailable) << got.error().describe();
    }
  }
  EXPECT_EQ(down, 1);
  const auto accepted = parsed.open(note.str());
  ASSERT_TRUE(accepted.has_value()) << accepted.error().describe();
  EXPECT_EQ(accepted->cosigners.size(), 2u);
}

TEST_F(WitnessService, AnswersOnlyItsRoute) {
  ASSERT_TRUE(WitnessStore::init(dir / "w1", logs()).has_value());
  const Running running = serve("w1", key);
  auto w = witness("w1", key, running);
  w.url += "/elsewhere";
  EXPECT_EQ(ask_witness(w, log.question(*log_key.pair, 1)).error().field("status"), "404");
}

}  // namespace
}  // namespace stella::timeline
