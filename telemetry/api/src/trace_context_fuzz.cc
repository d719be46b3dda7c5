// libFuzzer entry: any text as traceparent, as tracestate (one line a value) and as both headers; what is kept must read back as itself.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "stella/telemetry/propagation.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::telemetry;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto parent = parse_traceparent(text)) {
    const std::string written = format_traceparent(*parent);
    const auto again = parse_traceparent(written);
    if (!again || format_traceparent(*again) != written) std::abort();
  }
  std::vector<std::string_view> values;
  for (std::size_t at = 0; at <= size;) {
    const std::size_t end = std::min(text.find('\n', at), size);
    values.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  TraceStateReader state;
  for (const std::string_view value : values) state.add(value);
  std::array<char, TraceStateReader::kTextBytes> buffer, other;
  const std::string_view written = state.text(buffer);
  if (written.size() > TraceStateReader::kTextBytes) std::abort();
  TraceStateReader again;
  again.add(written);
  if (again.text(other) != written) std::abort();
  Extractor caller;
  caller.header("traceparent", values.front());
  caller.header("TraceState", values.back());
  if (const auto remote = caller.remote(); remote && remote->parent.trace_id.empty()) std::abort();
  return 0;
}
