// W3C Baggage: members of a message read and written, and the keys that are let through.
#include "baggage.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>

#include "stella/base/encoding.h"
#include "stella/telemetry/propagation.h"

namespace stella::telemetry {
namespace {

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// What stands before `mark` and what behind it; the latter is empty where there is none.
std::pair<std::string_view, std::string_view> split(std::string_view text, char mark) {
  const std::size_t at = text.find(mark);
  return at == text.npos ? std::pair(text, std::string_view()) : std::pair(text.substr(0, at), text.substr(at + 1));
}

// RFC 9110 §5.6.2.
bool is_token(std::string_view text) {
  const auto tchar = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), tchar);
}

// baggage-octet of the recommendation.
bool is_octet(char c) { return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\'; }
bool is_value(std::string_view text) { return std::all_of(text.begin(), text.end(), is_octet); }

// A percent sign stands for itself only as %25.
bool has_whole_escapes(std::string_view text) { return text.find('%') == text.npos || percent_decode(text).has_value(); }

// "k1 = v1 ; k2" as "k1=v1;k2". nullopt where one is malformed.
std::optional<std::string> properties_of(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t end = text.find(';');
    const std::string_view property = text.substr(0, end);
    const std::size_t equals = property.find('=');
    const std::string_view key = trim(property.substr(0, equals));
    if (!is_token(key)) return std::nullopt;
    if (!out.empty()) out += ';';
    out += key;
    if (equals != property.npos) {
      const std::string_view value = trim(property.substr(equals + 1));
      if (!is_value(value)) return std::nullopt;
      out.append("=").append(value);
    }
    if (end == text.npos) return out;
    text.remove_prefix(end + 1);
  }
}

struct Raw {
  std::string_view key, value;  // value as it was sent
  std::string properties;
};

std::optional<Raw> raw_member(std::string_view text) {
  const std::size_t semicolon = text.find(';'), equals = text.substr(0, semicolon).find('=');
  if (equals == text.npos) return std::nullopt;
  Raw out{trim(text.substr(0, equals)), trim(text.substr(0, semicolon).substr(equals + 1)), {}};
  if (!is_token(out.key) || !is_value(out.value) || !has_whole_escapes(out.value)) return std::nullopt;
  if (semicolon == text.npos) return out;
  auto properties = properties_of(text.substr(semicolon + 1));
  if (!properties) return std::nullopt;
  out.properties = std::move(*properties);
  return out;
}

// Calls f(text of a member) for those that end within the first Baggage::kBytes of the message. `bytes`: of it so far, with a comma between values.
template <class F>
void each_member(std::string_view value, std::size_t& bytes, F&& f) {
  if (bytes != 0) ++bytes;
  const std::size_t room = bytes < Baggage::kBytes ? Baggage::kBytes - bytes : 0;
  bytes += value.size();
  if (value.size() > room) {
    if (value[room] != ',') {
      const std::size_t comma = value.substr(0, room).rfind(',');
      value = value.substr(0, comma == value.npos ? 0 : comma);
    } else {
      value = value.substr(0, room);
    }
  }
  while (!value.empty()) {
    const auto [text, rest] = split(value, ',');
    value = rest;
    f(text);
  }
}

// The length of the UTF-8 sequence at the front, or of what must be replaced there (Unicode §3.9: the maximal subpart).
std::pair<std::size_t, bool> sequence(std::string_view text) {
  const auto at = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = at(0);
  if (lead < 0x80) return {1, true};
  const std::size_t more = lead >= 0xc2 && lead <= 0xdf ? 1 : lead >= 0xe0 && lead <= 0xef ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
  if (more == 0) return {1, false};
  for (std::size_t i = 1; i <= more; ++i) {
    const int low = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const int high = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (i == text.size() || at(i) < low || at(i) > high) return {i, false};
  }
  return {more + 1, true};
}

std::string well_formed(std::string text) {
  if (is_utf8(text)) return text;
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const auto [size, good] = sequence(rest);
    out += good ? rest.substr(0, size) : std::string_view("\xef\xbf\xbd");
    rest.remove_prefix(size);
  }
  return out;
}

void append_encoded(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (is_octet(c) && c != '%') out += c;
    else out += percent_encode(std::string_view(&c, 1));
  }
}

void append_member(std::string& out, std::string_view key, std::string_view encoded, std::string_view properties) {
  if (!out.empty()) out += ',';
  out.append(key).append("=").append(encoded);
  if (!properties.empty()) out.append(";").append(properties);
}

using Keys = std::vector<std::string>;
std::atomic<const Keys*> g_allowed{nullptr};

}  // namespace

Baggage Baggage::parse(std::span<const std::string_view> values) {
  Baggage out;
  std::size_t bytes = 0;
  for (const std::string_view value : values)
    each_member(value, bytes, [&](std::string_view text) {
      if (out.members_.size() == kMembers) return;
      auto raw = raw_member(text);
      if (!raw) return;
      out.members_.push_back({std::string(raw->key), well_formed(percent_decode(raw->value).value()), std::move(raw->properties)});
    });
  return out;
}

const Baggage::Member* Baggage::find(std::string_view key) const {
  const auto it = std::find_if(members_.rbegin(), members_.rend(), [key](const Member& m) { return m.key == key; });
  return it == members_.rend() ? nullptr : &*it;
}

Result<void> Baggage::set(std::string_view key, std::string_view value, std::string_view properties) {
  const auto invalid = [](Literal what, std::string_view expected) { return Error(base_errors::kInvalid, what).with("expected", std::string(expected)); };
  if (!is_token(key)) return invalid("the key of a baggage member is not acceptable", "a token of RFC 9110");
  if (!is_utf8(value)) return invalid("the value of a baggage member is not acceptable", "UTF-8");
  std::string tidy;
  if (!properties.empty()) {
    auto read = properties_of(properties);
    if (!read) return invalid("the properties of a baggage member are malformed", "key=value or key, with semicolons between");
    tidy = std::move(*read);
  }
  Baggage next = *this;
  next.remove(key);
  next.members_.push_back({std::string(key), std::string(value), std::move(tidy)});
  if (next.members_.size() > kMembers || next.str().size() > kBytes) return invalid("the baggage is too large", "at most 64 members and 8192 bytes");
  *this = std::move(next);
  return {};
}

void Baggage::remove(std::string_view key) {
  std::erase_if(members_, [key](const Member& m) { return m.key == key; });
}

std::string Baggage::str() const {
  std::string out, encoded;
  for (const Member& m : members_) {
    encoded.clear();
    append_encoded(encoded, m.value);
    append_member(out, m.key, encoded, m.properties);
  }
  return out;
}

Result<void> allow_baggage(std::span<const std::string> keys) {
  if (keys.size() > Baggage::kMembers) return Error(base_errors::kInvalid, "too many baggage keys").with("expected", "at most 64");
  for (const std::string& key : keys)
    if (!is_token(key)) return Error(base_errors::kInvalid, "a baggage key is not acceptable").with("field", key).with("expected", "a token of RFC 9110");
  // Lists stay: a reader may hold one, and a program sets its own once.
  static std::mutex& mutex = *new std::mutex;
  static auto& lists = *new std::vector<std::unique_ptr<const Keys>>;
  const std::lock_guard lock(mutex);
  lists.push_back(std::make_unique<const Keys>(keys.begin(), keys.end()));
  g_allowed.store(lists.back().get(), std::memory_order_release);
  return {};
}

namespace detail {

void append_allowed(std::string_view value, std::size_t& bytes, std::size_t& members, std::string& out) {
  const Keys* const keys = g_allowed.load(std::memory_order_acquire);
  if (keys == nullptr || keys->empty()) return;
  each_member(value, bytes, [&](std::string_view text) {
    if (members == Baggage::kMembers) return;
    // The key first: what is not let through is not worth a look.
    const std::string_view key = trim(split(text, '=').first);
    if (std::find(keys->begin(), keys->end(), key) == keys->end()) return;
    const auto raw = raw_member(text);
    if (!raw) return;
    append_member(out, raw->key, raw->value, raw->properties);
    ++members;
  });
}

}  // namespace detail

}  // namespace stella::telemetry
