// AES-256 wrapping keys in a PKCS#11 token. (Signing keys in tokens: key_provider.h.)
//
// A module is loaded once per process and stays; it must allow threads (CKF_OS_LOCKING_OK). A process that forks after that must exec.
// Each key keeps a pool of logged-in sessions, one per thread that uses it at once; where the token has no more to give, all that are idle go. Where the token went away and came back, the next call
// opens a session, logs in and finds the key again; where it is still away the call fails with kIo, `token` and the token's `reason`.
// A PIN that was refused is never offered again to that token, by no key of this process and no thread: tokens lock after few tries. A changed PIN
// takes a restart.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/crypto/key_provider.h"
#include "stella/crypto/kms.h"

namespace stella::crypto {

class Pkcs11Object;

// Wrapping keys are AES-256 secret keys of the token whose label is the key id. A data key is encrypted inside the token with CKM_AES_GCM and a
// random nonce; the bytes have the form that FileKeyring writes. CKM_AES_KEY_WRAP(_PAD) is not used: it binds no key id and no context.
// A destroyed key leaves a data object `destroyed:<key id>` (private, CKA_APPLICATION stella) in the token, made before the key goes: the id is never
// used again, by no process. Where two processes made one key at the same moment the token has two of its name: both unwrap, one wraps.
class Pkcs11Kms final : public Kms {
 public:
  // The token that `uri` (pkcs11:, without object and id) names. kNotFound, kInvalid (ambiguous, wrong PIN), kIo.
  static Result<std::unique_ptr<Pkcs11Kms>> open(const KeyUri& uri, SecretBytes pin = {});
  ~Pkcs11Kms() override;

  // Made by the token: sensitive, never extractable.
  Result<void> add_key(std::string_view key_id) override;
  Result<void> destroy_key(std::string_view key_id) override;

  Result<std::string> wrap(std::string_view key_id, std::string_view data_key, std::string_view context) const override;
  Result<SecretBytes> unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const override;
  // Asks the token again after ten seconds.
  Result<std::string> newest(std::string_view base) const override;
  std::string_view provider() const override { return "pkcs11"; }

 private:
  Pkcs11Kms(KeyUri uri, SecretBytes pin);
  Result<std::shared_ptr<Pkcs11Object>> key(std::string_view key_id) const;
  Error failed(std::string_view key_id, const Error& why) const;

  const KeyUri uri_;
  const SecretBytes pin_;
  mutable Mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<Pkcs11Object>, std::less<>> keys_ STELLA_GUARDED_BY(mutex_);
  struct Newest {
    std::uint64_t version;
    Deadline until;
  };
  mutable std::map<std::string, Newest, std::less<>> newest_ STELLA_GUARDED_BY(mutex_);
};

}  // namespace stella::crypto
