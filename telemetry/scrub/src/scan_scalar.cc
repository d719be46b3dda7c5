// The portable implementation of the pass, byte by byte; the vectors must agree with it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "classes.h"
#include "find.h"
#include "scan.h"
#include "triggers.h"

namespace stella::telemetry::scrubbing {
namespace {

#include "scan_kernel.h"

struct Scalar {
  using Ops = Lanes<Two>;
  Buckets last;
  bool percent = false, slash = false, high = false;

  Masks block(const std::uint8_t* p, std::size_t n = 64) {
    Masks out{};
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint8_t c = p[i], ascii = c & 127;
      const unsigned cls = kByteTables.cls[ascii], word = kByteTables.word[ascii];
      const auto set = [&](std::uint64_t& mask, bool is) { mask |= static_cast<std::uint64_t>(is && c < 128) << i; };
      set(out.digit, cls & kIsDigit);
      set(out.dot, cls & kIsDot);
      set(out.colon, cls & kIsColon);
      set(out.at, cls & kIsAt);
      set(out.sep, cls & kIsSep);
      set(out.open, cls & kIsOpen);
      set(out.symbol, word & kWordSymbol);
      set(out.word, word & kWordBase64);
      set(out.first, word & kWordFirst);
      set(out.second, word & kWordSecond);
      percent |= c == '%';
      slash |= c == '\\';
      high |= c >= 128;
      unsigned low = 255, up = 255;
      for (int w = 0; w < 4; ++w) {
        low &= kByteTables.window[0][w][p[i + static_cast<std::size_t>(w)] & 127];
        up &= kByteTables.window[1][w][p[i + static_cast<std::size_t>(w)] & 127];
      }
      last.low[i] = static_cast<std::uint8_t>(low);
      last.up[i] = static_cast<std::uint8_t>(up);
      out.trigger |= static_cast<std::uint64_t>((low | up) != 0) << i;
    }
    return out;
  }
  Masks tail(const std::uint8_t* p, std::size_t n, std::size_t) {
    std::uint8_t padded[67] = {};
    std::memcpy(padded, p, n);
    return block(padded, std::min<std::size_t>(n, 64));
  }
  bool rare() const { return percent || slash || high; }
  void buckets(Buckets& out) const { out = last; }
  void flags(Finder& finder) const { finder.flags(percent, slash, high); }
};

}  // namespace

void scan_scalar(Finder& finder) { Scan<Scalar>(finder).all(); }
bool quiet_scalar(std::string_view text) { return quiet<Scalar>(text); }

}  // namespace stella::telemetry::scrubbing
