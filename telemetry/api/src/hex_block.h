// Sixteen hex digits from and to eight bytes: with SSE2 where the compiler has it, else one by one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace stella::telemetry::detail {

// The value of a lower-case hex digit; -1 for anything else: upper case is malformed in W3C Trace Context.
constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

inline bool hex_to_8_scalar(const char* text, std::uint8_t* out) {
  int all = 0;
  for (int i = 0; i < 8; ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    all |= high | low;
    out[i] = static_cast<std::uint8_t>((high << 4 | low) & 0xff);
  }
  return all >= 0;
}

inline void hex_of_8_scalar(const std::uint8_t* bytes, char* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (int i = 0; i < 8; ++i) {
    out[2 * i] = kDigits[bytes[i] >> 4];
    out[2 * i + 1] = kDigits[bytes[i] & 15];
  }
}

#if defined(__SSE2__)
// The eight bytes in the low half; `good` loses a bit for each character that is no digit.
inline __m128i hex_to_8_sse2(__m128i text, __m128i& good) {
  const auto within = [text](char low, char high) {
    return _mm_and_si128(_mm_cmpgt_epi8(text, _mm_set1_epi8(static_cast<char>(low - 1))), _mm_cmplt_epi8(text, _mm_set1_epi8(static_cast<char>(high + 1))));
  };
  const __m128i letter = within('a', 'f');
  good = _mm_and_si128(good, _mm_or_si128(within('0', '9'), letter));
  const __m128i digits = _mm_add_epi8(_mm_and_si128(text, _mm_set1_epi8(15)), _mm_and_si128(letter, _mm_set1_epi8(9)));
  const __m128i pairs = _mm_or_si128(_mm_slli_epi16(digits, 4), _mm_srli_epi16(digits, 8));
  return _mm_packus_epi16(_mm_and_si128(pairs, _mm_set1_epi16(0xff)), _mm_setzero_si128());
}

// Bytes of values below 16 as digits.
inline __m128i hex_digits_sse2(__m128i values) {
  const __m128i letter = _mm_cmpgt_epi8(values, _mm_set1_epi8(9));
  return _mm_add_epi8(_mm_add_epi8(values, _mm_set1_epi8('0')), _mm_and_si128(letter, _mm_set1_epi8('a' - '0' - 10)));
}

// Eight bytes as sixteen digits.
inline __m128i hex_of_8_sse2(__m128i bytes) {
  const __m128i nibble = _mm_set1_epi8(15);
  return hex_digits_sse2(_mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), nibble), _mm_and_si128(bytes, nibble)));
}
#endif

// The ids of a traceparent: 32 digits at `trace`, 16 at `span`. False where any is no digit.
inline bool read_ids(const char* trace, const char* span, std::uint8_t (&trace_id)[16], std::uint8_t (&span_id)[8]) {
#if defined(__SSE2__)
  __m128i good = _mm_set1_epi8(-1);
  const auto load = [](const char* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); };
  const __m128i first = hex_to_8_sse2(load(trace), good), second = hex_to_8_sse2(load(trace + 16), good), third = hex_to_8_sse2(load(span), good);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(trace_id), _mm_unpacklo_epi64(first, second));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(span_id), third);
  return _mm_movemask_epi8(good) == 0xffff;
#else
  const bool first = hex_to_8_scalar(trace, trace_id), second = hex_to_8_scalar(trace + 16, trace_id + 8), third = hex_to_8_scalar(span, span_id);
  return first && second && third;
#endif
}

inline void write_ids(const std::uint8_t* trace_id, const std::uint8_t* span_id, char* trace, char* span) {
#if defined(__SSE2__)
  const __m128i id = _mm_loadu_si128(reinterpret_cast<const __m128i*>(trace_id));
  const auto store = [](char* at, __m128i digits) { _mm_storeu_si128(reinterpret_cast<__m128i*>(at), digits); };
  store(trace, hex_of_8_sse2(id));
  store(trace + 16, hex_of_8_sse2(_mm_unpackhi_epi64(id, id)));
  store(span, hex_of_8_sse2(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(span_id))));
#else
  hex_of_8_scalar(trace_id, trace);
  hex_of_8_scalar(trace_id + 8, trace + 16);
  hex_of_8_scalar(span_id, span);
#endif
}

}  // namespace stella::telemetry::detail
