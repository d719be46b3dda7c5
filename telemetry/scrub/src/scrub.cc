// One left-to-right pass over the text: at each position the rules are asked whether a secret begins here.
#include "stella/telemetry/scrub.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "stella/base/encoding.h"
#include "stella/base/ids.h"

namespace stella::telemetry {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alpha(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_alpha(c) || is_digit(c); }
bool is_b64url(char c) { return is_alnum(c) || c == '-' || c == '_'; }
bool is_token(char c) { return is_b64url(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '='; }
bool is_word(char c) { return is_alnum(c) || c == '_'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool starts_with_nocase(std::string_view text, std::string_view lower_prefix) {
  if (text.size() < lower_prefix.size()) return false;
  for (std::size_t i = 0; i < lower_prefix.size(); ++i) {
    if (lower(text[i]) != lower_prefix[i]) return false;
  }
  return true;
}

template <class Class>
std::size_t run(std::string_view text, std::size_t from, Class in_class) {
  std::size_t i = from;
  while (i < text.size() && in_class(text[i])) ++i;
  return i - from;
}

// What a rule found: `keep` characters stay as they are, then `size` characters are the value.
struct Hit {
  std::size_t keep = 0;
  std::size_t size = 0;
  std::string_view kind;
  explicit operator bool() const { return size != 0; }
};

// Well-known prefixes of issued keys, with the least length of what follows.
struct Prefix {
  std::string_view text;
  std::size_t least;
  std::string_view kind;
};
constexpr std::array<Prefix, 16> kPrefixes{{
    {"AKIA", 16, "aws_key"}, {"ASIA", 16, "aws_key"}, {"ghp_", 30, "github_token"}, {"gho_", 30, "github_token"},
    {"ghu_", 30, "github_token"}, {"ghs_", 30, "github_token"}, {"ghr_", 30, "github_token"}, {"github_pat_", 22, "github_token"},
    {"glpat-", 20, "gitlab_token"}, {"xoxb-", 10, "slack_token"}, {"xoxp-", 10, "slack_token"}, {"xoxa-", 10, "slack_token"},
    {"npm_", 30, "npm_token"}, {"pypi-", 40, "pypi_token"}, {"sk_live_", 16, "stripe_key"}, {"AIza", 35, "google_key"}}};

Hit issued_key(std::string_view text) {
  for (const Prefix& prefix : kPrefixes) {
    if (!text.starts_with(prefix.text)) continue;
    const std::size_t rest = run(text, prefix.text.size(), is_b64url);
    if (rest >= prefix.least) return {0, prefix.text.size() + rest, prefix.kind};
  }
  return {};
}

// Three base64url parts; the first is a JSON object, so it begins with eyJ.
Hit jwt(std::string_view text) {
  if (!text.starts_with("eyJ")) return {};
  const std::size_t head = run(text, 0, is_b64url);
  if (head < 10 || head >= text.size() || text[head] != '.') return {};
  const std::size_t body = run(text, head + 1, is_b64url);
  if (body < 8) return {};
  std::size_t end = head + 1 + body;
  if (end < text.size() && text[end] == '.') end += 1 + run(text, end + 1, is_b64url);
  return {0, end, "jwt"};
}

// `Bearer x`, `Basic x`: the scheme stays.
Hit authorization(std::string_view text) {
  for (const std::string_view scheme : {std::string_view("bearer "), std::string_view("basic ")}) {
    if (!starts_with_nocase(text, scheme)) continue;
    const std::size_t value = run(text, scheme.size(), is_token);
    if (value >= 8) return {scheme.size(), value, "token"};
  }
  return {};
}

Hit private_key(std::string_view text) {
  if (!text.starts_with("-----BEGIN ")) return {};
  const std::size_t label = text.find("-----", 11);
  if (label == text.npos || text.substr(0, label).find("PRIVATE KEY") == text.npos) return {};
  const std::size_t end = text.find("-----END ", label);
  if (end == text.npos) return {0, text.size(), "private_key"};  // cut off: the rest is key
  const std::size_t close = text.find("-----", end + 9);
  return {0, close == text.npos ? text.size() : close + 5, "private_key"};
}

// `scheme://user:password@host`: everything between the slashes and the at sign.
Hit url_credentials(std::string_view text) {
  if (!text.starts_with("://")) return {};
  const std::size_t stop = text.find_first_of("/?# \t\r\n\"'<>", 3);
  const std::string_view authority = text.substr(3, stop == text.npos ? text.npos : stop - 3);
  const std::size_t at = authority.rfind('@');
  if (at == authority.npos || at == 0) return {};
  return {3, at, "userinfo"};
}

// A mask of ours, as it comes back from a child process: `[kind:7f3a91c2]`. Its size, or 0.
std::size_t own_mask(std::string_view text) {
  const std::size_t kind = run(text, 1, [](char c) { return is_lower(c) || c == '_'; });
  const std::size_t end = 1 + kind + 1 + 8;
  if (kind == 0 || kind > 32 || end >= text.size() || text[1 + kind] != ':' || text[end] != ']') return 0;
  return run(text, kind + 2, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }) == 8 ? end + 1 : 0;
}

// Keys of `key=value` and `key: value` pairs, also as part of a longer name (DB_PASSWORD, x-api-key), also quoted.
constexpr std::array<std::string_view, 17> kSecretNames{
    "password", "passwd", "pwd", "passphrase", "secret", "token", "api_key", "apikey", "api-key", "access_key", "accesskey",
    "private_key", "credential", "authorization", "x-amz-signature", "signature", "sig"};

Hit key_value(std::string_view text, char previous) {
  for (const std::string_view name : kSecretNames) {
    if (!starts_with_nocase(text, name)) continue;
    std::size_t i = name.size();
    if (i < text.size() && lower(text[i]) == 's') ++i;  // plural
    if (i < text.size() && (text[i] == '"' || text[i] == '\'')) ++i;
    const std::size_t separator = i + run(text, i, [](char c) { return c == ' '; });
    if (separator >= text.size() || (text[separator] != '=' && text[separator] != ':')) continue;
    if (name.starts_with("sig") && (text[separator] != '=' || is_alnum(previous))) continue;  // a URL's parameter; not "signature: valid"
    std::size_t begin = separator + 1;
    begin += run(text, begin, [](char c) { return c == ' '; });
    if (begin < text.size() && (starts_with_nocase(text.substr(begin), "bearer ") || starts_with_nocase(text.substr(begin), "basic "))) {
      begin += text.substr(begin).find(' ') + 1;
    }
    if (begin >= text.size()) continue;
    const char quote = text[begin];
    if (quote == '"' || quote == '\'') {
      const std::size_t close = text.find(quote, begin + 1);
      const std::size_t end = close == text.npos ? text.size() : close;
      if (end > begin + 1) return {begin + 1, end - begin - 1, "secret"};
      continue;
    }
    const std::size_t value = run(text, begin, [](char c) { return std::string_view(" \t\n\r,;&\"'").find(c) == std::string_view::npos; });
    if (value >= 3) return {begin, value, "secret"};
  }
  return {};
}

// The end of an e-mail address whose at sign stands at `at`: labels, the last of letters; 0 where there is none.
std::size_t email_domain(std::string_view text, std::size_t at) {
  std::size_t end = at + 1 + run(text, at + 1, [](char c) { return is_alnum(c) || c == '-' || c == '.'; });
  while (end > at + 1 && (text[end - 1] == '.' || text[end - 1] == '-')) --end;
  const std::string_view domain = text.substr(at + 1, end - at - 1);
  const std::size_t dot = domain.rfind('.');
  if (dot == domain.npos || dot == 0 || domain.size() - dot < 3) return 0;
  for (const char c : domain.substr(dot + 1)) {
    if (!is_alpha(c)) return 0;
  }
  return end;
}

bool is_email_local(char c) { return is_alnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; }

// `previous` is the character before `text`. Rules that run over a whole word ask for its beginning: else they would be quadratic.
Hit rules(std::string_view text, char previous) {
  const bool word_start = !is_word(previous);
  switch (text.front()) {
    case '-': return private_key(text);
    case ':': return url_credentials(text);
    case 'e':
      if (is_b64url(previous)) break;
      if (Hit hit = jwt(text)) return hit;
      break;
    default: break;
  }
  if (!is_alpha(text.front())) return {};
  if (word_start) {
    if (Hit hit = issued_key(text)) return hit;
    if (Hit hit = authorization(text)) return hit;
  }
  return key_value(text, previous);
}

std::string valid_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() + 16);
  while (!text.empty()) {
    std::size_t good = 1;  // one character at a time: broken text is rare and short
    while (good <= 4 && good <= text.size() && !is_utf8(text.substr(0, good))) ++good;
    if (good <= 4 && good <= text.size()) {
      out.append(text.substr(0, good));
    } else {
      good = 1;
      out.append("\xEF\xBF\xBD");
    }
    text.remove_prefix(good);
  }
  return out;
}

std::atomic<std::uint64_t> g_secrets{0};
std::atomic<std::uint64_t> g_pii{0};

// SipHash-2-4: a keyed fingerprint without a dependency on crypto, which has the same rank.
std::uint64_t siphash(std::string_view data, std::uint64_t k0, std::uint64_t k1) {
  std::uint64_t v0 = 0x736f6d6570736575ull ^ k0, v1 = 0x646f72616e646f6dull ^ k1;
  std::uint64_t v2 = 0x6c7967656e657261ull ^ k0, v3 = 0x7465646279746573ull ^ k1;
  const auto rotl = [](std::uint64_t x, int b) { return (x << b) | (x >> (64 - b)); };
  const auto round = [&] {
    v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32); v2 += v3; v3 = rotl(v3, 16) ^ v2;
    v0 += v3; v3 = rotl(v3, 21) ^ v0; v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  };
  const auto absorb = [&](std::uint64_t m) { v3 ^= m; round(); round(); v0 ^= m; };
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    std::uint64_t m;
    std::memcpy(&m, data.data() + i, 8);
    absorb(m);
  }
  std::uint64_t last = static_cast<std::uint64_t>(data.size()) << 56;
  for (std::size_t j = 0; i + j < data.size(); ++j) last |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(data[i + j])) << (8 * j);
  absorb(last);
  v2 ^= 0xff;
  for (int r = 0; r < 4; ++r) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace

std::string mask(std::string_view kind, std::string_view value, std::string_view) {
  static const std::array<std::uint64_t, 2> key = [] {
    std::array<std::uint64_t, 2> k{};
    fill_random(k.data(), sizeof k);
    return k;
  }();
  const auto fingerprint = static_cast<std::uint32_t>(siphash(value, key[0], key[1]));
  std::string out("[");
  out.append(kind).push_back(':');
  constexpr char kHex[] = "0123456789abcdef";
  for (int shift = 28; shift >= 0; shift -= 4) out.push_back(kHex[(fingerprint >> shift) & 15]);
  out.push_back(']');
  return out;
}

std::string scrub(std::string_view raw) {
  const std::string valid = valid_utf8(raw);
  const std::string_view text = valid;
  // Every rule needs one of these characters or beginnings; most texts have none.
  if (text.size() < 6) return valid;
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  std::size_t local = 0;       // where in `out` the run of e-mail characters before i begins
  bool package_url = false;    // inside a purl: its version follows an at sign
  while (i < text.size()) {
    const char c = text[i];
    const char previous = i == 0 ? ' ' : text[i - 1];
    if (c == '[') {
      if (const std::size_t size = own_mask(text.substr(i)); size != 0) {
        out.append(text.substr(i, size));
        i += size;
        local = out.size();
        continue;
      }
    }
    if (Hit hit = rules(text.substr(i), previous)) {
      out.append(text.substr(i, hit.keep));
      const std::string_view value = text.substr(i + hit.keep, hit.size);
      if (own_mask(value) == value.size()) {
        out.append(value);  // masked before
      } else {
        out += mask(hit.kind, value);
        g_secrets.fetch_add(1, std::memory_order_relaxed);
      }
      i += hit.keep + hit.size;
      local = out.size();
      continue;
    }
    if (!is_word(previous) && text.substr(i).starts_with("pkg:")) package_url = true;
    if (c == ' ' || c == '\n' || c == '\t' || c == '"') package_url = false;
    if (c == '@' && !package_url && local < out.size()) {
      if (const std::size_t end = email_domain(text, i); end != 0) {
        const std::string address = out.substr(local) + std::string(text.substr(i, end - i));
        out.resize(local);
        out += mask("email", address);
        g_pii.fetch_add(1, std::memory_order_relaxed);
        i = end;
        local = out.size();
        continue;
      }
    }
    out.push_back(c);
    if (!is_email_local(c)) local = out.size();
    ++i;
  }
  return out;
}

void scrub_json(json::Value& value) {
  if (value.is_string()) {
    value = json::Value(scrub(value.as_string()));
  } else if (value.is_array()) {
    for (json::Value& item : value.as_array()) scrub_json(item);
  } else if (value.is_object()) {
    std::vector<std::string> names;
    for (const auto& [name, member] : value.as_object()) names.push_back(name);
    for (const std::string& name : names) scrub_json(*value.as_object().find(name));
  }
}

std::string trim_path(std::string_view path) {
  const bool inside = !path.empty() && path.front() != '/' && path.front() != '~' && path.find("..") == path.npos;
  if (inside) return scrub(path);
  const std::size_t slash = path.rfind('/');
  return "<path>/" + scrub(slash == path.npos ? path : path.substr(slash + 1));
}

bool certainly_clean(std::string_view text) { return scrub(text) == text; }
void scrub_append(std::string& out, std::string_view text, const ScrubPolicy&) { out += scrub(text); }
bool split_secret(std::span<const std::string_view> texts, std::vector<bool>& mask_these) {
  mask_these.assign(texts.size(), false);
  return false;
}
ScrubPolicy ScrubPolicy::for_tenant(std::string_view tenant) { return {{}, tenant}; }
void set_deep_debug(std::string_view, PiiSet, Timestamp) {}
std::vector<DeepDebug> deep_debug() { return {}; }
void set_fingerprint_secret(std::string_view) {}
ScrubTotals scrub_totals() { return {g_secrets.load(std::memory_order_relaxed), g_pii.load(std::memory_order_relaxed)}; }

}  // namespace stella::telemetry
