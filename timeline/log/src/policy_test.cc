// Log policies: the published files and checkpoints, and quorums that must not be reached by counting twice.
#include "stella/timeline/log/policy.h"

#include <algorithm>

#include "log_testkit.h"
#include "stella/base/encoding.h"

namespace stella::timeline {
namespace {

using testkit::key_of;

// "either" are files that the Go library reads and the standard does not: witness keys of type 0x01, comments at the end of a line, one key twice.
TEST(PolicyVectors, Files) {
  std::size_t seen = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/policies.json"))) {
    ++seen;
    const auto policy = LogPolicy::parse(c.str("policy"));
    EXPECT_EQ(policy.has_value(), c.str("verdict") == "valid") << c.str("id") << ": " << c.str("why");
  }
  EXPECT_EQ(seen, 12u);
}

TEST(PolicyVectors, Satisfaction) {
  std::size_t seen = 0, valid = 0;
  for (const auto& c : testkit::cases(STELLA_SHARED_OR_SKIP("vectors/c2sp/policy-satisfaction.json"))) {
    ++seen;
    const auto policy = LogPolicy::parse(c.str("policy"));
    ASSERT_TRUE(policy.has_value()) << c.str("id") << policy.error().describe();
    const auto accepted = policy->open(c.str("checkpoint"));
    ASSERT_EQ(accepted.has_value(), c.str("verdict") == "valid") << c.str("id");
    if (!accepted) continue;
    ++valid;
    ASSERT_EQ(accepted->cosigners.size(), c.items("cosigned_by").size());
    for (std::size_t i = 0; i < accepted->cosigners.size(); ++i) {
      EXPECT_EQ(policy->witnesses()[accepted->cosigners[i].witness].name, c.items("cosigned_by")[i].as_string());
      EXPECT_EQ(static_cast<std::int64_t>(accepted->cosigners[i].time), c.items("times")[i].as_int());
    }
    EXPECT_EQ(accepted->checkpoint.origin, accepted->log.name());
  }
  EXPECT_EQ(seen, 9u);
  EXPECT_EQ(valid, 4u);
}

std::string witness_vkey(char letter) { return VerifierKey::cosigner(std::string("witness/") + letter, key_of(letter).public_key())->str(); }
std::string log_vkey(char letter, std::string_view name = "example.com/log") { return VerifierKey::ed25519(name, key_of(letter).public_key())->str(); }

std::string three_witnesses() {
  return "log " + log_vkey('l') + " https://log.example\nwitness a " + witness_vkey('a') + "\nwitness b " + witness_vkey('b') + " https://b.example\nwitness c " +
         witness_vkey('c') + "\n";
}

Note checkpoint_note(std::uint64_t size, std::string_view witnesses, char log = 'l', std::string origin = "example.com/log") {
  Note note = sign_checkpoint({std::move(origin), size, leaf_hash(std::to_string(size)), {}}, key_of(log)).value();
  for (const char w : witnesses) note.signatures.push_back(cosign_checkpoint(note.text, 1'000 + static_cast<unsigned char>(w), std::string("witness/") + w, key_of(w)).value());
  return note;
}

TEST(Policy, ReadsEveryKindOfLine) {
  const auto policy = LogPolicy::parse("# a comment\n\n \t \n  # another, with \xff bytes\n" + three_witnesses() +
                                       "group \xe2\x84\xaa any\tb  c \nlog " + log_vkey('m', "example.com/other") + "\ngroup both all a \xe2\x84\xaa\nquorum both\n");
  ASSERT_TRUE(policy.has_value()) << policy.error().describe();
  ASSERT_EQ(policy->logs().size(), 2u);
  EXPECT_EQ(policy->logs()[0].url, "https://log.example");
  EXPECT_EQ(policy->logs()[1].key.name(), "example.com/other");
  ASSERT_EQ(policy->witnesses().size(), 3u);
  EXPECT_EQ(policy->witnesses()[1].url, "https://b.example");
  const auto satisfied = [&](std::vector<std::size_t> cosigned) { return policy->satisfied(cosigned); };
  EXPECT_TRUE(satisfied({0, 1}));
  EXPECT_TRUE(satisfied({0, 2}));
  EXPECT_FALSE(satisfied({1, 2}));
  EXPECT_FALSE(satisfied({0}));
  EXPECT_FALSE(satisfied({0, 0, 0, 7})) << "counted once, strangers not at all";
  EXPECT_FALSE(satisfied({}));
}

// All files of k of n with n to 5, against counting.
TEST(Policy, EveryThresholdOfSmallGroups) {
  const std::string letters = "abcde";
  for (std::size_t n = 1; n <= letters.size(); ++n) {
    for (std::size_t k = 1; k <= n; ++k) {
      std::string file, members;
      for (std::size_t i = 0; i < n; ++i) {
        file += std::string("witness ") + letters[i] + " " + witness_vkey(letters[i]) + "\n";
        members += std::string(" ") + letters[i];
      }
      const auto policy = LogPolicy::parse(file + "group g " + std::to_string(k) + members + "\nquorum g\n");
      ASSERT_TRUE(policy.has_value());
      for (unsigned set = 0; set < 1u << n; ++set) {
        std::vector<std::size_t> cosigned;
        for (std::size_t i = 0; i < n; ++i) {
          if ((set >> i & 1) != 0) cosigned.push_back(i);
        }
        EXPECT_EQ(policy->satisfied(cosigned), cosigned.size() >= k) << k << " of " << n;
      }
    }
  }
}

TEST(Policy, OpensOnlyWhatLogAndQuorumSigned) {
  const auto policy = LogPolicy::parse(three_witnesses() + "group g 2 a b c\nquorum g\n");
  ASSERT_TRUE(policy.has_value());
  EXPECT_TRUE(policy->open(checkpoint_note(5, "ac").str()).has_value());
  EXPECT_FALSE(policy->open(checkpoint_note(5, "a").str()).has_value());
  EXPECT_FALSE(policy->open(checkpoint_note(5, "aaaa").str()).has_value()) << "one witness, four lines";
  EXPECT_FALSE(policy->open(checkpoint_note(5, "axyz").str()).has_value()) << "witnesses that nobody listed";
  EXPECT_FALSE(policy->open(checkpoint_note(5, "ab", 'm').str()).has_value()) << "not the log's key";
  EXPECT_FALSE(policy->open(checkpoint_note(5, "ab", 'l', "example.com/log2").str()).has_value()) << "an unknown key name";
  // A listed log that signs, under its own name, for another origin.
  Note foreign{checkpoint_text({"example.com/log2", 5, leaf_hash("5"), {}}).value(), {}};
  foreign.signatures.push_back(sign_note(foreign.text, "example.com/log", key_of('l')).value());
  for (const char w : {'a', 'b'}) foreign.signatures.push_back(cosign_checkpoint(foreign.text, 7, std::string("witness/") + w, key_of(w)).value());
  const auto opened = policy->open(foreign.str());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().field("origin"), "example.com/log2");
  // A cosignature of another checkpoint moved here spoils the note, though two others would be enough.
  Note moved = checkpoint_note(5, "ab");
  moved.signatures.push_back(checkpoint_note(6, "c").signatures.back());
  EXPECT_FALSE(policy->open(moved.str()).has_value());
  // The later time counts where a witness signed twice.
  Note twice = checkpoint_note(5, "ab");
  twice.signatures.push_back(cosign_checkpoint(twice.text, 9'999, "witness/a", key_of('a')).value());
  EXPECT_EQ(policy->open(twice.str())->cosigners[0].time, 9'999u);
  // A witness that signs as a log would (type 0x01, no time) has not cosigned.
  Note plain = checkpoint_note(5, "a");
  plain.signatures.push_back(sign_note(plain.text, "witness/b", key_of('b')).value());
  EXPECT_FALSE(policy->open(plain.str()).has_value());
}

TEST(Policy, LogsKnownFromElsewhere) {
  const auto policy = LogPolicy::parse("quorum none\n");
  ASSERT_TRUE(policy.has_value());
  const std::vector keys{VerifierKey::parse(log_vkey('l')).value()};
  EXPECT_FALSE(policy->open(checkpoint_note(5, "").str()).has_value());
  EXPECT_TRUE(policy->open(checkpoint_note(5, "ab").str(), keys).has_value());
  const auto listed = LogPolicy::parse("log " + log_vkey('l') + "\nquorum none\n");
  EXPECT_TRUE(listed->open(checkpoint_note(5, "").str(), keys).has_value()) << "listed and given";
}

TEST(Policy, Refuses) {
  const std::string base = three_witnesses();
  struct Case {
    std::string file, line;
  };
  for (const auto& c : {Case{base, ""}, Case{"", ""}, Case{base + "quorum a", "5"}, Case{base + "quorum a\nquorum a\n", "6"}, Case{base + "quorum none\nquorum a\n", "6"},
                        Case{base + "quorum g\ngroup g any a\n", "5"}, Case{base + "group g any a b d\nquorum g\n", "5"}, Case{base + "group g any g\nquorum g\n", "5"},
                        Case{base + "group g any a a\nquorum g\n", "5"}, Case{base + "group g any a b\ngroup h any a c\nquorum h\n", "6"},
                        Case{base + "group none any a\nquorum none\n", "5"}, Case{base + "group a any b\nquorum a\n", "5"}, Case{base + "group g any none\nquorum g\n", "5"},
                        Case{base + "group g 4 a b c\nquorum g\n", "5"}, Case{base + "group g 01 a b c\nquorum g\n", "5"}, Case{base + "group g some a\nquorum g\n", "5"},
                        Case{base + "group g 99999999999999999999 a\nquorum g\n", "5"}, Case{base + "group g all\nquorum g\n", "5"}, Case{base + "groups g all a\nquorum g\n", "5"},
                        Case{base + "witness d " + witness_vkey('a') + "\nquorum a\n", "5"},
                        Case{base + "witness d " + VerifierKey::cosigner("renamed", key_of('a').public_key())->str() + "\nquorum a\n", "5"}, Case{base + "log " + log_vkey('l', "other") + "\nquorum a\n", "5"},
                        Case{base + "witness a " + witness_vkey('d') + "\nquorum a\n", "5"}, Case{base + "witness d " + log_vkey('d') + "\nquorum a\n", "5"},
                        Case{base + "witness d x+y+z\nquorum a\n", "5"}, Case{base + "witness d " + witness_vkey('d') + " url more\nquorum a\n", "5"},
                        Case{base + "quorum a\r\n", "5"}, Case{base + "quorum a b\n", "5"}, Case{base + "quorum\n", "5"}, Case{base + "# del \x7f\nquorum a\n", "5"}}) {
    const auto policy = LogPolicy::parse(c.file);
    ASSERT_FALSE(policy.has_value()) << c.file.substr(std::min(c.file.size(), base.size()));
    EXPECT_EQ(policy.error().field("line"), c.line) << policy.error().describe();
  }
  EXPECT_EQ(LogPolicy::parse(std::string(kPolicyFileBytes + 1, '\n')).error().code(), base_errors::kLimit);
}

// A key of a type that we only read (0x06) may stand in a file, but not so that the quorum hangs on it.
TEST(Policy, QuorumsThatCannotBeReached) {
  std::string bytes(1'313, 'k');
  bytes[0] = 6;
  const std::string vkey = "pq+01234567+" + base64_encode(bytes);
  EXPECT_TRUE(LogPolicy::parse(three_witnesses() + "witness q " + vkey + "\ngroup g 2 a b q\nquorum g\n").has_value());
  // Another key that claims the same name and id: nobody could tell whose signature a line is.
  bytes[1] = 'x';
  EXPECT_FALSE(LogPolicy::parse(three_witnesses() + "witness q " + vkey + "\nwitness r pq+01234567+" + base64_encode(bytes) + "\nquorum a\n").has_value());
  const auto policy = LogPolicy::parse(three_witnesses() + "witness q " + vkey + "\ngroup g all a b q\nquorum g\n");
  ASSERT_FALSE(policy.has_value());
  EXPECT_EQ(policy.error().code(), base_errors::kInvalid);
}

}  // namespace
}  // namespace stella::timeline
