// Matching of paths to rows of the route table.
#include "stella/web/router.h"

#include <algorithm>

#include "stella/base/encoding.h"

namespace stella::web {
namespace {

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  for (;;) {
    const std::size_t slash = path.find('/');
    out.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    path.remove_prefix(slash + 1);
  }
}

std::optional<std::vector<std::pair<std::string, std::string>>> match_one(const Route& route, const std::vector<std::string_view>& path) {
  const auto pattern = segments(route.path);
  if (pattern.size() != path.size()) return std::nullopt;
  std::vector<std::pair<std::string, std::string>> params;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (!pattern[i].empty() && pattern[i].front() == ':') {
      if (path[i].empty()) return std::nullopt;
      params.emplace_back(pattern[i].substr(1), path[i]);
    } else if (pattern[i] != path[i]) {
      return std::nullopt;
    }
  }
  return params;
}

}  // namespace

Match match(std::string_view method, std::string_view path) {
  if (method == "HEAD") method = "GET";
  const auto parts = segments(path);
  Match best;
  for (const Route& route : routes()) {
    auto params = match_one(route, parts);
    if (!params) continue;
    if (best.path.empty()) best.path = route.path;
    if (route.method != method) {
      if (best.allow.find(route.method) == std::string::npos) best.allow.append(best.allow.empty() ? "" : ", ").append(route.method == "GET" ? "GET, HEAD" : route.method);
      continue;
    }
    // A literal segment beats a parameter: fewer parameters win.
    if (best.route == nullptr || params->size() < best.params.size()) {
      best.route = &route;
      best.path = route.path;
      best.params = std::move(*params);
    }
  }
  return best;
}

}  // namespace stella::web
