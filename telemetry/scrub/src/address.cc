// What makes digits an address, a card or an account.
#include "address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "chars.h"

namespace stella::telemetry::scrubbing {
namespace {

// Four octets without leading zeros, or false.
bool octets(std::string_view text, std::array<unsigned, 4>& out) {
  std::size_t i = 0;
  for (int n = 0; n < 4; ++n) {
    const std::size_t begin = i;
    unsigned value = 0;
    while (i < text.size() && is(text[i], kDigit) && i < begin + 3) value = value * 10 + static_cast<unsigned>(text[i++] - '0');
    if (i == begin || value > 255 || (i - begin > 1 && text[begin] == '0')) return false;
    out[static_cast<std::size_t>(n)] = value;
    if (n < 3 && (i >= text.size() || text[i++] != '.')) return false;
  }
  return i == text.size();
}

// `version: `, `"version":"`, `release=` … right before `pos`.
bool after_version_word(std::string_view text, std::size_t pos) {
  std::size_t end = pos;
  while (end > 0 && pos - end < 4 && among(" :=\"'(", text[end - 1])) --end;
  if (end == pos) return false;
  std::size_t begin = end;
  while (begin > 0 && end - begin < 24 && alpha(text[begin - 1])) --begin;
  const std::string_view word = text.substr(begin, end - begin);
  for (const std::string_view name : {"version", "versions", "ver", "v", "release", "build", "rev", "fixed", "introduced", "patched", "affected"}) {
    if (equal_nocase(word, name)) return true;
  }
  return word.size() > 7 && equal_nocase(word.substr(word.size() - 7), "version");
}

}  // namespace

bool is_ipv4_in_context(std::string_view text, std::size_t begin, std::size_t end, bool in_purl) {
  std::array<unsigned, 4> octet{};
  if (in_purl || !octets(text.substr(begin, end - begin), octet)) return false;
  if (octet[0] == 0 || octet[0] == 127 || octet[0] == 255) return false;  // nobody's
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  const char next = at(end), after = at(end + 1);
  if (alnum(next) || next == '_' || next == '+' || (next == '-' && alpha(after)) || (next == '.' && alnum(after))) return false;
  if (octet[3] == 0) return false;  // a network or a version: the mask would say as much
  if (next == '-' && is(after, kDigit)) {  // 4.5.3.4-1.el8, unless a range of addresses goes on
    std::size_t dots = 0;
    for (std::size_t i = end + 1; i < end + 16 && (is(at(i), kDigit) || at(i) == '.'); ++i) dots += at(i) == '.';
    if (dots < 3) return false;
  }
  if (begin == 0) return true;
  const char previous = text[begin - 1], earlier = begin > 1 ? text[begin - 2] : '\0';
  if (alnum(previous) || previous == '_' || previous == '~' || previous == '^') return false;
  if (previous == '-') {  // name-1.2.3.4; not 10.0.0.1-10.0.0.9
    std::size_t i = begin - 1;
    bool dotted = false;
    while (i > 0 && begin - i < 17 && (is(text[i - 1], kDigit) || text[i - 1] == '.')) dotted |= text[--i] == '.';
    if (!dotted && alnum(earlier)) return false;
  }
  if (previous == '@' && octet[0] < 10) return false;                                    // name@1.2.3.4
  if (previous == '=' && among("=<>~!", earlier)) return false;                          // name==1.2.3.4
  if (previous == ' ' && among("<>~^", earlier)) return false;                           // < 1.2.3.4
  if (previous == '/' && alpha(earlier) && octet[2] == 0 && octet[3] == 0) return false;  // Chrome/119.0.0.0
  return !after_version_word(text, begin);
}

bool is_ipv6_to_mask(std::string_view text, std::size_t begin, std::size_t end) {
  const std::string_view address = text.substr(begin, end - begin);
  if (address.size() < 4 || address.size() > 39) return false;
  std::array<char, 40> zero{};
  address.copy(zero.data(), address.size());
  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET6, zero.data(), bytes.data()) != 1) return false;
  if (address.find_first_of("0123456789") == std::string_view::npos) return false;  // dead::beef is a name
  std::size_t groups = 0;
  for (std::size_t i = 0; i < address.size(); ++i) groups += address[i] != ':' && (i == 0 || address[i - 1] == ':');
  if (groups < 2) return false;
  // Nothing behind the 48th bit, and said to be a network.
  const bool network = std::all_of(bytes.begin() + 6, bytes.end(), [](std::uint8_t b) { return b == 0; });
  return !(network && end < text.size() && text[end] == '/');
}

namespace {

// Issuers' ranges; 1 is not among them, so instants in milli- or nanoseconds are none.
bool issuer(std::string_view d) {
  const auto number = [&](std::size_t n) {
    unsigned value = 0;
    for (std::size_t i = 0; i < n; ++i) value = value * 10 + static_cast<unsigned>(d[i] - '0');
    return value;
  };
  const std::size_t n = d.size();
  const unsigned two = number(2), three = number(3), four = number(4);
  if (d[0] == '4') return n == 13 || n == 16 || n == 19;
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return n == 16;
  if (two == 34 || two == 37) return n == 15;
  if (four == 6011 || two == 65 || (three >= 644 && three <= 649)) return n >= 16;
  if (four >= 3528 && four <= 3589) return n >= 16;
  if (two == 36 || two == 38 || two == 39 || (three >= 300 && three <= 305)) return n >= 14;
  if (two == 62) return n >= 16;
  return two == 50 || (two >= 56 && two <= 69);
}

bool luhn(std::string_view d) {
  unsigned sum = 0;
  bool twice = false;
  for (std::size_t i = d.size(); i > 0; --i, twice = !twice) {
    const unsigned digit = static_cast<unsigned>(d[i - 1] - '0') * (twice ? 2 : 1);
    sum += digit > 9 ? digit - 9 : digit;
  }
  return sum % 10 == 0;
}

}  // namespace

bool has_card(std::string_view text, std::size_t begin, std::size_t end) {
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  const char previous = begin > 0 ? text[begin - 1] : '\0', earlier = begin > 1 ? text[begin - 2] : '\0';
  const char next = at(end), after = at(end + 1);
  // A part of a dashed word with letters (a UUID) is no card, unless it is one group.
  const bool dashed_word = (previous == '-' && alnum(earlier)) || (next == '-' && alnum(after));
  const auto dash = [&](std::size_t i) { return text[begin + i] == '-'; };
  if (end - begin == 36 && dash(8) && dash(13) && dash(18) && dash(23)) return false;
  struct Group {
    std::size_t begin = 0, end = 0;
  };
  std::array<Group, 6> last{};  // the groups before, newest first
  for (std::size_t i = begin; i < end;) {
    Group group{i, i};
    while (group.end < end && is(text[group.end], kDigit)) ++group.end;
    i = group.end + 1;
    std::rotate(last.begin(), last.end() - 1, last.end());
    last[0] = group;
    if (group.end == end && (alnum(next) || next == '_' || (next == '.' && is(after, kDigit)))) break;
    std::array<char, 20> number{};
    std::size_t n = 0;
    for (std::size_t g = 0; g < last.size(); ++g) {
      const std::size_t size = last[g].end - last[g].begin;
      if (size < 3 || n + size > 19) break;
      n += size;
      text.copy(number.data() + 20 - n, size, last[g].begin);
      if (last[g].begin == begin && (alnum(previous) || previous == '_' || (previous == '.' && is(earlier, kDigit)))) break;
      if (g > 0 && dashed_word) break;
      if (n < 13) continue;
      const std::string_view digits(number.data() + 20 - n, n);
      if (issuer(digits) && luhn(digits)) return true;
    }
  }
  return false;
}

std::size_t iban_length(std::string_view country) {
  struct Length {
    char country[3];
    std::uint8_t length;
  };
  static constexpr Length kLengths[] = {
      {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22}, {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21},
      {"CR", 22}, {"CY", 28}, {"CZ", 24}, {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18}, {"FK", 18}, {"FO", 18},
      {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27}, {"GT", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
      {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20}, {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24},
      {"ME", 22}, {"MK", 19}, {"MN", 20}, {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24}, {"PL", 28}, {"PS", 29},
      {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24}, {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23},
      {"ST", 25}, {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20}, {"YE", 30}};
  for (const Length& row : kLengths) {
    if (country == row.country) return row.length;
  }
  return 0;
}

std::string network(std::string_view address) {
  std::array<unsigned, 4> octet{};
  if (octets(address, octet)) return std::to_string(octet[0]) + "." + std::to_string(octet[1]) + "." + std::to_string(octet[2]) + ".0/24";
  std::array<std::uint8_t, 16> bytes{};
  if (address.find(':') == std::string_view::npos || ::inet_pton(AF_INET6, std::string(address).c_str(), bytes.data()) != 1) return {};
  std::fill(bytes.begin() + 6, bytes.end(), std::uint8_t{0});
  std::array<char, INET6_ADDRSTRLEN> out{};
  return std::string(::inet_ntop(AF_INET6, bytes.data(), out.data(), out.size())) + "/48";
}

}  // namespace stella::telemetry::scrubbing
