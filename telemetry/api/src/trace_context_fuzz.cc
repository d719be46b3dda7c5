// libFuzzer entry: any text as traceparent, as tracestate (one line a value) and as both headers; what is kept must read back as itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "stella/telemetry/context.h"

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
  if (auto state = TraceState::parse(values)) {
    const std::string written = state->str();
    if (written.size() > 512) std::abort();
    const std::string_view once[] = {written};
    if (!written.empty() && !TraceState::parse(once)) std::abort();
    state->put_front("stella", "1");
  }
  const std::pair<std::string_view, std::string_view> headers[] = {{"traceparent", values.front()}, {"TraceState", values.back()}};
  (void)extract(headers);
  return 0;
}
