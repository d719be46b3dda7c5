// The pass in 32-byte vectors (AVX2): classes by nibbles.
#if defined(__x86_64__)
#include <immintrin.h>

#include <bit>
#include <cstring>

#include "classes.h"
#include "find.h"
#include "scan.h"
#include "triggers.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt")

namespace stella::telemetry::scrubbing {
namespace {

#include "scan_kernel.h"

// The tables of nibbles twice each, as a 32-byte look-up wants them.
struct Wide {
  alignas(32) std::uint8_t lo0[4][32], hi0[4][32], lo1[4][32], hi1[4][32], cls_lo[32], cls_hi[32], quad_lo[32], quad_hi[32];
};
constexpr Wide kWide = [] {
  Wide t{};
  for (std::size_t i = 0; i < 32; ++i) {
    for (std::size_t w = 0; w < 4; ++w) {
      t.lo0[w][i] = kLo0[w][i % 16];
      t.hi0[w][i] = kHi0[w][i % 16];
      t.lo1[w][i] = kLo1[w][i % 16];
      t.hi1[w][i] = kHi1[w][i % 16];
    }
    t.cls_lo[i] = kClassTable.lo[i % 16];
    t.cls_hi[i] = kClassTable.hi[i % 16];
    t.quad_lo[i] = kQuadTable.lo[i % 16];
    t.quad_hi[i] = kQuadTable.hi[i % 16];
  }
  return t;
}();

#define STELLA_INLINE inline __attribute__((always_inline))
struct FourLanes : Lanes<Four> {
  static STELLA_INLINE void load(V& to, const std::uint64_t* from, std::size_t n) {
    const __m256i wanted = _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(n)), _mm256_set_epi64x(3, 2, 1, 0));
    to = (V)_mm256_maskload_epi64(reinterpret_cast<const long long*>(from), wanted);
  }
  static STELLA_INLINE unsigned nonzero(const V& x) {
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64((__m256i)x, _mm256_setzero_si256())))) ^ 15;
  }
  static STELLA_INLINE unsigned rows(std::size_t bucket, std::uint32_t window) {
    const __m256i all = _mm256_set1_epi32(static_cast<int>(window));
    const auto eight = [&](std::size_t i) __attribute__((always_inline)) {
      const __m256i value = _mm256_load_si256(reinterpret_cast<const __m256i*>(kWindows.value[bucket] + i)), mask = _mm256_load_si256(reinterpret_cast<const __m256i*>(kWindows.mask[bucket] + i));
      return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, mask), value))));
    };
    return eight(0) | eight(8) << 8;
  }
};
struct Avx2 {
  using V = __m256i;
  using Ops = FourLanes;
  V low[2], up[2];
  V percent, slash, high;
  STELLA_INLINE Avx2() { low[0] = low[1] = up[0] = up[1] = percent = slash = high = _mm256_setzero_si256(); }

  static STELLA_INLINE V table(const std::uint8_t* t) { return _mm256_load_si256(reinterpret_cast<const V*>(t)); }
  static STELLA_INLINE std::uint64_t bits(V v) { return static_cast<std::uint32_t>(_mm256_movemask_epi8(v)); }
  static STELLA_INLINE std::uint64_t nonzero(V v) { return ~bits(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())) & 0xffffffff; }

  // `load(w)`: the 32 bytes that begin w further on.
  template <class Load>
  STELLA_INLINE Masks half(Load load, int which) {
    const V fifteen = _mm256_set1_epi8(15);
    V a = _mm256_set1_epi8(-1), b = a, byte{}, lo0{}, hi0{};
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) {
      const V c = load(w);
      const V lo = _mm256_and_si256(c, fifteen), hi = _mm256_and_si256(_mm256_srli_epi16(c, 4), fifteen);
      a = _mm256_and_si256(a, _mm256_and_si256(_mm256_shuffle_epi8(table(kWide.lo0[w]), lo), _mm256_shuffle_epi8(table(kWide.hi0[w]), hi)));
      b = _mm256_and_si256(b, _mm256_and_si256(_mm256_shuffle_epi8(table(kWide.lo1[w]), lo), _mm256_shuffle_epi8(table(kWide.hi1[w]), hi)));
      if (w == 0) {
        byte = c;
        lo0 = lo;
        hi0 = hi;
      }
    }
    low[which] = a;
    up[which] = b;
    const V cls = _mm256_and_si256(_mm256_shuffle_epi8(table(kWide.cls_lo), lo0), _mm256_shuffle_epi8(table(kWide.cls_hi), hi0));
    const V quad = _mm256_and_si256(_mm256_shuffle_epi8(table(kWide.quad_lo), lo0), _mm256_shuffle_epi8(table(kWide.quad_hi), hi0));
    percent = _mm256_or_si256(percent, cls);
    slash = _mm256_or_si256(slash, _mm256_cmpeq_epi8(byte, _mm256_set1_epi8('\\')));
    high = _mm256_or_si256(high, byte);
    Masks out;
    out.digit = bits(_mm256_slli_epi16(cls, 7));
    out.dot = bits(_mm256_slli_epi16(cls, 6));
    out.colon = bits(_mm256_slli_epi16(cls, 5));
    out.at = bits(_mm256_slli_epi16(cls, 4));
    out.sep = bits(_mm256_slli_epi16(cls, 3));
    out.open = bits(_mm256_slli_epi16(cls, 2));
    out.symbol = bits(_mm256_slli_epi16(cls, 1)) | bits(_mm256_cmpeq_epi8(byte, _mm256_set1_epi8('_')));
    const V letter = _mm256_sub_epi8(_mm256_or_si256(byte, _mm256_set1_epi8(0x20)), _mm256_set1_epi8('a'));
    out.word = bits(_mm256_cmpeq_epi8(_mm256_min_epu8(letter, _mm256_set1_epi8(25)), letter)) | out.digit | out.symbol;
    out.first = nonzero(_mm256_and_si256(quad, _mm256_set1_epi8(kQuadFirst)));
    out.second = nonzero(_mm256_and_si256(quad, _mm256_set1_epi8(kQuadSecond)));
    out.trigger = nonzero(_mm256_or_si256(a, b));
    return out;
  }
  static STELLA_INLINE Masks both(const Masks& a, const Masks& b) {
    return {a.digit | b.digit << 32, a.dot | b.dot << 32,       a.colon | b.colon << 32, a.at | b.at << 32,         a.sep | b.sep << 32,        a.open | b.open << 32,
            a.symbol | b.symbol << 32, a.word | b.word << 32, a.first | b.first << 32, a.second | b.second << 32, a.trigger | b.trigger << 32};
  }
  STELLA_INLINE Masks block(const std::uint8_t* p) {
    const auto load = [](const std::uint8_t* from) { return [from](int w) __attribute__((always_inline)) { return _mm256_loadu_si256(reinterpret_cast<const V*>(from + w)); }; };
    const Masks a = half(load(p), 0), b = half(load(p + 32), 1);
    return both(a, b);
  }

  static STELLA_INLINE __m128i load16(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  // The k bytes before `end`, zeros behind them, out of a text with 16 bytes before `end`; k <= 16.
  static STELLA_INLINE __m128i last(const std::uint8_t* end, std::size_t k) {
    alignas(32) static constexpr std::uint8_t kShift[32] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
    return _mm_shuffle_epi8(load16(end - 16), load16(kShift + 16 - k));
  }
  // The same of a text of n < 16 bytes: no byte beside it is read.
  static STELLA_INLINE __m128i small(const std::uint8_t* p, std::size_t n) {
    std::uint64_t low, high = 0;
    if (n >= 8) {
      std::memcpy(&low, p, 8);
      std::memcpy(&high, p + n - 8, 8);
      high = high >> 8 * (15 - n) >> 8;
    } else if (n >= 4) {
      std::uint32_t first, second;
      std::memcpy(&first, p, 4);
      std::memcpy(&second, p + n - 4, 4);
      low = first | static_cast<std::uint64_t>(second) << 8 * (n - 4);
    } else {
      low = p[0] | static_cast<std::uint64_t>(p[n / 2]) << 8 * (n / 2) | static_cast<std::uint64_t>(p[n - 1]) << 8 * (n - 1);
    }
    return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
  }
  // The n <= 32 bytes at p, zeros behind them.
  static STELLA_INLINE V padded(const std::uint8_t* p, std::size_t n, std::size_t size) {
    const __m128i none = _mm_setzero_si128();
    if (n > 16) return _mm256_set_m128i(last(p + n, n - 16), load16(p));
    return _mm256_set_m128i(none, size >= 16 ? last(p + n, n) : small(p, n));
  }
  STELLA_INLINE Masks half_of(V c, V next, int which) {
    const V middle = _mm256_permute2x128_si256(c, next, 0x21);
    return half(
        [&](int w) __attribute__((always_inline)) {
          return w == 0 ? c : w == 1 ? _mm256_alignr_epi8(middle, c, 1) : w == 2 ? _mm256_alignr_epi8(middle, c, 2) : _mm256_alignr_epi8(middle, c, 3);
        },
        which);
  }
  STELLA_INLINE Masks tail(const std::uint8_t* p, std::size_t n, std::size_t size) {
    const V zero = _mm256_setzero_si256();
    if (n <= 32) {
      low[1] = up[1] = zero;
      return half_of(padded(p, n, size), zero, 0);
    }
    const V first = _mm256_loadu_si256(reinterpret_cast<const V*>(p));
    const V second = n >= 64 ? _mm256_loadu_si256(reinterpret_cast<const V*>(p + 32)) : padded(p + 32, n - 32, size);
    const V third = n > 64 ? padded(p + 64, n - 64, size) : zero;
    const Masks a = half_of(first, second, 0), b = half_of(second, third, 1);
    return both(a, b);
  }
  STELLA_INLINE bool rare() const { return (bits(_mm256_or_si256(high, slash)) | bits(percent)) != 0; }
  STELLA_INLINE void buckets(Buckets& out) const {
    for (int i = 0; i < 2; ++i) {
      _mm256_store_si256(reinterpret_cast<V*>(out.low + 32 * i), low[i]);
      _mm256_store_si256(reinterpret_cast<V*>(out.up + 32 * i), up[i]);
    }
  }
  STELLA_INLINE void flags(Finder& finder) const { finder.flags(bits(percent) != 0, bits(slash) != 0, bits(high) != 0); }
};

}  // namespace

void scan_avx2(Finder& finder) { Scan<Avx2>(finder).all(); }
bool quiet_avx2(std::string_view text) { return quiet<Avx2>(text); }

}  // namespace stella::telemetry::scrubbing
#pragma GCC pop_options
#endif
