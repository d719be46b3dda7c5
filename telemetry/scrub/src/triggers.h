// From a position's buckets to the triggers whose window begins there.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "rules_data.h"

namespace stella::telemetry::scrubbing {

// The triggers' windows by bucket, side by side: a window is compared with all of its bucket at once.
struct Windows {
  static constexpr std::size_t kMost = 16;
  alignas(64) std::uint32_t value[16][kMost] = {}, mask[16][kMost] = {};
};
inline constexpr Windows kWindows = [] {
  Windows w;
  for (std::size_t b = 0; b < 16; ++b) {
    for (std::size_t i = 0; i < Windows::kMost; ++i) {
      const std::size_t t = kBucketBegin[b] + i;
      const bool is = t < kBucketBegin[b + 1];
      w.value[b][i] = is ? kTriggers[t].value : 1;  // none: 0 is never 1
      w.mask[b][i] = is ? kTriggers[t].mask : 0;
    }
  }
  return w;
}();
static_assert([] {
  for (std::size_t b = 0; b < 16; ++b) {
    if (kBucketBegin[b + 1] - kBucketBegin[b] > static_cast<int>(Windows::kMost)) return false;
  }
  return true;
}());

// What is to be done at each trigger.
struct Task {
  Matcher matcher;
  Rule rule;
  std::uint8_t at;
};
inline constexpr auto kTasks = [] {
  std::array<Task, std::size(kTriggers)> out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = {kRules[static_cast<std::size_t>(kTriggers[i].rule)].matcher, kTriggers[i].rule, static_cast<std::uint8_t>(kTriggers[i].at)};
  return out;
}();

// The four bytes at `pos`, the first lowest; 0 behind the end.
inline std::uint32_t window_at(std::string_view text, std::size_t pos) {
  std::uint32_t window = 0;
  if (pos + 4 <= text.size()) [[likely]] {
    std::memcpy(&window, text.data() + pos, 4);
    if constexpr (std::endian::native == std::endian::big) window = __builtin_bswap32(window);
  } else {
    for (std::size_t i = pos; i < text.size(); ++i) window |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(text[i])) << 8 * (i - pos);
  }
  return window;
}

}  // namespace stella::telemetry::scrubbing
