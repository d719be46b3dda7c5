// libFuzzer entry: any bytes as an OpenVEX document.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "stella/pipeline/excitator/openvex.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)stella::pipeline::parse_vex(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
