// HKDF-SHA-256 over our own HMAC.
#include "stella/crypto/kdf.h"

#include <cassert>

#include "stella/crypto/digest.h"

namespace stella::crypto {

std::string hkdf_sha256(std::string_view secret, std::string_view salt, std::string_view info, std::size_t size) {
  assert(size <= 255 * Sha256::kSize);
  const Sha256 key = hmac_sha256(salt, secret);
  std::string out;
  std::string block;
  for (unsigned char counter = 1; out.size() < size; ++counter) {
    block.append(info).push_back(static_cast<char>(counter));
    block.assign(hmac_sha256(key.view(), block).view());
    out += block;
  }
  out.resize(size);
  return out;
}

}  // namespace stella::crypto
