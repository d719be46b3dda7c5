// Parses package URLs and writes their canonical spelling (ECMA-427).
#include "stella/pipeline/versions/purl.h"

#include <algorithm>
#include <array>

#include "stella/base/encoding.h"

namespace stella::pipeline {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void to_lower(std::string& text) { std::transform(text.begin(), text.end(), text.begin(), lower); }

Error malformed(std::string expected) { return Error(base_errors::kMalformed, "not a package URL").with("expected", std::move(expected)); }

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Percent-decoded text; refuses bad escapes, control characters and bytes that are no UTF-8.
Result<std::string> decode(std::string_view text) {
  // Nearly every text is plain ASCII without escapes.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0x20 && c != '%' && c != 0x7f; })) return std::string(text);
  auto decoded = percent_decode(text);
  if (!decoded) return malformed("two hexadecimal digits after '%'");
  if (std::any_of(decoded->begin(), decoded->end(), is_control)) return malformed("no control characters");
  if (!is_utf8(*decoded)) return malformed("UTF-8");
  return decoded;
}

// RFC 3986's unreserved characters and ':' stand as they are.
constexpr auto kPlain = [] {
  std::array<bool, 256> plain{};
  for (int c = 0; c < 256; ++c)
    plain[static_cast<std::size_t>(c)] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' || c == ':';
  return plain;
}();

void append_encoded(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t start = 0, i = 0;; ++i) {
    if (i < text.size() && kPlain[static_cast<unsigned char>(text[i])]) continue;
    out.append(text, start, i - start);
    if (i == text.size()) return;
    const auto byte = static_cast<unsigned char>(text[i]);
    out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    start = i + 1;
  }
}

void append_segments(std::string& out, std::string_view path) {
  for (std::size_t start = 0;;) {
    const std::size_t slash = path.find('/', start);
    append_encoded(out, path.substr(start, slash - start));
    if (slash == std::string_view::npos) return;
    out += '/';
    start = slash + 1;
  }
}

bool valid_type(std::string_view type) {
  if (type.empty() || is_digit(type.front())) return false;
  return std::all_of(type.begin(), type.end(), [](char c) { return is_alpha(c) || is_digit(c) || c == '.' || c == '-'; });
}

bool valid_key(std::string_view key) {
  if (key.empty() || is_digit(key.front())) return false;
  return std::all_of(key.begin(), key.end(), [](char c) { return is_alpha(c) || is_digit(c) || c == '.' || c == '-' || c == '_'; });
}

// Decodes the '/'-separated segments of `text`, without empty ones; `dots` says whether "." and ".." are segments.
Result<std::string> decode_segments(std::string_view text, bool dots) {
  std::string out;
  while (!text.empty()) {
    const std::size_t slash = text.find('/');
    auto segment = decode(text.substr(0, slash));
    if (!segment) return segment;
    text = slash == std::string_view::npos ? std::string_view() : text.substr(slash + 1);
    // An escaped '/' inside a segment separates like any other.
    for (std::string_view rest = *segment; !rest.empty();) {
      const std::size_t inner = rest.find('/');
      const std::string_view part = rest.substr(0, inner);
      rest = inner == std::string_view::npos ? std::string_view() : rest.substr(inner + 1);
      if (part.empty() || (!dots && (part == "." || part == ".."))) continue;
      if (!out.empty()) out += '/';
      out += part;
    }
  }
  return out;
}

Result<void> parse_qualifiers(std::string_view text, Purl& out) {
  while (!text.empty()) {
    const std::size_t ampersand = text.find('&');
    const std::string_view pair = text.substr(0, ampersand);
    text = ampersand == std::string_view::npos ? std::string_view() : text.substr(ampersand + 1);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return malformed("'=' in each qualifier");
    const std::string_view raw_key = pair.substr(0, equals);
    if (!valid_key(raw_key)) return malformed("qualifier keys of letters, digits, '.', '-', '_'");
    if (pair.find('?') != std::string_view::npos) return malformed("one '?', others as %3F");
    auto value = decode(pair.substr(equals + 1));
    if (!value) return std::move(value.error());
    if (value->empty()) continue;
    std::string key(raw_key);
    to_lower(key);
    out.qualifiers.emplace_back(std::move(key), std::move(*value));
  }
  std::sort(out.qualifiers.begin(), out.qualifiers.end());
  const auto twice = std::adjacent_find(out.qualifiers.begin(), out.qualifiers.end(),
                                        [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != out.qualifiers.end()) return malformed("each qualifier once");
  return {};
}

// Where the version begins: the last '@', unless it opens a scope ("@babel/core").
std::size_t version_separator(std::string_view path) {
  const std::size_t at = path.rfind('@');
  if (at == std::string_view::npos) return at;
  const bool opens_segment = at == 0 || path[at - 1] == '/';
  const bool segment_follows = path.find('/', at) != std::string_view::npos;
  return opens_segment && segment_follows ? std::string_view::npos : at;
}

template <std::size_t N>
bool one_of(std::string_view type, const std::array<std::string_view, N>& types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

// What the types' definitions say about case. npm, nuget, maven, rpm, golang, cargo, gem keep the case of names.
constexpr std::array<std::string_view, 10> kLowerNamespace{"alpm", "apk", "bitbucket", "composer", "deb", "github", "gitlab", "hex", "qpkg", "rpm"};
constexpr std::array<std::string_view, 13> kLowerName{"alpm",   "apk", "bitbucket", "bitnami", "composer", "deb", "github",
                                                      "gitlab", "hex", "oci",       "otp",     "pub",      "pypi"};
void normalise(Purl& purl) {
  if (one_of(purl.type, kLowerNamespace)) to_lower(purl.namespace_);
  if (one_of(purl.type, kLowerName)) to_lower(purl.name);
  if (purl.type == "pypi") std::replace(purl.name.begin(), purl.name.end(), '_', '-');
}

Result<void> parse_path(std::string_view path, Purl& out) {
  const std::size_t at = version_separator(path);
  if (at != std::string_view::npos) {
    auto version = decode(path.substr(at + 1));
    if (!version) return std::move(version.error());
    out.version = std::move(*version);
    path = path.substr(0, at);
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  auto name = decode(slash == std::string_view::npos ? path : path.substr(slash + 1));
  if (!name) return std::move(name.error());
  if (name->empty()) return malformed("a name after the type");
  out.name = std::move(*name);
  if (slash != std::string_view::npos) {
    auto space = decode_segments(path.substr(0, slash), true);
    if (!space) return std::move(space.error());
    out.namespace_ = std::move(*space);
  }
  return {};
}

// --- plain purls -----------------------------------------------------------------------------------------------------------------

bool is_plain(char c) { return kPlain[static_cast<unsigned char>(c)]; }
bool is_lower_case(std::string_view text) { return std::none_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; }); }

// "key=value&key=value" with ascending keys, no empty value and nothing that would be written otherwise.
bool plain_qualifiers(std::string_view text) {
  std::string_view last;
  for (std::size_t at = 0;;) {
    const std::size_t start = at;
    while (at < text.size() && is_plain(text[at]) && text[at] != ':' && text[at] != '~' && !(text[at] >= 'A' && text[at] <= 'Z')) ++at;
    const std::string_view key = text.substr(start, at - start);
    if (key.empty() || is_digit(key.front()) || key <= last || at == text.size() || text[at] != '=') return false;
    last = key;
    const std::size_t value = ++at;
    while (at < text.size() && is_plain(text[at])) ++at;
    if (at == value) return false;
    if (at == text.size()) return true;
    if (text[at++] != '&') return false;
  }
}

// Does normalise() leave it as it is?
bool is_normal(const PlainPurl& purl) {
  switch (purl.type.size()) {  // the types that matter most have no rule at all
    case 3: if (purl.type == "npm" || purl.type == "gem") return true; break;
    case 5: if (purl.type == "maven" || purl.type == "cargo") return true; break;
    case 6: if (purl.type == "golang") return true; break;
    default: break;
  }
  if (one_of(purl.type, kLowerNamespace) && !is_lower_case(purl.namespace_)) return false;
  if (one_of(purl.type, kLowerName) && !is_lower_case(purl.name)) return false;
  return purl.type != "pypi" || purl.name.find('_') == std::string_view::npos;
}

}  // namespace

std::optional<PlainPurl> plain_purl(std::string_view text) {
  if (!text.starts_with("pkg:")) return std::nullopt;
  PlainPurl purl;
  std::size_t at = 4;
  while (at < text.size() && ((text[at] >= 'a' && text[at] <= 'z') || is_digit(text[at]) || text[at] == '.' || text[at] == '-')) ++at;
  if (at == 4 || at == text.size() || text[at] != '/' || is_digit(text[4])) return std::nullopt;
  purl.type = text.substr(4, at - 4);
  const std::size_t path = at + 1;
  std::size_t name = path;
  for (at = path;; ++at) {  // segments of at least one plain character
    const std::size_t start = at;
    while (at < text.size() && is_plain(text[at])) ++at;
    if (at == start) return std::nullopt;
    name = start;
    if (at == text.size() || text[at] != '/') break;
  }
  purl.name = text.substr(name, at - name);
  if (name != path) purl.namespace_ = text.substr(path, name - 1 - path);
  if (at < text.size() && text[at] == '@') {
    const std::size_t start = ++at;
    while (at < text.size() && is_plain(text[at])) ++at;
    if (at == start) return std::nullopt;
    purl.version = text.substr(start, at - start);
  }
  if (at < text.size()) {
    purl.qualifiers = text.substr(at + 1);
    if (text[at] != '?' || !plain_qualifiers(purl.qualifiers)) return std::nullopt;
  }
  if (!is_normal(purl)) return std::nullopt;
  return purl;
}

std::string_view Purl::qualifier(std::string_view key) const {
  for (const auto& [k, v] : qualifiers)
    if (k == key) return v;
  return {};
}

std::string Purl::package() const {
  std::string out;
  out.reserve(namespace_.size() + name.size() + version.size() + 64);
  out.append("pkg:").append(type);
  if (!namespace_.empty()) {
    out += '/';
    append_segments(out, namespace_);
  }
  out += '/';
  append_encoded(out, name);
  return out;
}

std::string Purl::str() const {
  std::string out = package();
  if (!version.empty()) {
    out += '@';
    append_encoded(out, version);
  }
  char separator = '?';
  for (const auto& [key, value] : qualifiers) {
    out += separator;
    out += key;
    out += '=';
    append_encoded(out, value);
    separator = '&';
  }
  if (!subpath.empty()) {
    out += '#';
    append_segments(out, subpath);
  }
  return out;
}

Result<Purl> parse_purl(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), is_control)) return malformed("no control characters");
  if (text.size() < 4 || lower(text[0]) != 'p' || lower(text[1]) != 'k' || lower(text[2]) != 'g' || text[3] != ':')
    return malformed("the scheme 'pkg:'");
  text.remove_prefix(4);
  while (text.starts_with('/')) text.remove_prefix(1);
  Purl purl;
  if (const std::size_t hash = text.rfind('#'); hash != std::string_view::npos) {
    auto subpath = decode_segments(text.substr(hash + 1), false);
    if (!subpath) return std::move(subpath.error());
    purl.subpath = std::move(*subpath);
    text = text.substr(0, hash);
  }
  if (const std::size_t question = text.find('?'); question != std::string_view::npos) {
    STELLA_TRY_VOID(parse_qualifiers(text.substr(question + 1), purl));
    text = text.substr(0, question);
  }
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return malformed("'/' after the type");
  const std::string_view type = text.substr(0, slash);
  if (!valid_type(type)) return malformed("a type of letters, digits, '.', '-'");
  purl.type = type;
  to_lower(purl.type);
  STELLA_TRY_VOID(parse_path(text.substr(slash + 1), purl));
  normalise(purl);
  return purl;
}

}  // namespace stella::pipeline
