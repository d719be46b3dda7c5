// Foreign requests, scrubbed: any bytes give a request that decodes to as many records; and the same bytes as a source of chance make a
// request with a secret in every text, of which nothing may be left.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sample_request.h"
#include "stella/telemetry/otlp_rows.h"
#include "stella/telemetry/otlp_scrub.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::telemetry;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kSecret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
  for (const Signal signal : {Signal::kTraces, Signal::kMetrics, Signal::kLogs}) {
    if (const auto clean = scrub_otlp(signal, bytes, {.tenant = "acme"})) {
      if (signal == Signal::kTraces && decode_traces(*clean)->spans.size() != decode_traces(bytes)->spans.size()) std::abort();
      if (signal == Signal::kMetrics && decode_metrics(*clean)->points.size() != decode_metrics(bytes)->points.size()) std::abort();
      if (signal == Signal::kLogs && decode_logs(*clean)->records.size() != decode_logs(bytes)->records.size()) std::abort();
    }
    std::size_t at = 0;
    const auto next = [&](std::uint64_t n) {
      ++at;
      return (at * 31 + (bytes.empty() ? 0 : data[at % size])) % n;
    };
    const auto text = [&] {
      const std::string piece(bytes.substr(next(size + 1), next(12)));
      return piece + " " + std::string(kSecret) + " " + piece;
    };
    const std::string request = sample_message(otlp_schema::request_of(signal), {.number = next, .text = text, .key = text, .repeat = 1});
    const auto clean = scrub_otlp(signal, request);
    if (!clean || clean->find(kSecret) != std::string::npos) std::abort();
  }
  return 0;
}
