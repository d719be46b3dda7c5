// SHA-256 and HMAC-SHA-256 (OpenSSL). Contexts are reused: one-shot EVP calls cost 220 ns each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::crypto {

// Streaming digest; one object per thread, reusable after finish().
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(std::string_view bytes);
  // The digest of everything since construction or the last finish().
  Sha256 finish();

 private:
  void* context_;
};

// Uses a thread-local context.
Sha256 sha256(std::string_view bytes);
// Two parts without concatenating them.
Sha256 sha256(std::string_view a, std::string_view b);
Sha256 hmac_sha256(std::string_view key, std::string_view message);

// Digest and size of a file, streamed.
struct FileDigest {
  Sha256 sha256;
  std::uint64_t size = 0;
};
Result<FileDigest> sha256_file(const std::string& path);

// Comparison whose time does not depend on where the texts differ.
bool equal_constant_time(std::string_view a, std::string_view b);

}  // namespace stella::crypto
