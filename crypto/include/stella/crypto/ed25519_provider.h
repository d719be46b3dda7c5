// Ed25519 signing keys by URI (key_provider.h): encrypted PEM files, and keys in PKCS#11 tokens that sign with CKM_EDDSA.
#pragma once

#include <memory>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/secret.h"

namespace stella::crypto {

// The key that `uri` names, tried once. Errors as of open_signer().
Result<std::unique_ptr<Ed25519Signer>> open_ed25519_signer(std::string_view uri, SecretBytes pin = {});

}  // namespace stella::crypto
