// Checkpoints and cosignatures: the published cases, and contradictory, older and foreign checkpoints.
#include "stella/timeline/log/checkpoint.h"

#include "log_testkit.h"
#include "stella/base/encoding.h"
#include "stella/timeline/log/proofs.h"

namespace stella::timeline {
namespace {

using testkit::key_of;

TEST(CheckpointVectors, Texts) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/checkpoints.json"))) {
    ++seen;
    const auto checkpoint = parse_checkpoint_text(c.str("body"));
    // "either" are roots that are no SHA-256 and empty extension lines: strict means refused.
    EXPECT_EQ(checkpoint.has_value(), c.str("verdict") == "valid") << c.str("id") << ": " << c.str("why");
    if (checkpoint) { EXPECT_EQ(checkpoint_text(*checkpoint).value(), c.str("body")); }
  }
  EXPECT_EQ(seen, 13u);
}

TEST(CheckpointVectors, LogIds) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/log-ids.json"))) {
    EXPECT_EQ(log_id(c.str("origin")).hex(), c.str("sha256_hex")) << c.str("origin");
    ++seen;
  }
  EXPECT_EQ(seen, 5u);
}

TEST(CheckpointVectors, Cosignatures) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/cosignatures.json"))) {
    ++seen;
    if (!c.str("signature_base64").empty()) {
      const std::string bytes = base64_decode(c.str("signature_base64")).value();
      const auto time = cosignature_time(std::string_view(bytes).substr(4));
      ASSERT_EQ(time.has_value(), c.str("verdict") == "valid") << c.str("id");
      if (time) { EXPECT_EQ(static_cast<std::int64_t>(*time), c.integer("timestamp")); }
      continue;
    }
    const std::vector keys{VerifierKey::parse(c.str("vkey")).value()};
    EXPECT_EQ(keys[0].type(), SignatureType::kCosignature);
    Note note{std::string(c.str("text")), parse_signature_lines(c.str("line")).value()};
    EXPECT_TRUE(verify_note(note, keys).has_value()) << c.str("id");
    EXPECT_EQ(static_cast<std::int64_t>(cosignature_time(note.signatures[0].bytes).value()), c.integer("timestamp"));
    note.signatures[0].bytes[7] ^= 1;  // one second more or less
    EXPECT_FALSE(verify_note(note, keys).has_value()) << c.str("id");
  }
  EXPECT_EQ(seen, 5u);
}

// Every checkpoint of the log verifies, states the root of its entries, and continues every earlier one.
TEST(CheckpointVectors, EveryStateOfALog) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/tlog-tiles");
  std::string vkey = testing::slurp(dir + "/log.vkey");
  while (vkey.ends_with('\n')) vkey.pop_back();
  const std::vector keys{VerifierKey::parse(vkey).value()};
  const std::string& origin = keys[0].name();
  const std::string tile = testing::slurp(dir + "/log/tile/0/000.p/15");
  std::vector<Sha256> leaves;
  for (std::size_t i = 0; i < 15; ++i) leaves.push_back(Sha256::from_bytes(std::string_view(tile).substr(32 * i, 32)).value());
  std::vector<Checkpoint> all;
  for (std::size_t n = 0; n <= 15; ++n) {
    const std::string text = testing::slurp(dir + "/log/checkpoint." + std::to_string(n));
    const auto opened = open_checkpoint(text, origin, keys);
    ASSERT_TRUE(opened.has_value()) << n << opened.error().describe();
    EXPECT_EQ(opened->checkpoint.size, n);
    EXPECT_EQ(opened->checkpoint.root, merkle_root(std::span(leaves).first(n)));
    for (std::size_t i = 0; i < text.size(); ++i) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ 4);
      EXPECT_FALSE(open_checkpoint(changed, origin, keys).has_value()) << n << " byte " << i;
    }
    for (const auto& older : all) {
      const Proof proof = older.size == 0 ? Proof{} : consistency_proof(std::span(leaves).first(n), older.size).value();
      EXPECT_TRUE(verify_growth(older, opened->checkpoint, proof).has_value()) << older.size << " to " << n;
      EXPECT_FALSE(verify_growth(opened->checkpoint, older, proof).has_value()) << "an older checkpoint";
    }
    all.push_back(opened->checkpoint);
  }
  EXPECT_FALSE(open_checkpoint(testing::slurp(dir + "/log/checkpoint"), "example.com/other", keys).has_value());
}

Checkpoint checkpoint_over(std::span<const Sha256> leaves) { return {"example.com/log", leaves.size(), merkle_root(leaves), {}}; }

TEST(Checkpoint, SignedByItsLog) {
  const auto leaves = testkit::leaves_of(5);
  const auto checkpoint = checkpoint_over(leaves);
  const auto note = sign_checkpoint(checkpoint, key_of('l'));
  ASSERT_TRUE(note.has_value());
  const std::vector keys{VerifierKey::ed25519("example.com/log", key_of('l').public_key()).value()};
  EXPECT_EQ(open_checkpoint(note->str(), "example.com/log", keys)->checkpoint, checkpoint);
  const std::vector others{VerifierKey::ed25519("example.com/log", key_of('m').public_key()).value()};
  EXPECT_FALSE(open_checkpoint(note->str(), "example.com/log", others).has_value());
  // Well signed, but no checkpoint.
  Note text{"hello\n", {}};
  text.signatures.push_back(sign_note(text.text, "example.com/log", key_of('l')).value());
  EXPECT_FALSE(open_checkpoint(text.str(), "example.com/log", keys).has_value());
}

TEST(Checkpoint, ContradictoryHistoriesAreRefused) {
  const auto leaves = testkit::leaves_of(12);
  auto others = leaves;
  others[3] = leaf_hash("another past");
  const auto eight = std::span(leaves).first(8);
  const Checkpoint known = checkpoint_over(eight);
  const Checkpoint next = checkpoint_over(leaves);
  const Proof proof = consistency_proof(leaves, 8).value();
  EXPECT_TRUE(verify_growth(known, next, proof).has_value());
  // A second history that no proof can join to the first: neither its own proof nor ours.
  const Checkpoint forked = checkpoint_over(others);
  EXPECT_FALSE(verify_growth(known, forked, proof).has_value());
  EXPECT_FALSE(verify_growth(known, forked, consistency_proof(others, 8).value()).has_value());
  // The same size with another root, older, another log, a proof where none may be.
  EXPECT_FALSE(verify_growth(known, checkpoint_over(std::span(others).first(8)), {}).has_value());
  const auto shrunk = verify_growth(next, known, {});
  ASSERT_FALSE(shrunk.has_value());
  EXPECT_EQ(shrunk.error().field("size"), "8");
  EXPECT_EQ(shrunk.error().field("expected"), "12");
  Checkpoint renamed = next;
  renamed.origin = "example.com/log2";
  EXPECT_FALSE(verify_growth(known, renamed, proof).has_value());
  EXPECT_TRUE(verify_growth(known, known, {}).has_value());
  EXPECT_FALSE(verify_growth(known, known, proof).has_value());
  const Checkpoint nothing = checkpoint_over({});
  EXPECT_TRUE(verify_growth(nothing, known, {}).has_value());
  EXPECT_FALSE(verify_growth(nothing, known, proof).has_value());
  EXPECT_TRUE(verify_growth(nothing, nothing, {}).has_value());
  Checkpoint wrong_nothing = nothing;
  wrong_nothing.root = known.root;
  EXPECT_FALSE(verify_growth(nothing, wrong_nothing, {}).has_value());
}

TEST(Checkpoint, ExtensionLinesAreSigned) {
  Checkpoint checkpoint = checkpoint_over(testkit::leaves_of(3));
  checkpoint.extensions = {"one", "two"};
  const auto note = sign_checkpoint(checkpoint, key_of('l'));
  ASSERT_TRUE(note.has_value());
  const std::vector keys{VerifierKey::ed25519("example.com/log", key_of('l').public_key()).value()};
  EXPECT_EQ(open_checkpoint(note->str(), "example.com/log", keys)->checkpoint.extensions, checkpoint.extensions);
  Note shorter = *note;
  shorter.text = shorter.text.substr(0, shorter.text.size() - 4);
  EXPECT_FALSE(open_checkpoint(shorter.str(), "example.com/log", keys).has_value());
  // The cosigned message holds them too.
  const auto cosigned = cosign_checkpoint(note->text, 17, "witness", key_of('w')).value();
  const std::vector witness{VerifierKey::cosigner("witness", key_of('w').public_key()).value()};
  EXPECT_TRUE(verify_note({note->text, {cosigned}}, witness).has_value());
  EXPECT_FALSE(verify_note({shorter.text, {cosigned}}, witness).has_value());
  for (const char* bad : {"", "a\nb", "tab\t", "\xff"}) {
    checkpoint.extensions = {bad};
    EXPECT_FALSE(checkpoint_text(checkpoint).has_value()) << bad;
  }
}

TEST(Checkpoint, Malformed) {
  const std::string root = base64_encode(empty_root().view());
  ASSERT_TRUE(parse_checkpoint_text("o\n0\n" + root + "\n").has_value());
  ASSERT_TRUE(parse_checkpoint_text("o\n18446744073709551615\n" + root + "\n").has_value());
  struct Case {
    std::string text;
    std::string_view line;
  };
  for (const auto& c : {Case{"", "1"}, Case{"o", "1"}, Case{"\n0\n" + root + "\n", "1"}, Case{"o\n", "2"}, Case{"o\n+1\n" + root + "\n", "2"},
                        Case{"o\n18446744073709551616\n" + root + "\n", "2"}, Case{"o\n0x1\n" + root + "\n", "2"}, Case{"o\n\n" + root + "\n", "2"},
                        Case{"o\n1\n" + root, "3"}, Case{"o\n1\n" + root.substr(0, 43) + "\n", "3"}, Case{"o\n1\n " + root + "\n", "3"},
                        Case{"o\n1\n" + root + "\n\n", "4"}, Case{"o\n1\n" + root + "\nx\n\n", "5"}, Case{"o\n1\n" + root + "\nx", "4"}}) {
    const auto read = parse_checkpoint_text(c.text);
    ASSERT_FALSE(read.has_value()) << c.text;
    EXPECT_EQ(read.error().code(), base_errors::kMalformed);
    EXPECT_EQ(read.error().field("line"), c.line) << c.text;
  }
  EXPECT_FALSE(cosign_checkpoint("no checkpoint\n", 1, "w", key_of('w')).has_value());
  EXPECT_FALSE(cosign_checkpoint("o\n0\n" + root + "\n", 1ull << 63, "w", key_of('w')).has_value());
  std::string late(72, '\0');
  late[0] = '\x80';
  EXPECT_FALSE(cosignature_time(late).has_value()) << "beyond 2^63 - 1";
}

}  // namespace
}  // namespace stella::timeline
