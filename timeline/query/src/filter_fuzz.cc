// libFuzzer entry: any text as a query string of the timeline ("name=value&…") and as a cursor, which must be written as it was read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "statement.h"
#include "stella/timeline/query.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::pair<std::string, std::string>> parameters;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    parameters.emplace_back(pair.substr(0, equals), equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
  }
  if (const auto filter = parse_filter(parameters); filter && (filter->limit < 1 || filter->limit > kPageMax)) std::abort();
  for (const Order order : {Order::kTime, Order::kLog})
    if (const auto position = decode_cursor(text, order); position && !decode_cursor(encode_cursor(*position), order)) std::abort();
  return 0;
}
