// The comparators behind version.h, one file each, and the number comparison that all of them share.
#pragma once

#include <compare>
#include <optional>
#include <string_view>

namespace stella::pipeline::orders {

bool semver_parsable(std::string_view version);
bool pep440_parsable(std::string_view version);
bool maven_parsable(std::string_view version);

// nullopt where either side is not parsable.
std::optional<std::strong_ordering> compare_semver(std::string_view a, std::string_view b);
std::optional<std::strong_ordering> compare_pep440(std::string_view a, std::string_view b);
std::optional<std::strong_ordering> compare_maven(std::string_view a, std::string_view b);

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

inline bool all_digits(std::string_view text) {
  for (char c : text)
    if (!is_digit(c)) return false;
  return !text.empty();
}

inline std::string_view strip_zeros(std::string_view digits) {
  while (!digits.empty() && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

// Natural order of two runs of digits of any length; "" is zero.
inline std::strong_ordering compare_numbers(std::string_view a, std::string_view b) {
  a = strip_zeros(a);
  b = strip_zeros(b);
  if (a.size() != b.size()) return a.size() <=> b.size();
  return a.compare(b) <=> 0;
}

}  // namespace stella::pipeline::orders
