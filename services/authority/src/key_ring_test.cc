// The evidence key's life on a real database and real files: rotation, compromise, a crash between commit and switch, and what a verifier makes of it.
#include "stella/services/key_ring.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/key_log.h"
#include "stella/services/authority.h"
#include "stella/testing/postgres.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;
using crypto::Counting;

class Ring : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-keys-XXXXXX";
    directory_ = ::mkdtemp(name);
    const auto key = crypto::KeyPair::generate().value();
    ASSERT_TRUE(key.save(directory_ + "/evidence.pem", "pass").has_value());
    first_ = key.public_key().id();
    ASSERT_TRUE(Provisioner(pool_).introduce_key(key.public_key(), "evidence", TraceId::generate()).has_value());
    ring_ = std::make_unique<KeyRing>(pool_, KeyRingOptions{directory_, "pass", nullptr, [this](std::shared_ptr<const crypto::Signer> key) { used_ = std::move(key); }});
    ASSERT_TRUE(ring_->settle().has_value());
    ASSERT_TRUE(ring_->begin(TraceId::generate()).has_value());
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + directory_ + "'").c_str()); }
  crypto::PublicKey current() const { return crypto::KeyPair::load(directory_ + "/evidence.pem", "pass").value().public_key(); }
  std::string state(const KeyId& key) { return db_.sql("SELECT state FROM signing_keys WHERE key_id = '" + key.str() + "'"); }
  std::string events(std::string_view kind) { return db_.sql("SELECT count(*) FROM timeline_outbox WHERE tenant_id = 'platform' AND convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%'"); }
  crypto::KeyHistory own() { return std::move(*key_history(pool_).value()); }
  // As somebody reads it who has the text and trusts these keys.
  Result<crypto::KeyHistory> read(std::set<KeyId> roots = {}) { return crypto::key_history_of(crypto::parse_key_log(key_log(pool_).value()).value(), std::move(roots)); }
  KeyId rotate() {
    const auto id = ring_->rotate("user:operator", TraceId::generate());
    EXPECT_TRUE(id.has_value()) << id.error().describe();
    return id.value();
  }

  testing::TestDatabase db_;
  pg::SystemPool<pg::AuthorityRole> pool_{db_.options("stella_authority")};
  std::string directory_;
  KeyId first_;
  std::unique_ptr<KeyRing> ring_;
  std::shared_ptr<const crypto::Signer> used_;
};

TEST_F(Ring, ARotationIsSignedByOldAndNew) {
  EXPECT_TRUE(ring_->begin(TraceId::generate()).has_value());  // again: nothing
  EXPECT_EQ(db_.sql("SELECT count(*) FROM key_events"), "2");
  const Timestamp before = Timestamp::now();
  const KeyId second = rotate();
  const Timestamp after = Timestamp::now();
  EXPECT_EQ(current().id(), second);
  ASSERT_NE(used_, nullptr);
  EXPECT_EQ(used_->public_key().id(), second);
  EXPECT_EQ(state(first_), "retired");
  EXPECT_EQ(state(second), "active");
  EXPECT_EQ(events("key.introduced"), "2");
  EXPECT_EQ(events("key.rotated"), "1");
  EXPECT_EQ(crypto::PublicKey::from_pem(read_file(directory_ + "/evidence.pub", 4096).value()).value().id(), second);
  EXPECT_NE(::access((directory_ + "/evidence.next.pem").c_str(), F_OK), 0);

  const auto history = read();  // nobody but the log's own beginning is trusted
  ASSERT_TRUE(history.has_value()) << history.error().describe();
  EXPECT_EQ(history->counts(first_, before), Counting::kCounts);
  EXPECT_EQ(history->counts(first_, after), Counting::kRetired);
  EXPECT_EQ(history->counts(second, after), Counting::kCounts);
  EXPECT_EQ(ring_->retire(first_, "", "user:operator", TraceId::generate()).error().code(), errors::kConflict);
  EXPECT_EQ(ring_->retire(second, "", "user:operator", TraceId::generate()).error().code(), errors::kConflict);
}

// Keys for tokens and logs: no signed events, but the same steps on the platform's timeline.
TEST_F(Ring, KeysOfOtherPurposesHaveALifeToo) {
  Provisioner provisioner(pool_);
  const auto old = crypto::KeyPair::generate().value(), next = crypto::KeyPair::generate().value();
  const auto log = crypto::Ed25519KeyPair::generate().value();
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(provisioner.introduce_key(old.public_key(), "token", TraceId::generate()).has_value());
    ASSERT_TRUE(provisioner.introduce_key(log.public_key(), "log", TraceId::generate()).has_value());
  }
  EXPECT_EQ(events("key.introduced"), "3");
  EXPECT_EQ(events("key.activated"), "3");
  ASSERT_TRUE(provisioner.introduce_key(next.public_key(), "token", TraceId::generate()).has_value());
  EXPECT_EQ(events("key.rotated"), "1");
  EXPECT_EQ(state(old.public_key().id()), "retired");
  EXPECT_EQ(state(next.public_key().id()), "active");
  EXPECT_EQ(state(log.public_key().id()), "active");
  EXPECT_EQ(state(first_), "active") << "the evidence key is not touched";
  EXPECT_EQ(ring_->retire(next.public_key().id(), "", "user:operator", TraceId::generate()).error().code(), errors::kConflict);
  EXPECT_EQ(ring_->retire(old.public_key().id(), "", "user:operator", TraceId::generate()).error().code(), errors::kConflict);
  EXPECT_TRUE(ring_->compromise(old.public_key().id(), Timestamp::now(), "laptop", "user:operator", TraceId::generate()).value());
  EXPECT_FALSE(ring_->compromise(old.public_key().id(), Timestamp::now(), "again", "user:operator", TraceId::generate()).value());
  EXPECT_EQ(state(old.public_key().id()), "compromised");
  EXPECT_EQ(events("key.compromised"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM key_events"), "2") << "the history of the evidence keys is theirs";
  EXPECT_EQ(ring_->compromise(crypto::KeyPair::generate()->public_key().id(), Timestamp::now(), "", "user:operator", TraceId::generate()).error().code(), base_errors::kNotFound);
}

// Nobody would stop issuing with it, and its successor is a program's start away: so first that.
TEST_F(Ring, AKeyOfTokensOrLogsThatSignsIsRotatedBeforeItIsCalledCompromised) {
  Provisioner provisioner(pool_);
  const auto old = crypto::KeyPair::generate().value(), next = crypto::KeyPair::generate().value();
  const auto log = crypto::Ed25519KeyPair::generate().value();
  ASSERT_TRUE(provisioner.introduce_key(old.public_key(), "token", TraceId::generate()).has_value());
  ASSERT_TRUE(provisioner.introduce_key(log.public_key(), "log", TraceId::generate()).has_value());
  for (const auto& [key, purpose] : {std::pair<KeyId, std::string>{old.public_key().id(), "token"}, {log.public_key().id(), "log"}}) {
    const auto refused = ring_->compromise(key, Timestamp::now(), "laptop", "user:operator", TraceId::generate());
    ASSERT_FALSE(refused.has_value()) << purpose;
    EXPECT_EQ(refused.error().code(), errors::kConflict);
    EXPECT_NE(refused.error().field("remedy").find("--rotate-key " + purpose), std::string_view::npos) << refused.error().describe();
    EXPECT_EQ(state(key), "active");
  }
  EXPECT_EQ(events("key.compromised"), "0");
  ASSERT_TRUE(provisioner.introduce_key(next.public_key(), "token", TraceId::generate()).has_value());
  EXPECT_TRUE(ring_->compromise(old.public_key().id(), Timestamp::now(), "laptop", "user:operator", TraceId::generate()).value());
  EXPECT_EQ(state(old.public_key().id()), "compromised");
  EXPECT_EQ(state(next.public_key().id()), "active");
}

// As releases before left it: the key that signs was called compromised, and is still the one before the next.
TEST_F(Ring, ACompromisedKeyHasASuccessorToo) {
  Provisioner provisioner(pool_);
  const auto first = crypto::KeyPair::generate().value(), second = crypto::KeyPair::generate().value(), third = crypto::KeyPair::generate().value();
  ASSERT_TRUE(provisioner.introduce_key(first.public_key(), "token", TraceId::generate()).has_value());
  db_.sql("UPDATE signing_keys SET state = 'compromised' WHERE purpose = 'token'");
  const std::string activated = events("key.activated");
  ASSERT_TRUE(provisioner.introduce_key(second.public_key(), "token", TraceId::generate()).has_value());
  EXPECT_EQ(events("key.rotated"), "1");
  EXPECT_EQ(events("key.activated"), activated);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"previous_key_id\":\"" + first.public_key().id().str() + "\"%'"), "1");
  EXPECT_EQ(state(first.public_key().id()), "compromised") << "it stays so";
  EXPECT_EQ(state(second.public_key().id()), "active");
  // Not again: the one before the third is the second.
  ASSERT_TRUE(provisioner.introduce_key(third.public_key(), "token", TraceId::generate()).has_value());
  EXPECT_EQ(events("key.rotated"), "2");
  EXPECT_EQ(state(second.public_key().id()), "retired");
  EXPECT_EQ(state(first.public_key().id()), "compromised");
}

TEST_F(Ring, WhatAThiefSignedDoesNotCount) {
  const Timestamp stolen = Timestamp::now();
  const KeyId second = rotate();
  EXPECT_EQ(ring_->compromise(first_, Timestamp::now() + std::chrono::hours(1), "", "user:operator", TraceId::generate()).error().field("field"), "since");
  EXPECT_EQ(ring_->compromise(crypto::KeyPair::generate().value().public_key().id(), stolen, "", "user:operator", TraceId::generate()).error().code(), base_errors::kNotFound);
  EXPECT_TRUE(ring_->compromise(first_, stolen, "lost laptop", "user:operator", TraceId::generate()).value());
  EXPECT_FALSE(ring_->compromise(first_, stolen, "", "user:operator", TraceId::generate()).value());
  EXPECT_EQ(state(first_), "compromised");
  EXPECT_EQ(events("key.compromised"), "1");
  // The thief could have made the second key: whoever knows only the first does not take it, and a third begins anew.
  EXPECT_EQ(read()->counts(second, Timestamp::now()), Counting::kNotActive);
  EXPECT_EQ(read()->counts(first_, Timestamp::now()), Counting::kCompromised);
  const KeyId third = rotate();
  EXPECT_EQ(own().counts(third, Timestamp::now()), Counting::kCounts);
  EXPECT_EQ(read()->counts(third, Timestamp::now()), Counting::kNotActive);
  EXPECT_EQ(read({third})->counts(third, Timestamp::now()), Counting::kCounts);
  const KeyId fourth = rotate();
  EXPECT_EQ(own().counts(fourth, Timestamp::now()), Counting::kCounts);
  EXPECT_EQ(read({third})->counts(fourth, Timestamp::now()), Counting::kCounts);
}

TEST_F(Ring, TheKeyThatSignsMayBeTheStolenOne) {
  EXPECT_TRUE(ring_->compromise(first_, Timestamp::now(), "", "user:operator", TraceId::generate()).value());
  const KeyId second = rotate();
  EXPECT_EQ(state(first_), "compromised");
  EXPECT_EQ(own().counts(second, Timestamp::now()), Counting::kCounts);
  EXPECT_EQ(own().counts(first_, Timestamp::now()), Counting::kCompromised);
  EXPECT_EQ(events("key.activated"), "2");
}

TEST_F(Ring, ACrashBetweenCommitAndSwitch) {
  // After the commit: the next key is known, its file is not in place.
  const std::string old = read_file(directory_ + "/evidence.pem", 1 << 16).value();
  const KeyId second = rotate();
  const std::string fresh = read_file(directory_ + "/evidence.pem", 1 << 16).value();
  ASSERT_TRUE(write_file_durable(directory_ + "/evidence.pem", old, 0600).has_value());
  ASSERT_TRUE(write_file_durable(directory_ + "/evidence.next.pem", fresh, 0600).has_value());
  ASSERT_TRUE(ring_->settle().has_value());
  EXPECT_EQ(current().id(), second);
  EXPECT_NE(::access((directory_ + "/evidence.next.pem").c_str(), F_OK), 0);
  // Before it: nobody has heard of it.
  ASSERT_TRUE(crypto::KeyPair::generate().value().save(directory_ + "/evidence.next.pem", "pass").has_value());
  ASSERT_TRUE(ring_->settle().has_value());
  EXPECT_EQ(current().id(), second);
  EXPECT_NE(::access((directory_ + "/evidence.next.pem").c_str(), F_OK), 0);
  rotate();
}

// What cannot be read now may be the only copy of the key that the record calls active: it is never thrown away on a guess.
TEST_F(Ring, AKeyThatCannotBeReadIsNotThrownAway) {
  const std::string next = directory_ + "/evidence.next.pem";
  const std::string old = read_file(directory_ + "/evidence.pem", 1 << 16).value();
  const KeyId second = rotate();
  const std::string fresh = read_file(directory_ + "/evidence.pem", 1 << 16).value();
  ASSERT_TRUE(write_file_durable(directory_ + "/evidence.pem", old, 0600).has_value());
  ASSERT_TRUE(write_file_durable(next, fresh, 0600).has_value());
  KeyRing mistaken(pool_, KeyRingOptions{directory_, "another passphrase"});
  const auto refused = mistaken.settle();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().field("path"), next) << refused.error().describe();
  EXPECT_FALSE(mistaken.rotate("user:operator", TraceId::generate()).has_value());
  EXPECT_EQ(read_file(next, 1 << 16).value(), fresh);
  // A file that is not whole is no reason either.
  ASSERT_TRUE(write_file_durable(next, fresh.substr(0, fresh.size() / 2), 0600).has_value());
  EXPECT_FALSE(ring_->settle().has_value());
  EXPECT_EQ(::access(next.c_str(), F_OK), 0);
  ASSERT_TRUE(write_file_durable(next, fresh, 0600).has_value());
  ASSERT_TRUE(ring_->settle().has_value());
  EXPECT_EQ(current().id(), second);
}

TEST_F(Ring, AKeyThatWasNeverUsedIsSetAside) {
  const auto unused = crypto::KeyPair::generate().value();
  ASSERT_TRUE(unused.save(directory_ + "/evidence.next.pem", "pass").has_value());
  ASSERT_TRUE(ring_->settle().has_value());
  EXPECT_EQ(current().id(), first_);
  const auto kept = crypto::KeyPair::load(directory_ + "/evidence-" + unused.public_key().keyid8() + ".unused.pem", "pass");
  ASSERT_TRUE(kept.has_value()) << kept.error().describe();
  EXPECT_EQ(kept->public_key(), unused.public_key());
}

// The record says already that the new key signs: whoever signs in this process has to hear of it, whatever becomes of the files.
TEST_F(Ring, ThisProcessSignsWithTheNewKeyOnceItIsOnRecord) {
  ASSERT_TRUE(make_dirs(directory_ + "/evidence.pub").has_value());  // cannot be replaced by a file
  EXPECT_FALSE(ring_->rotate("user:operator", TraceId::generate()).has_value());
  ASSERT_NE(used_, nullptr);
  EXPECT_EQ(state(used_->public_key().id()), "active");
  EXPECT_EQ(current().id(), used_->public_key().id());
}

// Out of the file into a token, seen from here: a signer whose private half is nobody's business.
TEST_F(Ring, AKeyKeptElsewhereIsSignedInByTheOneBefore) {
  const auto old = crypto::KeyPair::load(directory_ + "/evidence.pem", "pass").value();
  const auto token = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  const KeyId second = token->public_key().id();
  ASSERT_TRUE(Provisioner(pool_).introduce_key(token->public_key(), "evidence", TraceId::generate()));
  KeyRing ring(pool_, KeyRingOptions{directory_, "pass", token});
  ASSERT_TRUE(ring.settle());
  const auto alone = ring.begin(TraceId::generate());
  ASSERT_FALSE(alone);
  EXPECT_EQ(alone.error().code(), errors::kConflict);
  EXPECT_EQ(alone.error().field("key"), second.str());
  const auto stranger = crypto::KeyPair::generate().value();
  EXPECT_EQ(ring.begin(TraceId::generate(), &stranger).error().code(), errors::kConflict);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM key_events"), "2") << "and nothing was written";
  const Timestamp before = Timestamp::now();
  ASSERT_TRUE(ring.begin(TraceId::generate(), &old));
  ASSERT_TRUE(ring.begin(TraceId::generate())) << "again: nothing, and the key before is not needed any more";
  EXPECT_EQ(db_.sql("SELECT string_agg(kind, ' ' ORDER BY seq) FROM key_events"), "introduced activated introduced rotated");
  EXPECT_EQ(state(first_), "retired");
  EXPECT_EQ(state(second), "active");
  const auto history = read();
  ASSERT_TRUE(history) << history.error().describe();
  EXPECT_EQ(history->counts(first_, before), Counting::kCounts);
  EXPECT_EQ(history->counts(second, Timestamp::now()), Counting::kCounts);
  EXPECT_EQ(ring.rotate("user:operator", TraceId::generate()).error().code(), errors::kConflict) << "people make the next one";
  EXPECT_TRUE(ring.compromise(first_, before, "", "user:operator", TraceId::generate()).value()) << "the key in the token signs the events";
}

TEST_F(Ring, TheRecordOnlyGrows) {
  for (const char* change : {"DELETE FROM key_events", "UPDATE key_events SET at = now()"}) db_.sql("DO $$ BEGIN " + std::string(change) + "; EXCEPTION WHEN raise_exception THEN NULL; END $$");
  EXPECT_EQ(db_.sql("SELECT count(DISTINCT at) || ' ' || count(*) FROM key_events WHERE at < now()"), "1 2");
}

}  // namespace
}  // namespace stella::authority
