// Random bits for ids: one generator per thread, seeded by the operating system, again after a fork. Not for secrets.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "stella/base/ids.h"

namespace stella::telemetry::detail {

// xoshiro256++ (Blackman, Vigna): 256 bits of state, so that ids of all threads of all processes stay apart.
class Random {
 public:
  void seed() {
    do {
      fill_random(s_, sizeof s_);
    } while ((s_[0] | s_[1] | s_[2] | s_[3]) == 0);
  }
  std::uint64_t next() {
    const std::uint64_t result = std::rotl(s_[0] + s_[3], 23) + s_[0];
    const std::uint64_t t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = std::rotl(s_[3], 45);
    return result;
  }
  std::uint64_t next_nonzero() {
    for (;;) {
      if (const std::uint64_t v = next(); v != 0) [[likely]] return v;
    }
  }
  SpanId span_id() { return SpanId(std::bit_cast<std::array<std::uint8_t, 8>>(next_nonzero())); }
  TraceId trace_id() {
    const std::uint64_t words[2] = {next_nonzero(), next_nonzero()};
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), words, 16);
    return TraceId(bytes);
  }

 private:
  std::uint64_t s_[4] = {};
};

}  // namespace stella::telemetry::detail
