// The vectorised pass: looks at every byte once and names the few positions where a rule may match. Three implementations, one answer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stella::telemetry::scrubbing {

// Positions of a 64-byte block at which a matcher has to look. They may be too many (a vector knows nibbles), never too few.
struct Candidates {
  std::uint64_t trigger;                                     // a trigger's window begins here; its buckets are in Buckets
  std::uint64_t at, dotted /* digit after the third dot */, colons /* the third of a chain */, digits /* 12th of a run */, open /* digit after + or ( */,
      base64 /* 10th of a run */;
};
struct Buckets {
  alignas(64) std::uint8_t low[64], up[64];
};

class Finder;

enum class Engine { kScalar, kAvx2, kAvx512 };
bool available(Engine engine);
Engine best_engine();
// Scan the whole text of `finder` and call finder.candidates() in order of position.
void scan_scalar(Finder& finder);
#if defined(__x86_64__)
void scan_avx2(Finder& finder);
void scan_avx512(Finder& finder);
#endif

}  // namespace stella::telemetry::scrubbing
