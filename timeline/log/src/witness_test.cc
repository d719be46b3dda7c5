// The witness protocol: the published exchange, every status, and histories that contradict each other.
#include "stella/timeline/log/witness.h"

#include <algorithm>

#include "log_testkit.h"
#include "stella/base/encoding.h"

namespace stella::timeline {
namespace {

using testkit::key_of;

// A witness with its store: what the caller of the pure function does.
class Witness {
 public:
  std::vector<WitnessState> logs;
  WitnessAnswer post(std::string_view body) {
    WitnessAnswer answer = answer_add_checkpoint(body, [this](std::string_view origin) { return find(origin); });
    if (!answer.accepted) return answer;
    auto* log = find(answer.accepted->origin);
    log->size = answer.accepted->size;
    log->root = answer.accepted->root;
    answer.body = cosign_checkpoint(answer.accepted_text, 1'700'000'000, "example.com/witness", key_of('w'))->line();
    return answer;
  }
  WitnessState* find(std::string_view origin) {
    const auto found = std::find_if(logs.begin(), logs.end(), [&](const WitnessState& log) { return log.origin == origin; });
    return found == logs.end() ? nullptr : &*found;
  }
  const std::vector<VerifierKey> keys{VerifierKey::cosigner("example.com/witness", key_of('w').public_key()).value()};
};

TEST(WitnessVectors, AddCheckpoint) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/witness-add-checkpoint.json"))) {
    Witness witness;
    for (const auto& log : c.items("logs")) witness.logs.push_back({std::string(log.str("origin")), {VerifierKey::parse(log.str("vkey")).value()}});
    for (const auto& request : c.items("requests")) {
      ++seen;
      const auto answer = witness.post(request.str("body"));
      EXPECT_EQ(answer.status, request.integer("status")) << c.str("id") << " " << request.str("why") << ": " << answer.body;
      if (answer.status == 200) { EXPECT_TRUE(read_cosignatures(answer.body, answer.accepted_text, witness.keys).has_value()); }
      if (answer.status == 409) {
        EXPECT_EQ("answer is " + std::to_string(read_witness_size(answer.body).value()), request.str("why"));
        EXPECT_EQ(answer.content_type, "text/x.tlog.size");
      }
      const auto parsed = parse_add_checkpoint(request.str("body"));
      ASSERT_TRUE(parsed.has_value());
      EXPECT_EQ(parsed->str(), request.str("body"));
    }
  }
  EXPECT_EQ(seen, 10u);
}

TEST(WitnessVectors, Examples) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/c2sp/examples");
  const std::string text = testing::slurp(dir + "/add-checkpoint-request.txt");
  const auto request = parse_add_checkpoint(text);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->old_size, 20852014u);
  EXPECT_EQ(request->proof.size(), 4u);
  EXPECT_EQ(parse_note(request->checkpoint)->signatures.size(), 2u);
  EXPECT_EQ(request->str(), text);
  const auto lines = parse_signature_lines(testing::slurp(dir + "/add-checkpoint-response.txt"));
  ASSERT_TRUE(lines.has_value());
  ASSERT_EQ(lines->size(), 3u);
  EXPECT_EQ(lines->at(2).name, "witness.example/w2");
  EXPECT_EQ(lines->at(0).bytes.size(), 72u);
}

class WitnessTest : public ::testing::Test {
 protected:
  WitnessTest() {
    witness.logs.push_back({"example.com/log", {VerifierKey::ed25519("example.com/log", key_of('l').public_key()).value()}});
    witness.logs.push_back({"example.com/two", {VerifierKey::ed25519("example.com/two", key_of('m').public_key()).value()}});
  }
  struct Request {
    std::uint64_t old_size = 0;
    Proof proof;
    Note note;
    std::string str() const { return AddCheckpoint{old_size, proof, note.str()}.str(); }
  };
  Request request(std::uint64_t old_size, std::uint64_t size, const std::vector<Sha256>& leaves) const {
    Request out;
    out.old_size = old_size;
    const auto here = std::span(leaves).first(size);
    if (old_size != 0 && old_size < size) out.proof = consistency_proof(here, old_size).value();
    out.note = sign_checkpoint({"example.com/log", size, merkle_root(here), {}}, key_of('l')).value();
    return out;
  }
  int post(const Request& request) { return witness.post(request.str()).status; }
  Witness witness;
  const std::vector<Sha256> ours = testkit::leaves_of(40);
  const std::vector<Sha256> theirs = testkit::leaves_of(40, "other");
};

TEST_F(WitnessTest, FollowsAGrowingLog) {
  std::uint64_t old_size = 0;
  for (const std::uint64_t size : {1u, 2u, 3u, 7u, 8u, 9u, 30u, 40u}) {
    EXPECT_EQ(post(request(old_size, size, ours)), 200) << size;
    EXPECT_EQ(post(request(size, size, ours)), 200) << "the same again is cosigned again";
    old_size = size;
  }
  EXPECT_EQ(witness.logs[1].size, 0u) << "the other log is untouched";
}

TEST_F(WitnessTest, ASecondHistoryIsRefused) {
  ASSERT_EQ(post(request(0, 12, ours)), 200);
  const WitnessState before = witness.logs[0];
  EXPECT_EQ(post(request(12, 20, theirs)), 422) << "signed by the log, but no continuation";
  EXPECT_EQ(post(request(12, 12, theirs)), 409) << "another root for the same size";
  EXPECT_EQ(post(request(0, 12, theirs)), 409);
  EXPECT_EQ(post(request(0, 40, theirs)), 409) << "no second start";
  EXPECT_EQ(post(request(8, 10, ours)), 409) << "an older checkpoint";
  EXPECT_EQ(post(request(12, 8, ours)), 400) << "backwards";
  EXPECT_EQ(witness.logs[0].size, before.size);
  EXPECT_EQ(witness.logs[0].root, before.root);
  EXPECT_EQ(post(request(12, 20, ours)), 200);
}

TEST_F(WitnessTest, ProofsAreExact) {
  auto first = request(0, 8, ours);
  first.proof.push_back(empty_root());
  EXPECT_EQ(post(first), 422) << "no proof from nothing";
  ASSERT_EQ(post(request(0, 8, ours)), 200);
  auto same = request(8, 8, ours);
  same.proof.push_back(empty_root());
  EXPECT_EQ(post(same), 422);
  auto next = request(8, 20, ours);
  const auto good = next;
  next.proof.pop_back();
  EXPECT_EQ(post(next), 422);
  next = good;
  next.proof.push_back(empty_root());
  EXPECT_EQ(post(next), 422);
  for (std::size_t i = 0; i < good.proof.size(); ++i) {
    next = good;
    next.proof[i].mutable_bytes()[0] ^= 1;
    EXPECT_EQ(post(next), 422) << i;
  }
  EXPECT_EQ(post(good), 200);
}

TEST_F(WitnessTest, SignaturesAndOrigins) {
  auto wrong = request(0, 5, ours);
  wrong.note.signatures[0].bytes[3] ^= 1;
  EXPECT_EQ(post(wrong), 403);
  wrong = request(0, 5, ours);
  wrong.note.signatures[0] = sign_note(wrong.note.text, "example.com/log", key_of('x')).value();
  EXPECT_EQ(post(wrong), 403) << "an unknown key";
  // A key id lie beside the true signature.
  wrong = request(0, 5, ours);
  auto lie = sign_note(wrong.note.text, "example.com/log", key_of('x')).value();
  lie.key_id = wrong.note.signatures[0].key_id;
  wrong.note.signatures.push_back(lie);
  EXPECT_EQ(post(wrong), 403);
  // A line that is no signature at all is none that verifies.
  const std::string unread = request(0, 5, ours).str();
  EXPECT_EQ(witness.post(unread.substr(0, unread.size() - 1)).status, 403);
  EXPECT_EQ(witness.post(unread + "x\n").status, 403);
  // Signed by a known log, but for another origin.
  wrong.note = sign_checkpoint({"example.com/two", 5, merkle_root(std::span(ours).first(5)), {}}, key_of('l')).value();
  EXPECT_EQ(post(wrong), 403);
  wrong.note = sign_checkpoint({"example.com/none", 5, merkle_root(std::span(ours).first(5)), {}}, key_of('l')).value();
  EXPECT_EQ(post(wrong), 404);
  // Unknown keys beside the log's, and its line twice, change nothing.
  auto right = request(0, 5, ours);
  right.note.signatures.push_back(sign_note(right.note.text, "someone", key_of('s')).value());
  right.note.signatures.push_back(right.note.signatures[0]);
  EXPECT_EQ(post(right), 200);
}

TEST_F(WitnessTest, TheStatusesComeInTheStandardsOrder) {
  ASSERT_EQ(post(request(0, 12, ours)), 200);
  // Old size above the checkpoint's and not the one known: 400 before 409. Unsigned too: 403 first. Unknown too: 404 first.
  auto bad = request(0, 5, ours);
  bad.old_size = 7;
  EXPECT_EQ(post(bad), 400);
  bad.note.signatures[0].bytes[0] ^= 1;
  EXPECT_EQ(post(bad), 403);
  bad.note.text = "example.com/none\n5\n" + base64_encode(empty_root().view()) + "\n";
  EXPECT_EQ(post(bad), 404);
  // The conflict answer is the size, also where the proof is wrong.
  auto stale = request(4, 20, ours);
  stale.proof.clear();
  const auto answer = witness.post(stale.str());
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(answer.body, "12\n");
  EXPECT_FALSE(answer.accepted.has_value());
}

TEST_F(WitnessTest, TheEmptyTree) {
  EXPECT_EQ(post(request(0, 0, ours)), 200);
  auto wrong = request(0, 0, ours);
  wrong.note = sign_checkpoint({"example.com/log", 0, leaf_hash("x"), {}}, key_of('l')).value();
  EXPECT_EQ(post(wrong), 409) << "the root of nothing is known";
  EXPECT_EQ(post(request(0, 3, ours)), 200);
}

TEST_F(WitnessTest, ExtensionLinesAreCosigned) {
  auto extended = request(0, 5, ours);
  extended.note = sign_checkpoint({"example.com/log", 5, merkle_root(std::span(ours).first(5)), {"extension"}}, key_of('l')).value();
  const auto answer = witness.post(extended.str());
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(read_cosignatures(answer.body, extended.note.text, witness.keys).has_value());
  EXPECT_FALSE(read_cosignatures(answer.body, request(0, 5, ours).note.text, witness.keys).has_value());
}

TEST_F(WitnessTest, BadRequests) {
  const std::string good = request(0, 5, ours).str(), hash = base64_encode(empty_root().view()) + "\n";
  std::string many = "old 1\n";
  for (int i = 0; i < 64; ++i) many += hash;
  for (const std::string& bad : std::vector<std::string>{
           "", "old", "old 0", "old 0\n", "old 0\n\n", "old 00" + good.substr(5), "old  0" + good.substr(5), "Old 0" + good.substr(5), "old +0" + good.substr(5),
           "old 18446744073709551616" + good.substr(5), "old 0\nAAAA\n" + good.substr(6), "old 0\r\n" + good.substr(6), "\n" + good, good + "\n", good.substr(0, good.find("\n\n\xe2\x80\x94") + 1),
           many + good.substr(6), "old 0\n\ntext\n\n" + good.substr(good.find("\xe2\x80\x94"))}) {
    const auto answer = witness.post(bad);
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_FALSE(answer.accepted.has_value());
  }
  std::string most = "old 1\n";
  for (int i = 0; i < 63; ++i) most += hash;
  EXPECT_EQ(witness.post(most + good.substr(6)).status, 409) << "63 hashes are a request";
}

TEST_F(WitnessTest, ClientsTakeWhatVerifies) {
  const std::string text = request(0, 5, ours).note.text;
  const auto mine = cosign_checkpoint(text, 7, "example.com/witness", key_of('w')).value();
  const auto foreign = cosign_checkpoint(text, 8, "example.com/other", key_of('o')).value();
  EXPECT_EQ(read_cosignatures(foreign.line() + mine.line() + mine.line(), text, witness.keys).value(), std::vector{mine});
  EXPECT_FALSE(read_cosignatures(foreign.line(), text, witness.keys).has_value());
  EXPECT_FALSE(read_cosignatures("", text, witness.keys).has_value());
  auto lie = mine;
  lie.bytes[20] ^= 1;
  EXPECT_FALSE(read_cosignatures(mine.line() + lie.line(), text, witness.keys).has_value());
  const std::vector plain{VerifierKey::ed25519("example.com/witness", key_of('w').public_key()).value()};
  EXPECT_FALSE(read_cosignatures(sign_note(text, "example.com/witness", key_of('w'))->line(), text, plain).has_value()) << "a key that signs no time";
  EXPECT_EQ(read_witness_size("12\n").value(), 12u);
  for (const char* bad : {"", "12", "012\n", "12\n\n", "-1\n", "12\r\n", " 12\n"}) EXPECT_FALSE(read_witness_size(bad).has_value()) << bad;
}

}  // namespace
}  // namespace stella::timeline
