// Protocol buffers' wire format into raw memory: the caller has made sure of the room (and of kSlack bytes behind it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace stella::telemetry::wire {

// Copies of small texts may write this much past their end.
inline constexpr std::size_t kSlack = 64;

constexpr char tag_varint(int field) { return static_cast<char>(field << 3); }
constexpr char tag_bytes(int field) { return static_cast<char>((field << 3) | 2); }
constexpr char tag_fixed64(int field) { return static_cast<char>((field << 3) | 1); }
constexpr char tag_fixed32(int field) { return static_cast<char>((field << 3) | 5); }

constexpr std::size_t varint_size(std::uint64_t value) { return (static_cast<std::size_t>(64 - __builtin_clzll(value | 1)) + 6) / 7; }

inline char* put_varint(char* p, std::uint64_t value) {
  while (value >= 0x80) {
    *p++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *p++ = static_cast<char>(value);
  return p;
}

template <class T>
char* put_fixed(char* p, T value) {  // little endian, as the hosts we build for
  std::memcpy(p, &value, sizeof value);
  return p + sizeof value;
}

// Without a call where it is short; reads nothing past the end of `text`.
inline char* put_raw(char* p, std::string_view text) {
  const char* s = text.data();
  const std::size_t n = text.size();
  if (n >= 16) {
    if (n <= 64) {
      std::memcpy(p, s, 16);
      if (n > 32) {
        std::memcpy(p + 16, s + 16, 16);
        if (n > 48) std::memcpy(p + 32, s + 32, 16);
      }
      std::memcpy(p + n - 16, s + n - 16, 16);
    } else {
      std::memcpy(p, s, n);
    }
  } else if (n >= 8) {
    std::memcpy(p, s, 8);
    std::memcpy(p + n - 8, s + n - 8, 8);
  } else if (n >= 4) {
    std::memcpy(p, s, 4);
    std::memcpy(p + n - 4, s + n - 4, 4);
  } else if (n != 0) {
    p[0] = s[0];
    p[n / 2] = s[n / 2];
    p[n - 1] = s[n - 1];
  }
  return p + n;
}

// The same, where it is known up to where the source may be read: short texts are copied whole without a branch on their size.
inline char* put_raw(char* p, std::string_view text, const char* readable_end) {
  if (text.size() > 32 || reinterpret_cast<std::uintptr_t>(text.data()) + 32 > reinterpret_cast<std::uintptr_t>(readable_end)) return put_raw(p, text);
  std::memcpy(p, text.data(), 16);
  std::memcpy(p + 16, text.data() + 16, 16);
  return p + text.size();
}

// A string or bytes field.
inline char* put_text(char* p, char tag, std::string_view text) {
  *p++ = tag;
  p = put_varint(p, text.size());
  return put_raw(p, text);
}

// The length of a message that is written before it is known: always three bytes, up to 2 MiB. Decoders take padded varints.
inline constexpr std::size_t kLengthBytes = 3;
inline constexpr std::size_t kMostLength = (std::size_t{1} << 21) - 1;
inline void patch_length(char* at, std::size_t length) {
  at[0] = static_cast<char>(length | 0x80);
  at[1] = static_cast<char>((length >> 7) | 0x80);
  at[2] = static_cast<char>((length >> 14) & 0x7f);
}

}  // namespace stella::telemetry::wire
