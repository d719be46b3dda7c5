// What stands beside the seal (attestations, authorisations of omissions) is signed on its own, and the seal's time says nothing about it: whoever
// stole a key can sign such a statement at any time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contents.h"
#include "stella/crypto/key_history.h"
#include "stella/evidence/format/statement.h"

namespace stella::evidence {

// All keys that may count: those that are trusted, and those that are for what they signed before they were compromised.
std::vector<crypto::PublicKey> keys_of(const VerifyOptions& options);

using KeyHistories = std::vector<const crypto::KeyHistory*>;
// Whether one of them calls the key compromised, at any time.
bool ever_compromised(const KeyHistories& histories, const KeyId& key);

// Who tells of the keys' lives, and of times.
struct StatementKeys {
  const Contents& contents;
  const VerifyOptions& options;
  const LogEvidence& log;
  KeyHistories histories;  // the caller's; the enclosed one, where a log proves it
};

// When a statement was made that authorises something.
struct MadeBetween {
  Timestamp not_before;              // there was nothing to sign
  std::optional<Timestamp> claimed;  // as it says itself
};

// "" where one of the statement's signers counts; else why none does. A key that some history calls compromised counts where an authority stamped its
// signature before, or a log took in before what the statement says. With `made`, one that some history calls retired counts where an authority stamped
// its signature before; without a stamp, where the statement says itself that it is older. Nobody stole that key: whoever goes on with it has to lie.
std::string doubt_about(const StatementKeys& keys, const VerifiedStatement& statement, std::string_view attestation, const std::optional<MadeBetween>& made);

}  // namespace stella::evidence
