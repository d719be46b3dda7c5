// The public functions: find, decide by policy, write masks.
#include "stella/telemetry/scrub.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>

#include "address.h"
#include "find.h"
#include "fingerprint.h"
#include "stella/base/encoding.h"

namespace stella::telemetry {

using namespace scrubbing;

namespace {

// Shared by all threads; touched only where something is masked.
std::atomic<std::uint64_t> g_secrets{0};
std::atomic<std::uint64_t> g_pii{0};

// The size of the character of valid UTF-8 (RFC 3629) that begins at p, or 0.
std::size_t character(const char* p, std::size_t left) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(p[i]); };
  const auto next = [&](std::size_t i, unsigned least = 0x80, unsigned most = 0xbf) { return i < left && byte(i) >= least && byte(i) <= most; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return next(1) ? 2 : 0;
  if (lead < 0xf0) return next(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && next(2) ? 3 : 0;
  return next(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) && next(2) && next(3) ? 4 : 0;
}

// Every byte that is no part of a character becomes U+FFFD.
std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2 * std::min<std::size_t>(text.size(), 1 << 16) + 3);
  std::size_t kept = 0;  // up to here it is in `out`
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t size = character(text.data() + i, text.size() - i); size != 0) {
      i += size;
      continue;
    }
    out.append(text, kept, i - kept);
    out.append("\xEF\xBF\xBD");
    kept = ++i;
  }
  out.append(text, kept);
  return out;
}

std::optional<PiiKind> pii_of(Class cls) {
  switch (cls) {
    case Class::kEmail: return PiiKind::kEmail;
    case Class::kIp: return PiiKind::kIp;
    case Class::kPhone: return PiiKind::kPhone;
    case Class::kCard: return PiiKind::kCard;
    case Class::kIban: return PiiKind::kIban;
    default: return std::nullopt;
  }
}

// Without what the tenant lets through. Before merging: a secret that overlaps it stays a hit.
void drop_allowed(Hits& hits, PiiSet allowed) {
  if (allowed.empty()) return;
  Hit* out = hits.begin();
  for (const Hit& h : hits) {
    const auto pii = pii_of(h.cls());
    if (!pii || !allowed.has(*pii)) *out++ = h;
  }
  hits.shrink(static_cast<std::size_t>(out - hits.begin()));
}

// "[kind:" of each rule, of which the whole array is written.
struct Head {
  std::array<char, 32> text{};
  std::size_t size = 0;
};
constexpr auto kHeads = [] {
  std::array<Head, std::size(kRules)> heads{};
  for (std::size_t i = 0; i < heads.size(); ++i) {
    std::string head = "[";
    head += kRules[i].kind;
    head += ':';
    if (kRules[i].cls == Class::kPath) head = "<path>/";
    for (const char c : head) heads[i].text[heads[i].size++] = c;
  }
  return heads;
}();
static_assert([] {
  for (const RuleRow& rule : kRules) {
    if (rule.kind.size() + 2 > Head{}.text.size()) return false;
  }
  return true;
}());

// Copies [from, from + size) of the text, most of which are short.
char* put(char* to, std::string_view text, std::size_t from, std::size_t size) {
  if (size <= 16 && from + 16 <= text.size()) [[likely]] {
    std::memcpy(to, text.data() + from, 16);
  } else {
    std::memcpy(to, text.data() + from, size);
  }
  return to + size;
}

// `out` becomes `text` with masks in place of the hits.
void put_masked(std::string& out, std::string_view text, const Hits& hits, Key key) {
  constexpr std::size_t kPrint = 9, kNetwork = 64, kSlack = sizeof Head::text;  // what is written at once may reach beyond its end
  std::size_t room = text.size() + kSlack;
  for (const Hit& h : hits) room += kHeads[static_cast<std::size_t>(h.rule)].size + kPrint + (h.cls() == Class::kIp ? kNetwork : 0);
  std::uint64_t secrets = 0, pii = 0;
  out.resize_and_overwrite(room, [&](char* const begin, std::size_t) {
    char* to = begin;
    std::size_t done = 0;
    for (const Hit& h : hits) {
      to = put(to, text, done, h.begin - done);
      done = h.end;
      const Head& head = kHeads[static_cast<std::size_t>(h.rule)];
      std::memcpy(to, head.text.data(), head.text.size());
      to += head.size;
      const Class cls = h.cls();
      if (cls == Class::kPath) continue;
      ++(cls == Class::kSecret ? secrets : pii);
      const std::string_view value = text.substr(h.begin, h.end - h.begin);
      if (cls == Class::kIp) {
        std::array<char, 64> buffer;
        if (const std::string_view net = network(value, buffer); !net.empty()) {
          to += net.copy(to, net.size());
          *to++ = ':';
        }
      }
      to = put_print(to, value, key);
    }
    to = put(to, text, done, text.size() - done);
    return static_cast<std::size_t>(to - begin);
  });
  if (secrets != 0) g_secrets.fetch_add(secrets, std::memory_order_relaxed);
  if (pii != 0) g_pii.fetch_add(pii, std::memory_order_relaxed);
}

// The masked copies of a text, of which only the last is needed, in strings that the thread keeps: the allocator would map and unmap long ones each
// time.
class Copies {
 public:
  Copies() : kept_(t_gone ? nullptr : &t_kept) {}
  Copies(const Copies&) = delete;
  ~Copies() {
    if (kept_ == nullptr) return;
    for (std::string& text : kept_->text) {
      if (text.capacity() > kMostKept) std::string().swap(text);
    }
  }
  // Empty; the one before is left alone.
  std::string& next() {
    current_ ^= 1;
    std::string& text = (kept_ != nullptr ? kept_->text : own_)[current_];
    text.clear();
    return text;
  }

 private:
  struct Kept {
    std::string text[2];
    ~Kept() { t_gone = true; }
  };
  static constexpr std::size_t kMostKept = 512 << 10;
  static thread_local bool t_gone;  // the thread ends: what is destroyed later may scrub still
  static thread_local Kept t_kept;
  Kept* const kept_;
  std::string own_[2];
  unsigned current_ = 0;
};
thread_local bool Copies::t_gone = false;
thread_local Copies::Kept Copies::t_kept;

}  // namespace

bool certainly_clean(std::string_view text) {
  if (text.size() <= kShort && quiet(text)) return true;  // nearly every field
  Hits hits;
  const Found found = find(text, hits);
  if (found.high && !is_utf8(text)) return false;
  settle(text, hits);
  return hits.empty();
}

void scrub_append(std::string& out, std::string_view text, const ScrubPolicy& policy) {
  if (text.size() <= kShort && quiet(text)) {
    out.append(text);
    return;
  }
  Hits hits;
  const Found found = find(text, hits);
  std::string repaired;
  if (found.high && !is_utf8(text)) {
    repaired = valid_utf8(text);
    text = repaired;
    hits.clear();
    find(text, hits);
  }
  if (hits.empty()) {
    out.append(text);
    return;
  }
  // What one mask leaves beside it can read as something else (a boundary is gone): again until nothing is found, which is nearly always at once.
  Copies copies;
  std::optional<Key> key;
  for (int pass = 0; pass < 8; ++pass) {
    drop_allowed(hits, policy.let_through);
    settle(text, hits);
    if (hits.empty()) break;
    std::string& next = copies.next();
    if (!key) key = key_of(policy.tenant);
    put_masked(next, text, hits, *key);
    text = next;
    hits.clear();
    find(text, hits);
  }
  out.append(text);
}

std::string scrub(std::string_view text) {
  std::string out;
  scrub_append(out, text);
  return out;
}

namespace {

json::Value masked(const json::Value& value) {
  g_secrets.fetch_add(1, std::memory_order_relaxed);
  return json::Value(mask("secret", value.is_string() ? value.as_string() : json::dump(value)));
}

// The rules about `name=value` take the value, or its beginning.
bool is_pair(std::string_view name, std::string_view value) {
  constexpr std::size_t kName = 64, kValue = 256;  // no name is longer, and randomness is judged by so much
  std::string pair(name.substr(name.size() - std::min(name.size(), kName)));
  pair += '=';
  const std::size_t begin = pair.size();
  pair += value.substr(0, kValue);
  Hits hits;
  find(pair, hits, {.escapes = false, .base64 = false});
  return std::any_of(hits.begin(), hits.end(), [&](const Hit& h) {
    return h.begin == begin && (h.rule == Rule::kSecretPair || h.rule == Rule::kAuthorization || h.rule == Rule::kHighEntropy || h.rule == Rule::kSignedUrl);
  });
}

// Something that stands below a secret's name is no `true`, no `null`, no mask and no count.
bool confidential(std::string_view name, const json::Value& value) {
  if (value.is_string()) return value.as_string().size() >= 3 && !innocent_value(name, value.as_string()) && own_mask(value.as_string()) != value.as_string().size();
  if (value.is_number()) return is_pair(name, json::dump(value));
  if (value.is_array()) return std::any_of(value.as_array().begin(), value.as_array().end(), [&](const json::Value& item) { return confidential(name, item); });
  if (value.is_object()) return std::any_of(value.as_object().begin(), value.as_object().end(), [&](const auto& member) { return confidential(name, member.second); });
  return false;
}

// Secrets over neighbours that were scrubbed one by one: the name in one and the value in the next, or a token in two parts.
void mask_over_seams(const std::vector<json::Value*>& values, bool numbers) {
  if (values.size() < 2) return;
  std::vector<std::string> written(values.size());
  std::vector<std::string_view> texts(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i]->is_string()) {
      texts[i] = values[i]->as_string();
    } else if (numbers && values[i]->is_number()) {
      texts[i] = written[i] = json::dump(*values[i]);
    }
  }
  std::vector<bool> whole;
  if (!split_secret(texts, whole)) return;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (whole[i]) *values[i] = masked(*values[i]);
  }
}

// `name`: of the member that is or holds the value; empty where there is none.
void scrub_named(std::string_view name, json::Value& value) {
  std::vector<json::Value*> neighbours;
  if (value.is_string()) {
    const std::string_view text = value.as_string();
    if (!name.empty() && is_pair(name, text) && own_mask(text) != text.size())
      value = masked(value);
    else if (!certainly_clean(text))
      value = json::Value(scrub(text));
  } else if (value.is_array()) {
    for (json::Value& item : value.as_array()) {
      scrub_named(name, item);
      neighbours.push_back(&item);
    }
    mask_over_seams(neighbours, true);  // arguments of a program: numbers, too
  } else if (value.is_object()) {
    std::vector<std::string> names;
    for (const auto& [member, held] : value.as_object()) names.push_back(member);
    for (const std::string& member : names) {
      json::Value& held = *value.as_object().find(member);
      if (names_secret(member) && confidential(member, held))
        held = masked(held);
      else
        scrub_named(member, held);
      neighbours.push_back(&held);
    }
    mask_over_seams(neighbours, false);
  }
}

}  // namespace

void scrub_json(json::Value& value) { scrub_named({}, value); }

std::string trim_path(std::string_view path) {
  const bool inside = !path.empty() && path.front() != '/' && path.front() != '~' && path.find("..") == path.npos && path.find(":\\") != 1;
  if (inside) return scrub(path);
  const std::size_t slash = path.find_last_of(path.find(":\\") == 1 ? "/\\" : "/");
  return "<path>/" + scrub(slash == path.npos ? path : path.substr(slash + 1));
}

ScrubTotals scrub_totals() { return {g_secrets.load(std::memory_order_relaxed), g_pii.load(std::memory_order_relaxed)}; }

}  // namespace stella::telemetry
