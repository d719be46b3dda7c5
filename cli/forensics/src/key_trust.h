// Which keys the user trusts, and what is known of their lives.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stella/base/result.h"
#include "stella/cli/profile.h"
#include "stella/crypto/key_history.h"
#include "stella/crypto/keys.h"

namespace stella::cli {

struct TrustedKeys {
  std::vector<crypto::PublicKey> keys;
  std::string source;  // for the verdict: "--trust key.pub", "the trust directory …"
};
// --trust, else the user's trust directory; no keys at all where that is empty or absent. A --trust that cannot be read is an error.
Result<TrustedKeys> trusted_keys(const ProfileStore& store, const std::string& trust);

struct KnownHistory {
  crypto::KeyHistory history;
  std::string source;  // "--keys FILE", or the file that login kept
};
// The life of the signing keys: `file` (--keys), else what `stella login` kept, else nothing. The trusted keys are its roots.
Result<std::optional<KnownHistory>> known_history(const ProfileStore& store, const std::string& file, std::span<const crypto::PublicKey> trust);

}  // namespace stella::cli
