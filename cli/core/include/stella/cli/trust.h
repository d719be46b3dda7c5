// Keys of logs that the user trusts: given on the command line, or kept by `stella login`.
#pragma once

#include <string>
#include <vector>

#include "stella/base/result.h"
#include "stella/cli/profile.h"
#include "stella/crypto/ed25519.h"
#include "stella/timeline/log/note.h"

namespace stella::cli {

struct TrustedLogs {
  std::vector<timeline::VerifierKey> keys;          // of single logs, by name
  std::vector<crypto::Ed25519PublicKey> signers;    // of installations, for every log of theirs
  std::string source;                               // for the verdict: "--trust-log FILE", "trust directory …"
};
// `file` (vkeys, a line each; an Ed25519 key as PEM; a directory of *.vkey and *.ed25519), which was given with `option`; else the user's trust directory.
Result<TrustedLogs> trusted_logs(const ProfileStore& store, const std::string& file, std::string_view option);

}  // namespace stella::cli
