// The open spans of a thread, for the crash handler: plain data that a signal handler may read.
#pragma once

#include <array>
#include <cstdint>

namespace stella::telemetry {

struct ActiveSpan {
  const ActiveSpan* outer = nullptr;
  const char* prefix = "";  // both without a terminator
  const char* name = "";
  std::uint16_t prefix_size = 0, name_size = 0;
  std::int64_t start_ns = 0;  // since the epoch
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{};
};

// The innermost open and recorded Span of the calling thread; nullptr where there is none. Async-signal-safe.
const ActiveSpan* innermost_span() noexcept;

}  // namespace stella::telemetry
