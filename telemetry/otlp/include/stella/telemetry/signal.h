// The three signals of OTLP.
#pragma once

#include <cstdint>
#include <string_view>

namespace stella::telemetry {

enum class Signal : std::uint8_t { kTraces, kMetrics, kLogs };
// "traces", "metrics", "logs": the last part of the OTLP/HTTP path and the label value of our own metrics.
constexpr std::string_view to_string(Signal signal) {
  return signal == Signal::kTraces ? "traces" : signal == Signal::kMetrics ? "metrics" : "logs";
}

}  // namespace stella::telemetry
