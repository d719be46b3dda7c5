// libFuzzer entry: any bytes as each result that comes back from the runner; what is accepted must be exactly what encode() writes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/contracts/components.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"

namespace {

template <class Decode>
void check(std::string_view bytes, Decode decode) {
  const auto value = decode(bytes);
  if (!value) return;
  const std::string wire = stella::contracts::encode(*value);
  const auto again = decode(wire);
  if (!again || stella::contracts::encode(*again) != wire) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::contracts;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes, [](std::string_view b) { return decode_components(b); });
  check(bytes, [](std::string_view b) { return decode_exposures(b); });
  check(bytes, [](std::string_view b) { return decode_vex_result(b); });
  check(bytes, [](std::string_view b) { return decode_decision(b); });
  check(bytes, [](std::string_view b) { return decode_findings(b); });
  return 0;
}
