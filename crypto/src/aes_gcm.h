// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags: the one cipher of this module.
#pragma once

#include <string>
#include <string_view>

#include "openssl.h"
#include "stella/base/result.h"

namespace stella::crypto {

inline constexpr std::size_t kGcmKeyBytes = 32;
inline constexpr std::size_t kGcmNonceBytes = 12;
inline constexpr std::size_t kGcmTagBytes = 16;

using CipherCtxPtr = std::unique_ptr<EVP_CIPHER_CTX, Freer<EVP_CIPHER_CTX_free>>;

// One key, scheduled once. Not thread-safe. A nonce must never be used twice to seal.
class AesGcm {
 public:
  // kInvalid for a key of another size.
  static Result<AesGcm> create(std::string_view key);
  // Appends ciphertext and tag to `out`.
  Result<void> seal(std::string_view nonce, std::string_view aad, std::string_view plain, std::string& out);
  // Appends the plain bytes; false, and `out` as it was, where `sealed` (ciphertext, tag) is not authentic.
  bool open(std::string_view nonce, std::string_view aad, std::string_view sealed, std::string& out);

 private:
  AesGcm() = default;
  CipherCtxPtr seal_;
  CipherCtxPtr open_;
};

// nonce, ciphertext, tag: with a random nonce, for the few short secrets that one key wraps.
Result<std::string> gcm_wrap(std::string_view key, std::string_view aad, std::string_view plain);
// kInvalid with `message` where the key, the additional data or the bytes are not those of gcm_wrap.
Result<std::string> gcm_unwrap(std::string_view key, std::string_view aad, std::string_view wrapped, Literal message);

}  // namespace stella::crypto
