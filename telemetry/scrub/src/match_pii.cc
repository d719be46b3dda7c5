// Rules for personal data: e-mail, addresses, phone numbers, payment cards, IBAN.
#include <algorithm>
#include <array>
#include <cstring>

#include "address.h"
#include "find.h"
#include "words.h"

namespace stella::telemetry::scrubbing {
namespace {

// What looks like a top-level domain and is the end of a unit's or a file's name.
bool no_domain(std::string_view last) {
  static constexpr Words<22> kNames({"service", "socket", "timer", "target", "slice", "mount", "png", "jpg", "jpeg", "gif", "svg", "webp", "js", "css", "json", "jar", "html", "xml", "txt", "zip", "tgz", "gz"});
  return kNames.has(last);
}

// A version behind an at sign: two labels that begin with digits (1.2.3-rc.beta), or the scale of a picture (icon@2x.png).
bool version_like(std::string_view domain) {
  if (!is(domain[0], kDigit)) return false;
  const std::size_t dot = domain.find('.');
  if (dot + 1 < domain.size() && is(domain[dot + 1], kDigit)) return true;
  return dot >= 2 && domain[dot - 1] == 'x' && domain.substr(0, dot - 1).find_first_not_of("0123456789") == std::string_view::npos;
}

// The codes of countries, but for those of one digit.
bool calls_country(std::string_view code) {
  if (code.size() != 2 && code.size() != 3) return false;
  static constexpr std::string_view kTwo[10] = {"", "", "07", "0123469", "013456789", "12345678", "0123456", "", "1246", "0123458"};
  static constexpr std::string_view kThree[10] = {"", "", "12345689", "578", "2", "09", "79", "", "58", "679"};
  const std::string_view second = (code.size() == 2 ? kTwo : kThree)[code[0] - '0'];
  return second.find(code[1]) != std::string_view::npos;
}

}  // namespace

// Inside a package URL, whose version stands behind an at sign? Positions are asked for in order, so that nothing is looked at twice.
bool Finder::in_purl(std::size_t pos, Purl& memo) {
  if (pos > memo.asked && is(text_[pos - 1], kSpace)) {  // a word begins here
    memo = {pos, false};
    return false;
  }
  std::size_t from = pos;
  while (from > memo.asked && !is(text_[from - 1], kSpace) && !among("\"'<>`", text_[from - 1])) --from;
  if (from > memo.asked) memo.inside = false;  // another word
  if (!memo.inside) {
    from = std::min(from, from > memo.asked ? from : from - std::min<std::size_t>(from, 3));
    while (from + 4 <= pos && !memo.inside) {  // mostly a few characters: not std::string_view::find
      const std::uint64_t marks = equal_to(load8(text_, from), 'p');
      from += marks == 0 ? 8 : first_marked(marks);
      if (marks == 0 || from + 4 > pos) continue;
      memo.inside = text_.substr(from, 4) == "pkg:" && !alnum(before(from));
      ++from;
    }
  }
  memo.asked = pos;
  return memo.inside;
}

void Finder::email_around(std::size_t at_sign) {
  // The longest domain: labels and dots, then letters behind a dot.
  const std::size_t first = run(at_sign + 1, kLabel);
  if (at(first) != '.') return;
  std::size_t end = 0, last = 0, label = first + 1;
  while (true) {
    std::size_t stop = run(label, kUpper | kLower);
    if (stop - label >= 2) {
      end = stop;
      last = label;
    }
    stop = run(stop, kLabel);
    if (stop == label || at(stop) != '.') break;
    label = stop + 1;
  }
  if (end == 0) return;
  const std::string_view domain = text_.substr(at_sign + 1, end - at_sign - 1);
  if (version_like(domain) || no_domain(text_.substr(last, end - last))) return;
  std::size_t begin = at_sign;
  while (begin > 0 && is(text_[begin - 1], kEmailLocal)) --begin;
  const std::string_view local = text_.substr(begin, at_sign - begin);
  if (local == "git" || in_purl(at_sign, seen_.email_purl)) return;
  hit(Rule::kEmail, begin, end);
}

void Finder::ipv4(std::size_t pos) {
  if (pos < seen_.dotted) return;
  const auto dotted = [](char c) { return is(c, kDigit) || c == '.'; };
  const auto marks = [](std::uint64_t x) { return in_range(x, '.', '9') & ~equal_to(x, '/'); };
  const std::size_t begin = run_begin(text_, pos, 0, marks, dotted);
  std::size_t end = run_end(text_, pos, marks, dotted);
  seen_.dotted = end;
  while (end > begin && text_[end - 1] == '.') --end;  // the end of a sentence
  if (end - begin >= 19) return dotted_card(begin, end);
  if (end >= 2 && text_[end - 1] == '0' && text_[end - 2] == '.') return;  // a network, as in our masks
  if (end - begin <= 15 && is_ipv4_in_context(text_, begin, end) && !in_purl(begin, seen_.ipv4_purl)) hit(Rule::kIpv4, begin, end);
}

// 4111.1111.1111.1111
void Finder::dotted_card(std::size_t begin, std::size_t end) {
  while (begin < end && text_[begin] == '.') ++begin;
  if (end - begin != 19 || text_[begin + 4] != '.' || text_[begin + 9] != '.' || text_[begin + 14] != '.') return;
  const char previous = before(begin), next = at(end);
  if (alnum(previous) || previous == '_' || alnum(next) || next == '_') return;
  if ((previous == '-' && begin >= 2 && alnum(text_[begin - 2])) || (next == '-' && alnum(at(end + 1)))) return;
  std::string digits;
  for (std::size_t i = begin; i < end; ++i) {
    if (is(text_[i], kDigit)) digits += text_[i];
  }
  if (digits.size() == 16 && has_card(digits, 0, digits.size())) hit(Rule::kCard, begin, end);
}

void Finder::ipv6_around(std::size_t pos) {
  // Of a block first every "::" asks and then every chain of colons: the place goes back once a block.
  if (pos >= seen_.colons_begin && pos < seen_.colons) return;
  const auto in = [](char c) { return is(c, kHex) || c == ':'; };
  std::size_t begin = pos, end = pos;
  while (begin > 0 && in(text_[begin - 1])) --begin;
  while (end < text_.size() && in(text_[end])) ++end;
  seen_.colons_begin = begin;
  seen_.colons = end;
  if (end - begin < 4 || end - begin > 41) return;
  const char previous = before(begin), next = at(end);
  if (alnum(previous) || previous == '_' || alnum(next) || next == '_' || (next == '.' && is(at(end + 1), kDigit))) return;
  if (text_.substr(begin, end - begin).starts_with(':') && !text_.substr(begin, end - begin).starts_with("::")) ++begin;
  if (end > begin + 2 && text_[end - 1] == ':' && text_[end - 2] != ':') --end;
  if (is_ipv6_to_mask(text_, begin, end)) hit(Rule::kIpv6, begin, end);
}

void Finder::phone(std::size_t pos) {
  const std::size_t sign = pos - 1;
  const char previous = before(sign);
  const auto word = [](char c) { return alnum(c) || c == '_'; };
  if (word(previous)) return;
  if (text_[sign] == '+') {
    if (previous == '+' || previous == '.' || text_[pos] == '0') return;
    std::size_t end = 0;
    std::size_t i = pos + 1;
    for (int digits = 1; digits < 15; ++digits) {
      std::size_t next = i;
      while (next < i + 2 && among(" ().-", at(next))) ++next;
      if (!is(at(next), kDigit)) break;
      i = next + 1;
      if (digits + 1 >= 8 && !word(at(i))) end = i;
    }
    if (end != 0) hit(Rule::kPhone, sign, end);
    return;
  }
  // (415) 555-2671
  const auto digits = [&](std::size_t from, int n) {
    for (int i = 0; i < n; ++i) {
      if (!is(at(from + static_cast<std::size_t>(i)), kDigit)) return false;
    }
    return true;
  };
  if (text_[pos] < '2' || !digits(pos, 3) || at(pos + 3) != ')') return;
  const std::size_t second = pos + 4 + (at(pos + 4) == ' ' ? 1 : 0);
  if (!digits(second, 3) || text_[second] < '2' || (at(second + 3) != '-' && at(second + 3) != ' ') || !digits(second + 4, 4) || word(at(second + 8))) return;
  hit(Rule::kPhone, sign, second + 8);
}

// 0049 170 1234567: the last groups of the run [begin, end) of digits and single separators, from one that is 00 and a country on. The separator
// behind it is what tells it from a number of another kind.
void Finder::phone_after_00(std::size_t begin, std::size_t end) {
  constexpr std::size_t kMost = 5 + 2 * 12;  // the longest, with a separator before each of its digits
  const auto begins = [&](std::size_t i) {
    if (text_[i] != '0' || text_[i + 1] != '0') return false;
    if (i > begin ? text_[i - 1] != ' ' : alnum(before(i)) || among("_.-", before(i))) return false;
    std::size_t country = i + 2;
    while (country < end && is(text_[country], kDigit)) ++country;
    if (!calls_country(text_.substr(i + 2, country - i - 2)) || text_[country + 1] == '0') return false;
    std::size_t digits = 0;
    for (std::size_t k = country; k < end; ++k) digits += is(text_[k], kDigit);
    return digits >= 7 && digits <= 12;
  };
  for (std::size_t i = end - std::min(end - begin, kMost); i + 12 <= end;) {
    if (begins(i)) return hit(Rule::kPhone, i, end);
    const void* const blank = std::memchr(text_.data() + i, ' ', end - i);
    if (blank == nullptr) return;
    i = static_cast<std::size_t>(static_cast<const char*>(blank) - text_.data()) + 1;
  }
}

// A run of digits and single separators: cards in it, an IBAN around it, and phone numbers of the form 415-555-2671.
void Finder::digits(std::size_t pos) {
  if (pos < seen_.digits) return;
  const auto sep = [](char c) { return c == ' ' || c == '-'; };
  const std::size_t seen = seen_.digits;
  std::size_t begin = pos;
  if (begin > seen && !is(at(begin), kDigit) && is(text_[begin - 1], kDigit)) --begin;  // a separator
  while (true) {
    while (begin > seen && is(text_[begin - 1], kDigit)) --begin;
    if (begin <= seen || !is(at(begin), kDigit) || !sep(text_[begin - 1]) || begin < 2 || !is(text_[begin - 2], kDigit)) break;
    --begin;
  }
  std::size_t end = begin, count = 0;
  bool zeros = false;  // a group begins with two
  while (true) {
    const std::size_t group = end;
    while (end < text_.size() && is(text_[end], kDigit)) ++end;
    count += end - group;
    zeros |= end - group > 2 && text_[group] == '0' && text_[group + 1] == '0';
    if (end == 0 || !sep(at(end)) || !is(text_[end - 1], kDigit) || !is(at(end + 1), kDigit)) break;
    ++end;
  }
  seen_.digits = std::max(end, pos + 1);
  if (count >= 13 && has_card(text_, begin, end)) hit(Rule::kCard, begin, end);
  if (begin >= 2 && end - begin >= 12 && is(text_[begin - (sep(text_[begin - 1]) ? 2 : 1)], kLower)) iban_around(begin);
  if (zeros && count >= 11 && !alnum(at(end)) && at(end) != '_') phone_after_00(begin, end);
  // 3-3-4
  for (std::size_t i = begin; i + 12 <= end; ++i) {
    if (text_[i + 3] != '-') {  // where is the next dash? Not before i + 4
      const void* dash = std::memchr(text_.data() + i + 4, '-', end - i - 4);
      if (dash == nullptr) break;
      i = static_cast<std::size_t>(static_cast<const char*>(dash) - text_.data()) - 3;
      if (i + 12 > end) break;
    }
    if (text_[i + 3] != '-' || text_[i + 7] != '-' || text_[i] < '2' || text_[i] > '9' || text_[i + 4] < '2') continue;
    const char previous = before(i), next = at(i + 12);
    if (alnum(previous) || among("_.-", previous) || alnum(next) || among("_-", next)) continue;
    bool all = true;
    for (const std::size_t k : {0, 1, 2, 4, 5, 6, 8, 9, 10, 11}) all = all && is(text_[i + k], kDigit);
    if (all) hit(Rule::kPhone, i, i + 12);
  }
}

// In lower case, whose first letters too many words of clean text share with it: one that holds the run of digits that begins at `digits`.
void Finder::iban_around(std::size_t digits) {
  constexpr std::size_t kMost = 28;  // what may stand before it, with its separators
  for (std::size_t pos = digits; pos > 0 && digits - pos < kMost && (is(text_[pos - 1], kLower | kDigit) || among(" -", text_[pos - 1])); --pos) {
    if (is(text_[pos - 1], kLower)) iban(pos - 1);
  }
}

// Upper case with single separators anywhere. Lower case is what identifiers are written in: in one piece or in groups of four, and in digits only
// where the country may begin a hexadecimal number.
void Finder::iban(std::size_t pos) {
  if (alnum(before(pos))) return;
  const std::size_t length = iban_length(text_.substr(pos, 2));
  if (length == 0 || !is(at(pos + 2), kDigit) || !is(at(pos + 3), kDigit)) return;
  if (is(text_[pos], kLower)) return iban_at<true>(pos, length);
  iban_at<false>(pos, length);
}

template <bool small>
void Finder::iban_at(std::size_t pos, std::size_t length) {
  constexpr unsigned part = kDigit | (small ? kLower : kUpper);
  std::size_t i = pos, n = 0;
  std::array<char, 34> chars{};
  char between = '\0';  // the groups of a small one
  while (n < length) {
    if (const char c = at(i); !is(c, part)) {
      if ((c != ' ' && c != '-') || n == 0 || !is(at(i + 1), part)) return;
      if (small && (n % 4 != 0 || (n > 4 && c != between))) return;
      if (small) between = c;
      ++i;
    } else if (small && between != '\0' && n % 4 == 0) {
      return;
    }
    chars[n++] = text_[i++];
  }
  if (alnum(at(i))) return;
  if (small && is(text_[pos], kHex) && is(text_[pos + 1], kHex)) {
    if (!std::all_of(chars.begin() + 4, chars.begin() + static_cast<std::ptrdiff_t>(length), [](char c) { return is(c, kDigit); })) return;
  }
  unsigned remainder = 0;
  for (std::size_t k = 0; k < length; ++k) {
    const char c = chars[(k + 4) % length];
    remainder = is(c, kDigit) ? (remainder * 10 + static_cast<unsigned>(c - '0')) % 97 : (remainder * 100 + static_cast<unsigned>(lower(c) - 'a' + 10)) % 97;
  }
  if (remainder == 1) hit(Rule::kIban, pos, i);
}

// The size of what stands at `pos` between two groups of a card: a blank or two, or a dash with a blank on either side or none; 0: nothing of the kind.
std::size_t Finder::separator(std::size_t pos) const {
  const std::size_t blank = at(pos) == ' ' ? 1 : 0;
  if (at(pos + blank) == '-') return blank + 1 + (at(pos + blank + 1) == ' ' ? 1 : 0);
  return blank + (blank != 0 && at(pos + 1) == ' ' ? 1 : 0);
}

// 4111  1111  1111  1111: `pos` is the last digit before a wide separator.
void Finder::spaced_card(std::size_t pos) {
  std::size_t end = pos + 1 + separator(pos + 1);  // of a separator
  for (int groups = 0; groups < 3; ++groups) {
    std::size_t begin = end;
    while (begin > 0 && end - begin < 3 && among(" -", text_[begin - 1])) --begin;
    if (begin == end || begin + separator(begin) != end) return;
    std::size_t first = begin;
    while (first > 0 && begin - first < 7 && is(text_[first - 1], kDigit)) --first;
    if (begin - first != 4 && begin - first != 6) return;
    if (begin - first == 4 && spaced_card_at(first, pos)) return;
    end = first;
  }
}

// Four groups of four, or groups of four, six and five or four, that begin at `begin` and go on behind `pos`. A row of numbers, which has more of
// them, is left alone.
bool Finder::spaced_card_at(std::size_t begin, std::size_t pos) {
  const auto word = [](char c) { return alnum(c) || c == '_'; };
  const auto group = [&](std::size_t from) {
    std::size_t to = from;
    while (to < from + 7 && is(at(to), kDigit)) ++to;
    return to - from;
  };
  const char previous = before(begin);
  if (word(previous) || (among(".-", previous) && begin >= 2 && alnum(text_[begin - 2]))) return false;
  for (const std::size_t wide : {std::size_t{2}, std::size_t{3}}) {  // of a row
    if (begin >= wide + 4 && separator(begin - wide) == wide && group(begin - wide - 4) >= 4) return false;
  }
  std::string digits;
  std::array<std::size_t, 4> sizes{};
  std::size_t end = begin;
  for (std::size_t from = begin, n = 0; n < sizes.size() && group(from) != 0; ++n) {
    sizes[n] = group(from);
    digits.append(text_, from, sizes[n]);
    end = from + sizes[n];
    if (n == 2 && sizes[1] == 6) break;
    from = end + separator(end);
    if (from == end) break;
  }
  const bool fours = sizes == std::array<std::size_t, 4>{4, 4, 4, 4};
  const bool long_middle = sizes[0] == 4 && sizes[1] == 6 && (sizes[2] == 5 || sizes[2] == 4);
  if ((!fours && !long_middle) || end <= pos + 1) return false;
  const char next = at(end);
  if (word(next) || (among(".-", next) && alnum(at(end + 1)))) return false;
  if (separator(end) >= 2 && group(end + separator(end)) >= 4) return false;
  if (!has_card(digits, 0, digits.size())) return false;
  hit(Rule::kCardSpaced, begin, end);
  return true;
}

}  // namespace stella::telemetry::scrubbing
