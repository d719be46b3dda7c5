// Pieces of JSON text written straight into a buffer that the caller has made large enough: escapes, hex ids, instants.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace stella::telemetry::detail {

// Every writer may touch this many bytes past what it writes: buffers keep so much slack.
inline constexpr std::size_t kSlack = 64;
// Most output bytes of one input byte of text.
inline constexpr std::size_t kEscape = 6;

inline char* put(char* p, std::string_view text) {
  std::memcpy(p, text.data(), text.size());
  return p + text.size();
}

// A short constant, copied as two vectors: at most 32 bytes, and 32 readable ones behind `text`.
inline char* put32(char* p, const char* text, std::size_t size) {
  std::memcpy(p, text, 32);
  return p + size;
}

// Lower-case hex of 16 bytes.
inline char* put_hex16(char* p, const std::uint8_t* bytes) {
#if defined(__SSE2__)
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i mask = _mm_set1_epi8(0x0f);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(v, 4), mask), low = _mm_and_si128(v, mask);
  const auto digits = [](__m128i n) {
    const __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(n, _mm_set1_epi8(9)), _mm_set1_epi8('a' - '0' - 10));
    return _mm_add_epi8(_mm_add_epi8(n, _mm_set1_epi8('0')), letter);
  };
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), digits(_mm_unpacklo_epi8(high, low)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), digits(_mm_unpackhi_epi8(high, low)));
#else
  for (int i = 0; i < 16; ++i) {
    p[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
    p[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
  }
#endif
  return p + 32;
}

inline char* put_hex8(char* p, const std::uint8_t* bytes) {
  std::uint8_t padded[16] = {};
  std::memcpy(padded, bytes, 8);
  put_hex16(p, padded);
  return p + 16;
}

inline char* put_uuid(char* p, const std::uint8_t* bytes) {
  char hex[32];
  put_hex16(hex, bytes);
  std::memcpy(p, hex, 8);
  p[8] = '-';
  std::memcpy(p + 9, hex + 8, 4);
  p[13] = '-';
  std::memcpy(p + 14, hex + 12, 4);
  p[18] = '-';
  std::memcpy(p + 19, hex + 16, 4);
  p[23] = '-';
  std::memcpy(p + 24, hex + 20, 12);
  return p + 36;
}

inline char* put_int(char* p, std::int64_t value) { return std::to_chars(p, p + 24, value).ptr; }

// "00" to "99".
inline constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 100> pairs;
  for (std::size_t i = 0; i < 100; ++i) pairs[i] = {static_cast<char>('0' + i / 10), static_cast<char>('0' + i % 10)};
  return pairs;
}();

// RFC 3339, UTC, microseconds: 27 bytes. The text up to the second is remembered per thread. Async-signal-safe.
inline char* put_time(char* p, std::int64_t ns) {
  thread_local std::int64_t known = INT64_MIN;
  thread_local char text[20];  // "2026-11-24T17:07:00."
  std::int64_t second = ns / 1'000'000'000, rest = ns % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --second;
  }
  const auto digits = [](char* at, int count, std::uint32_t value) {
    for (int i = count - 1; i >= 0; --i, value /= 10) at[i] = static_cast<char>('0' + value % 10);
  };
  if (second != known) [[unlikely]] {
    const auto day = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(second)));
    const std::chrono::year_month_day date(day);
    const auto clock = static_cast<std::uint32_t>(second - day.time_since_epoch().count() * 86'400);
    std::memcpy(text, "0000-00-00T00:00:00.", sizeof text);
    digits(text, 4, static_cast<std::uint32_t>(static_cast<int>(date.year())));
    digits(text + 5, 2, static_cast<unsigned>(date.month()));
    digits(text + 8, 2, static_cast<unsigned>(date.day()));
    digits(text + 11, 2, clock / 3600);
    digits(text + 14, 2, clock / 60 % 60);
    digits(text + 17, 2, clock % 60);
    known = second;
  }
  std::memcpy(p, text, 20);
  const auto micros = static_cast<std::uint32_t>(rest / 1000);
  std::memcpy(p + 20, kPairs[micros / 10'000].data(), 2);
  std::memcpy(p + 22, kPairs[micros / 100 % 100].data(), 2);
  std::memcpy(p + 24, kPairs[micros % 100].data(), 2);
  p[26] = 'Z';
  return p + 27;
}

// Length of the UTF-8 sequence at `text`, which is not empty; 0 where there is none (RFC 3629).
inline std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  const unsigned a = at(0), b = at(1);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return tail(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    if (!tail(1) || !tail(2) || (a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) return 0;
    return 3;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3) || (a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

// One character that is not plain: its escape, itself, or U+FFFD for a byte that belongs to none. Takes it off `text`.
inline char* put_odd(char* p, std::string_view& text) {
  const auto c = static_cast<std::uint8_t>(text[0]);
  if (c >= 0x80) {
    const std::size_t n = utf8_length(text);
    p = n == 0 ? put(p, "\xEF\xBF\xBD") : put(p, text.substr(0, n));
    text.remove_prefix(n == 0 ? 1 : n);
    return p;
  }
  text.remove_prefix(1);
  switch (c) {
    case '"': return put(p, "\\\"");
    case '\\': return put(p, "\\\\");
    case '\b': return put(p, "\\b");
    case '\t': return put(p, "\\t");
    case '\n': return put(p, "\\n");
    case '\f': return put(p, "\\f");
    case '\r': return put(p, "\\r");
    default: break;
  }
  if (c >= 0x20) {
    *p = static_cast<char>(c);
    return p + 1;
  }
  p = put(p, "\\u00");
  p[0] = "0123456789abcdef"[c >> 4];
  p[1] = "0123456789abcdef"[c & 15];
  return p + 2;
}

inline bool plain(char c) { return static_cast<signed char>(c) >= 0x20 && c != '"' && c != '\\'; }

// High bit set in each byte of `word` that is not plain.
inline std::uint64_t odd_bytes(std::uint64_t word) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u, kHigh = 0x8080808080808080u;
  const auto zero = [](std::uint64_t v) { return (v - kOnes) & ~v & kHigh; };
  return ((word - kOnes * 0x20) & ~word & kHigh) | (word & kHigh) | zero(word ^ (kOnes * '"')) | zero(word ^ (kOnes * '\\'));
}

// Fewer than eight bytes, not none, as a word with blanks behind them.
inline std::uint64_t last_bytes(std::string_view text) {
  const std::size_t n = text.size();
  std::uint64_t word = 0x2020202020202020u << 8 * n;
  if (n >= 4) {
    std::uint32_t first, last;
    std::memcpy(&first, text.data(), 4);
    std::memcpy(&last, text.data() + n - 4, 4);
    return word | first | static_cast<std::uint64_t>(last) << 8 * (n - 4);
  }
  for (const std::size_t i : {std::size_t{0}, n / 2, n - 1}) word |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(text[i])) << 8 * i;
  return word;
}

// Text without its quotes: RFC 8259 escapes, always valid UTF-8. Writes at most kEscape * text.size() bytes, touches kSlack more.
inline char* put_escaped(char* p, std::string_view text) {
#if defined(__SSE2__)
  while (text.size() >= 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data()));
    // Signed compare: bytes from 0x80 up are negative, hence "less than a space" as well.
    const __m128i odd = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
                                     _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(odd));
    if (mask == 0) {
      p += 16;
      text.remove_prefix(16);
      continue;
    }
    const auto clean = static_cast<unsigned>(__builtin_ctz(mask));
    p += clean;
    text.remove_prefix(clean);
    p = put_odd(p, text);
  }
#endif
  while (text.size() >= 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data(), 8);
    std::memcpy(p, &word, 8);
    const std::uint64_t odd = odd_bytes(word);
    if (odd == 0) {
      p += 8;
      text.remove_prefix(8);
      continue;
    }
    const auto clean = static_cast<unsigned>(__builtin_ctzll(odd)) / 8;
    p += clean;
    text.remove_prefix(clean);
    p = put_odd(p, text);
  }
  while (!text.empty()) {
    const std::uint64_t word = last_bytes(text), odd = odd_bytes(word);
    std::memcpy(p, &word, 8);
    const std::size_t clean = std::min(text.size(), odd == 0 ? 8 : static_cast<std::size_t>(__builtin_ctzll(odd)) / 8);
    p += clean;
    text.remove_prefix(clean);
    if (!text.empty()) p = put_odd(p, text);
  }
  return p;
}

inline char* put_quoted(char* p, std::string_view text) {
  *p++ = '"';
  p = put_escaped(p, text);
  *p++ = '"';
  return p;
}

// The same for a text that may lie in `whole`, what lies behind it there may be read: short ones are then looked at in whole vectors.
inline char* put_quoted(char* p, std::string_view text, std::string_view whole) {
#if defined(__SSE2__)
  const auto at = reinterpret_cast<std::uintptr_t>(text.data()), begin = reinterpret_cast<std::uintptr_t>(whole.data());
  if (at >= begin && at + ((text.size() + 15) & ~std::size_t{15}) <= begin + whole.size()) {
    char* const start = p;
    *p++ = '"';
    const __m128i blank = _mm_set1_epi8(0x20), quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    for (std::size_t i = 0; i < text.size(); i += 16) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + i), v);
      const __m128i odd = _mm_or_si128(_mm_cmplt_epi8(v, blank), _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
      const auto mask = static_cast<unsigned>(_mm_movemask_epi8(odd));
      const std::size_t left = text.size() - i;
      if (left >= 16 ? mask != 0 : (mask & ((1u << left) - 1)) != 0) [[unlikely]] return put_quoted(start, text);
    }
    p += text.size();
    *p++ = '"';
    return p;
  }
#endif
  return put_quoted(p, text);
}

// Bytes that put_escaped would write.
inline std::size_t escaped_size(std::string_view text) {
  std::size_t size = 0;
  char buffer[8 + kSlack];
  while (!text.empty()) {
    if (plain(text[0])) {
      ++size;
      text.remove_prefix(1);
    } else {
      size += static_cast<std::size_t>(put_odd(buffer, text) - buffer);
    }
  }
  return size;
}

}  // namespace stella::telemetry::detail
