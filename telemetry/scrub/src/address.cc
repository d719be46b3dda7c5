// What makes digits an address, a card or an account.
#include "address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "chars.h"
#include "words.h"

namespace stella::telemetry::scrubbing {
namespace {

// Four octets without leading zeros, or false.
bool octets(std::string_view text, std::array<unsigned, 4>& out) {
  const char* p = text.data();
  const char* const end = p + text.size();
  const auto digit = [&] { return p == end ? 10u : static_cast<std::uint8_t>(*p) - unsigned{'0'}; };  // 10 and more: none
  for (std::size_t n = 0; n < 4; ++n) {
    if (n != 0 && (p == end || *p++ != '.')) return false;
    unsigned value = digit();
    if (value > 9) return false;
    ++p;
    if (const unsigned second = digit(); second <= 9) {
      if (value == 0) return false;
      ++p;
      value = value * 10 + second;
      if (const unsigned third = digit(); third <= 9) {
        ++p;
        value = value * 10 + third;
      }
    }
    if (value > 255) return false;
    out[n] = value;
  }
  return p == end;
}

// `version: `, `"version":"`, `release=` … right before `pos`.
bool after_version_word(std::string_view text, std::size_t pos) {
  std::size_t end = pos;
  while (end > 0 && pos - end < 4 && among(" :=\"'(", text[end - 1])) --end;
  if (end == pos) return false;
  std::size_t begin = end;
  while (begin > 0 && end - begin < 24 && alpha(text[begin - 1])) --begin;
  const std::string_view word = text.substr(begin, end - begin);
  static constexpr Words<11> kWords({"version", "versions", "ver", "v", "release", "build", "rev", "fixed", "introduced", "patched", "affected"});
  if (kWords.has(word)) return true;
  return word.size() > 7 && equal_nocase(word.substr(word.size() - 7), "version");
}

}  // namespace

bool is_ipv4_in_context(std::string_view text, std::size_t begin, std::size_t end) {
  std::array<unsigned, 4> octet{};
  if (!octets(text.substr(begin, end - begin), octet)) return false;
  if (octet[0] == 0 || octet[0] == 127 || octet[0] == 255) return false;  // nobody's
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  const char next = at(end), after = at(end + 1);
  if (begin >= 3 && text[begin - 1] == '-' && equal_nocase(text.substr(begin - 3, 2), "ip") && !(begin > 3 && alnum(text[begin - 4]))) return !alnum(next) && next != '_' && next != '+' && octet[3] != 0;
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

// Issuers' ranges, by the first four of n digits; 1 is not among them, so instants in milli- or nanoseconds are none.
bool issuer(unsigned four, std::size_t n) {
  const unsigned two = four / 100, three = four / 10;
  if (four / 1000 == 4) return n == 13 || n == 16 || n == 19;
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return n == 16;
  if (two == 34 || two == 37) return n == 15;
  if (four == 6011 || two == 65 || (three >= 644 && three <= 649)) return n >= 16;
  if (four >= 3528 && four <= 3589) return n >= 16;
  if (two == 36 || two == 38 || two == 39 || (three >= 300 && three <= 305)) return n >= 14;
  if (two == 62) return n >= 16;
  return two == 50 || (two >= 56 && two <= 69);
}

// Sums of the digits of a run as far as it has been read: of Luhn's check of any part of it, which is one subtraction then. One for each half of
// the places: in [p] those of parity p count twice.
struct LuhnSums {
  unsigned sum[2] = {0, 0};
  std::size_t digits = 0;

  // Adds the digits [begin, end) of `text`, eight at a time.
  void add(std::string_view text, std::size_t begin, std::size_t end) {
    constexpr std::uint64_t kEven = 0x00ff00ff00ff00ffull;
    const auto total = [](std::uint64_t bytes) { return static_cast<unsigned>(bytes * kOnes >> 56); };
    unsigned even_twice = 0, odd_twice = 0;
    for (std::size_t i = begin; i < end; i += 8) {
      std::uint64_t d = load8(text, i) - '0' * kOnes;
      if (end - i < 8) d &= ~std::uint64_t{0} >> 8 * (8 - (end - i));
      const std::uint64_t five_and_more = (d + (0x80 - 5) * kOnes) >> 7 & kOnes, twice = 2 * d - 9 * five_and_more;
      even_twice += total((twice & kEven) | (d & ~kEven));
      odd_twice += total((d & kEven) | (twice & ~kEven));
    }
    sum[digits % 2] += even_twice;
    sum[(digits + 1) % 2] += odd_twice;
    digits += end - begin;
  }
};

// The first four digits at `pos`, between which single separators may stand.
unsigned four_digits(std::string_view text, std::size_t pos) {
  unsigned value = 0;
  for (int n = 0; n < 4; ++pos) {
    if (!is(text[pos], kDigit)) continue;
    value = value * 10 + static_cast<unsigned>(text[pos] - '0');
    ++n;
  }
  return value;
}

}  // namespace

// [begin, end) lies in a W3C traceparent, whose span id may be made of digits: 00-<32 hex>-<16 hex>-01.
static bool in_traceparent(std::string_view text, std::size_t begin, std::size_t end) {
  constexpr std::size_t kSize = 55;
  const auto in = [](char c) { return is(c, kDigit) || (c >= 'a' && c <= 'f') || c == '-'; };
  while (begin > 0 && end - begin <= kSize && in(text[begin - 1])) --begin;
  while (end < text.size() && end - begin <= kSize && in(text[end])) ++end;
  if (end - begin != kSize) return false;
  for (std::size_t i = 0; i < kSize; ++i) {
    if ((text[begin + i] == '-') != (i == 2 || i == 35 || i == 52)) return false;
  }
  return true;
}

bool has_card(std::string_view text, std::size_t begin, std::size_t end) {
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  const char previous = begin > 0 ? text[begin - 1] : '\0', earlier = begin > 1 ? text[begin - 2] : '\0';
  const char next = at(end), after = at(end + 1);
  // A part of a dashed word with letters (a UUID) is no card, unless it is one group.
  const bool dashed_word = (previous == '-' && alnum(earlier)) || (next == '-' && alnum(after));
  const auto dash = [&](std::size_t i) { return text[begin + i] == '-'; };
  if (end - begin == 36 && dash(8) && dash(13) && dash(18) && dash(23)) return false;
  const bool open_left = !alnum(previous) && previous != '_' && !(previous == '.' && is(earlier, kDigit));
  const bool open_right = !alnum(next) && next != '_' && !(next == '.' && is(after, kDigit));
  constexpr std::size_t kGroups = 6;  // of a number at most
  struct Start {
    std::size_t at;
    LuhnSums before;
  };
  std::array<Start, 8> starts;  // of the last groups
  std::size_t groups = 0;       // that may be parts of one number
  bool first = true;            // they go back to the beginning of the run
  LuhnSums sums;
  for (std::size_t i = begin; i < end;) {
    std::size_t stop = i;
    while (stop < end && is(text[stop], kDigit)) ++stop;
    const std::size_t group = i;
    i = stop + 1;
    if (stop == end && !open_right) return false;
    if (stop - group < 3 || stop - group > 19) {  // parts no number
      groups = 0;
      first = false;
      continue;
    }
    starts[groups++ % 8] = {group, sums};
    sums.add(text, group, stop);
    for (std::size_t g = 1; g <= std::min(groups, kGroups); ++g) {
      const Start& start = starts[(groups - g) % 8];
      const std::size_t n = sums.digits - start.before.digits, twice = sums.digits % 2;  // the last but one counts twice, and so on
      if (n > 19 || (g > 1 && dashed_word) || (first && g == groups && !open_left)) break;
      if (n < 13 || (sums.sum[twice] - start.before.sum[twice]) % 10 != 0 || !issuer(four_digits(text, start.at), n)) continue;
      return !in_traceparent(text, begin, end);
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
  static constexpr auto kTable = [] {
    std::array<std::uint8_t, 26 * 26> table{};
    for (const Length& row : kLengths) table[static_cast<std::size_t>((row.country[0] - 'A') * 26 + row.country[1] - 'A')] = row.length;
    return table;
  }();
  if (country.size() < 2) return 0;
  const char a = is(country[0], kUpper) ? 'A' : 'a';
  const unsigned first = static_cast<unsigned>(country[0] - a), second = static_cast<unsigned>(country[1] - a);
  return first < 26 && second < 26 ? kTable[first * 26 + second] : 0;
}

std::string_view network(std::string_view address, std::array<char, 64>& out) {
  std::array<unsigned, 4> octet{};
  if (octets(address, octet)) {  // which has no leading zeros: its first three are written as they stand
    const std::size_t kept = address.copy(out.data(), address.rfind('.') + 1);
    return {out.data(), kept + std::string_view("0/24").copy(out.data() + kept, 4)};
  }
  std::array<std::uint8_t, 16> bytes{};
  std::array<char, INET6_ADDRSTRLEN> zero{};
  if (address.find(':') == std::string_view::npos || address.size() >= zero.size()) return {};
  address.copy(zero.data(), address.size());
  if (::inet_pton(AF_INET6, zero.data(), bytes.data()) != 1) return {};
  std::fill(bytes.begin() + 6, bytes.end(), std::uint8_t{0});
  ::inet_ntop(AF_INET6, bytes.data(), out.data(), INET6_ADDRSTRLEN);
  const std::size_t size = std::string_view(out.data()).size();
  std::string_view("/48").copy(out.data() + size, 3);
  return {out.data(), size + 3};
}

}  // namespace stella::telemetry::scrubbing
