// The vectorised pass: looks at every byte once and names the few positions where a rule may match. Three implementations, one answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stella::telemetry::scrubbing {

// Positions of a 64-byte block at which a matcher has to look. They may be too many (a vector knows nibbles), never too few.
template <class V>
struct CandidatesOf {
  V trigger;                                     // a trigger's window begins here; its buckets are in Buckets
  V at, dotted /* digit after the third dot */, colons /* the third of a chain */, digits /* 12th of a run */, open /* digit after + or ( */,
      base64 /* 10th of a run */;
};
using Candidates = CandidatesOf<std::uint64_t>;
struct Buckets {
  alignas(64) std::uint8_t low[64], up[64];
};

class Finder;

enum class Engine { kScalar, kAvx2, kAvx512 };
bool available(Engine engine);
Engine best_engine();
// Scan the whole text of `finder` and call finder.candidates() in order of position.
void scan_scalar(Finder& finder);
// True where a text of at most 64 bytes has no position to look at, no escape and no byte beyond ASCII: nothing to find. One look, no set-up.
bool quiet_scalar(std::string_view text);
#if defined(__x86_64__)
void scan_avx2(Finder& finder);
bool quiet_avx2(std::string_view text);
void scan_avx512(Finder& finder);
bool quiet_avx512(std::string_view text);
#endif
constexpr std::size_t kShort = 64;

}  // namespace stella::telemetry::scrubbing
