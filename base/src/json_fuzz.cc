// libFuzzer entry: any bytes as JSON; what was written from a value must read as that value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella;
  const auto value = json::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!value) return 0;
  const std::string text = json::dump(*value);
  const auto again = json::parse(text);
  if (!again || json::dump(*again) != text) std::abort();
  if (const auto canonical = json::canonical(*value)) {
    const auto third = json::parse(*canonical);
    if (!third) std::abort();
    const auto fixed = json::canonical(*third);
    if (!fixed || *fixed != *canonical) std::abort();
  }
  return 0;
}
