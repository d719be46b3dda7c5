// The life of signing keys as events of the log: introduced, activated, rotated, retired, compromised; and whether a signature counts.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/dsse.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {

inline constexpr std::string_view kKeyEventType = "application/vnd.stella.key-event+json";

enum class KeyEventKind { kIntroduced, kActivated, kRotated, kRetired, kCompromised };

struct KeyEvent {
  KeyEventKind kind = KeyEventKind::kIntroduced;
  KeyId key{};                                // whom it is about; rotated: the old key
  std::optional<PublicKey> public_key{};      // introduced: the key
  KeyId successor{};                          // rotated: the new key
  std::optional<Timestamp> since{};           // compromised: signatures from then on do not count; never after the event
};

// The payload of the event's DSSE envelope: RFC 8785 JSON {"key","kind","v":1} and, by kind, "spki", "successor", "since".
std::string key_event_payload(const KeyEvent& event);
// Exactly what key_event_payload writes: an event of another release is refused, for it may say what this one does not understand. kMalformed.
Result<KeyEvent> parse_key_event(std::string_view payload);
Result<DsseEnvelope> sign_key_event(const KeyEvent& event, std::span<const Signer* const> signers);

enum class KeyState { kUnknown, kIntroduced, kActive, kRetired, kCompromised };
std::string_view name_of(KeyState state);

enum class Counting {
  kCounts,
  kUnknownKey,
  kNotActive,    // before its activation, or the activation is void (see below)
  kRetired,
  kCompromised,
  kUnsettled,    // the signature's time is an interval that lies across a limit
};
std::string_view name_of(Counting counting);

// Pure: no clock, no log. Events come in the order of the log with the trusted time of their leaf. Not thread-safe while it grows.
//
// Who must sign:
//   introduced    the key itself (possession)
//   activated     the key itself, and an active key unless this one is a root
//   rotated       old and new: the old window ends and the new one begins at that time
//   retired       the key itself or an active key
//   compromised   the key itself (an earlier date than one that stands: not itself), or an active key
// What takes trust away is never undone. What gave it is judged by all that is known: where every key that endorsed an activation turns out to
// have been compromised by then, the activation is void, and so is all that followed from it; such a key may be activated anew.
class KeyHistory {
 public:
  // `roots` are the keys that the caller trusts without another's word.
  explicit KeyHistory(std::set<KeyId> roots) : roots_(std::move(roots)) {}

  // Verifies the envelope's signatures and applies its event. kMalformed, kInvalid with field; the history is then as it was.
  Result<void> append(const DsseEnvelope& envelope, Timestamp at);
  // The rules alone: `signers` are keys whose signatures over the event were verified.
  Result<void> apply(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at);

  KeyState state_at(const KeyId& key, Timestamp time) const;
  // At whatever time.
  bool ever_compromised(const KeyId& key) const;
  // A signature counts where its trusted time lies in the key's active window [from, until) and before the key was compromised.
  Counting counts(const KeyId& key, Timestamp signed_at) const { return counts(key, signed_at, signed_at); }
  // The trusted time is only known to lie in [earliest, latest] (positions in the log, a timestamp's accuracy).
  Counting counts(const KeyId& key, Timestamp earliest, Timestamp latest) const;

  // The keys of the history, introduced by then or later; what they are worth says counts().
  std::vector<PublicKey> keys() const;
  std::size_t size() const { return events_; }

 private:
  struct Record {
    std::optional<PublicKey> key;
    Timestamp introduced;
    std::optional<Timestamp> from;      // the last activation
    std::size_t activated = 0;          // its place in the log: an endorsement comes from further up
    std::vector<KeyId> endorsers;
    std::optional<Timestamp> until;
    std::optional<Timestamp> compromised;
  };
  const Record* find(const KeyId& key) const;
  using Answers = std::map<KeyId, bool>;  // of one question
  bool holds(const KeyId& key, const Record& record) const;
  bool holds(const KeyId& key, const Record& record, Answers& known) const;
  bool usable(const KeyId& key, Timestamp at) const;
  std::vector<KeyId> usable_among(std::span<const KeyId> signers, const KeyId& but, Timestamp at) const;
  Result<void> introduce(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at);
  Result<void> activate(const KeyId& key, std::span<const KeyId> signers, Timestamp at);
  Result<void> rotate(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at);
  Result<void> retire(const KeyId& key, std::span<const KeyId> signers, Timestamp at);
  Result<void> compromise(const KeyEvent& event, std::span<const KeyId> signers, Timestamp at);

  std::set<KeyId> roots_;
  std::map<KeyId, Record> records_;
  std::optional<Timestamp> last_;
  std::size_t events_ = 0;
};

}  // namespace stella::crypto
