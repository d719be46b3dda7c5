// The life of the evidence key: its signed events (crypto/key_history.h) in the database, its private halves in the directory of keys.
//
//   <directory>/evidence.pem         signs; encrypted
//   <directory>/evidence-<id8>.pem   signed before
//   <directory>/evidence.next.pem    will sign: there only while a rotation is under way
//   <directory>/evidence-<id8>.unused.pem   should have signed: its rotation never came to be
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/crypto/key_history.h"
#include "stella/crypto/keys.h"
#include "stella/platform/pg.h"

namespace stella::authority {

// All events as JSON lines (crypto/key_log.h); "" where there is none yet.
Result<std::string> key_log(pg::SystemPool<pg::AuthorityRole>& pool);
// As this deployment believes it: what it began without another key's word is a root. nullopt where there is no event yet.
Result<std::optional<crypto::KeyHistory>> key_history(pg::SystemPool<pg::AuthorityRole>& pool);

struct KeyRingOptions {
  std::string directory;
  std::string passphrase;
  // A key that is kept elsewhere (a token, a file of its own) and signs instead of evidence.pem. People make its successor there, not rotate().
  std::shared_ptr<const crypto::Signer> signer{};
  std::function<void(std::shared_ptr<const crypto::Signer>)> use{};  // called with the new key once a rotation is on record
};

// Thread-safe. Whoever changes keys in several processes at once is put in a row by the database.
class KeyRing {
 public:
  KeyRing(pg::SystemPool<pg::AuthorityRole>& pool, KeyRingOptions options) : pool_(pool), options_(std::move(options)) {}

  // Ends a rotation that was broken off: forward where its events are there, else back. Asks the database only where one was under way. An error,
  // and everything as it was, where the key that should sign cannot be read.
  Result<void> settle();
  // The first events of the key that signs, where there are none: it is a root. Where there are some and none is its own, `previous` signs it
  // in (a key that moved into a token, or its successor there); kConflict without one. After introduce_key().
  Result<void> begin(TraceId trace, const crypto::Signer* previous = nullptr);

  // A new key, signed in by the one before, which signs no more from here on; where that one was compromised, a new root. Its id. kConflict
  // where the key is kept elsewhere.
  Result<KeyId> rotate(std::string_view actor, TraceId trace);
  // kConflict for the key that signs now, and for one that is retired or compromised already; kNotFound.
  Result<void> retire(const KeyId& key, std::string_view reason, std::string_view actor, TraceId trace);
  // Signatures from `since` on (not after now) do not count; of a key for tokens or logs, none does, and such a key has to be rotated
  // before: kConflict for one that signs now. False where an earlier or the same date stands already. kNotFound.
  Result<bool> compromise(const KeyId& key, Timestamp since, std::string_view reason, std::string_view actor, TraceId trace);

 private:
  using Tx = pg::SystemTx<pg::AuthorityRole>;
  struct Open;
  Result<Open> open();
  Result<void> append(Open& open, const crypto::KeyEvent& event, std::span<const crypto::Signer* const> signers, bool root, json::Value details, std::string_view actor, TraceId trace);
  Result<void> succeed(Open& open, const crypto::Signer& next, const crypto::Signer& old, std::string_view actor, TraceId trace);
  Result<bool> mark_other(Open& open, const KeyId& key, std::string_view state, json::Value details, std::string_view actor, TraceId trace);
  Result<void> switch_files(const std::string& old8, const crypto::PublicKey& next);
  std::string path(std::string_view name) const { return options_.directory + "/" + std::string(name); }

  pg::SystemPool<pg::AuthorityRole>& pool_;
  KeyRingOptions options_;
  Mutex mutex_;
};

}  // namespace stella::authority
