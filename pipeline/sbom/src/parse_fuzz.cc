// libFuzzer entry: any bytes as an SBOM; what is read must survive its own wire form.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/pipeline/sbom/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)stella::pipeline::sniff_format(bytes);
  const auto table = stella::pipeline::parse_sbom(bytes);
  if (!table) return 0;
  for (const auto& edge : table->edges)
    if (edge.from >= table->components.size() || edge.to >= table->components.size()) std::abort();
  const std::string wire = stella::contracts::encode(*table);
  const auto again = stella::contracts::decode_components(wire);
  if (!again || stella::contracts::encode(*again) != wire) std::abort();
  return 0;
}
