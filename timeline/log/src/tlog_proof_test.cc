// Offline proofs: the published files, made from tiles again byte for byte, and every change to one refused.
#include "stella/timeline/log/tlog_proof.h"

#include "stella/base/encoding.h"
#include "tile_testkit.h"

namespace stella::timeline {
namespace {

using testkit::key_of;

TEST(TlogProofVectors, Files) {
  std::size_t syntax = 0, inclusion = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/tlog-proofs.json"))) {
    const bool valid = c.str("verdict") == "valid";
    const auto proof = parse_tlog_proof(c.str("proof"));
    if (c.str("kind") == "syntax") {
      ++syntax;
      ASSERT_EQ(proof.has_value(), valid) << c.str("id");
      if (!valid) continue;
      EXPECT_EQ(std::to_string(proof->index), c.str("index"));
      EXPECT_EQ(static_cast<std::int64_t>(proof->hashes.size()), c.integer("hashes"));
      EXPECT_EQ(proof->checkpoint, c.str("checkpoint"));
      EXPECT_EQ(proof->extra ? base64_encode(*proof->extra) : "", c.str("extra_base64"));
      EXPECT_EQ(proof->str(), c.str("proof"));
      continue;
    }
    ++inclusion;
    ASSERT_TRUE(proof.has_value()) << c.str("id") << proof.error().describe();
    const std::string entry = base64_decode(c.str("leaf_base64")).value();
    const std::vector keys{VerifierKey::parse(c.str("log_vkey")).value()};
    EXPECT_EQ(verify_tlog_proof(*proof, leaf_hash(entry), c.str("origin"), keys).has_value(), valid) << c.str("id") << ": " << c.str("why");
    const auto policy = LogPolicy::parse("log " + std::string(c.str("log_vkey")) + "\nquorum none\n");
    EXPECT_EQ(verify_tlog_proof(*proof, leaf_hash(entry), *policy).has_value(), valid) << c.str("id");
    EXPECT_FALSE(verify_tlog_proof(*proof, leaf_hash(entry), "example.com/another", keys).has_value()) << c.str("id");
  }
  EXPECT_EQ(syntax, 6u);
  EXPECT_EQ(inclusion, 12u);
}

// The example of the specification is abridged: the syntax of the file holds, that of its note does not.
TEST(TlogProofVectors, TheAbridgedExample) {
  const std::string text = testing::slurp(STELLA_SHARED_OR_SKIP("vectors/c2sp/examples/tlog-proof-abridged.txt"));
  const auto proof = parse_tlog_proof(text);
  ASSERT_TRUE(proof.has_value()) << proof.error().describe();
  EXPECT_EQ(proof->str(), text);
  EXPECT_EQ(proof->index, 73'894u);
  EXPECT_EQ(proof->hashes.size(), 5u);
  EXPECT_FALSE(parse_note(proof->checkpoint).has_value());
}

struct SmallLog {
  std::vector<Sha256> leaves;
  testkit::MapSource source = testkit::log_of(600, &leaves);
  OpenedCheckpoint opened;
  std::vector<VerifierKey> keys{VerifierKey::ed25519("example.com/log", key_of('l').public_key()).value()};
  SmallLog() {
    opened.checkpoint = {"example.com/log", 600, merkle_root(leaves), {}};
    opened.note = sign_checkpoint(opened.checkpoint, key_of('l')).value();
    opened.note.signatures.push_back(cosign_checkpoint(opened.note.text, 1'700'000'000, "w", key_of('w')).value());
  }
};

TEST(TlogProof, MadeFromTilesAndVerified) {
  SmallLog log;
  const auto policy = LogPolicy::parse("log " + log.keys[0].str() + "\nwitness w " + VerifierKey::cosigner("w", key_of('w').public_key())->str() + "\nquorum w\n");
  ASSERT_TRUE(policy.has_value());
  for (const std::uint64_t index : {0u, 255u, 256u, 511u, 599u}) {
    const auto made = make_tlog_proof(log.source, log.opened, index);
    ASSERT_TRUE(made.has_value()) << made.error().describe();
    const auto read = parse_tlog_proof(made->str());
    ASSERT_TRUE(read.has_value());
    const auto accepted = verify_tlog_proof(*read, log.leaves[index], *policy);
    ASSERT_TRUE(accepted.has_value()) << accepted.error().describe();
    EXPECT_EQ(accepted->cosigners.size(), 1u);
    EXPECT_FALSE(verify_tlog_proof(*read, log.leaves[index ^ 1], *policy).has_value());
  }
  EXPECT_FALSE(make_tlog_proof(log.source, log.opened, 600).has_value());
  log.source.files.at("tile/0/001")[3] ^= 1;
  EXPECT_FALSE(make_tlog_proof(log.source, log.opened, 300).has_value()) << "what does not verify is not given out";
}

TEST(TlogProof, EveryChangedByteIsRefused) {
  SmallLog log;
  const std::string text = make_tlog_proof(log.source, log.opened, 77)->str();
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const auto read = parse_tlog_proof(changed);
    // The cosignature of a witness that is not among the keys may change: it is ignored.
    const bool cosignature = i > text.rfind("\xe2\x80\x94");
    if (!cosignature) { EXPECT_FALSE(read && verify_tlog_proof(*read, log.leaves[77], "example.com/log", log.keys)) << i << ": " << changed; }
  }
}

TEST(TlogProof, Malformed) {
  const std::string head = "c2sp.org/tlog-proof@v1\n", hash = base64_encode(empty_root().view()) + "\n";
  ASSERT_TRUE(parse_tlog_proof(head + "index 0\n\nc").has_value());
  std::string sixty_five = head + "index 0\n";
  for (int i = 0; i < 65; ++i) sixty_five += hash;
  struct Case {
    std::string text, line;
  };
  for (const auto& c : {Case{"", "1"}, Case{"c2sp.org/tlog-proof@v2\nindex 0\n\nc", "1"}, Case{head, "2"}, Case{head + "index 0\n", "3"}, Case{head + "index 0\n\n", "4"},
                        Case{head + "index -1\n\nc", "2"}, Case{head + "index 18446744073709551616\n\nc", "2"}, Case{head + "index  0\n\nc", "2"},
                        Case{head + "extra \nindex 0\n\nc", "2"}, Case{head + "extra YQ\nindex 0\n\nc", "2"}, Case{head + "index 0\nextra YQ==\n\nc", "3"},
                        Case{head + "extra YQ==\nextra YQ==\nindex 0\n\nc", "3"}, Case{head + "index 0\n" + hash + "YQ==\n\nc", "4"}, Case{head + "index 0\r\n\r\nc", "2"},
                        Case{sixty_five + "\nc", "67"}}) {
    const auto read = parse_tlog_proof(c.text);
    ASSERT_FALSE(read.has_value()) << c.text;
    EXPECT_EQ(read.error().field("line"), c.line) << c.text;
  }
  EXPECT_EQ(parse_tlog_proof(std::string(kTlogProofBytes + 1, 'x')).error().code(), base_errors::kLimit);
}

}  // namespace
}  // namespace stella::timeline
