// Rules for secrets that say by themselves what they are: issued keys, JWT, PEM, HTTP schemes, URLs.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "find.h"

namespace stella::telemetry::scrubbing {
namespace {

// A charset as a class of characters and one more.
struct Chars {
  unsigned bits;
  char extra;
  bool has(char c) const { return is(c, bits) || c == extra; }
};
constexpr Chars chars_of(Charset set) {
  constexpr unsigned kAlnum = kDigit | kUpper | kLower;
  switch (set) {
    case Charset::kAlnum: return {kAlnum, '0'};
    case Charset::kWord: return {kAlnum, '_'};
    case Charset::kUpper: return {kUpper | kDigit, '0'};
    case Charset::kBase64url: return {kBase64Url, '0'};
    case Charset::kDashed: return {kAlnum, '-'};
    case Charset::kSlashed: return {kAlnum, '/'};
    case Charset::kDotted: return {kBase64Url, '.'};
    case Charset::kEncoded: return {kBase64, '%'};
  }
  return {kAlnum, '0'};
}

// No prefix of a rule begins another: at most one is there.
static_assert([] {
  for (const RuleRow& row : kRules) {
    for (std::size_t a = row.first_prefix; a < std::size_t{row.first_prefix} + row.prefixes; ++a) {
      for (std::size_t b = row.first_prefix; b < std::size_t{row.first_prefix} + row.prefixes; ++b) {
        if (a != b && kPrefixes[b].text.starts_with(kPrefixes[a].text)) return false;
      }
    }
  }
  return true;
}());

// Words that follow "bearer" in prose.
bool bearer_prose(std::string_view word) {
  static constexpr std::array<std::string_view, 10> kProse{"authentication", "authorization", "credential", "credentials", "challenge", "challenges", "assertion", "assertions", "mechanism", "mechanisms"};
  for (const std::string_view prose : kProse) {
    if (equal_nocase(word, prose)) return true;
  }
  return false;
}

}  // namespace

void Finder::token(Rule rule, std::size_t begin) {
  std::size_t& seen = seen_.token[static_cast<std::size_t>(rule)];
  if (begin < seen || alnum(before(begin))) return;
  const RuleRow& row = kRules[static_cast<std::size_t>(rule)];
  const std::string_view rest = text_.substr(begin);
  for (std::size_t p = row.first_prefix; p < row.first_prefix + row.prefixes; ++p) {
    const PrefixRow& prefix = kPrefixes[p];
    if (!begins(rest, prefix.text)) continue;
    std::size_t end = begin + prefix.text.size();
    const Chars chars = chars_of(prefix.charset);
    while (end < text_.size() && chars.has(text_[end])) ++end;
    if (end - begin - prefix.text.size() < prefix.least) return;
    seen = end;
    return hit(rule, begin, end);
  }
}

void Finder::azure(std::size_t pos) {
  const auto in = [](char c) { return is(c, kBase64Url) || c == '~' || c == '.'; };
  std::size_t& seen = seen_.token[static_cast<std::size_t>(Rule::kAzureSecret)];
  if (pos < 3 || pos < seen || !in(text_[pos - 1]) || !in(text_[pos - 2]) || !in(text_[pos - 3])) return;
  std::size_t end = pos + 3;
  while (end < text_.size() && in(text_[end])) ++end;
  if (end - pos - 3 < 31) return;
  seen = end;
  hit(Rule::kAzureSecret, pos - 3, end);
}

void Finder::jwt(std::size_t pos) {
  if (seen_.jwt_run <= pos) seen_.jwt_run = run(pos, kBase64Url);
  if (seen_.jwt_run - pos < 10 || at(seen_.jwt_run) != '.') return;
  const std::size_t second = seen_.jwt_run + (at(seen_.jwt_run + 1) == '.' ? 2 : 1);  // a JWE under a shared key has no second part
  std::size_t end = run(second, kBase64Url);
  if (end - second < 8) return;
  while (at(end) == '.') end = run(end + 1, kBase64Url);
  seen_.jwt_run = end;
  hit(Rule::kJwt, pos, end);
}

void Finder::scheme(Rule rule, std::size_t pos, std::string_view name) {
  std::size_t& seen = rule == Rule::kBearer ? seen_.bearer : seen_.basic;
  if (pos < seen || !begins_nocase(text_.substr(pos), name) || alnum(before(pos))) return;
  std::size_t begin = pos + name.size();
  while (begin < text_.size() && begin < pos + name.size() + 64 && (text_[begin] == ' ' || text_[begin] == '\t')) ++begin;
  if (begin == pos + name.size()) return;
  std::size_t end = run(begin, rule == Rule::kBearer ? kTokenChar : kBase64);
  if (end - begin < 8) return;
  if (rule == Rule::kBasic) {
    for (int i = 0; i < 2 && at(end) == '='; ++i) ++end;
    if (!basic_credentials(text_.substr(begin, end - begin))) return;
  } else if (bearer_prose(text_.substr(begin, end - begin))) {
    return;
  }
  seen = end;
  hit(rule, begin, end);
}

bool basic_credentials(std::string_view base64) {
  const auto decoded = std::make_unique_for_overwrite<char[]>(decoded_room(base64.size()));
  return std::string_view(decoded.get(), decode_base64_text(base64, decoded.get()).size).find(':') != std::string_view::npos;
}

void Finder::pem(std::size_t pos) {
  constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ";
  if (pos < seen_.pem || !text_.substr(pos).starts_with(kBegin)) return;
  // The end of "… PRIVATE KEY-----" that begins at `from`, or 0.
  const auto label = [&](std::size_t from) -> std::size_t {
    std::size_t end = from;
    while (end < text_.size() && end - from < 64 && (is(text_[end], kUpper | kDigit) || text_[end] == ' ')) ++end;
    std::string_view words = text_.substr(from, end - from);
    if (words.ends_with(" BLOCK")) words.remove_suffix(6);
    if (!words.ends_with("PRIVATE KEY") || words.size() > 32 + 11 || text_.substr(end, 5) != "-----") return 0;
    return end + 5;
  };
  const std::size_t head = label(pos + kBegin.size());
  if (head == 0) return;
  std::size_t end = text_.size();
  const auto find_end = [&](std::size_t from) {  // not std::string_view::find: it asks memchr at each dash
    const void* next = ::memmem(text_.data() + from, text_.size() - from, kEnd.data(), kEnd.size());
    return next == nullptr ? std::string_view::npos : static_cast<std::size_t>(static_cast<const char*>(next) - text_.data());
  };
  for (std::size_t next = find_end(head); next != std::string_view::npos; next = find_end(next + 1)) {
    if (const std::size_t foot = label(next + kEnd.size()); foot != 0) {
      end = foot;
      break;
    }
  }
  seen_.pem = end;
  hit(Rule::kPrivateKey, pos, end);
}

void Finder::userinfo(std::size_t pos) {
  const std::size_t begin = std::min(pos + 3, text_.size());
  const std::size_t masks = after_masks(begin);
  const bool slash = masks != begin && seen_.masks_slash > begin;  // of a network, which ends the authority
  std::size_t stop = slash ? begin : masks, last = begin;  // the last at sign
  for (; stop < text_.size() && !is(text_[stop], kUrlStop); ++stop) last = text_[stop] == '@' ? stop : last;
  if (at(last) == '@') {
    if (last == begin || last == masks || text_.substr(begin, last - begin) == "git") return;
    return hit(Rule::kUserinfo, begin, last);
  }
  if (!among("/?#", at(stop))) return;
  const std::string_view authority = text_.substr(begin, stop - begin);
  // A password that goes on behind them: what follows the colon is no port.
  const std::size_t colon = authority.find(':');
  if (colon == std::string_view::npos || authority.substr(0, colon).find('[') != std::string_view::npos) return;
  if (colon != 0 && authority.find_first_not_of("0123456789", colon + 1) == std::string_view::npos) return;
  if (stop < seen_.url_begin || stop >= seen_.url_stop) {  // else the same run as the last time: ://a:b/://a:b/…
    seen_.url_begin = stop;
    seen_.url_end = 0;
    std::size_t end = stop;
    while (end < text_.size() && !is(text_[end], kSpace) && !among("\"'<>\\@", text_[end])) ++end;
    seen_.url_stop = end + 1;
    if (at(end) == '@') {
      const std::size_t last = run_until(end, kUrlStop);
      seen_.url_end = end + text_.substr(end, last - end).rfind('@');
    }
  }
  if (seen_.url_end != 0) hit(Rule::kUserinfo, begin, seen_.url_end);
}

void Finder::dsn(std::size_t at) {
  const std::string_view rest = text_.substr(at);
  if (!rest.starts_with("@tcp(") && !rest.starts_with("@unix(")) return;
  std::size_t begin = at;
  while (begin > 0 && at - begin < 257 && !is(text_[begin - 1], kSpace) && !among("@\"'<>", text_[begin - 1])) --begin;
  const std::size_t from = std::max(begin + 1, at > 129 ? at - 129 : 0);
  if (from >= at) return;
  const std::size_t colon = from + text_.substr(from, at - from).find(':');  // not beyond: that would be read again for each
  if (colon < from || colon + 1 >= at) return;
  hit(Rule::kDsnPassword, std::max(begin, colon > 128 ? colon - 128 : 0), at);
}

void Finder::signature(std::size_t pos) {
  std::size_t name = pos;
  if (lower(text_[pos]) == 'u') {  // …ture=
    if (pos < 6) return;
    name = pos - 6;
    if (!begins_nocase(text_.substr(name), "signature=")) return;
  }
  const std::size_t begin = pos + 4;
  if (pos < seen_.signature || alnum(before(name))) return;
  std::size_t end = begin;
  while (end < text_.size() && (is(text_[end], kBase64) || among("%.~", text_[end]))) ++end;
  if (end - begin < 8) return;
  while (at(end) == '=') ++end;
  seen_.signature = end;
  hit(Rule::kSignedUrl, begin, end);
}

}  // namespace stella::telemetry::scrubbing
