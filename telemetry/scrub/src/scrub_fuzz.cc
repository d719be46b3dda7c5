// libFuzzer entry: any text. The three engines agree, the copy is valid UTF-8 and clean, scrubbing it again changes nothing, and the other
// functions take it too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "find.h"
#include "stella/base/encoding.h"
#include "stella/telemetry/scrub.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella;
  using namespace stella::telemetry;
  using namespace stella::telemetry::scrubbing;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Hits scalar;
  find(text, scalar, {}, Engine::kScalar);
  settle(text, scalar);
  for (const Engine engine : {Engine::kAvx2, Engine::kAvx512}) {
    if (!available(engine)) continue;
    Hits found;
    find(text, found, {}, engine);
    settle(text, found);
    if (found.size() != scalar.size()) std::abort();
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Hit &a = found.begin()[i], &b = scalar.begin()[i];
      if (a.begin != b.begin || a.end != b.end || a.begin >= a.end || a.end > size) std::abort();
    }
  }
  const std::string clean = scrub(text);
  if (!is_utf8(clean)) std::abort();
  if (certainly_clean(text) && clean != text) std::abort();
  if (scrub(clean) != clean) std::abort();
  trim_path(text);
  std::vector<bool> mask;
  const std::string_view halves[] = {text.substr(0, size / 2), text.substr(size / 2)};
  split_secret(halves, mask);
  return 0;
}
