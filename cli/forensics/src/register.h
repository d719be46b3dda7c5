// The commands of this module, one per file, and what they share.
#pragma once

#include <string>
#include <vector>

#include "stella/cli/app.h"
#include "stella/crypto/keys.h"

namespace stella::cli {

void register_snapshot(App& app);
void register_get(App& app);
void register_verify(App& app);
void register_verify_script(App& app);
void register_redact(App& app);
void register_replay(App& app);
void register_attest(App& app);
void register_hold(App& app);
void register_case(App& app);
void register_custody(App& app);

struct TrustedKeys {
  std::vector<crypto::PublicKey> keys;
  std::string source;  // for the verdict: "--trust key.pub", "the trust directory …"
};
// --trust, else the user's trust directory; no keys at all where that is empty or absent. A --trust that cannot be read is an error.
Result<TrustedKeys> trusted_keys(const ProfileStore& store, const std::string& trust);

}  // namespace stella::cli
