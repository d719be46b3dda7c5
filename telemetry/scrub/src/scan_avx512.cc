// The pass in 64-byte vectors (AVX-512 VBMI, VBMI2): one permutation looks 64 bytes up in a table of 128, compares give bit masks directly, and
// masked loads make a short text as cheap as a block.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <bit>

#include "classes.h"
#include "find.h"
#include "scan.h"
#include "triggers.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12, in its own header
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,lzcnt")

namespace stella::telemetry::scrubbing {
namespace {

#include "scan_kernel.h"

#define STELLA_INLINE inline __attribute__((always_inline))
struct EightLanes : Lanes<Eight> {
  template <int k>
  static STELLA_INLINE V shift(const V& x, const V& before) {
    return (V)_mm512_shldi_epi64((__m512i)x, (__m512i)before, k);
  }
  static STELLA_INLINE void load(V& to, const std::uint64_t* from, std::size_t n) { to = (V)_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), from); }
  static STELLA_INLINE unsigned nonzero(const V& x) { return _mm512_test_epi64_mask((__m512i)x, (__m512i)x); }
  static STELLA_INLINE unsigned rows(std::size_t bucket, std::uint32_t window) {
    return _mm512_cmpeq_epi32_mask(_mm512_and_si512(_mm512_set1_epi32(static_cast<int>(window)), _mm512_load_si512(kWindows.mask[bucket])), _mm512_load_si512(kWindows.value[bucket]));
  }
};
struct Avx512 {
  using V = __m512i;
  using Ops = EightLanes;
  V low, up;
  V seen_cls, seen_word, seen_byte;
  STELLA_INLINE Avx512() { low = up = seen_cls = seen_word = seen_byte = _mm512_setzero_si512(); }

  static STELLA_INLINE V look_up(const std::uint8_t* table, V c) { return _mm512_permutex2var_epi8(_mm512_load_si512(table), c, _mm512_load_si512(table + 64)); }
  static STELLA_INLINE std::uint64_t test(V v, std::uint8_t bit) { return _mm512_test_epi8_mask(v, _mm512_set1_epi8(static_cast<char>(bit))); }

  template <class Load>
  STELLA_INLINE Masks classify(Load load) {
    const V c0 = load(0), c1 = load(1), c2 = load(2), c3 = load(3);
    low = _mm512_and_si512(look_up(kByteTables.window[0][0], c0), _mm512_ternarylogic_epi64(look_up(kByteTables.window[0][1], c1), look_up(kByteTables.window[0][2], c2), look_up(kByteTables.window[0][3], c3), 0x80));
    up = _mm512_and_si512(look_up(kByteTables.window[1][0], c0), _mm512_ternarylogic_epi64(look_up(kByteTables.window[1][1], c1), look_up(kByteTables.window[1][2], c2), look_up(kByteTables.window[1][3], c3), 0x80));
    const __mmask64 ascii = ~_mm512_movepi8_mask(c0);
    const V cls = _mm512_maskz_mov_epi8(ascii, look_up(kByteTables.cls, c0)), word = _mm512_maskz_mov_epi8(ascii, look_up(kByteTables.word, c0));
    seen_cls = _mm512_or_si512(seen_cls, cls);
    seen_word = _mm512_or_si512(seen_word, word);
    seen_byte = _mm512_or_si512(seen_byte, c0);
    const V either = _mm512_or_si512(low, up);
    return {test(cls, kIsDigit),     test(cls, kIsDot),        test(cls, kIsColon),  test(cls, kIsAt),      test(cls, kIsSep), test(cls, kIsOpen),
            test(word, kWordSymbol), test(word, kWordBase64), test(word, kWordFirst), test(word, kWordSecond), _mm512_test_epi8_mask(either, either)};
  }
  STELLA_INLINE Masks block(const std::uint8_t* p) {
    return classify([p](int w) __attribute__((always_inline)) { return _mm512_loadu_si512(p + w); });
  }
  STELLA_INLINE Masks tail(const std::uint8_t* p, std::size_t n, std::size_t) {
    return classify([p, n](int w) __attribute__((always_inline)) {
      const std::uint64_t left = std::max<std::uint64_t>(n, static_cast<unsigned>(w)) - static_cast<unsigned>(w);  // 64 or more: all
      return _mm512_maskz_loadu_epi8(_bzhi_u64(~std::uint64_t{0}, left), p + w);
    });
  }
  STELLA_INLINE bool rare() const { return (test(seen_cls, kIsPercent) | test(seen_word, kWordSlash) | _mm512_movepi8_mask(seen_byte)) != 0; }
  STELLA_INLINE void buckets(Buckets& out) const {
    _mm512_store_si512(out.low, low);
    _mm512_store_si512(out.up, up);
  }
  STELLA_INLINE void flags(Finder& finder) const { finder.flags(test(seen_cls, kIsPercent) != 0, test(seen_word, kWordSlash) != 0, _mm512_movepi8_mask(seen_byte) != 0); }
};

}  // namespace

void scan_avx512(Finder& finder) { Scan<Avx512>(finder).all(); }
bool quiet_avx512(std::string_view text) { return quiet<Avx512>(text); }

}  // namespace stella::telemetry::scrubbing
#pragma GCC pop_options
#endif
