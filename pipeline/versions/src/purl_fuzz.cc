// libFuzzer entry: any text as a package URL (whose canonical spelling must be a fixed point) and as a version in every order.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/pipeline/versions/purl.h"
#include "stella/pipeline/versions/version.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::pipeline;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto purl = parse_purl(text)) {
    const auto again = parse_purl(purl->str());
    if (!again || *again != *purl) std::abort();
    (void)osv_package(*purl, text.substr(0, size / 2));
  }
  if (const auto plain = plain_purl(text)) {
    const auto purl = parse_purl(text);
    if (!purl || purl->str() != text || purl->name != plain->name || purl->namespace_ != plain->namespace_ || purl->version != plain->version) std::abort();
    std::string ecosystem, name, version;
    if (plain_osv_package(*plain, ecosystem, name, version)) {
      const auto package = osv_package(*purl);
      if (package.ecosystem != ecosystem || package.name != name || package.version != version) std::abort();
    }
  }
  const std::string_view a = text.substr(0, size / 2);
  const std::string_view b = text.substr(size / 2);
  for (const auto order : {VersionOrder::kSemver, VersionOrder::kPep440, VersionOrder::kMaven}) {
    const auto forward = compare_versions(order, a, b);
    const auto backward = compare_versions(order, b, a);
    if (forward.has_value() != backward.has_value() || (forward && *forward != (0 <=> *backward))) std::abort();
  }
  return 0;
}
