// Classes of bytes, one table look-up each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stella::telemetry::scrubbing {

enum CharBits : std::uint16_t {
  kDigit = 1,
  kUpper = 2,
  kLower = 4,
  kHex = 8,
  kBase64 = 16,      // A-Z a-z 0-9 + / - _
  kBase64Url = 32,   // A-Z a-z 0-9 - _
  kEmailLocal = 64,  // and every byte of a non-ASCII character
  kTokenChar = 128,  // RFC 6750 b64token and friends
  kSpace = 256,
  kPairStop = 512,   // ends an unquoted value
  kPathStop = 1024,
  kDomain = 2048,
  kLabel = 8192,     // of a domain: the same without the dot
  kUrlStop = 4096,   // ends the authority of a URL
};

// Compares with a few constants: std::string_view::find would call memchr.
template <std::size_t N>
constexpr __attribute__((always_inline)) bool among(const char (&set)[N], int c) {
  bool any = false;
  for (std::size_t i = 0; i + 1 < N; ++i) any |= set[i] == static_cast<char>(c);
  return any && c != 0;
}

inline constexpr std::array<std::uint16_t, 256> kChars = [] {
  std::array<std::uint16_t, 256> table{};
  for (int c = 0; c < 256; ++c) {
    unsigned bits = 0;
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z', alnum = digit || upper || lower;
    if (digit) bits |= kDigit;
    if (upper) bits |= kUpper;
    if (lower) bits |= kLower;
    if (digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) bits |= kHex;
    if (alnum || among("+/-_", c)) bits |= kBase64;
    if (alnum || among("-_", c)) bits |= kBase64Url;
    if (alnum || among("._%+-", c) || c >= 128) bits |= kEmailLocal;
    if (alnum || among("-_.~+/=", c)) bits |= kTokenChar;
    if (among(" \t\n\r\f", c)) bits |= kSpace;
    if (among(" \t\n\r\f,;&\"'<", c)) bits |= kPairStop;
    if (among(" \t\n\r\f\"'<>|,;:()[]`{}", c)) bits |= kPathStop;
    if (alnum || among(".-", c) || c >= 128) bits |= kDomain;
    if (alnum || c == '-' || c >= 128) bits |= kLabel;
    if (among("/?# \t\n\r\f\"'<>\\", c)) bits |= kUrlStop;
    table[static_cast<std::size_t>(c)] = static_cast<std::uint16_t>(bits);
  }
  return table;
}();

inline bool is(char c, unsigned bits) { return (kChars[static_cast<std::uint8_t>(c)] & bits) != 0; }
inline bool alnum(char c) { return is(c, kDigit | kUpper | kLower); }
inline bool alpha(char c) { return is(c, kUpper | kLower); }
inline char lower(char c) { return is(c, kUpper) ? static_cast<char>(c + 32) : c; }

// `text` begins with `prefix`, which is short.
inline bool begins(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (text[i] != prefix[i]) return false;
  }
  return true;
}
// The same, in any case; `prefix` is lower case.
inline bool begins_nocase(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (lower(text[i]) != prefix[i]) return false;
  }
  return true;
}
inline bool equal_nocase(std::string_view text, std::string_view word) { return text.size() == word.size() && begins_nocase(text, word); }

}  // namespace stella::telemetry::scrubbing
