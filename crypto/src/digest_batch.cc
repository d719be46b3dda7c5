// SHA-256 of many short messages: two interleaved streams through the SHA instructions, which hides most of their latency.
#include "stella/crypto/digest_batch.h"

#include <cstring>

#include "stella/crypto/digest.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define STELLA_SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))
#endif

namespace stella::crypto {

void detail::sha256_prefixed_portable(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out) {
  const std::string_view first(reinterpret_cast<const char*>(&prefix), 1);
  for (std::size_t i = 0; i < count; ++i) out[i] = sha256(first, {reinterpret_cast<const char*>(items + i * item_size), item_size});
}

#if defined(__x86_64__)
namespace {

constexpr std::size_t kBlock = 64;

// FIPS 180-4 §4.2.2.
alignas(16) constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The state as the instructions want it: words A B E F and C D G H.
struct State {
  __m128i abef, cdgh;
};

STELLA_SHA_TARGET inline State initial_state() {
  return {_mm_set_epi32(0x6a09e667, static_cast<int>(0xbb67ae85), 0x510e527f, static_cast<int>(0x9b05688c)),
          _mm_set_epi32(0x3c6ef372, static_cast<int>(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19)};
}

STELLA_SHA_TARGET inline __m128i load_big_endian(const unsigned char* p) {
  const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), swap);
}

STELLA_SHA_TARGET inline void store(const State& s, unsigned char* out) {
  const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  const __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
  const __m128i abcd = _mm_blend_epi16(feba, dchg, 0xf0);
  const __m128i efgh = _mm_alignr_epi8(dchg, feba, 8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(abcd, swap));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_shuffle_epi8(efgh, swap));
}

STELLA_SHA_TARGET inline void four_rounds(State& s, __m128i words, int group) {
  __m128i m = _mm_add_epi32(words, _mm_load_si128(reinterpret_cast<const __m128i*>(kRound + 4 * group)));
  s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, m);
  m = _mm_shuffle_epi32(m, 0x0e);
  s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, m);
}

// W[t .. t+3] from the sixteen words before: the four vectors w0 (oldest) … w3.
STELLA_SHA_TARGET inline __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
  const __m128i t = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
  return _mm_sha256msg2_epu32(t, w3);
}

template <int Lanes>
STELLA_SHA_TARGET inline __attribute__((always_inline)) void compress(State (&s)[Lanes], const unsigned char* const (&block)[Lanes]) {
  State before[Lanes];
  __m128i w[Lanes][4];
  for (int lane = 0; lane < Lanes; ++lane) {
    before[lane] = s[lane];
    for (int i = 0; i < 4; ++i) w[lane][i] = load_big_endian(block[lane] + 16 * i);
  }
#pragma GCC unroll 16
  for (int group = 0; group < 16; ++group) {
#pragma GCC unroll 2
    for (int lane = 0; lane < Lanes; ++lane) {
      __m128i& slot = w[lane][group & 3];
      if (group >= 4) slot = next_words(slot, w[lane][(group + 1) & 3], w[lane][(group + 2) & 3], w[lane][(group + 3) & 3]);
      four_rounds(s[lane], slot, group);
    }
  }
  for (int lane = 0; lane < Lanes; ++lane) {
    s[lane].abef = _mm_add_epi32(s[lane].abef, before[lane].abef);
    s[lane].cdgh = _mm_add_epi32(s[lane].cdgh, before[lane].cdgh);
  }
}

// prefix || item with FIPS 180-4 padding, in blocks.
struct Padded {
  static constexpr std::size_t kMaxItem = 4 * kBlock - 10;
  unsigned char bytes[4 * kBlock];
  std::size_t blocks = 0;

  void shape(unsigned char prefix, std::size_t item_size) {
    blocks = (item_size + 1 + 9 + kBlock - 1) / kBlock;
    std::memset(bytes, 0, sizeof bytes);
    bytes[0] = prefix;
    bytes[1 + item_size] = 0x80;
    const std::uint64_t bits = 8 * (item_size + 1);
    bytes[blocks * kBlock - 2] = static_cast<unsigned char>(bits >> 8);
    bytes[blocks * kBlock - 1] = static_cast<unsigned char>(bits);
  }
};

template <int Lanes>
STELLA_SHA_TARGET inline __attribute__((always_inline)) void digest_lanes(Padded (&m)[2], const unsigned char* items, std::size_t item_size, Sha256* out) {
  State s[Lanes];
  for (int lane = 0; lane < Lanes; ++lane) {
    s[lane] = initial_state();
    std::memcpy(m[lane].bytes + 1, items + static_cast<std::size_t>(lane) * item_size, item_size);
  }
  for (std::size_t b = 0; b < m[0].blocks; ++b) {
    const unsigned char* block[Lanes];
    for (int lane = 0; lane < Lanes; ++lane) block[lane] = m[lane].bytes + b * kBlock;
    compress<Lanes>(s, block);
  }
  for (int lane = 0; lane < Lanes; ++lane) store(s[lane], out[lane].mutable_bytes().data());
}

STELLA_SHA_TARGET void sha256_prefixed_ni(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out) {
  Padded m[2];
  for (auto& lane : m) lane.shape(prefix, item_size);
  std::size_t i = 0;
  for (; i + 2 <= count; i += 2) digest_lanes<2>(m, items + i * item_size, item_size, out + i);
  if (i < count) digest_lanes<1>(m, items + i * item_size, item_size, out + i);
}

bool detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & (1u << 29)) == 0) return false;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 19)) != 0 && (c & (1u << 9)) != 0;  // SSE4.1, SSSE3
}

}  // namespace

bool sha256_is_accelerated() {
  static const bool yes = detect();
  return yes;
}

void sha256_prefixed(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out) {
  if (sha256_is_accelerated() && item_size <= Padded::kMaxItem) return sha256_prefixed_ni(prefix, items, item_size, count, out);
  detail::sha256_prefixed_portable(prefix, items, item_size, count, out);
}
#else
bool sha256_is_accelerated() { return false; }

void sha256_prefixed(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out) {
  detail::sha256_prefixed_portable(prefix, items, item_size, count, out);
}
#endif

}  // namespace stella::crypto
