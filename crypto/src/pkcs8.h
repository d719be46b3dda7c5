// Encrypted PKCS#8, the one form in which private keys of any algorithm are stored. Private to this module.
#pragma once

#include "openssl.h"
#include "stella/base/result.h"

namespace stella::crypto {

// "-----BEGIN ENCRYPTED PRIVATE KEY-----": PBES2, AES-256-CBC, PBKDF2-HMAC-SHA256. kInvalid for an empty passphrase.
Result<std::string> seal_private_key(EVP_PKEY* key, std::string_view passphrase, int iterations);
// kInvalid for a plain private key, a wrong passphrase and anything else.
Result<PkeyPtr> open_private_key(std::string_view pem, std::string_view passphrase);

}  // namespace stella::crypto
