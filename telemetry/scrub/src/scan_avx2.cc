// The pass in 32-byte vectors (AVX2): classes by nibbles.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "classes.h"
#include "find.h"
#include "scan.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt")

namespace stella::telemetry::scrubbing {
namespace {

#include "scan_kernel.h"

#define STELLA_INLINE inline __attribute__((always_inline))
struct Avx2 {
  using V = __m256i;
  V low[2], up[2];
  V percent, slash, high;
  STELLA_INLINE Avx2() { low[0] = low[1] = up[0] = up[1] = percent = slash = high = _mm256_setzero_si256(); }

  static STELLA_INLINE V table(const std::uint8_t* t) { return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(t))); }
  static STELLA_INLINE std::uint64_t bits(V v) { return static_cast<std::uint32_t>(_mm256_movemask_epi8(v)); }
  static STELLA_INLINE std::uint64_t nonzero(V v) { return ~bits(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())) & 0xffffffff; }

  STELLA_INLINE Masks half(const std::uint8_t* p, int which) {
    const V fifteen = _mm256_set1_epi8(15);
    V a = _mm256_set1_epi8(-1), b = a, byte{}, lo0{}, hi0{};
    for (int w = 0; w < 4; ++w) {
      const V c = _mm256_loadu_si256(reinterpret_cast<const V*>(p + w));
      const V lo = _mm256_and_si256(c, fifteen), hi = _mm256_and_si256(_mm256_srli_epi16(c, 4), fifteen);
      a = _mm256_and_si256(a, _mm256_and_si256(_mm256_shuffle_epi8(table(kLo0[w]), lo), _mm256_shuffle_epi8(table(kHi0[w]), hi)));
      b = _mm256_and_si256(b, _mm256_and_si256(_mm256_shuffle_epi8(table(kLo1[w]), lo), _mm256_shuffle_epi8(table(kHi1[w]), hi)));
      if (w == 0) {
        byte = c;
        lo0 = lo;
        hi0 = hi;
      }
    }
    low[which] = a;
    up[which] = b;
    const V cls = _mm256_and_si256(_mm256_shuffle_epi8(table(kClassTable.lo), lo0), _mm256_shuffle_epi8(table(kClassTable.hi), hi0));
    const V quad = _mm256_and_si256(_mm256_shuffle_epi8(table(kQuadTable.lo), lo0), _mm256_shuffle_epi8(table(kQuadTable.hi), hi0));
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
  STELLA_INLINE Masks block(const std::uint8_t* p) {
    const Masks a = half(p, 0), b = half(p + 32, 1);
    return {a.digit | b.digit << 32, a.dot | b.dot << 32,       a.colon | b.colon << 32, a.at | b.at << 32,         a.sep | b.sep << 32,        a.open | b.open << 32,
            a.symbol | b.symbol << 32, a.word | b.word << 32, a.first | b.first << 32, a.second | b.second << 32, a.trigger | b.trigger << 32};
  }
  STELLA_INLINE Masks tail(const std::uint8_t* p, std::size_t n) {
    alignas(32) std::uint8_t padded[96];
    for (int i = 0; i < 96; i += 32) _mm256_store_si256(reinterpret_cast<V*>(padded + i), _mm256_setzero_si256());
    std::memcpy(padded, p, n);
    return block(padded);
  }
  STELLA_INLINE void buckets(Buckets& out) const {
    for (int i = 0; i < 2; ++i) {
      _mm256_store_si256(reinterpret_cast<V*>(out.low + 32 * i), low[i]);
      _mm256_store_si256(reinterpret_cast<V*>(out.up + 32 * i), up[i]);
    }
  }
  STELLA_INLINE void flags(Finder& finder) const { finder.flags(bits(percent) != 0, bits(slash) != 0, bits(high) != 0); }
};

}  // namespace

void scan_avx2(Finder& finder) { scan<Avx2>(finder); }

}  // namespace stella::telemetry::scrubbing
#pragma GCC pop_options
#endif
