// What a caller writes as a method, as telemetry may say it.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace stella::http {

inline constexpr std::string_view kOtherMethod = "_OTHER";  // as the semantic conventions have it

// The method where it is one; what else a stranger writes there is nobody's field.
constexpr std::string_view known_method(std::string_view method) {
  constexpr std::array<std::string_view, 10> kMethods{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"};
  return method.empty() || std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end() ? method : kOtherMethod;
}

}  // namespace stella::http
