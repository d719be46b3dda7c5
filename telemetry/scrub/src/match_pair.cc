// Rules for secrets that only their name gives away: key=value, "key": "value", Authorization headers, random values.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "find.h"
#include "words.h"

namespace stella::telemetry::scrubbing {
namespace {

struct Name {
  Word word;
  std::uint8_t at;  // where its trigger stands
};
constexpr std::array<Name, 11> kNames{
    {{"password", 1}, {"passwort", 1}, {"passwd", 1}, {"passphrase", 1}, {"secret", 1}, {"token", 1}, {"credential", 1}, {"pwd", 0}, {"pass", 0}, {"phpsessid", 0}, {"jsessionid", 0}}};
// Those whose letter at the trigger is this one.
std::span<const Name> names_at(char letter) {
  const std::span<const Name> all(kNames);
  switch (letter) {
    case 'a': return all.subspan(0, 4);
    case 'e': return all.subspan(4, 1);
    case 'o': return all.subspan(5, 1);
    case 'r': return all.subspan(6, 1);
    case 'p': return all.subspan(7, 3);
    case 'j': return all.subspan(10, 1);
    default: return {};
  }
}
constexpr std::array<Word, 12> kKeyPrefixes{"api", "access", "account", "private", "signing", "encryption", "master", "storage", "auth", "deploy", "license", "subscription"};
constexpr Words<16> kSuffixes({"hash", "value", "text", "plain", "raw", "new", "old", "confirmation", "confirm", "base64", "b64", "encrypted", "enc", "string", "str", "key"});
constexpr std::array<Name, 9> kRandomNames{{{"key", 0}, {"auth", 0}, {"session", 0}, {"sid", 0}, {"cookie", 1}, {"salt", 0}, {"seed", 0}, {"jwt", 0}, {"sas", 0}}};
constexpr Words<8> kRandomSuffixes({"id", "value", "data", "string", "str", "raw", "base64", "b64"});
constexpr Words<34> kInnocent({
    "true",     "false",    "null",    "none",  "nil",     "undefined", "missing", "empty",    "unset",   "required",  "optional", "expired",
    "invalid",  "valid",    "wrong",   "incorrect", "changed", "unchanged", "bearer", "basic",  "opaque",  "redacted",  "hidden",   "masked",
    "denied",   "rejected", "revoked", "unknown", "not",    "must",      "the",     "is",       "was",     "for"});

constexpr std::size_t kBlanks = 64;  // around a separator: columns are aligned
constexpr Words<42> kArgumentProse({"and",  "or",   "option", "options", "flag",  "flags", "argument", "arguments", "parameter", "parameters", "switch", "value", "values", "with",
                                                          "without", "from", "instead", "when",    "if",    "are",   "can",      "may",       "should",    "will",       "has",    "have",  "that",   "this",
                                                          "via",  "only", "into",   "using",   "given", "set",   "requires", "needs",     "takes",     "but",        "then",   "both",  "either", "where"});
constexpr std::array<std::string_view, 9> kPlaceholders{"PASSWORD", "PASSWD", "TOKEN", "SECRET", "STRING", "VALUE", "TEXT", "FILE", "PATH"};

bool blank(char c) { return c == ' ' || c == '\t'; }

// Where the value of a name that ends at `pos` may begin; `after` decides about "=>" and "=" in turn. `pair`: also "name>value" and, which `after` is
// told, "--name value" and the arguments "--name", "value".
template <std::size_t N, class After>
bool after_separator(std::string_view text, std::size_t pos, const Words<N>& suffixes, bool pair, After&& after) {
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  const auto blanks = [&](std::size_t i) {
    const std::size_t most = i + kBlanks;
    while (i < most && blank(at(i))) ++i;
    return i;
  };
  if (const char c = at(pos); c == '=' || c == ':') {  // nearly always: what follows in full
    if (at(pos + 1) == (c == '=' ? '>' : '=') && after(blanks(pos + 2), false)) return true;
    return after(blanks(pos + 1), false);
  }
  const auto separated = [&](std::size_t i) {
    const bool quoted = at(i) == '"' || at(i) == '\'';
    const std::size_t end = i + (quoted ? 1 : 0);
    i = blanks(end);
    const bool two = (at(i) == '=' && at(i + 1) == '>') || (at(i) == ':' && at(i + 1) == '=');
    if (two && after(blanks(i + 2), false)) return true;
    if (at(i) == '=' || at(i) == ':' || (pair && at(i) == '>')) return after(blanks(i + 1), false);
    if (quoted && pair && at(i) == ',') return after(blanks(i + 1), true);
    return pair && i != end && after(i, true);
  };
  if (lower(at(pos)) == 's' && separated(pos + 1)) return true;
  std::size_t i = pos + (at(pos) == '_' || at(pos) == '-' ? 1 : 0);
  if (is(at(i), kDigit)) {
    if (is(at(i + 1), kDigit) && separated(i + 2)) return true;
    if (separated(i + 1)) return true;
  } else if (alpha(at(i))) {
    if (const std::size_t suffix = suffixes.at(text, i); suffix != 0 && separated(i + suffix)) return true;
  }
  return separated(pos);
}

}  // namespace

bool innocent_value(std::string_view name, std::string_view value) {
  if (value.empty()) return true;
  if (value.starts_with("${") || value.starts_with("{{") || value.starts_with("$(") || value.starts_with("%(")) return true;  // a placeholder
  const auto all = [value](auto&& is_one) {
    for (const char c : value) {
      if (!is_one(c)) return false;
    }
    return true;
  };
  if (all([](char c) { return among("*.xX-", c); })) return true;  // masked by somebody
  if (kInnocent.has(value)) return true;
  if (value.size() <= 5 && all([](char c) { return is(c, kDigit); }) && (begins_nocase(name, "tokens") || (begins_nocase(name, "pass") && !alnum(name.size() > 4 ? name[4] : ' ')))) return true;
  if (value.size() < 16 && (begins_nocase(name, "jsessionid") || begins_nocase(name, "phpsessid"))) return true;  // an example, no session
  return begins_nocase(name, "pwd") && value[0] == '/';  // the working directory
}

bool innocent_argument(std::string_view value) {
  while (!value.empty() && among(".:!?", value.back())) value.remove_suffix(1);
  return kArgumentProse.has(value) || std::find(kPlaceholders.begin(), kPlaceholders.end(), value) != kPlaceholders.end();
}

// Inside a CPE, whose colons part names of products: cpe:2.3:a:base-passwd:base-passwd:3.6.1:…
bool Finder::in_cpe(std::size_t pos) {
  const std::string_view text = text_;
  if (!seen_.cpe_asked) {  // most texts have none
    seen_.cpe_asked = true;
    const void* first = ::memmem(text.data(), text.size(), "cpe:", 4);
    seen_.cpe = first == nullptr ? text.size() : static_cast<std::size_t>(static_cast<const char*>(first) - text.data());
  }
  if (pos < seen_.cpe) return false;
  std::size_t from = pos;
  while (from > 0 && pos - from < 128 && !is(text[from - 1], kSpace) && !among("\"'<>`", text[from - 1])) --from;
  const std::string_view word = text.substr(from, pos - from);
  return word.starts_with("cpe:2.3:") || word.starts_with("cpe:/");
}

// Where the quoted text whose quote stands at `pos` ends: at its other quote or with the text.
std::size_t Finder::quoted_end(std::size_t pos) const {
  const char quote = text_[pos];
  std::size_t end = pos + 1;
  while (end < text_.size()) {
    if (text_[end] == '\\') {
      if (end + 1 >= text_.size()) break;
      end += 2;
    } else if (text_[end] != quote) {
      ++end;
    } else if (quote == '\'' && at(end + 1) == '\'') {
      end += 2;
    } else {
      break;
    }
  }
  return end;
}

// The name at `name` is, or ends, a word that begins with two dashes.
bool Finder::is_option(std::size_t name) const {
  for (std::size_t i = name; i > 0 && name - i < 34 && is(text_[i - 1], kBase64Url);) {
    --i;
    if (text_[i] == '-' && text_[i + 1] == '-' && i + 2 <= name) return true;
  }
  return false;
}

// The value at `pos` of the name at `name`; `argument`: there is no separator between them, as behind an option.
bool Finder::pair_value(std::size_t name, std::size_t pos, bool argument) {
  if (argument && !is_option(name)) return false;
  const std::string_view whole = text_.substr(name, std::min<std::size_t>(16, text_.size() - name));
  const auto found = [&](std::size_t begin, std::size_t end) {
    if (text_[begin] == '[' && end <= after_masks(begin)) return true;
    if (!innocent_value(whole, text_.substr(begin, end - begin)) && !(argument && innocent_argument(text_.substr(begin, end - begin))) && !(text_[begin - 1] == ':' && in_cpe(name))) hit(Rule::kSecretPair, begin, end);
    return true;
  };
  if (pos >= text_.size()) return false;
  const char quote = text_[pos];
  if (quote == '"' || quote == '\'') {
    const std::size_t end = quoted_end(pos);
    return end > pos + 1 && found(pos + 1, end);
  }
  const auto bare = [&](std::size_t begin) {
    if (begin >= text_.size() || is(text_[begin], kPairStop) || text_[begin] == '>' || (argument && among("-:=", text_[begin]))) return false;
    if (begin < seen_.pair_begin || begin >= seen_.pair_run) {  // else the same run as the last time: password=password=…
      seen_.pair_begin = begin;
      seen_.pair_run = run_until(after_masks(begin), kPairStop);
      seen_.pair_end = seen_.pair_run;
      while (seen_.pair_end > begin && among(")}]", text_[seen_.pair_end - 1])) --seen_.pair_end;
    }
    const std::size_t end = std::max(begin, seen_.pair_end);
    const auto first = text_.begin() + static_cast<std::ptrdiff_t>(begin);
    const bool ascii = end - begin >= 3 && ((text_[begin] | text_[begin + 1] | text_[begin + 2]) & 0x80) == 0;
    const bool three = ascii || std::count_if(first, first + static_cast<std::ptrdiff_t>(std::min<std::size_t>(end - begin, 12)), [](char c) { return (static_cast<std::uint8_t>(c) & 0xc0) != 0x80; }) >= 3;
    return three && found(begin, end);
  };
  static constexpr Words<4> kSchemes({"bearer", "basic", "digest", "token"});
  if (const std::size_t scheme = kSchemes.at(text_, pos); scheme != 0 && blank(at(pos + scheme))) {
    std::size_t begin = pos + scheme;
    while (begin < text_.size() && blank(text_[begin])) ++begin;
    if (bare(begin)) return true;
  }
  return bare(pos);
}

// The end of the masks of ours that stand one behind the other from `begin` on; `begin` where none does, or in a decoded layer: settle() drops what
// they cover, and knows no text but the raw one.
std::size_t Finder::after_masks(std::size_t begin) {
  if (!layers_.escapes || at(begin) != '[') return begin;
  if (begin < seen_.masks_begin || begin >= seen_.masks_end) {  // else of the same chain as the last time
    seen_.masks_begin = seen_.masks_end = seen_.masks_slash = begin;
    while (const std::size_t size = own_mask(text_.substr(seen_.masks_end))) {
      seen_.masks_end += size;
      if (size > 13 && text_[seen_.masks_end - 13] == '/') seen_.masks_slash = seen_.masks_end;  // a network
    }
  }
  return seen_.masks_end;
}

// Behind "[s" of a mask of ours, [secret:7f3a91c2], which is followed by more of them at most until the value ends: it would be found and
// settle() would drop it.
bool Finder::in_own_mask(std::size_t pos) {
  if (pos < 2 || text_[pos - 2] != '[') return false;
  const std::size_t begin = pos - 2;
  if (load8(text_, begin) != load8("[secret:")) return false;
  const std::size_t end = after_masks(begin);
  return end != begin && (end == text_.size() || is(text_[end], kPairStop));
}

void Finder::pair(std::size_t pos) {
  const auto value = [&](std::size_t name) { return [this, name](std::size_t begin, bool argument) { return pair_value(name, begin, argument); }; };
  if (lower(text_[pos]) == 'k') {  // …key
    std::size_t end = pos - (pos > 0 && (text_[pos - 1] == '_' || text_[pos - 1] == '-') ? 1 : 0);
    if (end == 0 || !alpha(text_[end - 1])) return;
    const char letter = lower(text_[end - 1]);
    for (const Word& prefix : kKeyPrefixes) {
      if (letter != prefix.text().back() || end < prefix.size() || !prefix.is_at(text_, end - prefix.size())) continue;
      const std::size_t id = pos + 3 + (at(pos + 3) == '_' || at(pos + 3) == '-' ? 1 : 0);
      const std::size_t name = end - prefix.size();
      if (begins_nocase(text_.substr(std::min(id, text_.size())), "id") && after_separator(text_, id + 2, kSuffixes, true, value(name))) return;
      after_separator(text_, pos + 3, kSuffixes, true, value(name));
      return;
    }
    return;
  }
  if (in_own_mask(pos)) return;
  if (lower(text_[pos]) == 'p' && lower(at(pos + 1)) == 'a' && lower(at(pos + 4)) == 'w') return;  // passw…: its own trigger stands further on
  for (const Name& name : names_at(lower(text_[pos]))) {
    if (pos < name.at || !name.word.is_at(text_, pos - name.at)) continue;
    if (name.word.text() == "pass" && pos > 0 && alpha(text_[pos - 1])) continue;
    const std::size_t begin = pos - name.at;
    if (after_separator(text_, begin + name.word.size(), kSuffixes, true, value(begin))) return;
  }
}

namespace {

// Where the run of characters that `is_one` takes, at most `most`, begins that ends at `from`.
template <class F>
std::size_t back_over(std::string_view text, std::size_t from, std::size_t most, F&& is_one) {
  std::size_t i = from;
  while (i > 0 && from - i < most && is_one(text[i - 1])) --i;
  return i;
}
bool ends(std::string_view text, std::size_t end, std::string_view word) { return end >= word.size() && begins_nocase(text.substr(end - word.size(), word.size()), word); }
bool part_of_sql(char c) { return !is(c, kSpace) && c != ',' && c != ';'; }
constexpr std::size_t kSqlBlanks = 8, kSqlName = 64;

}  // namespace

bool innocent_sql(std::string_view value, bool quoted) {
  return innocent_value("password", value) || (!quoted && (equal_nocase(value, "password") || equal_nocase(value, "values")));  // what they stand before is quoted
}

// PASSWORD 'x', IDENTIFIED BY 'x', IDENTIFIED WITH plugin BY 'x'; `pos` is where "rd" or "by" stand, or "fied", behind which the value may lack quotes.
void Finder::sql(std::size_t pos) {
  if (lower(text_[pos]) == 'f') return sql_unquoted(pos + 4);
  if (at(pos + 2) != ' ' || (at(pos + 3) != '\'' && at(pos + 3) != '"')) return;
  if (lower(text_[pos]) == 'r') {
    if (!ends(text_, pos + 2, "password")) return;
  } else {
    const std::size_t before_by = back_over(text_, pos, kSqlBlanks, blank);
    if (!ends(text_, pos + 2, "by") || before_by == pos) return;
    if (!ends(text_, before_by, "identified")) {
      const std::size_t plugin = back_over(text_, before_by, kSqlName, part_of_sql);
      const std::size_t with = back_over(text_, plugin, kSqlBlanks, blank);
      if (plugin == before_by || with == plugin || !ends(text_, with, "with")) return;
      const std::size_t verb = back_over(text_, with - 4, kSqlBlanks, blank);
      if (verb == with - 4 || !ends(text_, verb, "identified")) return;
    }
  }
  const std::size_t end = quoted_end(pos + 3);
  if (end > pos + 4 && !innocent_sql(text_.substr(pos + 4, end - pos - 4), true)) hit(Rule::kSqlPassword, pos + 4, end);
}

// CREATE USER a IDENTIFIED BY x; `end` is behind "identified". In prose, only a statement says that a password follows.
void Finder::sql_unquoted(std::size_t end) {
  if (!ends(text_, end, "identified")) return;
  const auto blanks = [&](std::size_t from) {
    std::size_t to = from;
    while (to < from + kSqlBlanks && blank(at(to))) ++to;
    return to;
  };
  const std::size_t by = blanks(end), begin = blanks(std::min(by + 2, text_.size()));
  if (by == end || !ends(text_, std::min(by + 2, text_.size()), "by") || begin == by + 2) return;
  const std::size_t name_end = back_over(text_, end - 10, kSqlBlanks, blank), name = back_over(text_, name_end, kSqlName, part_of_sql);
  const std::size_t user = back_over(text_, name, kSqlBlanks, blank);
  if (name_end == end - 10 || name == name_end || user == name || !ends(text_, user, "user")) return;
  const std::size_t verb = back_over(text_, user - 4, kSqlBlanks, blank);
  if (verb == user - 4 || (!ends(text_, verb, "create") && !ends(text_, verb, "alter"))) return;
  const std::size_t stop = run_until(begin, kPairStop);
  if (stop != begin && !innocent_sql(text_.substr(begin, stop - begin), false)) hit(Rule::kSqlPassword, begin, stop);
}

void Finder::authorization(std::size_t pos) {
  if (pos < 4 || pos < seen_.authorization || !begins_nocase(text_.substr(pos - 4), "authorization")) return;
  std::size_t i = pos + 9;
  if (at(i) == '"' || at(i) == '\'') ++i;
  const auto blanks = [&](std::size_t from) {
    std::size_t to = from;
    while (to < from + kBlanks && blank(at(to))) ++to;
    return to;
  };
  i = blanks(i);
  if (at(i) != ':' && at(i) != '=') return;
  i = blanks(i + 1);
  if (at(i) == '"' || at(i) == '\'') ++i;
  const auto value = [&](std::size_t begin) {
    std::size_t end = begin;
    while (end < text_.size() && !is(text_[end], kSpace) && !among("\"',;", text_[end])) ++end;
    if (end - begin < 16) return false;
    seen_.authorization = end;
    hit(Rule::kAuthorization, begin, end);
    return true;
  };
  static constexpr Words<6> kSchemes({"bearer", "basic", "digest", "token", "apikey", "negotiate"});
  if (i >= text_.size()) return;
  if (const std::size_t scheme = kSchemes.at(text_, i); scheme != 0 && blank(at(i + scheme)) && value(blanks(i + scheme))) return;
  value(i);
}

void Finder::entropy(std::size_t pos) {
  if (pos < seen_.entropy) return;
  const char letter = lower(text_[pos]);
  for (const Name& name : kRandomNames) {
    if (letter != name.word.text()[name.at] || pos < name.at || !name.word.is_at(text_, pos - name.at)) continue;
    after_separator(text_, pos - name.at + name.word.size(), kRandomSuffixes, false, [&](std::size_t begin, bool) {
      if (at(begin) == '"' || at(begin) == '\'') ++begin;
      if (begin < seen_.entropy) return true;
      if (begin < seen_.random_begin || begin >= seen_.random_end) {  // else inside the value that was judged the last time: auth:x.key=…
        seen_.random_begin = seen_.random_end = begin;
        while (is(at(seen_.random_end), kBase64) || among(".~=", at(seen_.random_end))) ++seen_.random_end;
        window_.start(begin);
      }
      const std::size_t end = seen_.random_end;
      if (end - begin < 20) return false;
      if (window_.random(text_, begin, end)) {
        seen_.entropy = end;
        hit(Rule::kHighEntropy, begin, end);
      }
      return true;
    });
    return;
  }
}

}  // namespace stella::telemetry::scrubbing
