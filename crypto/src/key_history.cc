// Key events and the rules by which they make and end windows.
#include "stella/crypto/key_history.h"

#include <algorithm>
#include <array>

#include "stella/base/encoding.h"
#include "stella/base/json.h"

namespace stella::crypto {
namespace {

constexpr std::array<std::string_view, 5> kKinds{"introduced", "activated", "rotated", "retired", "compromised"};
constexpr std::size_t kPayloadBytes = 4096;

Error malformed(std::string_view expected) { return Error(base_errors::kMalformed, "not a key event").with("expected", std::string(expected)); }
Error refused(std::string_view field, std::string_view expected, const KeyId& key) {
  return Error(base_errors::kInvalid, "this key event may not be here").with("field", std::string(field)).with("expected", std::string(expected)).with("key", key.str());
}

bool has(std::span<const KeyId> signers, const KeyId& key) { return std::find(signers.begin(), signers.end(), key) != signers.end(); }

}  // namespace

std::string_view name_of(KeyState state) {
  constexpr std::array<std::string_view, 5> kNames{"unknown", "introduced", "active", "retired", "compromised"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string_view name_of(Counting counting) {
  constexpr std::array<std::string_view, 6> kNames{"counts", "unknown key", "not active", "retired", "compromised", "unsettled"};
  return kNames[static_cast<std::size_t>(counting)];
}

// ---- the event as bytes

std::string key_event_payload(const KeyEvent& event) {
  json::Value doc;
  doc.set("v", 1);
  doc.set("kind", kKinds[static_cast<std::size_t>(event.kind)]);
  doc.set("key", event.key.str());
  if (event.public_key) doc.set("spki", base64_encode(event.public_key->spki_der()));
  if (!event.successor.empty()) doc.set("successor", event.successor.str());
  if (event.since) doc.set("since", event.since->rfc3339());
  return json::canonical(doc).value();  // strings and one small integer
}

Result<KeyEvent> parse_key_event(std::string_view payload) {
  const json::Value doc = STELLA_TRY(json::parse(payload, {.max_bytes = kPayloadBytes, .max_depth = 2}));
  if (!doc.is_object() || doc.integer("v") != 1) return malformed("version 1");
  KeyEvent out;
  const auto kind = std::find(kKinds.begin(), kKinds.end(), doc.str("kind"));
  if (kind == kKinds.end()) return malformed("a kind of event");
  out.kind = static_cast<KeyEventKind>(kind - kKinds.begin());
  out.key = STELLA_TRY(KeyId::parse(doc.str("key")));
  if (out.kind == KeyEventKind::kIntroduced) {
    const std::string spki = STELLA_TRY(base64_decode(doc.str("spki")));
    out.public_key = STELLA_TRY(PublicKey::from_spki_der(spki));
    if (out.public_key->id() != out.key) return malformed("the key that the key id names");
  }
  if (out.kind == KeyEventKind::kRotated) out.successor = STELLA_TRY(KeyId::parse(doc.str("successor")));
  if (out.kind == KeyEventKind::kCompromised) out.since = STELLA_TRY(Timestamp::parse(doc.str("since")));
  if (key_event_payload(out) != payload) return malformed("RFC 8785 JSON with the members of its kind alone");
  return out;
}

Result<DsseEnvelope> sign_key_event(const KeyEvent& event, std::span<const Signer* const> signers) {
  return dsse_sign(kKeyEventType, key_event_payload(event), signers);
}

// ---- what is known

const KeyHistory::Record* KeyHistory::find(const KeyId& key) const {
  const auto at = records_.find(key);
  return at == records_.end() ? nullptr : &at->second;
}

// The activation stands on a root, or on an endorser (active then, by what was known) that was not yet compromised, by all that is known now, and
// whose own activation holds. Each step goes up the log, so it ends; an endorser that had to be activated anew stands further down. Keys that endorse
// each other are reached on many ways: each is answered once.
bool KeyHistory::holds(const KeyId& key, const Record& record) const {
  Answers known;
  return holds(key, record, known);
}

bool KeyHistory::holds(const KeyId& key, const Record& record, Answers& known) const {
  if (roots_.contains(key)) return true;
  if (const auto at = known.find(key); at != known.end()) return at->second;
  const bool answer = std::any_of(record.endorsers.begin(), record.endorsers.end(), [&](const KeyId& id) {
    const Record* endorser = find(id);
    return endorser != nullptr && endorser->activated < record.activated && (!endorser->compromised || *record.from < *endorser->compromised) &&
           holds(id, *endorser, known);
  });
  known.emplace(key, answer);
  return answer;
}

KeyState KeyHistory::state_at(const KeyId& key, Timestamp time) const {
  const Record* record = find(key);
  if (record == nullptr || time < record->introduced) return KeyState::kUnknown;
  if (record->compromised && time >= *record->compromised) return KeyState::kCompromised;
  if (record->until && time >= *record->until) return KeyState::kRetired;
  return record->from && time >= *record->from && holds(key, *record) ? KeyState::kActive : KeyState::kIntroduced;
}

bool KeyHistory::ever_compromised(const KeyId& key) const {
  const Record* record = find(key);
  return record != nullptr && record->compromised.has_value();
}

Counting KeyHistory::counts(const KeyId& key, Timestamp earliest, Timestamp latest) const {
  const Record* record = find(key);
  if (record == nullptr) return Counting::kUnknownKey;
  if (earliest > latest) return Counting::kUnsettled;
  const KeyState first = state_at(key, earliest);
  if (first == KeyState::kActive) return state_at(key, latest) == KeyState::kActive ? Counting::kCounts : Counting::kUnsettled;
  if (first == KeyState::kRetired) return Counting::kRetired;
  if (first == KeyState::kCompromised) return Counting::kCompromised;
  // Before the window: does the interval reach it?
  const bool opens = record->from && holds(key, *record) && (!record->compromised || *record->from < *record->compromised) && (!record->until || *record->from < *record->until);
  if (opens && latest >= *record->from) return Counting::kUnsettled;
  return Counting::kNotActive;
}

std::vector<PublicKey> KeyHistory::keys() const {
  std::vector<PublicKey> out;
  for (const auto& [id, record] : records_)
    if (record.key) out.push_back(*record.key);
  return out;
}

// A key that is known to be compromised speaks for nobody: no event comes before the date that was given for it.
bool KeyHistory::usable(const KeyId& key, Timestamp at) const { return state_at(key, at) == KeyState::kActive; }

std::vector<KeyId> KeyHistory::usable_among(std::span<const KeyId> signers, const KeyId& but, Timestamp at) const {
  std::vector<KeyId> out;
  std::copy_if(signers.begin(), signers.end(), std::back_inserter(out), [&](const KeyId& id) { return id != but && usable(id, at); });
  return out;
}

// ---- what an event changes

Result<void> KeyHistory::append(const DsseEnvelope& envelope, Timestamp at) {
  if (envelope.payload_type != kKeyEventType) return malformed(kKeyEventType);
  const KeyEvent event = STELLA_TRY(parse_key_event(envelope.payload));
  std::vector<PublicKey> known = keys();
  if (event.public_key) known.push_back(*event.public_key);
  std::vector<KeyId> signers;
  for (const auto& key : dsse_signers(envelope, known)) signers.push_back(key.id());
  return apply(event, signers, at);
}

Result<void> KeyHistory::apply(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at) {
  if (last_ && at < *last_) return refused("time", "not before the event above it", event.key);
  const auto change = [&]() -> Result<void> {
    switch (event.kind) {
      case KeyEventKind::kIntroduced: return introduce(event, signers, at);
      case KeyEventKind::kActivated: return activate(event.key, signers, at);
      case KeyEventKind::kRotated: return rotate(event, signers, at);
      case KeyEventKind::kRetired: return retire(event.key, signers, at);
      case KeyEventKind::kCompromised: return compromise(event, signers, at);
    }
    return malformed("a kind of event");
  };
  STELLA_TRY_VOID(change());
  last_ = at;
  ++events_;
  return {};
}

Result<void> KeyHistory::introduce(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at) {
  if (find(event.key) != nullptr) return refused("key", "a key that was not introduced before", event.key);
  if (!has(signers, event.key)) return refused("signatures", "one by the key itself", event.key);
  Record& record = records_[event.key];
  record.key = event.public_key;
  record.introduced = at;
  return {};
}

Result<void> KeyHistory::activate(const KeyId& key, std::span<const KeyId> signers, Timestamp at) {
  const Record* record = find(key);
  const bool may = record != nullptr && !record->compromised && !record->until && (!record->from || !holds(key, *record));
  if (!may) return refused("key", "a key that is introduced, not active, not retired, not compromised", key);
  if (!has(signers, key)) return refused("signatures", "one by the key itself", key);
  auto endorsers = usable_among(signers, key, at);
  if (endorsers.empty() && !roots_.contains(key)) return refused("signatures", "one by an active key, for this one is no root", key);
  Record& changed = records_[key];
  changed.from = at;
  changed.activated = events_;
  changed.endorsers = std::move(endorsers);
  return {};
}

Result<void> KeyHistory::rotate(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at) {
  if (event.key == event.successor) return refused("successor", "another key", event.key);
  if (!usable(event.key, at)) return refused("key", "an active key", event.key);
  if (!has(signers, event.key)) return refused("signatures", "one by the old key", event.key);
  STELLA_TRY_VOID(activate(event.successor, signers, at));
  records_[event.key].until = at;
  return {};
}

Result<void> KeyHistory::retire(const KeyId& key, std::span<const KeyId> signers, Timestamp at) {
  const Record* record = find(key);
  if (record == nullptr || record->until || record->compromised) return refused("key", "a key that is introduced, not retired, not compromised", key);
  if (!has(signers, key) && usable_among(signers, key, at).empty()) return refused("signatures", "one by the key itself or by an active key", key);
  records_[key].until = at;
  return {};
}

Result<void> KeyHistory::compromise(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at) {
  const Record* record = find(event.key);
  if (record == nullptr) return refused("key", "a key that was introduced", event.key);
  if (!event.since || *event.since > at) return refused("since", "a time not after the event", event.key);
  // Whoever stole the key may say so once; an earlier date, which voids more, takes another key's word.
  const bool own_word = has(signers, event.key) && !record->compromised;
  if (!own_word && usable_among(signers, event.key, at).empty()) return refused("signatures", "one by the key itself, the first time, or by an active key", event.key);
  auto& compromised = records_[event.key].compromised;
  compromised = compromised ? std::min(*compromised, *event.since) : *event.since;
  return {};
}

}  // namespace stella::crypto
