// libFuzzer entry: any bytes as a policy set; the canonical form must parse to the same set.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/pipeline/policy/policy_set.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto set = stella::pipeline::parse_policy_set(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!set) return 0;
  const auto again = stella::pipeline::parse_policy_set(set->canonical);
  if (!again || again->canonical != set->canonical || again->version != set->version) std::abort();
  return 0;
}
