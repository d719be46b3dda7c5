// Key histories as text: read as they were written, and refused where trust is at stake.
#include "stella/crypto/key_log.h"

#include <gtest/gtest.h>

namespace stella::crypto {
namespace {

KeyPair key() { return std::move(KeyPair::generate().value()); }
Timestamp at(int second) { return Timestamp::parse("2026-11-30T00:00:00Z").value() + std::chrono::seconds(second); }

std::string line(int second, const KeyEvent& event, std::initializer_list<const Signer*> signers) {
  return key_log_line(at(second), sign_key_event(event, std::span(signers.begin(), signers.size())).value());
}
KeyEvent introduced(const KeyPair& k) { return {.kind = KeyEventKind::kIntroduced, .key = k.public_key().id(), .public_key = k.public_key()}; }
KeyEvent activated(const KeyPair& k) { return {.kind = KeyEventKind::kActivated, .key = k.public_key().id()}; }
KeyEvent rotated(const KeyPair& old, const KeyPair& next) { return {.kind = KeyEventKind::kRotated, .key = old.public_key().id(), .successor = next.public_key().id()}; }
KeyEvent compromised(const KeyPair& k, int since) { return {.kind = KeyEventKind::kCompromised, .key = k.public_key().id(), .since = at(since)}; }

Result<KeyHistory> read(const std::string& text, std::set<KeyId> roots = {}) {
  const auto entries = parse_key_log(text);
  if (!entries) return Error(entries.error());
  return key_history_of(*entries, std::move(roots));
}

TEST(KeyLog, ARotationIsFollowedFromWhereTheLogBegins) {
  const KeyPair first = key(), second = key();
  const std::string begin = line(0, introduced(first), {&first}) + line(0, activated(first), {&first});
  const std::string text = begin + line(10, introduced(second), {&second}) + line(10, rotated(first, second), {&first, &second});
  const auto history = read(text);
  ASSERT_TRUE(history.has_value()) << history.error().describe();
  EXPECT_EQ(history->counts(first.public_key().id(), at(5)), Counting::kCounts);
  EXPECT_EQ(history->counts(first.public_key().id(), at(15)), Counting::kRetired);
  EXPECT_EQ(history->counts(second.public_key().id(), at(15)), Counting::kCounts);
  EXPECT_EQ(history->counts(second.public_key().id(), at(5)), Counting::kNotActive);

  // The old key did not sign; a thief who has it cannot go back in time; bytes that were changed.
  EXPECT_EQ(read(begin + line(10, introduced(second), {&second}) + line(10, rotated(first, second), {&second})).error().field("line"), "4");
  EXPECT_EQ(read(text + line(5, compromised(first, 1), {&second})).error().field("line"), "5");
  std::string forged = text;
  forged.replace(forged.rfind("\"sig\":\"") + 7, 4, "AAAA");
  EXPECT_FALSE(read(forged).has_value());
}

TEST(KeyLog, WhatWasBegunAnewCountsForWhoeverTrustsIt) {
  const KeyPair first = key(), second = key(), third = key();
  const std::string text = line(0, introduced(first), {&first}) + line(0, activated(first), {&first}) + line(10, compromised(first, 3), {&first}) + line(20, introduced(second), {&second}) +
                           line(20, activated(second), {&second}) + line(30, introduced(third), {&third}) + line(30, rotated(second, third), {&second, &third});
  const auto stranger = read(text);
  ASSERT_TRUE(stranger.has_value()) << stranger.error().describe();
  EXPECT_EQ(stranger->counts(first.public_key().id(), at(2)), Counting::kCounts);
  EXPECT_EQ(stranger->counts(first.public_key().id(), at(4)), Counting::kCompromised);
  EXPECT_EQ(stranger->counts(second.public_key().id(), at(25)), Counting::kNotActive);
  EXPECT_EQ(stranger->counts(third.public_key().id(), at(35)), Counting::kNotActive);
  const auto friendly = read(text, {second.public_key().id()});
  ASSERT_TRUE(friendly.has_value());
  EXPECT_EQ(friendly->counts(second.public_key().id(), at(25)), Counting::kCounts);
  EXPECT_EQ(friendly->counts(third.public_key().id(), at(35)), Counting::kCounts);
  // Nobody's word takes nothing away.
  EXPECT_EQ(read(text + line(40, compromised(first, 1), {&third})).error().field("line"), "8");
}

TEST(KeyLog, WhatIsNoLog) {
  EXPECT_EQ(read("").error().code(), base_errors::kNotFound);
  EXPECT_EQ(read("\n").error().code(), base_errors::kNotFound);
  for (const char* bad : {"x", "{}", "[]", R"({"at":"2026-11-30T00:00:00Z"})", R"({"at":"then","event":{}})", R"({"at":"2026-11-30T00:00:00Z","event":{"payload":"","payloadType":""}})"})
    EXPECT_EQ(read(bad).error().code(), base_errors::kMalformed) << bad;
  EXPECT_EQ(parse_key_log(std::string((4u << 20) + 1, 'x')).error().code(), base_errors::kLimit);
}

}  // namespace
}  // namespace stella::crypto
