// Tables of the byte classes, as nibbles (a byte is in a class where its bit is set in both entries) and for each ASCII byte.
#pragma once

#include <array>
#include <cstdint>

#include "rules_data.h"

namespace stella::telemetry::scrubbing {

enum ClassBit : std::uint8_t { kIsDigit = 1, kIsDot = 2, kIsColon = 4, kIsAt = 8, kIsSep = 16, kIsOpen = 32, kIsMark = 64 /* + - / */, kIsPercent = 128 };
// Base64: a sextet below 32 (A-Z a-f) may be the first of a quad, one without bit 3 the second; as unions of two and four products of nibbles.
enum QuadBit : std::uint8_t { kQuadFirst = 0x03, kQuadSecond = 0x3c };

struct NibbleTable {
  alignas(64) std::uint8_t lo[16] = {}, hi[16] = {};
  constexpr void add(std::uint8_t bit, unsigned lows, unsigned highs) {
    for (int i = 0; i < 16; ++i) {
      if (lows >> i & 1) lo[i] |= bit;
      if (highs >> i & 1) hi[i] |= bit;
    }
  }
};
constexpr unsigned nibbles(int from, int to) { return (1u << (to + 1)) - (1u << from); }
constexpr unsigned nibble(int n) { return nibbles(n, n); }

inline constexpr NibbleTable kClassTable = [] {
  NibbleTable t;
  t.add(kIsDigit, nibbles(0, 9), nibble(3));
  t.add(kIsDot, nibble(0xe), nibble(2));
  t.add(kIsColon, nibble(0xa), nibble(3));
  t.add(kIsAt, nibble(0), nibble(4));
  t.add(kIsSep, nibble(0) | nibble(0xd), nibble(2));
  t.add(kIsOpen, nibble(8) | nibble(0xb), nibble(2));
  t.add(kIsMark, nibble(0xb) | nibble(0xd) | nibble(0xf), nibble(2));
  t.add(kIsPercent, nibble(5), nibble(2));
  return t;
}();
inline constexpr NibbleTable kQuadTable = [] {
  NibbleTable t;
  t.add(0x01, nibbles(0, 15), nibble(4) | nibble(5));
  t.add(0x02, nibbles(1, 6), nibble(6));
  t.add(0x04, nibbles(1, 8), nibble(4) | nibble(5));
  t.add(0x08, nibbles(7, 14), nibble(6));
  t.add(0x10, nibbles(7, 10), nibble(7));
  t.add(0x20, nibbles(0, 3), nibble(3));
  return t;
}();

// The same, byte by byte, for a permutation of 128 entries; bytes beyond ASCII read as the byte without its top bit.
enum WordBit : std::uint8_t { kWordFirst = 1, kWordSecond = 2, kWordBase64 = 4, kWordSymbol = 8, kWordSlash = 16 };
struct ByteTables {
  alignas(64) std::uint8_t cls[128] = {}, word[128] = {}, window[2][4][128] = {};
};
inline constexpr ByteTables kByteTables = [] {
  ByteTables t;
  for (unsigned c = 0; c < 128; ++c) {
    const bool letter = (c | 32u) - 'a' < 26u, digit = c - '0' < 10u, symbol = c == '+' || c == '-' || c == '/' || c == '_';
    t.cls[c] = kClassTable.lo[c & 15] & kClassTable.hi[c >> 4];
    const unsigned quad = kQuadTable.lo[c & 15] & kQuadTable.hi[c >> 4];
    t.word[c] = static_cast<std::uint8_t>(((quad & kQuadFirst) != 0 ? kWordFirst : 0) | ((quad & kQuadSecond) != 0 ? kWordSecond : 0) | (letter || digit || symbol ? kWordBase64 : 0) |
                                          (symbol ? kWordSymbol : 0) | (c == '\\' ? kWordSlash : 0));
    for (int w = 0; w < 4; ++w) {
      t.window[0][w][c] = kLo0[w][c & 15] & kHi0[w][c >> 4];
      t.window[1][w][c] = kLo1[w][c & 15] & kHi1[w][c >> 4];
    }
  }
  return t;
}();

}  // namespace stella::telemetry::scrubbing
