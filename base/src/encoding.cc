// Hex, base64 and percent encodings, and the UTF-8 check.
#include "stella/base/encoding.h"

#include <array>
#include <cstdint>

namespace stella {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kStd = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrl = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

std::string encode64(std::string_view in, std::string_view alphabet, bool pad) {
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < in.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, in.size() - i);
    std::uint32_t v = 0;
    for (std::size_t k = 0; k < 3; ++k) v = v << 8 | (k < n ? static_cast<std::uint8_t>(in[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) {
      if (k <= n) out += alphabet[v >> (18 - 6 * k) & 63];
      else if (pad) out += '=';
    }
  }
  return out;
}

bool unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

}  // namespace

std::string hex_encode(std::string_view bytes) {
  std::string out(bytes.size() * 2, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto b = static_cast<std::uint8_t>(bytes[i]);
    out[2 * i] = kHex[b >> 4];
    out[2 * i + 1] = kHex[b & 15];
  }
  return out;
}

Result<std::string> hex_decode(std::string_view text) {
  if (text.size() % 2 != 0) return Error(base_errors::kMalformed, "odd number of hex digits");
  std::string out(text.size() / 2, '\0');
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int hi = hex_value(text[2 * i]);
    const int lo = hex_value(text[2 * i + 1]);
    if (hi < 0 || lo < 0) return Error(base_errors::kMalformed, "not a hex digit").with("offset", 2 * i);
    out[i] = static_cast<char>(hi << 4 | lo);
  }
  return out;
}

std::string base64_encode(std::string_view bytes) { return encode64(bytes, kStd, true); }
std::string base64url_encode(std::string_view bytes) { return encode64(bytes, kUrl, false); }

Result<std::string> base64_decode(std::string_view text) {
  const std::size_t padded = text.size();
  while (!text.empty() && text.back() == '=' && padded - text.size() < 2) text.remove_suffix(1);
  if (text.size() != padded && padded % 4 != 0) return Error(base_errors::kMalformed, "base64 padding is wrong");
  if (text.size() % 4 == 1) return Error(base_errors::kMalformed, "base64 is truncated");
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t acc = 0;
  int bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int v = base64_value(text[i]);
    if (v < 0) return Error(base_errors::kMalformed, "not a base64 character").with("offset", i);
    acc = acc << 6 | static_cast<std::uint32_t>(v);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(acc >> bits & 0xff);
    }
  }
  if ((acc & ((1u << bits) - 1)) != 0) return Error(base_errors::kMalformed, "base64 has non-zero rest bits");
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (unreserved(c)) {
      out += c;
    } else {
      const auto b = static_cast<std::uint8_t>(c);
      out += '%';
      out += "0123456789ABCDEF"[b >> 4];
      out += "0123456789ABCDEF"[b & 15];
    }
  }
  return out;
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      const int hi = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int lo = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (hi < 0 || lo < 0) return Error(base_errors::kMalformed, "truncated or malformed percent escape").with("offset", i);
      out += static_cast<char>(hi << 4 | lo);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

bool is_utf8(std::string_view s) {
  std::size_t i = 0;
  const auto cont = [&](std::size_t at) { return at < s.size() && (static_cast<std::uint8_t>(s[at]) & 0xc0) == 0x80; };
  while (i < s.size()) {
    const auto b = static_cast<std::uint8_t>(s[i]);
    if (b < 0x80) {
      ++i;
    } else if (b >= 0xc2 && b <= 0xdf) {
      if (!cont(i + 1)) return false;
      i += 2;
    } else if (b >= 0xe0 && b <= 0xef) {
      if (!cont(i + 1) || !cont(i + 2)) return false;
      const auto c = static_cast<std::uint8_t>(s[i + 1]);
      if ((b == 0xe0 && c < 0xa0) || (b == 0xed && c > 0x9f)) return false;
      i += 3;
    } else if (b >= 0xf0 && b <= 0xf4) {
      if (!cont(i + 1) || !cont(i + 2) || !cont(i + 3)) return false;
      const auto c = static_cast<std::uint8_t>(s[i + 1]);
      if ((b == 0xf0 && c < 0x90) || (b == 0xf4 && c > 0x8f)) return false;
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

std::string_view clip_utf8(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<std::uint8_t>(text[bytes]) & 0xc0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

}  // namespace stella
