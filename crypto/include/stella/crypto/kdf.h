// Keys from secrets: HKDF-SHA-256 (RFC 5869) from strong ones, scrypt (RFC 7914) from what people choose.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::crypto {

// `size` bytes (at most 8160, asserted) derived from `secret`. `info` names the purpose and its context, for example
// "stella/bundle/v1\0" + request digest; `salt` may be empty. Thread-safe.
std::string hkdf_sha256(std::string_view secret, std::string_view salt, std::string_view info, std::size_t size = 32);

// Cost: N = 2^log_n, block size r, parallelism p. Memory is 128 * N * r bytes.
struct ScryptCost {
  int log_n = 15;
  int r = 8;
  int p = 1;
};

// `size` bytes derived from a passphrase. kLimit for a cost beyond 2^20 / 32 / 16. Thread-safe.
Result<std::string> scrypt(std::string_view secret, std::string_view salt, const ScryptCost& cost, std::size_t size);

}  // namespace stella::crypto
