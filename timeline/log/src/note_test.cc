// Signed notes: the published cases, and what must be refused: false lines, lies about key ids, too many signatures.
#include "stella/timeline/log/note.h"

#include <algorithm>

#include "log_testkit.h"
#include "stella/base/encoding.h"
#include "stella/timeline/log/checkpoint.h"

namespace stella::timeline {
namespace {

using testkit::key_of;

TEST(NoteVectors, VerifierKeys) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/vkeys.json"))) {
    ++seen;
    const auto key = VerifierKey::parse(c.str("vkey"));
    if (c.str("verdict") == "must fail") {
      EXPECT_FALSE(key.has_value()) << c.str("id");
      continue;
    }
    // "either": an ML-DSA key whose id is no hash of it; we read it and verify nothing with it.
    ASSERT_TRUE(key.has_value()) << c.str("id") << key.error().describe();
    EXPECT_EQ(key->name(), c.str("name"));
    EXPECT_EQ(static_cast<std::int64_t>(key->key_bytes().size()), c.integer("key_bytes"));
    if (!c.str("key_hex").empty()) { EXPECT_EQ(hex_encode(key->key_bytes()), c.str("key_hex")); }
    const auto type = static_cast<unsigned>(key->type());
    EXPECT_EQ("0x0" + std::to_string(type), c.str("type"));
    EXPECT_EQ(key->can_verify(), type == 1 || type == 2 || type == 4) << c.str("id");
    EXPECT_EQ(key->str(), c.str("vkey")) << "prints as it was read";
  }
  EXPECT_EQ(seen, 10u);
}

// What a caller does with a note: known keys must verify, the keys it requires must be among the signers, and a checkpoint must be one of `origin`.
bool accepts(const json::Value& c, std::vector<std::string>& verified) {
  const auto keys = testkit::vkeys(c.items("vkeys"));
  const auto note = parse_note(c.str("note"));
  if (!note) return false;
  EXPECT_EQ(note->str(), c.str("note"));
  const auto signers = verify_note(*note, keys);
  if (!signers) return false;
  for (const auto i : *signers) verified.push_back(keys[i].name());
  std::sort(verified.begin(), verified.end());
  for (const auto& name : c.items("required")) {
    if (std::find(verified.begin(), verified.end(), name.as_string()) == verified.end()) return false;
  }
  if (c.str("origin").empty()) return true;
  const auto checkpoint = parse_checkpoint_text(note->text);
  return checkpoint && checkpoint->origin == c.str("origin");
}

TEST(NoteVectors, SignedNotes) {
  std::size_t seen = 0, other_types = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/signed-notes.json"))) {
    ++seen;
    std::vector<std::string> verified;
    const bool accepted = accepts(c, verified);
    if (c.str("id") == "rome-static-ct") {  // type 0x05: read, never verified
      EXPECT_FALSE(accepted);
      ++other_types;
      continue;
    }
    EXPECT_EQ(accepted, c.str("verdict") == "valid") << c.str("id") << ": " << c.str("why");
    if (!accepted) continue;
    std::vector<std::string> expected;
    for (const auto& name : c.items("verified")) expected.push_back(name.as_string());
    EXPECT_EQ(verified, expected) << c.str("id");
  }
  EXPECT_EQ(seen, 17u);
  EXPECT_EQ(other_types, 1u);
}

TEST(NoteVectors, Examples) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/c2sp/examples");
  std::string vkey = testing::slurp(dir + "/signed-note.vkey");
  while (vkey.ends_with('\n')) vkey.pop_back();
  const auto note = parse_note(testing::slurp(dir + "/signed-note.note"));
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->text, "This is an example message.\n");
  EXPECT_TRUE(verify_note(*note, std::vector{VerifierKey::parse(vkey).value()}).has_value());
  const auto poem = parse_note(testing::slurp(dir + "/signed-note-parse-only.note"));
  ASSERT_TRUE(poem.has_value());
  EXPECT_TRUE(poem->text.ends_with("\n\ned è subito sera.\n"));
  const auto cosigned = parse_note(testing::slurp(dir + "/cosignature-parse-only.note"));
  ASSERT_TRUE(cosigned.has_value());
  EXPECT_EQ(cosigned->signatures.size(), 2u);
  EXPECT_EQ(cosignature_time(cosigned->signatures[1].bytes).value(), 1679315147u);
  EXPECT_TRUE(parse_checkpoint_text(cosigned->text).has_value());
}

Note signed_note(std::string text, char letter = 'a', std::string_view name = "example.com/a") {
  Note note{std::move(text), {}};
  note.signatures.push_back(sign_note(note.text, name, key_of(letter)).value());
  return note;
}

TEST(Note, SignsAndVerifies) {
  const auto p256 = crypto::KeyPair::generate();
  ASSERT_TRUE(p256.has_value());
  Note note = signed_note("one\n\ntwo\n");
  note.signatures.push_back(sign_note(note.text, "p256", *p256).value());
  const auto again = parse_note(note.str());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->text, note.text);
  EXPECT_EQ(again->signatures, note.signatures);
  const std::vector keys{VerifierKey::ecdsa("p256", p256->public_key()).value(), VerifierKey::ed25519("example.com/a", key_of('a').public_key()).value()};
  EXPECT_EQ(verify_note(*again, keys).value(), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(verify_note(*again, std::span(keys).first(1)).value(), std::vector<std::size_t>{0});
  Note changed = *again;
  changed.text = "one\n\ntwp\n";
  EXPECT_FALSE(verify_note(changed, keys).has_value());
}

TEST(Note, EveryChangedByteIsRefusedOrUnsigned) {
  const Note note = signed_note("example\n12\n");
  const std::vector keys{VerifierKey::ed25519("example.com/a", key_of('a').public_key()).value()};
  const std::string bytes = note.str();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const auto read = parse_note(changed);
    EXPECT_FALSE(read && verify_note(*read, keys)) << i;
  }
}

TEST(Note, KeyIdLies) {
  const auto right = VerifierKey::ed25519("example.com/a", key_of('a').public_key()).value();
  Note note = signed_note("text\n");
  // A line that claims a known key but was made by another: the whole note is refused, also beside a good line.
  auto lie = sign_note(note.text, "example.com/a", key_of('b')).value();
  lie.key_id = right.id();
  note.signatures.push_back(lie);
  const auto verdict = verify_note(note, std::vector{right});
  ASSERT_FALSE(verdict.has_value());
  EXPECT_EQ(verdict.error().code(), base_errors::kInvalid);
  EXPECT_EQ(verdict.error().field("key"), "example.com/a");
  // The same id under another name, or the same name with another id, is an unknown key: ignored.
  note.signatures[1].name = "example.com/b";
  EXPECT_TRUE(verify_note(note, std::vector{right}).has_value());
  note.signatures[1] = lie;
  note.signatures[1].key_id ^= 1;
  EXPECT_TRUE(verify_note(note, std::vector{right}).has_value());
  // Two trusted keys that cannot be told apart.
  EXPECT_FALSE(verify_note(signed_note("text\n"), std::vector{right, right}).has_value());
  // An id that is not the hash of name, type and key, and one borrowed from another type.
  std::string vkey = right.str();
  vkey[right.name().size() + 1] = vkey[right.name().size() + 1] == '0' ? '1' : '0';
  EXPECT_FALSE(VerifierKey::parse(vkey).has_value());
  const auto cosigner = VerifierKey::cosigner("example.com/a", key_of('a').public_key()).value();
  EXPECT_NE(cosigner.id(), right.id());
  EXPECT_FALSE(verify_note(signed_note("text\n"), std::vector{cosigner}).has_value());
}

TEST(Note, DuplicatedLinesCountOnceAndAnyFalseOneSpoilsAll) {
  Note note = signed_note("text\n");
  note.signatures.push_back(note.signatures[0]);
  const std::vector keys{VerifierKey::ed25519("example.com/a", key_of('a').public_key()).value()};
  EXPECT_EQ(verify_note(parse_note(note.str()).value(), keys).value(), std::vector<std::size_t>{0});
  note.signatures[1].bytes[0] ^= 1;
  EXPECT_FALSE(verify_note(parse_note(note.str()).value(), keys).has_value());
}

TEST(Note, Limits) {
  Note note{"text\n", {}};
  for (std::size_t i = 0; i < kNoteSignatures; ++i) note.signatures.push_back({"k" + std::to_string(i), static_cast<std::uint32_t>(i), std::string(64, 'x')});
  EXPECT_EQ(parse_note(note.str())->signatures.size(), kNoteSignatures);
  note.signatures.push_back({"one-too-many", 7, std::string(64, 'x')});
  EXPECT_EQ(parse_note(note.str()).error().code(), base_errors::kLimit);
  note.signatures.resize(1);
  note.text = std::string(kNoteBytes, 'x') + "\n";
  EXPECT_EQ(parse_note(note.str()).error().code(), base_errors::kLimit);
  // 16 post-quantum signatures of 5 kB.
  note.text = "text\n";
  note.signatures.assign(16, {"pq", 9, std::string(5'000, 'x')});
  EXPECT_TRUE(parse_note(note.str()).has_value());
}

TEST(Note, Malformed) {
  const std::string line = signed_note("t\n").signatures[0].line();
  const std::string good = "t\n\n" + line;
  ASSERT_TRUE(parse_note(good).has_value());
  for (const std::string& bad : std::vector<std::string>{
           std::string(), std::string("t\n"), "t\n\n", "t\n" + line, line, "\xff\n\n" + line, std::string("t\0\n\n", 4) + line, "t\r\n\n" + line,
           good.substr(0, good.size() - 1),                                        // no last newline
           good + "\n",                                                            // an empty line after the signatures
           good + "x\n",                                                           // text among the signatures
           std::string("t\n\n\xe2\x80\x94 name\n"),                                // no signature
           std::string("t\n\n\xe2\x80\x94 name QUJDRA==\n"),                       // a key id and nothing
           std::string("t\n\n\xe2\x80\x94 name QUJDREU\n"),                        // not padded
           std::string("t\n\n\xe2\x80\x94 name QUJDRF9-\n"),                       // URL alphabet
           std::string("t\n\n\xe2\x80\x94 na+me QUJDREU=\n"), std::string("t\n\n\xe2\x80\x94 na\xc2\xa0me QUJDREU=\n"),
           std::string("t\n\n\xe2\x80\x94 na\xe2\x80\x83me QUJDREU=\n"), std::string("t\n\n\xe2\x80\x93 name QUJDREU=\n"),
           std::string("t\n\n\xe2\x80\x94 name QUJDREU= \n"), std::string("t\n\n\xe2\x80\x94  QUJDREU=\n")}) {
    const auto note = parse_note(bad);
    ASSERT_FALSE(note.has_value()) << bad;
    EXPECT_EQ(note.error().code(), base_errors::kMalformed) << bad;
  }
  for (const char* bad : {"", "a", "a+b", "a+00000000+", "a+0000000+AQ==", "a+ABCDEF01+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
                          "a+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", "a+530d903a+AQ=="})
    EXPECT_FALSE(VerifierKey::parse(bad).has_value()) << bad;
  EXPECT_FALSE(sign_note("no newline", "a", key_of('a')).has_value());
  EXPECT_FALSE(sign_note("tab\there\n", "a", key_of('a')).has_value());
  EXPECT_FALSE(sign_note("t\n", "a b", key_of('a')).has_value());
}

}  // namespace
}  // namespace stella::timeline
