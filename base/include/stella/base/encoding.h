// Text encodings of bytes: hex, base64, base64url, percent. Decoders are strict and never throw. Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella {

// Lower-case hexadecimal, two characters a byte.
std::string hex_encode(std::string_view bytes);
// Accepts upper and lower case; kMalformed for odd length or other characters.
Result<std::string> hex_decode(std::string_view text);

// RFC 4648 §4 with padding.
std::string base64_encode(std::string_view bytes);
// RFC 4648 §5 without padding (JWT, URLs).
std::string base64url_encode(std::string_view bytes);
// Accepts the standard and the URL-safe alphabet, padded or not (DSSE 1.0.2 demands both); refuses white space and non-zero rest bits.
Result<std::string> base64_decode(std::string_view text);

// RFC 3986: everything but unreserved characters becomes %XX.
std::string percent_encode(std::string_view text);
// Refuses truncated or non-hex escapes. `plus_is_space` is for query strings.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);

// True where `text` is well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view text);
// At most `bytes` bytes of well-formed UTF-8, never ending inside a character.
std::string_view clip_utf8(std::string_view text, std::size_t bytes);

}  // namespace stella
