// Secrets that show only where two texts of a record meet.
#include <algorithm>
#include <string>

#include "find.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {

using namespace scrubbing;

namespace {

constexpr std::size_t kWindow = 64;  // of each text at a seam: an issued key is shorter

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (is(text.back(), kSpace) || among("\"'", text.back()))) text.remove_suffix(1);
  while (!text.empty() && (is(text.front(), kSpace) || among("\"'", text.front()))) text.remove_prefix(1);
  return text;
}

// One word, such as password or DB_PASSWORD.
bool is_name(std::string_view text) {
  if (text.size() < 3 || text.size() > 64) return false;
  for (const char c : text) {
    if (!is(c, kBase64Url) && c != '.') return false;
  }
  return true;
}

// Cheap: a part of the name of some secret occurs.
bool names_a_secret(std::string_view text) {
  for (std::size_t i = 0; i + 3 <= text.size(); ++i) {
    const char c = static_cast<char>(text[i] | 0x20), next = static_cast<char>(text[i + 1] | 0x20);
    if ((c == 'p' && (next == 'a' || next == 'w')) || (c == 's' && next == 'e') || (c == 't' && next == 'o') || (c == 'k' && next == 'e') || (c == 'c' && next == 'r')) return true;
  }
  return false;
}

// Ends in a character that a token, or a name and its value, can go on from, and the next begins with one.
bool may_join(std::string_view a, std::string_view b) {
  const auto in = [](char c) { return is(c, kTokenChar) || among(":@\"' \t", c); };
  return !a.empty() && !b.empty() && in(a.back()) && in(b.front());
}

// All seams in one look, each a line of its own as what a token begins with must not stand behind a letter: they hold nothing. False: look at each.
bool nothing_joined(std::span<const std::string_view> texts) {
  char buffer[4096];
  std::size_t size = 0;
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) {
    const std::string_view a = texts[i], b = texts[i + 1];
    if (!may_join(a, b)) continue;
    if (size + 2 * kWindow + 1 > sizeof buffer) return false;
    size += a.copy(buffer + size, kWindow, a.size() - std::min(a.size(), kWindow));
    size += b.copy(buffer + size, kWindow);
    buffer[size++] = '\n';
  }
  if (size == 0) return true;
  Hits hits;
  find({buffer, size}, hits, {.escapes = false, .base64 = false});
  return std::none_of(hits.begin(), hits.end(), [](const Hit& h) { return h.cls() == Class::kSecret; });
}

// `name`, which may end in a separator, and some value would be a pair: the rules say so themselves, given a value that no rule takes by its looks.
bool takes_value(std::string_view name, bool separated) {
  std::string probe(name.size() > kWindow ? name.substr(name.size() - kWindow) : name);
  if (!separated) probe += '=';
  const std::size_t begin = probe.size();
  probe += "q7z";
  Hits hits;
  find(probe, hits, {.escapes = false, .base64 = false});
  return std::any_of(hits.begin(), hits.end(), [&](const Hit& h) { return h.rule == Rule::kSecretPair && h.begin == begin && h.end == probe.size(); });
}

// A name of a secret that lacks its value.
bool wants_value(std::string_view text) {
  const std::string_view name = trimmed(text);
  const bool separated = !name.empty() && (name.back() == '=' || name.back() == ':');
  if (!separated && (!is_name(name) || !names_a_secret(name))) return false;
  return takes_value(name, separated);
}

// The end of a name that a count may follow, as innocent_value() wants it: of --max-tokens, tokens.
std::string_view counted(std::string_view name) {
  constexpr std::string_view kTokens = "tokens";
  return name.size() > kTokens.size() && equal_nocase(name.substr(name.size() - kTokens.size()), kTokens) ? name.substr(name.size() - kTokens.size()) : name;
}

bool found_alone(std::string_view text, std::size_t begin) {
  Hits hits;
  find(text.substr(0, kWindow), hits, {.escapes = false, .base64 = false});
  return std::any_of(hits.begin(), hits.end(), [&](const Hit& h) { return h.begin <= begin && begin < h.end; });
}

}  // namespace

bool scrubbing::names_secret(std::string_view name) { return names_a_secret(name) && takes_value(name, false); }

bool split_secret(std::span<const std::string_view> texts, std::vector<bool>& mask_these) {
  mask_these.assign(texts.size(), false);
  bool any = false;
  const bool joins = texts.size() > 1 && !nothing_joined(texts);
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) {
    const std::string_view a = texts[i], b = texts[i + 1];
    if (a.empty() || b.empty()) continue;
    if (wants_value(a)) {
      const std::string_view value = trimmed(b);
      if (value.size() >= 3 && !innocent_value(counted(trimmed(a)), value) && own_mask(value) != value.size()) any = mask_these[i + 1] = true;
      continue;
    }
    if (!joins || !may_join(a, b)) continue;
    std::string joined(a.substr(a.size() - std::min(a.size(), kWindow)));
    const std::size_t seam = joined.size();
    joined += b.substr(0, kWindow);
    Hits hits;
    find(joined, hits, {.escapes = false, .base64 = false});
    for (const Hit& h : hits) {
      if (h.cls() != Class::kSecret || h.rule == Rule::kHighEntropy || h.end < seam) continue;
      if (h.end == seam) {  // user:password, and the @ that says so is the next text's first
        if (h.rule == Rule::kUserinfo || h.rule == Rule::kDsnPassword) any = mask_these[i] = true;
      } else if (h.begin < seam) {
        any = mask_these[i] = mask_these[i + 1] = true;
      } else if (h.begin - seam < 32 && !found_alone(b, h.begin - seam)) {
        any = mask_these[i + 1] = true;  // its name lies over the seam
      }
    }
  }
  return any;
}

}  // namespace stella::telemetry
