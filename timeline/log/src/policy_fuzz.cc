// libFuzzer entry: any bytes as a log policy; one that is read can be satisfied, and more witnesses never satisfy it less.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/timeline/log/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const auto policy = LogPolicy::parse({reinterpret_cast<const char*>(data), size});
  if (!policy) return 0;
  std::vector<std::size_t> cosigned;
  bool before = policy->satisfied(cosigned);
  for (std::size_t i = 0; i < policy->witnesses().size(); ++i) {
    cosigned.push_back(i);
    const bool now = policy->satisfied(cosigned);
    if (before && !now) std::abort();
    before = now;
  }
  if (!before) std::abort();
  (void)policy->open("fuzz\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\xe2\x80\x94 fuzz QUJDREU=\n");
  return 0;
}
