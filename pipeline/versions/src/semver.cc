// The SemVer-like order of npm, Go and crates.io: numbers, then a prerelease that sorts below, build metadata ignored.
//
// Looser than semver.org where real registries are: a leading 'v', one, two or more than three numbers (missing ones are zero),
// leading zeros, numbers of any length, and a prerelease that hangs on without '-' (1.2.3rc1, 1.2.3.Final). Commits are refused.
#include <algorithm>

#include "orders.h"

namespace stella::pipeline::orders {
namespace {

struct Parts {
  std::string_view core;        // digits and dots
  std::string_view prerelease;  // "" where none
};

bool allowed(char c) { return is_digit(c) || is_alpha(c) || c == '.' || c == '-' || c == '+' || c == '_' || c == '~'; }

// "1.x" and "1.*" are ranges, not versions.
bool is_wildcard(std::string_view rest) { return rest == "x" || rest == "X" || rest.starts_with("x.") || rest.starts_with("X."); }

// A commit ("6babd3aa3c6a") begins with a digit as often as not, and is no version.
bool is_commit(std::string_view text) {
  const auto hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
  return text.size() >= 7 && text.size() <= 64 && std::all_of(text.begin(), text.end(), hex) && !all_digits(text);
}

std::optional<Parts> split(std::string_view version) {
  for (char c : version)
    if (!allowed(c)) return std::nullopt;
  version = version.substr(0, version.find('+'));
  if (!version.empty() && (version.front() == 'v' || version.front() == 'V')) version.remove_prefix(1);
  if (is_commit(version)) return std::nullopt;
  std::size_t end = 0;
  while (end < version.size()) {
    const std::size_t start = end;
    while (end < version.size() && is_digit(version[end])) ++end;
    if (end == start) return std::nullopt;
    if (end + 1 < version.size() && version[end] == '.' && is_digit(version[end + 1])) {
      ++end;
      continue;
    }
    break;
  }
  if (end == 0) return std::nullopt;
  Parts parts{version.substr(0, end), version.substr(end)};
  if (!parts.prerelease.empty() && (parts.prerelease.front() == '-' || parts.prerelease.front() == '.')) {
    const bool dot = parts.prerelease.front() == '.';
    parts.prerelease.remove_prefix(1);
    if (dot && is_wildcard(parts.prerelease)) return std::nullopt;
  }
  return parts;
}

// Takes the text before the next '.' off `rest`.
std::string_view next(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view part = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return part;
}

std::strong_ordering compare_core(std::string_view a, std::string_view b) {
  while (!a.empty() || !b.empty())
    if (const auto order = compare_numbers(next(a), next(b)); order != 0) return order;
  return std::strong_ordering::equal;
}

std::strong_ordering compare_identifier(std::string_view a, std::string_view b) {
  const bool a_number = all_digits(a);
  const bool b_number = all_digits(b);
  if (a_number && b_number) return compare_numbers(a, b);
  if (a_number != b_number) return a_number ? std::strong_ordering::less : std::strong_ordering::greater;
  return a.compare(b) <=> 0;
}

std::strong_ordering compare_prerelease(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.empty() <=> b.empty();  // none sorts above any
  while (!a.empty() && !b.empty())
    if (const auto order = compare_identifier(next(a), next(b)); order != 0) return order;
  return !a.empty() <=> !b.empty();
}

}  // namespace

bool semver_parsable(std::string_view version) { return split(version).has_value(); }

std::optional<std::strong_ordering> compare_semver(std::string_view a, std::string_view b) {
  const auto left = split(a);
  const auto right = split(b);
  if (!left || !right) return std::nullopt;
  if (const auto order = compare_core(left->core, right->core); order != 0) return order;
  return compare_prerelease(left->prerelease, right->prerelease);
}

}  // namespace stella::pipeline::orders
