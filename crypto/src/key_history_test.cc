// Key events: bytes, signatures, rules; windows against a model that reads the whole log for each question.
#include "stella/crypto/key_history.h"

#include <random>

#include "stella/base/encoding.h"

namespace stella::crypto {
namespace {

using Kind = KeyEventKind;

Timestamp at(std::int64_t seconds) { return Timestamp::from_micros(seconds * 1'000'000); }

// Four keys, made once.
const std::vector<KeyPair>& pairs() {
  static const std::vector<KeyPair> made = [] {
    std::vector<KeyPair> out;
    for (int i = 0; i < 4; ++i) out.push_back(KeyPair::generate().value());
    return out;
  }();
  return made;
}
KeyId id(int i) { return pairs()[static_cast<std::size_t>(i)].public_key().id(); }
KeyEvent introduced(int i) { return {.kind = Kind::kIntroduced, .key = id(i), .public_key = pairs()[static_cast<std::size_t>(i)].public_key()}; }
KeyEvent activated(int i) { return {.kind = Kind::kActivated, .key = id(i)}; }
KeyEvent rotated(int from, int to) { return {.kind = Kind::kRotated, .key = id(from), .successor = id(to)}; }
KeyEvent retired(int i) { return {.kind = Kind::kRetired, .key = id(i)}; }
KeyEvent compromised(int i, std::int64_t since) { return {.kind = Kind::kCompromised, .key = id(i), .since = at(since)}; }

DsseEnvelope sign(const KeyEvent& event, std::initializer_list<int> signers) {
  std::vector<const Signer*> keys;
  for (const int i : signers) keys.push_back(&pairs()[static_cast<std::size_t>(i)]);
  return sign_key_event(event, keys).value();
}

std::string refusal(const Result<void>& result) { return result ? "taken" : std::string(result.error().field("field")); }

TEST(KeyEvent, BytesAreOneSpelling) {
  for (const auto& event : {introduced(0), activated(0), rotated(0, 1), retired(0), compromised(0, 7)}) {
    const std::string payload = key_event_payload(event);
    const auto parsed = parse_key_event(payload);
    ASSERT_TRUE(parsed.has_value()) << payload << ": " << parsed.error().describe();
    EXPECT_EQ(key_event_payload(*parsed), payload);
    EXPECT_EQ(parsed->kind, event.kind);
    EXPECT_FALSE(parse_key_event(payload + " ").has_value());
    EXPECT_FALSE(parse_key_event(payload.substr(0, payload.size() - 1) + ",\"x\":1}").has_value());
  }
  EXPECT_EQ(key_event_payload(retired(0)), "{\"key\":\"" + id(0).str() + "\",\"kind\":\"retired\",\"v\":1}");
  EXPECT_EQ(key_event_payload(compromised(0, 7)), "{\"key\":\"" + id(0).str() + "\",\"kind\":\"compromised\",\"since\":\"1970-01-01T00:00:07.000000Z\",\"v\":1}");
  // The key id names the key, or the event says two things.
  KeyEvent lie = introduced(0);
  lie.key = id(1);
  EXPECT_EQ(parse_key_event(key_event_payload(lie)).error().field("expected"), "the key that the key id names");
  KeyEvent bare = introduced(0);
  bare.public_key.reset();
  EXPECT_FALSE(parse_key_event(key_event_payload(bare)).has_value());
  for (const std::string_view bad : {"", "[]", "{}", R"({"key":"x","kind":"retired","v":1})", R"({"v":2})", R"({"kind":"revived","v":1})"}) EXPECT_FALSE(parse_key_event(bad).has_value()) << bad;
}

TEST(KeyHistory, WhoMustSign) {
  KeyHistory history({id(0)});
  EXPECT_EQ(refusal(history.append(sign(introduced(0), {1}), at(1))), "signatures");
  EXPECT_EQ(refusal(history.append(sign(introduced(0), {0}), at(1))), "taken");
  EXPECT_EQ(refusal(history.append(sign(introduced(0), {0}), at(1))), "key");
  EXPECT_EQ(refusal(history.append(sign(activated(0), {0}), at(0))), "time");
  EXPECT_EQ(refusal(history.append(sign(activated(0), {0}), at(2))), "taken");
  EXPECT_EQ(refusal(history.append(sign(introduced(1), {1}), at(3))), "taken");
  EXPECT_EQ(refusal(history.append(sign(activated(1), {1}), at(4))), "signatures");  // no root, and nobody's word
  EXPECT_EQ(refusal(history.append(sign(activated(1), {0}), at(4))), "signatures");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 1), {0}), at(5))), "signatures");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 1), {1}), at(5))), "signatures");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 2), {0, 2}), at(5))), "key");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 0), {0}), at(5))), "successor");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 1), {0, 1}), at(5))), "taken");
  EXPECT_EQ(refusal(history.append(sign(rotated(0, 1), {0, 1}), at(6))), "key");
  EXPECT_EQ(refusal(history.append(sign(retired(1), {0}), at(6))), "signatures");  // an ended key speaks for nobody
  EXPECT_EQ(refusal(history.append(sign(compromised(1, 9), {1}), at(8))), "since");
  EXPECT_EQ(refusal(history.append(sign(compromised(1, 8), {0}), at(8))), "signatures");
  EXPECT_EQ(refusal(history.append(sign(compromised(1, 7), {1}), at(8))), "taken");
  EXPECT_EQ(refusal(history.append(sign(compromised(1, 2), {1}), at(9))), "signatures");  // who stole it may not date it back
  EXPECT_EQ(refusal(history.append(sign(retired(1), {1}), at(9))), "key");
  EXPECT_EQ(history.size(), 5u);
  // The signature is over this event: another event with it is not signed.
  DsseEnvelope moved = sign(introduced(2), {2});
  moved.payload = key_event_payload(introduced(3));
  EXPECT_EQ(refusal(history.append(moved, at(10))), "signatures");
  DsseEnvelope other = sign(introduced(2), {2});
  other.payload_type = "application/vnd.in-toto+json";
  EXPECT_EQ(history.append(other, at(10)).error().code(), base_errors::kMalformed);
}

// One way more for every key doubles the ways to the root: 40 keys are years for whoever walks them all.
TEST(KeyHistory, KeysThatAllVouchForEachOtherAreAnsweredAtOnce) {
  constexpr int kKeys = 40;
  std::vector<PublicKey> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(KeyPair::generate()->public_key());
  KeyHistory history({keys[0].id()});
  std::vector<KeyId> before;
  std::int64_t time = 10;
  for (const PublicKey& key : keys) {
    const KeyId own = key.id();
    ASSERT_TRUE(history.apply({.kind = Kind::kIntroduced, .key = own, .public_key = key}, std::vector{own}, at(++time)).has_value());
    before.push_back(own);
    ASSERT_TRUE(history.apply({.kind = Kind::kActivated, .key = own}, before, at(++time)).has_value());
  }
  EXPECT_EQ(history.counts(keys.back().id(), at(time)), Counting::kCounts);
  // The root was stolen before it vouched for anybody: no way to it holds, and every one is looked for.
  ASSERT_TRUE(history.apply({.kind = Kind::kCompromised, .key = keys[0].id(), .since = at(12)}, std::vector{keys[0].id()}, at(++time)).has_value());
  for (int i = 1; i < kKeys; ++i) EXPECT_EQ(history.counts(keys[static_cast<std::size_t>(i)].id(), at(time)), Counting::kNotActive) << i;
}

// Written and signed by another implementation (Python, cryptography 48).
TEST(KeyHistory, TakesWhatAnotherImplementationSigned) {
  const auto envelope = dsse_parse(
      R"({"payload":"eyJrZXkiOiJTSEEyNTY6TXNFblljb0hyVWhqa0MwZE4yY2wxQVY5eUV1TDEwbVcrUXlESXRCOVI3ZyIsImtpbmQiOiJpbnRyb2R1Y2VkIiwic3BraSI6Ik1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRWNGVTlSRHZ0NDJsQkhMVXNQME5FNjAzNytHNHVQakJOSk5scEduZjRKQUVqaGtGMnFyYW93M0RKbHF4dng3SzBCYkdPYkZMVFlCQTl2d0E1NUpUWUxRPT0iLCJ2IjoxfQ==","payloadType":"application/vnd.stella.key-event+json","signatures":[{"keyid":"SHA256:MsEnYcoHrUhjkC0dN2cl1AV9yEuL10mW+QyDItB9R7g","sig":"MEYCIQCqH9uLmcHlPa9y9bYiiX2jokMLXTdtqorf4jyp3xJ9rAIhANY9UAJ4pcyEcQo/IE+BA3EXm3MoolWajAbBOX5iPTBN"}]})");
  ASSERT_TRUE(envelope.has_value());
  KeyHistory history({});
  const auto taken = history.append(*envelope, at(1));
  ASSERT_TRUE(taken.has_value()) << taken.error().describe();
  EXPECT_EQ(history.state_at(history.keys().at(0).id(), at(1)), KeyState::kIntroduced);
}

TEST(KeyHistory, WindowsAndIntervals) {
  KeyHistory history({id(0)});
  ASSERT_TRUE(history.append(sign(introduced(0), {0}), at(10)).has_value());
  ASSERT_TRUE(history.append(sign(activated(0), {0}), at(20)).has_value());
  ASSERT_TRUE(history.append(sign(introduced(1), {1}), at(30)).has_value());
  ASSERT_TRUE(history.append(sign(rotated(0, 1), {0, 1}), at(40)).has_value());
  const auto counts = [&](int key, std::int64_t from, std::int64_t to) { return name_of(history.counts(id(key), at(from), at(to))); };
  EXPECT_EQ(name_of(history.state_at(id(0), at(9))), "unknown");
  EXPECT_EQ(name_of(history.state_at(id(0), at(10))), "introduced");
  EXPECT_EQ(counts(0, 19, 19), "not active");
  EXPECT_EQ(counts(0, 20, 39), "counts");
  EXPECT_EQ(counts(0, 19, 20), "unsettled");
  EXPECT_EQ(counts(0, 39, 40), "unsettled");
  EXPECT_EQ(counts(0, 40, 41), "retired");
  EXPECT_EQ(counts(0, 5, 99), "unsettled");
  EXPECT_EQ(counts(0, 30, 29), "unsettled");
  EXPECT_EQ(counts(1, 39, 39), "not active");
  EXPECT_EQ(counts(1, 40, 1000), "counts");
  EXPECT_EQ(counts(2, 40, 40), "unknown key");
  ASSERT_TRUE(history.append(sign(compromised(1, 50), {1}), at(60)).has_value());
  EXPECT_EQ(counts(1, 40, 49), "counts");
  EXPECT_EQ(counts(1, 49, 50), "unsettled");
  EXPECT_EQ(counts(1, 50, 55), "compromised");
}

TEST(KeyHistory, WhatAStolenKeyMadeIsVoid) {
  KeyHistory history({id(0)});
  ASSERT_TRUE(history.append(sign(introduced(0), {0}), at(1)).has_value());
  ASSERT_TRUE(history.append(sign(activated(0), {0}), at(1)).has_value());
  ASSERT_TRUE(history.append(sign(introduced(1), {1}), at(2)).has_value());
  ASSERT_TRUE(history.append(sign(activated(1), {0, 1}), at(3)).has_value());
  ASSERT_TRUE(history.append(sign(introduced(2), {2}), at(4)).has_value());
  ASSERT_TRUE(history.append(sign(rotated(1, 2), {1, 2}), at(10)).has_value());
  EXPECT_EQ(history.counts(id(2), at(12)), Counting::kCounts);
  ASSERT_TRUE(history.append(sign(introduced(3), {3}), at(14)).has_value());
  ASSERT_TRUE(history.append(sign(activated(3), {2, 3}), at(15)).has_value());
  EXPECT_EQ(history.counts(id(3), at(16)), Counting::kCounts);
  // Found out later: key 1 was stolen before it was rotated.
  ASSERT_TRUE(history.append(sign(compromised(1, 8), {0}), at(20)).has_value());
  EXPECT_EQ(history.counts(id(2), at(12)), Counting::kNotActive);
  EXPECT_EQ(history.counts(id(1), at(7)), Counting::kCounts);
  EXPECT_EQ(history.counts(id(0), at(12)), Counting::kCounts);
  // Where the new key is honest, a key in good standing says so, from now on.
  EXPECT_EQ(refusal(history.append(sign(activated(2), {2}), at(21))), "signatures");
  ASSERT_TRUE(history.append(sign(activated(2), {0, 2}), at(21)).has_value());
  EXPECT_EQ(history.counts(id(2), at(12)), Counting::kNotActive);
  EXPECT_EQ(history.counts(id(2), at(21)), Counting::kCounts);
  // What it endorsed before that stays void: the thief may have had it then.
  EXPECT_EQ(history.counts(id(3), at(16)), Counting::kNotActive);
  EXPECT_EQ(history.counts(id(3), at(22)), Counting::kNotActive);
}

// ---- the model: the accepted events, read from the start for every question

struct Model {
  struct Entry {
    KeyEvent event;
    std::vector<KeyId> signers;
    std::int64_t at;
  };
  std::set<KeyId> roots;
  std::vector<Entry> log;

  static bool signed_by(const Entry& e, const KeyId& key) { return std::count(e.signers.begin(), e.signers.end(), key) != 0; }
  std::optional<std::int64_t> introduced(const KeyId& key) const {
    for (const auto& e : log)
      if (e.event.kind == Kind::kIntroduced && e.event.key == key) return e.at;
    return std::nullopt;
  }
  std::optional<std::size_t> activation(const KeyId& key) const {
    std::optional<std::size_t> last;
    for (std::size_t i = 0; i < log.size(); ++i)
      if ((log[i].event.kind == Kind::kActivated && log[i].event.key == key) || (log[i].event.kind == Kind::kRotated && log[i].event.successor == key)) last = i;
    return last;
  }
  std::optional<std::int64_t> end(const KeyId& key) const {
    for (const auto& e : log)
      if ((e.event.kind == Kind::kRetired || e.event.kind == Kind::kRotated) && e.event.key == key) return e.at;
    return std::nullopt;
  }
  std::optional<std::int64_t> stolen(const KeyId& key) const {
    std::optional<std::int64_t> first;
    for (const auto& e : log)
      if (e.event.kind == Kind::kCompromised && e.event.key == key && (!first || e.event.since->seconds() < *first)) first = e.event.since->seconds();
    return first;
  }
  // The signers of log[i], other than the key, that were active when the log had i entries, as it was known then.
  std::vector<KeyId> endorsers(std::size_t i, const KeyId& key) const {
    const Model then{roots, {log.begin(), log.begin() + static_cast<std::ptrdiff_t>(i)}};
    std::vector<KeyId> out;
    for (const auto& s : log[i].signers)
      if (s != key && !then.stolen(s) && then.state(s, log[i].at) == KeyState::kActive) out.push_back(s);
    return out;
  }
  bool stands(const KeyId& key) const {
    if (roots.contains(key)) return true;
    const auto i = activation(key);
    for (const auto& s : endorsers(*i, key)) {
      const auto j = activation(s);
      if (j && *j < *i && (!stolen(s) || log[*i].at < *stolen(s)) && (!end(s) || log[*i].at <= *end(s)) && stands(s)) return true;
    }
    return false;
  }
  KeyState state(const KeyId& key, std::int64_t t) const {
    if (!introduced(key) || t < *introduced(key)) return KeyState::kUnknown;
    if (stolen(key) && t >= *stolen(key)) return KeyState::kCompromised;
    if (end(key) && t >= *end(key)) return KeyState::kRetired;
    return activation(key) && t >= log[*activation(key)].at && stands(key) ? KeyState::kActive : KeyState::kIntroduced;
  }
  bool accepts(const Entry& e) const {
    if (!log.empty() && e.at < log.back().at) return false;
    const KeyId& key = e.event.key;
    const auto good = [&](const KeyId& s) { return !stolen(s) && state(s, e.at) == KeyState::kActive; };
    const auto other = [&](const KeyId& but) { return std::any_of(e.signers.begin(), e.signers.end(), [&](const KeyId& s) { return s != but && good(s); }); };
    const auto may_start = [&](const KeyId& k) {
      return introduced(k) && !stolen(k) && !end(k) && !(activation(k) && stands(k)) && signed_by(e, k) && (roots.contains(k) || other(k));
    };
    switch (e.event.kind) {
      case Kind::kIntroduced: return !introduced(key) && signed_by(e, key);
      case Kind::kActivated: return may_start(key);
      case Kind::kRotated: return key != e.event.successor && good(key) && signed_by(e, key) && may_start(e.event.successor);
      case Kind::kRetired: return introduced(key) && !end(key) && !stolen(key) && (signed_by(e, key) || other(key));
      case Kind::kCompromised: return introduced(key) && e.event.since->seconds() <= e.at && ((signed_by(e, key) && !stolen(key)) || other(key));
    }
    return false;
  }
  Counting counts(const KeyId& key, std::int64_t from, std::int64_t to) const {
    if (!introduced(key)) return Counting::kUnknownKey;
    std::size_t active = 0;
    for (auto t = from; t <= to; ++t) active += state(key, t) == KeyState::kActive ? 1 : 0;
    if (active == static_cast<std::size_t>(to - from + 1)) return Counting::kCounts;
    if (active != 0) return Counting::kUnsettled;
    const auto first = state(key, from);
    return first == KeyState::kRetired ? Counting::kRetired : first == KeyState::kCompromised ? Counting::kCompromised : Counting::kNotActive;
  }
};

TEST(KeyHistory, AgreesWithTheModel) {
  std::mt19937 random(20261130);
  const auto below = [&random](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::array<int, 5> taken{};
  int voided = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::set<KeyId> roots{id(0), id(below(4))};
    KeyHistory history(roots);
    Model model{roots, {}};
    std::int64_t now = 0;
    for (int step = 0; step < 20; ++step) {
      // The first steps build something, or the rules are hardly reached.
      KeyEvent event;
      const int key = step < 4 ? step : below(4);
      switch (step < 4 ? 0 : below(12)) {
        case 0: event = introduced(key); break;
        case 1: case 2: case 3: case 4: event = activated(key); break;
        case 5: case 6: case 7: case 8: event = rotated(key, below(4)); break;
        case 9: event = below(3) == 0 ? retired(key) : activated(key); break;
        default: event = compromised(key, now - below(14) + 1); break;
      }
      now += below(3) - (below(12) == 0 ? 1 : 0);
      std::vector<KeyId> signers;
      for (int i = 0; i < 4; ++i)
        if (i == key || id(i) == event.successor || below(2) == 0) signers.push_back(id(i));
      if (below(8) == 0) std::erase(signers, id(key));
      const Model::Entry entry{event, signers, now};
      const bool accepted = model.accepts(entry);
      ASSERT_EQ(history.apply(event, signers, at(now)).has_value(), accepted) << round << "/" << step;
      if (!accepted) continue;
      model.log.push_back(entry);
      ++taken[static_cast<std::size_t>(event.kind)];
    }
    EXPECT_EQ(history.size(), model.log.size());
    for (int key = 0; key < 4; ++key) {
      for (std::int64_t t = -1; t <= now + 1; ++t) {
        ASSERT_EQ(name_of(history.state_at(id(key), at(t))), name_of(model.state(id(key), t))) << round << " key " << key << " at " << t;
        for (std::int64_t to = t; to <= now + 1; to += 1 + below(4))
          ASSERT_EQ(name_of(history.counts(id(key), at(t), at(to))), name_of(model.counts(id(key), t, to))) << round << " key " << key << " " << t << ".." << to;
      }
      voided += model.activation(id(key)) && !model.stands(id(key)) ? 1 : 0;
    }
  }
  for (const int n : taken) EXPECT_GT(n, 300);
  EXPECT_GT(voided, 20);
}

}  // namespace
}  // namespace stella::crypto
