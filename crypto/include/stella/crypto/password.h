// Password and client-secret hashes (scrypt, RFC 7914). Slow on purpose: about a tenth of a second and 32 MiB per call at the default.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/kdf.h"

namespace stella::crypto {

// "$scrypt$ln=15,r=8,p=1$<salt>$<hash>" (unpadded base64, 16-byte random salt, 32-byte hash): the parameters travel with the hash.
Result<std::string> password_hash(std::string_view secret, const ScryptCost& cost = {});

// False for a wrong secret; kMalformed for a text that password_hash did not write (or whose cost is beyond 2^20 / 32 / 16).
Result<bool> password_verify(std::string_view secret, std::string_view stored);

// True where `stored` was made with a lower cost than `cost`: hash again at the next successful login.
bool password_needs_rehash(std::string_view stored, const ScryptCost& cost = {});

}  // namespace stella::crypto
