// Signing keys by URI: encrypted PEM files (file:) and PKCS#11 tokens (pkcs11:, RFC 7512).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/secret.h"

namespace stella::crypto {

// file:/etc/stella/signing.pem?pin-source=file:/run/secrets/signing
// pkcs11:token=stella;object=signing;id=%A1%B2?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin
//
// Values are percent-decoded; id is bytes. Each attribute at most once. Refused (kInvalid with field): attributes that this reader does not
// know (a key that is not the one meant would sign), `pin-value` (URIs are logged), relative paths.
struct KeyUri {
  enum class Scheme { kFile, kPkcs11 };
  Scheme scheme = Scheme::kFile;
  std::string path{};         // file: absolute
  // pkcs11: which token and which object; empty = any, but exactly one must match
  std::string token{};
  std::string serial{};
  std::string manufacturer{};
  std::string model{};
  std::string object{};       // label
  std::string id{};
  std::string module_path{};  // absolute; required
  std::string pin_source{};   // absolute path; empty = the caller brings the passphrase or PIN

  static Result<KeyUri> parse(std::string_view text);
};

// Where keys come from. Implementations are thread-safe.
class KeyProvider {
 public:
  virtual ~KeyProvider() = default;
  // The one key that `uri` names, tried once: what it signs verifies with its public key. kNotFound, kInvalid (ambiguous, wrong PIN, other
  // kind of key), kIo (module, token or file).
  virtual Result<std::unique_ptr<Signer>> open(const KeyUri& uri, SecretBytes pin) const = 0;
};

const KeyProvider& file_key_provider();
// See pkcs11.h about modules, threads and tokens that go away.
const KeyProvider& pkcs11_key_provider();

// The provider of the URI's scheme; the PIN or passphrase is `pin`, or where that is empty the content of pin-source.
Result<std::unique_ptr<Signer>> open_signer(std::string_view uri, SecretBytes pin = {});

namespace detail {
// `pin`, or where it is empty the content of pin-source. kInvalid where there is neither.
Result<SecretBytes> pin_for(const KeyUri& uri, SecretBytes pin);
}  // namespace detail

}  // namespace stella::crypto
