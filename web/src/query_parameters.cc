// Pieces of a request that more than one handler reads.
#include "query_parameters.h"

#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"

namespace stella::web {

Result<std::vector<std::pair<std::string, std::string>>> query_parameters(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    std::string name = STELLA_TRY(percent_decode(pair.substr(0, equals), true));
    std::string value = STELLA_TRY(percent_decode(pair.substr(std::min(equals + 1, pair.size())), true));
    if (!name.empty()) out.emplace_back(std::move(name), std::move(value));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return out;
}

Result<std::string> bearer_token(const http::Request& request) {
  const std::string_view header = request.header("authorization");
  constexpr std::string_view kScheme = "bearer ";
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (header.size() <= kScheme.size() || !std::equal(kScheme.begin(), kScheme.end(), header.begin(), [&](char a, char b) { return a == lower(b); }))
    return Error(contracts::errors::kUnauthenticated, "a bearer token is needed");
  return std::string(header.substr(kScheme.size()));
}

}  // namespace stella::web
