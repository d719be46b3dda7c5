// The engine against its specification: RE2 runs every pattern of rules.json over generated lines, with validators written anew here. What
// the oracle flags must be masked, and what the engine masks must be flagged. STELLA_SCRUB_LINES=n for a longer run.
#include <re2/re2.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>

#include "address.h"
#include "find.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/telemetry/scrub.h"
#include "stella/testing/shared_data.h"

namespace stella::telemetry {
namespace {

using namespace scrubbing;

bool word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

struct Match {
  std::string_view text, group;
  std::size_t begin() const { return static_cast<std::size_t>(group.data() - text.data()); }
  std::size_t end() const { return begin() + group.size(); }
  char before() const { return begin() == 0 ? '\0' : text[begin() - 1]; }
  char after() const { return end() < text.size() ? text[end()] : '\0'; }
};

// Naive validators: strings and regular expressions, nothing shared with the engine.
bool luhn_naive(const std::string& digits) {
  int sum = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    int d = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1 && (d *= 2) > 9) d -= 9;
    sum += d;
  }
  return sum % 10 == 0;
}

const RE2& issuers() {
  static const RE2 issuer("4(?:\\d{12}|\\d{15}|\\d{18})|(?:5[1-5]\\d\\d|222[1-9]|22[3-9]\\d|2[3-6]\\d\\d|27[01]\\d|2720)\\d{12}|3[47]\\d{13}|(?:6011|65\\d\\d|64[4-9]\\d)\\d{12,15}|35(?:2[89]|[3-8]\\d)\\d{12,15}|3(?:6|8|9|0[0-5])\\d{11,17}|62\\d{14,17}|(?:50|5[6-9]|6\\d)\\d{11,17}");
  return issuer;
}

bool card_naive(const Match& m) {
  static const RE2 uuid("\\d{8}-\\d{4}-\\d{4}-\\d{4}-\\d{12}");
  if (RE2::FullMatch(m.group, uuid)) return false;
  static const RE2 traceparent("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}");
  const std::size_t from = m.text.find_last_not_of("0123456789abcdef-", m.begin()) + 1, to = std::min(m.text.find_first_not_of("0123456789abcdef-", m.end()), m.text.size());
  if (RE2::FullMatch(m.text.substr(from, to - from), traceparent)) return false;
  std::vector<std::string> groups(1);
  for (const char c : m.group) {
    if (std::isdigit(static_cast<unsigned char>(c))) groups.back().push_back(c);
    else groups.emplace_back();
  }
  const auto at = [&](std::size_t i) { return i < m.text.size() ? m.text[i] : '\0'; };
  const bool dashed = (m.before() == '-' && m.begin() >= 2 && word_char(m.text[m.begin() - 2])) || (m.after() == '-' && word_char(at(m.end() + 1)));
  const bool bad_left = word_char(m.before()) || m.before() == '_' || (m.before() == '.' && m.begin() >= 2 && std::isdigit(static_cast<unsigned char>(m.text[m.begin() - 2])));
  const bool bad_right = word_char(m.after()) || m.after() == '_' || (m.after() == '.' && std::isdigit(static_cast<unsigned char>(at(m.end() + 1))));
  for (std::size_t a = 0; a < groups.size(); ++a) {
    std::string digits;
    for (std::size_t b = a; b < groups.size() && b < a + 6 && groups[b].size() >= 3; ++b) {
      digits += groups[b];
      if (digits.size() < 13 || digits.size() > 19) continue;
      if ((a == 0 && bad_left) || (b + 1 == groups.size() && bad_right) || (b > a && dashed)) continue;
      if (RE2::FullMatch(digits, issuers()) && luhn_naive(digits)) return true;
    }
  }
  return false;
}

bool spaced_card_naive(const Match& m) {
  static const RE2 wide("[ -]{2}"), bad_left("(?:[A-Za-z0-9_]|[A-Za-z0-9][.-]|[0-9]{4}(?:  | ?- | -))$"), bad_right("^(?:[A-Za-z0-9_]|[.-][A-Za-z0-9]|(?:  | - ?|- )[0-9]{4})");
  if (!RE2::PartialMatch(m.group, wide)) return false;
  if (RE2::PartialMatch(m.text.substr(0, m.begin()), bad_left) || RE2::PartialMatch(m.text.substr(m.end()), bad_right)) return false;
  std::string digits(m.group);
  std::erase_if(digits, [](char c) { return c == ' ' || c == '-'; });
  return RE2::FullMatch(digits, issuers()) && luhn_naive(digits);
}

bool iban_naive(Match& m) {
  const std::size_t length = iban_length(m.group.substr(0, 2));
  std::string chars;
  std::size_t used = 0;
  while (used < m.group.size() && chars.size() < length) {
    if (m.group[used] != ' ' && m.group[used] != '-') chars.push_back(m.group[used]);
    ++used;
  }
  if (length == 0 || chars.size() < length) return false;
  m.group = m.group.substr(0, used);
  if (word_char(m.after())) return false;
  static const RE2 hexadecimal("[a-f]{2}.*"), digits("[a-z]{2}[0-9]*"), groups("[a-z0-9]+|(?:[a-z0-9]{4} )+[a-z0-9]{1,4}|(?:[a-z0-9]{4}-)+[a-z0-9]{1,4}");
  if (std::islower(static_cast<unsigned char>(chars[0]))) {
    static const RE2 run("([0-9](?:[ -]?[0-9])*)");
    bool long_run = false;
    re2::StringPiece rest = m.text.substr(m.begin()), digits_run;
    while (!long_run && RE2::FindAndConsume(&rest, run, &digits_run) && digits_run.data() < m.text.data() + m.end()) long_run = digits_run.size() >= 12;
    if (!long_run || !RE2::FullMatch(m.group, groups) || (RE2::FullMatch(chars, hexadecimal) && !RE2::FullMatch(chars, digits))) return false;
  }
  std::string number;
  for (const char c : chars.substr(4) + chars.substr(0, 4)) number += std::isdigit(static_cast<unsigned char>(c)) ? std::string(1, c) : std::to_string(std::toupper(static_cast<unsigned char>(c)) - 'A' + 10);
  int rest = 0;
  for (const char c : number) rest = (rest * 10 + (c - '0')) % 97;
  return rest == 1;
}

bool email_naive(const Match& m) {
  static const RE2 not_mail("(?i)git@.*|.*@[0-9][^.]*\\.[0-9].*|.*@[0-9]+x\\..*|.*\\.(service|socket|timer|target|slice|mount|png|jpg|jpeg|gif|svg|webp|js|css|json|jar|html|xml|txt|zip|tgz|gz)");
  if (RE2::FullMatch(m.group, not_mail)) return false;
  static const RE2 part("[A-Za-z0-9._%+-]");  // of the name: git@ is nobody, and so is it@ in it
  if (m.begin() > 0 && (static_cast<unsigned char>(m.before()) >= 0x80 || RE2::FullMatch(re2::StringPiece(m.text.data() + m.begin() - 1, 1), part))) return false;
  const std::size_t at = m.begin() + m.group.find('@');
  const std::size_t word = at == 0 ? 0 : m.text.find_last_of(" \t\n\r\f\"'<>`", at - 1) + 1;  // npos + 1 = 0
  static const RE2 purl("(?:^|[^A-Za-z0-9])pkg:");
  return !RE2::PartialMatch(m.text.substr(word, at - word), purl);
}

bool high_entropy_naive(std::string_view v) {
  v = v.substr(0, 256);
  static const RE2 hex("[0-9A-Fa-f-]*"), classes("[A-Z]+|[a-z]+|[0-9]+|[^A-Za-z0-9]+"), upper("[A-Z]"), lower("[a-z]"), digit("[0-9]"), other("[^A-Za-z0-9]");
  static const RE2 version("[0-9]{1,4}\\.[0-9]{1,4}\\.[0-9]");
  if (RE2::PartialMatch(v.substr(0, 11), RE2("^" + version.pattern()))) return false;
  if (RE2::FullMatch(v, hex) || !RE2::PartialMatch(v, digit)) return false;
  const bool u = RE2::PartialMatch(v, upper), l = RE2::PartialMatch(v, lower);
  if (!u && !l) return false;
  std::string runs(v);
  const int changes = RE2::GlobalReplace(&runs, classes, "x") - 1;
  if (static_cast<std::size_t>(changes) * 4 < v.size()) return false;
  if ((!u || !l) && (RE2::PartialMatch(v, other) || v.size() < 24)) return false;
  std::map<char, double> counts;
  for (const char c : v) ++counts[c];
  double bits = 0;
  for (const auto& [c, n] : counts) bits -= n * std::log2(n / static_cast<double>(v.size()));
  return bits / static_cast<double>(v.size()) >= 3.5 - 1e-9;  // exactly 3.5 are enough, however they are added up
}

bool basic_naive(std::string_view v) {
  std::string text(v.substr(0, v.find_last_not_of('=') + 1));
  text.resize(text.size() - (text.size() % 4 == 1 ? 1 : 0));
  for (std::size_t size = text.size(); size >= 2; --size) {  // the decodable part of printable ASCII
    const auto decoded = base64_decode(text.substr(0, size));
    if (!decoded) continue;
    const std::size_t bad = std::find_if(decoded->begin(), decoded->end(), [](char c) { return (c < 32 && c != '\n' && c != '\t' && c != '\r') || c > 126; }) - decoded->begin();
    return decoded->substr(0, bad).find(':') != std::string::npos;
  }
  return false;
}

// The value of a rule's first group that took part, if the validator agrees.
bool valid(const RuleRow& rule, std::string_view whole, Match& m) {
  if (rule.validator == "card") return card_naive(m);
  if (rule.validator == "spaced_card") return spaced_card_naive(m);
  if (rule.validator == "iban") return iban_naive(m);
  if (rule.validator == "email") return email_naive(m);
  if (rule.validator == "high_entropy") return high_entropy_naive(m.group);
  if (rule.validator == "pair_value") {
    const std::size_t name = static_cast<std::size_t>(whole.data() - m.text.data());
    const std::string_view ahead = m.text.substr(name - std::min<std::size_t>(name, 120), std::min<std::size_t>(name, 120));
    static const RE2 cpe("(?:^|[\\s\"'<>`])cpe:(?:2\\.3:|/)[^\\s\"'<>`]*$");
    if (m.before() == ':' && RE2::PartialMatch(ahead, cpe)) return false;
  }
  if (rule.validator == "pair_value" && whole.starts_with("--")) {  // an option; the name that a count or a directory may have
    static const RE2 counted("(?i)^--[a-z0-9_-]*(tokens|pass|pwd|jsessionid|phpsessid)");
    re2::StringPiece name;
    const bool any = RE2::PartialMatch({whole.data(), whole.size()}, counted, &name);
    return !innocent_value(any ? whole.substr(static_cast<std::size_t>(name.data() - whole.data())) : "", m.group) && !innocent_argument(m.group);
  }
  if (rule.validator == "pair_value") return !innocent_value(whole.substr(whole.find_first_of("pPsStTcCaAmMeEdDlLjJ")), m.group);
  if (rule.validator == "sql_value") return !innocent_sql(m.group, m.before() == '\'' || m.before() == '"');
  if (rule.validator == "basic_value") return basic_naive(m.group);
  if (rule.validator == "bearer_value") {
    static const RE2 prose("(?i)authentication|authorization|credentials?|challenges?|assertions?|mechanisms?");
    return !RE2::FullMatch(m.group, prose);
  }
  if (rule.validator == "not_empty") return !m.group.empty() && m.group != "git";
  if (rule.validator == "ipv4") {
    std::size_t begin = m.begin(), end = m.end();
    while (begin > 0 && (std::isdigit(static_cast<unsigned char>(m.text[begin - 1])) || m.text[begin - 1] == '.')) --begin;
    while (end < m.text.size() && (std::isdigit(static_cast<unsigned char>(m.text[end])) || m.text[end] == '.')) ++end;
    while (m.text[end - 1] == '.') --end;
    const std::size_t space = m.text.find_last_of(" \t\n\r\f\"'<>`", begin == 0 ? 0 : begin - 1);
    const std::size_t word = space == std::string_view::npos || space >= begin ? 0 : space + 1;
    static const RE2 purl("(?:^|[^A-Za-z0-9])pkg:");
    m.group = m.text.substr(begin, end - begin);
    return is_ipv4_in_context(m.text, begin, end) && !RE2::PartialMatch(m.text.substr(word, begin - word), purl);
  }
  if (rule.validator == "ipv6") {
    if (word_char(m.before()) || m.before() == '_' || word_char(m.after()) || m.after() == '_') return false;
    if (m.after() == '.' && m.end() + 1 < m.text.size() && std::isdigit(static_cast<unsigned char>(m.text[m.end() + 1]))) return false;
    if (m.group.starts_with(":") && !m.group.starts_with("::")) m.group.remove_prefix(1);
    if (m.group.ends_with(":") && !m.group.ends_with("::")) m.group.remove_suffix(1);
    return is_ipv6_to_mask(m.text, m.begin(), m.end());
  }
  return true;
}

struct Oracle {
  std::vector<std::unique_ptr<RE2>> patterns;
  Oracle() {
    for (const RuleRow& rule : kRules) {
      RE2::Options options;
      options.set_longest_match(false);
      patterns.push_back(std::make_unique<RE2>(re2::StringPiece(rule.pattern.data(), rule.pattern.size()), options));
      EXPECT_TRUE(patterns.back()->ok()) << rule.name << ": " << patterns.back()->error();
    }
  }
  Hits flags(std::string_view text) const {
    Hits hits;
    for (std::size_t r = 0; r < std::size(kRules); ++r) {
      re2::StringPiece groups[8];
      const int n = std::min(patterns[r]->NumberOfCapturingGroups() + 1, 8);
      for (std::size_t from = 0; from <= text.size();) {
        if (!patterns[r]->Match({text.data(), text.size()}, from, text.size(), RE2::UNANCHORED, groups, n)) break;
        Match m{text, {}};
        for (int g = 1; g < n; ++g) {
          if (groups[g].data() != nullptr) m.group = {groups[g].data(), groups[g].size()};
        }
        const std::size_t whole = static_cast<std::size_t>(groups[0].data() - text.data());
        const std::size_t end = m.end();
        if (valid(kRules[r], {groups[0].data(), groups[0].size()}, m)) {
          hits.push({m.begin(), m.end(), static_cast<Rule>(r)});
          // Pairs in quoted values are looked at. The last character of a match may be the one before the next.
          const bool looks_back = kRules[r].pattern.starts_with("(?:^|") || kRules[r].pattern.starts_with("(?i)(?:^|");
          from = kRules[r].matcher == Matcher::kPair || kRules[r].matcher == Matcher::kSql ? whole + 1 : std::max(m.end() - (looks_back && m.end() > 0 ? 1 : 0), whole + 1);
        } else {
          from = kRules[r].matcher == Matcher::kCard || kRules[r].matcher == Matcher::kIpv6 ? end : whole + 1;  // maximal runs
          // But a number with dots may begin with the last group: 555-1503 19 4111.1111.1111.1111
          if (kRules[r].matcher == Matcher::kCard && end < text.size() && text[end] == '.') from = std::max(text.find_last_of(" -", end - 1) + 1, whole + 1);
        }
      }
    }
    return hits;
  }
};

using Random = std::mt19937_64;

template <class T>
const T& pick(Random& random, const std::vector<T>& from) {
  return from[random() % from.size()];
}
std::string chars(Random& random, std::string_view set, std::size_t n) {
  std::string out;
  while (out.size() < n) out.push_back(set[random() % set.size()]);
  return out;
}
constexpr std::string_view kAlnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kHexChars = "0123456789abcdef";
constexpr std::string_view kDigits = "0123456789";

std::string with_luhn(std::string digits) {
  for (char last = '0'; last <= '9'; ++last) {
    if (luhn_naive(digits + last)) return digits + last;
  }
  return digits;
}

// A secret or personal datum of some rule.
std::string confidential(Random& random) {
  const auto n = [&](std::size_t least, std::size_t spread) { return least + random() % spread; };
  switch (random() % 28) {
    case 0: return "eyJ" + chars(random, kAlnum, n(8, 30)) + "." + chars(random, kAlnum, n(8, 60)) + "." + chars(random, kAlnum, n(0, 40));
    case 1: return pick<std::string>(random, {"Bearer ", "bearer ", "BEARER  "}) + chars(random, kAlnum, n(8, 40));
    case 2: return "Basic " + base64_encode(chars(random, kAlnum, n(3, 8)) + ":" + chars(random, kAlnum, n(3, 12)));
    case 3: return pick<std::string>(random, {"AKIA", "ASIA"}) + chars(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 16);
    case 4: return "AIza" + chars(random, kAlnum, 35);
    case 5: return pick<std::string>(random, {"ghp_", "gho_", "ghs_", "npm_"}) + chars(random, kAlnum, n(30, 10));
    case 6: return pick<std::string>(random, {"glpat-", "gldt-", "xoxb-", "xoxp-", "xoxc-", "xoxd-", "glft-", "glsoat-", "glagent-"}) + chars(random, kAlnum, n(20, 10));
    case 7: return "pypi-" + chars(random, kAlnum, n(40, 60));
    case 8: return pick<std::string>(random, {"sk_live_", "rk_test_", "whsec_"}) + chars(random, kAlnum, n(16, 20));
    case 9: return "-----BEGIN PRIVATE KEY-----\n" + chars(random, kAlnum, 64) + "\n-----END PRIVATE KEY-----";
    case 10: return pick<std::string>(random, {"https", "postgres", "amqp"}) + "://" + chars(random, kAlnum, n(1, 8)) + ":" + chars(random, kAlnum, n(1, 12)) + "@host" + chars(random, kDigits, 2) + "/x";
    case 11:
    case 12: {
      const std::string name = pick<std::string>(random, {"password", "DB_PASSWORD", "client_secret", "token", "apiKey", "x-api-key", "access_key", "AccountKey", "pwd", "db_pass", "passphrase", "aws_secret_access_key", "password2", "token_value", "JSESSIONID", "PHPSESSID", "Ocp-Apim-Subscription-Key"});
      const std::string separator = pick<std::string>(random, {"=", ": ", ":", " = ", "\":\"", "\": \"", "='", "=>", " := ", "            = ", "\":          \""});
      return name + separator + chars(random, kAlnum, n(3, 20)) + pick<std::string>(random, {"", "\"", "'", ";", "&x=1", ", "});
    }
    case 13: return "Authorization: " + pick<std::string>(random, {"", "Digest ", "ApiKey "}) + chars(random, kAlnum, n(16, 20));
    case 14: return "?x=1&" + pick<std::string>(random, {"sig", "Signature", "X-Amz-Signature", "X-Goog-Signature"}) + "=" + chars(random, kAlnum, n(8, 50));
    case 15: return pick<std::string>(random, {"key", "session", "auth", "sid", "cookie"}) + pick<std::string>(random, {"=", ": ", "\":\""}) + chars(random, kAlnum, n(20, 30));
    case 16:
    case 17: return chars(random, "abcdefghijklmnopqrstuvwxyz.+_", n(1, 12)) + "@" + chars(random, "abcdefghijklmnopqrstuvwxyz0123456789-", n(1, 10)) + pick<std::string>(random, {".com", ".example.org", ".de", ".co.uk"});
    case 18: return std::to_string(1 + random() % 255) + "." + std::to_string(random() % 256) + "." + std::to_string(random() % 256) + "." + std::to_string(random() % 256);
    case 19: return "2001:db8:" + chars(random, kHexChars, n(1, 4)) + pick<std::string>(random, {"::", ":1:2:3::", "::a:"}) + chars(random, kHexChars, n(1, 4));
    case 20: return pick<std::string>(random, {"+49 170 ", "+1-415-555-", "+4420 7946 ", "0049 170 5", "00353-1-234", "0010 3456 "}) + chars(random, kDigits, n(4, 4));
    case 21: return pick<std::string>(random, {"(415) 555-", "(212)555-", "415-555-"}) + chars(random, kDigits, 4);
    case 22: {
      std::string card = with_luhn(pick<std::string>(random, {"4", "51", "55"}));
      card = with_luhn(card.substr(0, 1) + chars(random, card[0] == '5' ? "12345" : kDigits, 1) + chars(random, kDigits, 13));
      const std::string gap = pick<std::string>(random, {"", " ", "-", "  ", " - ", "- ", " -"});
      return card.substr(0, 4) + gap + card.substr(4, 4) + gap + card.substr(8, 4) + gap + card.substr(12);
    }
    case 23: return "eyJ" + chars(random, kAlnum, n(8, 30)) + ".." + chars(random, kAlnum, n(6, 12)) + "." + chars(random, kAlnum, n(8, 60)) + "." + chars(random, kAlnum, n(0, 22));
    case 24: return "redis://" + chars(random, kAlnum, n(0, 4)) + ":" + chars(random, "ab19", n(0, 4)) + pick<std::string>(random, {"/", "?", "#", "/@"}) + chars(random, "abcdef0123456789/@:", n(0, 8)) + pick<std::string>(random, {"@", ""}) + "host:6379";
    case 25: {
      const std::string option = pick<std::string>(random, {"--password", "--db-password", "--token", "--api-key", "--pass", "--max-tokens", "-password", "--pwd", "---secret", "--a_pass2", "--jsessionid"});
      const std::string between = pick<std::string>(random, {" ", "  ", "=", "\", \"", "' ", " '", ",", "\",", " --", " -"});
      return option + between + pick<std::string>(random, {"option", "or", "PASSWORD", "4096", chars(random, kAlnum, n(2, 12)), chars(random, kAlnum, n(2, 12))}) + pick<std::string>(random, {"", "\"", "'", ".", " "});
    }
    case 26: return pick<std::string>(random, {"PASSWORD '", "password \"", "alter user scott identified by ", "CREATE USER x  Identified  BY ", "identified by '", "IDENTIFIED  BY \"", "identified with plugin by '", "IDENTIFIED BY PASSWORD '", "with x by '"}) + chars(random, kAlnum, n(0, 9)) + pick<std::string>(random, {"'", "''", "\"", ""});
    default: return pick<std::string>(random, {"4111.1111.1111.1111", "4111.1111.1111.1112", "DE89-3704-0044-0532-0130-00", "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606", "NL91 ABNA 0417 1643 00", "de89370400440532013000", "gb82 west 1234 5698 7654 32", "fr1420041010050500013m02606", "nl91-abna-0417-1643-00", "no9386011117947", "be68 5390 0754 7034"});
  }
}

// What must stay as it is.
std::string identifier(Random& random) {
  const auto number = [&](unsigned below) { return std::to_string(random() % below); };
  switch (random() % 16) {
    case 0: return chars(random, kHexChars, 8) + "-" + chars(random, kHexChars, 4) + "-7" + chars(random, kHexChars, 3) + "-a" + chars(random, kHexChars, 3) + "-" + chars(random, kHexChars, 12);
    case 1: return "sha256:" + chars(random, kHexChars, 64);
    case 2:
      if (random() % 2 == 0) return pick<std::string>(random, {"be", "ee", "de", "ad", "ae", "ba"}) + chars(random, kDigits, 2) + chars(random, kHexChars, 11 + random() % 10) + "a";  // not the account of a country
      return "a" + chars(random, kHexChars, pick<std::size_t>(random, {15, 31, 39, 63, 127}));  // 16 digits alone may be a card's
    case 3: return "00-" + chars(random, kHexChars, 32) + "-" + chars(random, kHexChars, 16) + "-01";
    case 4: return number(20) + "." + number(100) + "." + number(100) + pick<std::string>(random, {"", "-rc.1", "-beta.2+build.5", "-SNAPSHOT"});
    case 5: return "v" + number(20) + "." + number(9) + "." + number(9) + "." + number(9);
    case 6: return "pkg:npm/%40scope/" + chars(random, "abcdefghij", 6) + "@" + number(9) + "." + number(9) + "." + number(9) + "-rc.beta";
    case 7: return "pkg:maven/org.apache/" + chars(random, "abcdefghij", 6) + "@" + number(9) + "." + number(9) + "." + number(9) + "." + number(9) + "?type=jar";
    case 8: return "2026-11-2" + number(10) + "T0" + number(10) + ":2" + number(10) + ":00." + chars(random, kDigits, 6) + "Z";
    case 9: return "2026-11-2" + number(10) + " 0" + number(10) + ":2" + number(10) + ":0" + number(10) + "," + chars(random, kDigits, 3);
    case 10: return "17" + chars(random, kDigits, pick<std::size_t>(random, {8, 11, 14, 17}));
    case 11: return "CVE-2021-" + chars(random, kDigits, 5) + " GHSA-" + chars(random, "23456789cfghjmpqrvwx", 4) + "-" + chars(random, "23456789cfghjmpqrvwx", 4) + "-" + chars(random, "23456789cfghjmpqrvwx", 4);
    case 12: return "registry.example.org/team/app@sha256:" + chars(random, kHexChars, 64);
    case 13:
      if (random() % 2 == 0) return chars(random, "123456789", 4) + "  " + chars(random, kDigits, 4) + "  " + chars(random, kDigits, 4) + "  " + chars(random, kDigits, 4) + "  " + chars(random, kDigits, 4);  // a row
      return "port " + number(65536) + " took " + number(1000) + "." + number(1000) + " ms";
    case 14: return pick<std::string>(random, {"lodash", "left-pad", "core"}) + "@" + number(9) + "." + number(20) + "." + number(30);
    default: return pick<std::string>(random, {"GET /sboms/:id", "tenants/acme/objects/e3b0c442", "services/authority/src/token.cc:120", "stella::web::serve", "127.0.0.1:8080", "baseline@4f2a91c07d13", "[::1]:443"});
  }
}

std::string noise(Random& random, std::size_t most) {
  static const std::vector<std::string> kPieces = {"request finished", " status=200", "{\"level\":\"info\"", "\",\"", ": ", "=", "key", "token", "@", "://", "pass", "secret", "1.2.3", " 4111 ", "::", "\n", "\t", "'", "\"", "(", ")", "[", "]",
                                                   "+", "-", "_", "/", ".", ",", ";", "&", "eyJ", "pkg:", "ghp_", "sig=", "BEGIN", "\xc3\xa4", "\xe2\x82\xac", "abc", "XYZ", "0", "19", "555-", "beef", "user", "error at ", "version ", "auth", "Basic ", "bearer "};
  std::string out;
  for (std::size_t n = random() % (most + 1); n > 0; --n) out += pick(random, kPieces);
  return out;
}

long lines_to_run() {
  const char* wanted = std::getenv("STELLA_SCRUB_LINES");
  return wanted != nullptr ? std::atol(wanted) : 300'000;
}

std::string show(const Hits& hits_in, std::string_view text) {
  Hits hits = hits_in;
  std::string out;
  for (const Hit& h : hits) out += std::string(kRules[static_cast<std::size_t>(h.rule)].name) + "<" + std::string(text.substr(h.begin, h.end - h.begin)) + "> ";
  return out;
}

bool covered(Hits& by, const Hit& h) {
  return std::any_of(by.begin(), by.end(), [&](const Hit& o) { return o.begin <= h.begin && h.end <= o.end; });
}

// Both ways, rule by rule, on the text as it is (encodings are tested elsewhere).
TEST(Oracle, EngineFindsWhatRe2Finds) {
  const Oracle oracle;
  Random random(20261125);  // repeatable on purpose
  long missed = 0, invented = 0;
  const long lines = lines_to_run();
  std::map<Rule, long> flagged;
  for (long i = 0; i < lines && missed + invented < 12; ++i) {
    std::string line = noise(random, 6);
    for (std::size_t n = 1 + random() % 2; n > 0; --n) {
      line += pick<std::string>(random, {"", " ", " ", " ", "\"", "(", "=", ": ", ","}) + (random() % 3 != 0 ? confidential(random) : identifier(random));
      line += pick<std::string>(random, {"", " ", " ", " ", "\"", ")", ";", ",", "."}) + noise(random, 4);
    }
    if (!is_utf8(line)) continue;
    Hits expected = oracle.flags(line);
    Hits found;
    find(line, found, {.escapes = false, .base64 = false});
    for (const Hit& h : expected) {
      ++flagged[h.rule];
      const bool ok = std::any_of(found.begin(), found.end(), [&](const Hit& o) { return o.rule == h.rule && o.begin <= h.begin && h.end <= o.end; }) || covered(found, h);
      if (!ok) {
        ++missed;
        ADD_FAILURE() << "missed " << kRules[static_cast<std::size_t>(h.rule)].name << " <" << line.substr(h.begin, h.end - h.begin) << "> in: " << line << "\nfound: " << show(found, line);
      }
    }
    for (const Hit& h : found) {
      const bool ok = std::any_of(expected.begin(), expected.end(), [&](const Hit& o) { return o.begin < h.end && h.begin < o.end; });
      if (!ok) {
        ++invented;
        ADD_FAILURE() << "invented " << kRules[static_cast<std::size_t>(h.rule)].name << " <" << line.substr(h.begin, h.end - h.begin) << "> in: " << line << "\noracle: " << show(expected, line);
      }
    }
  }
  EXPECT_EQ(flagged.size() + 1 >= std::size(kRules) - 6, true) << flagged.size() << " rules took part";
  std::printf("%ld lines, seed 20261125: %ld missed, %ld invented; %zu rules took part\n", lines, missed, invented, flagged.size());
}


// Names, separators and random values in any order, one directly behind the other: what is no value still holds names that have one.
std::string dense(Random& random, std::size_t most) {
  static const std::vector<std::string> kNames = {"auth", "key", "session", "sid", "cookie", "salt", "seed", "jwt", "password", "token", "secret", "api_key", "pwd", "Authorization", "pass", "sig"};
  static const std::vector<std::string> kBetween = {"=", ":", ": ", "=>", ":=", "='", "\": \"", "-", ".", "~", "/", " ", "_id=", "]", "\\", "["};
  std::string out;
  for (std::size_t n = 1 + random() % most; n > 0; --n) {
    out += pick(random, kNames) + pick(random, kBetween);
    if (random() % 3 != 0) out += chars(random, random() % 4 == 0 ? "abcdefgh" : kAlnum, 1 + random() % 26);
    if (random() % 3 == 0) out += pick(random, kBetween);
  }
  return out;
}

TEST(Oracle, EngineFindsWhatRe2FindsInDenseTexts) {
  const Oracle oracle;
  Random random(20261130);  // repeatable on purpose
  long failures = 0;
  const long lines = lines_to_run() / 3;
  for (long i = 0; i < lines && failures < 12; ++i) {
    const std::string line = dense(random, 5);
    Hits expected = oracle.flags(line);
    Hits found;
    find(line, found, {.escapes = false, .base64 = false});
    bool same = true;
    for (const Hit& h : expected) same &= covered(found, h);
    for (const Hit& h : found) same &= std::any_of(expected.begin(), expected.end(), [&](const Hit& o) { return o.begin < h.end && h.begin < o.end; });
    const std::string clean = scrub(line);
    if (same && scrub(clean) == clean) continue;
    ++failures;
    ADD_FAILURE() << line << "\nfound: " << show(found, line) << "\noracle: " << show(expected, line) << "\n-> " << clean << "\n-> " << scrub(clean);
  }
}

// Scrubbing what was scrubbed changes nothing, however many values stand in each other's way.
TEST(Oracle, DenseTextsAreCleanAfterOnePass) {
  Random random(20261201);  // repeatable on purpose
  long failures = 0;
  for (long i = 0; i < lines_to_run() / 3 && failures < 5; ++i) {
    const std::string line = dense(random, 40), clean = scrub(line), again = scrub(clean);
    if (again == clean && certainly_clean(clean)) continue;
    ++failures;
    ADD_FAILURE() << line << "\n-> " << clean << "\n-> " << again;
  }
}

// Secrets in every encoding within any surroundings: they are gone, the text stays valid, scrubbing again changes nothing.
TEST(Oracle, NothingPlantedSurvivesAnyEncoding) {
  Random random(4711);
  const long lines = lines_to_run() / 10;
  long failures = 0;
  for (long i = 0; i < lines && failures < 10; ++i) {
    const std::string secret = chars(random, kAlnum, 12 + random() % 20);
    const std::string pair = pick<std::string>(random, {"password=", "DB_PASSWORD: ", "{\"client_secret\":\"", "Authorization: Bearer ", "postgres://u:", "token='", "x-api-key: \""}) + secret;
    const std::string planted = pair.starts_with("postgres") ? pair + "@db/x" : pair + pick<std::string>(random, {"", "\"}", ";"});
    std::string encoded;
    switch (random() % 5) {
      case 0: encoded = planted; break;
      case 1: json::append_quoted(encoded, planted + "\n\"x\""); break;
      case 2:
        for (const char c : planted) {
          char buffer[8];
          std::snprintf(buffer, sizeof buffer, random() % 2 == 0 ? "\\u%04x" : "\\u%04X", c);
          encoded += random() % 4 == 0 ? std::string(buffer) : c == '"' ? "\\\"" : std::string(1, c);
        }
        break;
      case 3: encoded = percent_encode(planted); break;
      default: encoded = random() % 2 == 0 ? base64_encode(planted) : base64url_encode(planted); break;
    }
    const std::string line = noise(random, 5) + pick<std::string>(random, {" ", "\n", "\"", "'"}) + encoded + " " + noise(random, 5);
    const std::string clean = scrub(line);
    const bool gone = clean.find(secret) == std::string::npos && (encoded == planted || clean.find(encoded) == std::string::npos);
    if (!gone || (is_utf8(line) && !is_utf8(clean)) || scrub(clean) != clean || !certainly_clean(clean)) {
      ++failures;
      ADD_FAILURE() << line << "\n-> " << clean << "\n-> " << scrub(clean);
    }
  }
}

TEST(Oracle, IdentifiersAreLeftAlone) {
  Random random(7);
  const std::vector<std::string> frames[2] = {{"", "id=", "component ", "\"value\":\"", "(", "ts="}, {"", " done", "\"", ")", ", next"}};
  long changed = 0;
  const long lines = lines_to_run();
  for (long i = 0; i < lines; ++i) {
    const std::string line = pick(random, frames[0]) + identifier(random) + pick(random, frames[1]);
    if (certainly_clean(line)) continue;
    if (++changed < 10) ADD_FAILURE() << line << "\n-> " << scrub(line);
  }
  EXPECT_EQ(changed, 0);
}

// Scalar, AVX2 and AVX-512 find the same; what this CPU lacks is skipped.
TEST(Engines, HaveOneAnswer) {
  Random random(99);
  const long lines = lines_to_run() / 10;
  for (long i = 0; i < lines; ++i) {
    std::string line = noise(random, 12) + confidential(random) + noise(random, 30);
    if (random() % 8 == 0) line = chars(random, "01.: -+(@/ke=\\%A\xff", random() % 300);
    Hits scalar;
    find(line, scalar, {}, Engine::kScalar);
    for (const Engine engine : {Engine::kAvx2, Engine::kAvx512}) {
      if (!available(engine)) continue;
      Hits found;
      find(line, found, {}, engine);
      ASSERT_EQ(show(found, line), show(scalar, line)) << line;
    }
  }
}

// The glance at short texts never says quiet where something is to be found, says the same with every engine, and reads no byte beside the text:
// each text stands at the end of a buffer of its own size, where AddressSanitizer watches.
TEST(Engines, QuietTextsHoldNothing) {
  Random random(100);
  const long lines = lines_to_run() / 10;
  long quiet_ones = 0;
  for (long i = 0; i < lines; ++i) {
    std::string line = random() % 3 == 0 ? chars(random, "01: -(@/ke=\\%A.com\xff", random() % 65) : noise(random, 3) + (random() % 2 == 0 ? identifier(random) : confidential(random)) + noise(random, 2);
    if (line.size() > kShort) line.resize(kShort);
    const std::vector<char> exact(line.begin(), line.end());
    const std::string_view text(exact.data(), exact.size());
    const bool scalar = quiet(text, Engine::kScalar);
    for (const Engine engine : {Engine::kAvx2, Engine::kAvx512}) {
      if (!available(engine)) continue;
      ASSERT_EQ(quiet(text, engine), scalar) << line;
    }
    if (!scalar) continue;
    ++quiet_ones;
    Hits hits;
    const Found found = find(text, hits);
    ASSERT_TRUE(hits.empty() && !found.high && line.find_first_of("%\\") == std::string::npos) << line;
  }
  EXPECT_GT(quiet_ones, lines / 20);
}

// What comes in as real data (names, versions, purls, licences, advisories) and is no secret: how much of it is masked?
TEST(FalsePositives, RateOnRealDataIsMeasured) {
  const std::string root = STELLA_SHARED_OR_SKIP("data");
  long strings = 0, changed = 0, bytes = 0;
  std::map<std::string, long> by_rule;
  std::vector<std::string> samples;
  const auto take = [&](const std::string& text) {
    ++strings;
    bytes += static_cast<long>(text.size());
    Hits hits;
    find(text, hits);
    settle(text, hits);
    if (hits.empty()) return;
    ++changed;
    for (const Hit& h : hits) ++by_rule[std::string(kRules[static_cast<std::size_t>(h.rule)].name)];
    if (samples.size() < 4000) samples.push_back(scrub(text).substr(0, 200));
  };
  for (const std::string& path : testing::files_below(root, ".json")) {
    const auto file = read_file(path, 64u << 20);
    if (!file) continue;
    // Every JSON string as it stands, without a parser: also keys, escapes and all.
    std::string_view text = *file;
    for (std::size_t at = text.find('"'); at != std::string_view::npos;) {
      std::size_t end = at + 1;
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      if (end >= text.size()) break;
      take(std::string(text.substr(at + 1, end - at - 1)));
      at = text.find('"', end + 1);
    }
  }
  const auto lines_of = [&](const std::string& path) {
    const auto file = read_file(path, 256u << 20);
    if (!file) return;
    std::string_view text = *file;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      if (end != 0) take(std::string(text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  };
  for (const char* kind : {".txt", ".yaml", ".tsv", ".md", ".jsonl"}) {
    for (const std::string& path : testing::files_below(root, kind)) lines_of(path);
  }
  std::printf("%ld strings, %ld bytes of real data: %ld masked (%.4f %%)\n", strings, bytes, changed, 100.0 * static_cast<double>(changed) / static_cast<double>(strings));
  for (const auto& [rule, n] : by_rule) std::printf("  %-14s %ld\n", rule.c_str(), n);
  if (const char* out = std::getenv("STELLA_SCRUB_SAMPLES")) {
    std::FILE* file = std::fopen(out, "w");
    for (const std::string& sample : samples) std::fprintf(file, "%s\n", sample.c_str());
    std::fclose(file);
  }
  EXPECT_GT(strings, 1000);
  EXPECT_LT(static_cast<double>(changed) / static_cast<double>(strings), 0.02);
}

// Lines of any files: STELLA_SCRUB_CORPUS=file:file. Prints how many are masked, by which rules, and what the masks took.
TEST(FalsePositives, RateOnAFileIsMeasured) {
  const char* files = std::getenv("STELLA_SCRUB_CORPUS");
  if (files == nullptr) GTEST_SKIP() << "STELLA_SCRUB_CORPUS names no file";
  const bool show_all = std::getenv("STELLA_SCRUB_SHOW") != nullptr;
  for (std::string_view rest = files; !rest.empty();) {
    const std::string path(rest.substr(0, rest.find(':')));
    rest.remove_prefix(std::min(path.size() + 1, rest.size()));
    const auto file = read_file(path, 1u << 30);
    ASSERT_TRUE(file) << path;
    long lines = 0, masked = 0;
    std::map<std::string, long> by_rule;
    for (std::string_view text = *file; !text.empty();) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      ++lines;
      Hits hits;
      find(line, hits);
      settle(line, hits);
      masked += hits.empty() ? 0 : 1;
      for (const Hit& h : hits) {
        const std::string name(kRules[static_cast<std::size_t>(h.rule)].name);
        ++by_rule[name];
        if (show_all) std::printf("  %s <%s>\n", name.c_str(), std::string(line.substr(h.begin, h.end - h.begin)).c_str());
      }
    }
    std::printf("%s: %ld lines, %zu bytes: %ld masked (%.4f %%)\n", path.c_str(), lines, file->size(), masked, lines == 0 ? 0 : 100.0 * static_cast<double>(masked) / static_cast<double>(lines));
    for (const auto& [rule, n] : by_rule) std::printf("  %-14s %ld\n", rule.c_str(), n);
  }
}

}  // namespace
}  // namespace stella::telemetry
