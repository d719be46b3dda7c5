// libFuzzer entry: any bytes as an answer of an S3 server. Text that was read must survive escaping and reading again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "s3_xml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::objects;
  const auto root = parse_xml({reinterpret_cast<const char*>(data), size});
  if (!root) return 0;
  const auto again = parse_xml("<a>" + xml_escape(root->text) + "</a>");
  if (!again || again->text != root->text) std::abort();
  return 0;
}
