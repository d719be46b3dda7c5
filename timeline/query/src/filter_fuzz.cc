// libFuzzer entry: any text as a query string of the timeline ("name=value&…"), as a cursor and as what a cursor holds: each position has one
// spelling, and no order takes the cursor of the other.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "statement.h"
#include "stella/base/encoding.h"
#include "stella/timeline/query.h"

namespace {

using namespace stella::timeline;

void check_cursor(std::string_view cursor) {
  const auto of_time = decode_cursor(cursor, Order::kTime), of_log = decode_cursor(cursor, Order::kLog);
  if (of_time && of_log) std::abort();
  if (of_time && (!of_time->after || of_time->index || encode_cursor(*of_time) != cursor)) std::abort();
  if (of_log && (!of_log->index || of_log->after || *of_log->index < 0 || encode_cursor(*of_log) != cursor)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::pair<std::string, std::string>> parameters;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    parameters.emplace_back(pair.substr(0, equals), equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
  }
  if (const auto filter = parse_filter(parameters); filter && (filter->limit < 1 || filter->limit > kPageMax)) std::abort();
  check_cursor(text);
  check_cursor(stella::base64url_encode(text));  // mutations of a position; of its base64 they would be noise
  return 0;
}
