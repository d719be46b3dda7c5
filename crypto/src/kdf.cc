// HKDF-SHA-256 over our own HMAC; scrypt from OpenSSL.
#include "stella/crypto/kdf.h"

#include <cassert>

#include "openssl.h"
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

Result<std::string> scrypt(std::string_view secret, std::string_view salt, const ScryptCost& cost, std::size_t size) {
  const ErrorQueueGuard guard;
  if (cost.log_n < 1 || cost.log_n > 20 || cost.r < 1 || cost.r > 32 || cost.p < 1 || cost.p > 16)
    return Error(base_errors::kLimit, "scrypt cost out of range").with("limit", "ln 20, r 32, p 16");
  const std::uint64_t n = 1ull << cost.log_n;
  const auto r = static_cast<std::uint64_t>(cost.r);
  const auto p = static_cast<std::uint64_t>(cost.p);
  const std::uint64_t max_memory = 128 * r * (n + p + 2) + (1u << 20);  // OpenSSL's own limit is 32 MiB, too low for N = 2^15
  std::string out(size, '\0');
  if (EVP_PBE_scrypt(secret.data(), secret.size(), bytes_of(salt), salt.size(), n, r, p, max_memory, reinterpret_cast<unsigned char*>(out.data()),
                     out.size()) != 1)
    return Error(base_errors::kInternal, "scrypt failed");
  return out;
}

}  // namespace stella::crypto
