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

// "" where one of the statement's signers counts; else why none does. A key that some history calls compromised counts where an authority stamped its
// signature before, or a log took in before what the statement says. One that was retired by `not_before` cannot have signed since.
std::string doubt_about(const StatementKeys& keys, const VerifiedStatement& statement, std::string_view attestation, std::optional<Timestamp> not_before);

}  // namespace stella::evidence
