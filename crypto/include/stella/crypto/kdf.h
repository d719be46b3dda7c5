// HKDF-SHA-256 (RFC 5869): one secret, many keys, each for one purpose.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stella::crypto {

// `size` bytes (at most 8160, asserted) derived from `secret`. `info` names the purpose and its context, for example
// "stella/bundle/v1\0" + request digest; `salt` may be empty. Thread-safe.
std::string hkdf_sha256(std::string_view secret, std::string_view salt, std::string_view info, std::size_t size = 32);

}  // namespace stella::crypto
