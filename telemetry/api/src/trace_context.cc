// W3C Trace Context: traceparent and tracestate, parsed as the recommendation says and written in one form.
#include <algorithm>
#include <array>

#include "stella/base/encoding.h"
#include "stella/telemetry/context.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kMembers = 32;
constexpr std::size_t kKeyChars = 256;
constexpr std::size_t kValueChars = 256;
constexpr std::size_t kSendChars = 512;
constexpr std::size_t kLongMember = 128;

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;  // upper case is malformed here
}

template <std::size_t N>
bool parse_hex(std::string_view text, std::array<std::uint8_t, N>& out) {
  for (std::size_t i = 0; i < N; ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

bool same_name(std::string_view a, std::string_view lower_b) {
  return a.size() == lower_b.size() && std::equal(a.begin(), a.end(), lower_b.begin(), [](char x, char y) {
    return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
  });
}

// Level 2: a letter or digit, then letters, digits and _-*/@.
bool valid_key(std::string_view key) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (key.empty() || key.size() > kKeyChars || !alnum(key.front())) return false;
  return std::all_of(key.begin(), key.end(), [&](char c) { return alnum(c) || std::string_view("_-*/@").find(c) != std::string_view::npos; });
}

bool valid_value(std::string_view value) {
  if (value.empty() || value.size() > kValueChars || value.back() == ' ') return false;
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

}  // namespace

std::optional<TraceParent> parse_traceparent(std::string_view text) {
  text = trim(text);
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  std::array<std::uint8_t, 1> version{}, flags{};
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};
  if (!parse_hex(text.substr(0, 2), version) || !parse_hex(text.substr(3, 32), trace) || !parse_hex(text.substr(36, 16), span) ||
      !parse_hex(text.substr(53, 2), flags)) {
    return std::nullopt;
  }
  if (version[0] == 0xff || (version[0] == 0 && text.size() != 55) || (text.size() > 55 && text[55] != '-')) return std::nullopt;
  TraceParent parent{TraceId(trace), SpanId(span), static_cast<std::uint8_t>(flags[0] & (TraceParent::kSampled | TraceParent::kRandom))};
  if (parent.trace_id.empty() || parent.span_id.empty()) return std::nullopt;
  return parent;
}

std::string format_traceparent(const TraceParent& parent) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "00-" + parent.trace_id.hex() + "-" + parent.span_id.hex() + "-0";
  out.push_back(kHex[parent.flags & (TraceParent::kSampled | TraceParent::kRandom)]);
  return out;
}

std::optional<TraceState> TraceState::parse(std::span<const std::string_view> values) {
  TraceState state;
  for (std::string_view value : values) {
    while (!value.empty()) {
      const std::size_t comma = value.find(',');
      // A value may begin with blanks, so only those around the member go.
      const std::string_view text = trim(value.substr(0, comma));
      value = comma == value.npos ? std::string_view{} : value.substr(comma + 1);
      if (text.empty()) continue;
      const std::size_t equals = text.find('=');
      if (equals == text.npos) return std::nullopt;
      const std::string_view key = text.substr(0, equals), content = text.substr(equals + 1);
      if (!valid_key(key) || !valid_value(content)) return std::nullopt;
      const auto known = [&](const auto& m) { return m.first == key; };
      if (std::any_of(state.members_.begin(), state.members_.end(), known)) continue;  // the first, newest one counts
      if (state.members_.size() == kMembers) return std::nullopt;
      state.members_.emplace_back(key, content);
    }
  }
  return state;
}

void TraceState::put_front(std::string_view key, std::string_view value) {
  std::erase_if(members_, [&](const auto& m) { return m.first == key; });
  members_.emplace(members_.begin(), key, value);
  if (members_.size() > kMembers) members_.pop_back();
}

std::string TraceState::str() const {
  const auto length = [](const auto& m) { return m.first.size() + 1 + m.second.size(); };
  std::vector<bool> keep(members_.size(), true);
  std::size_t total = 0;
  for (const auto& m : members_) total += length(m) + 1;
  const auto drop = [&](std::size_t i) {
    keep[i] = false;
    total -= length(members_[i]) + 1;
  };
  for (std::size_t i = members_.size(); i-- > 0 && total > kSendChars + 1;) {
    if (length(members_[i]) > kLongMember) drop(i);
  }
  for (std::size_t i = members_.size(); i-- > 0 && total > kSendChars + 1;) {
    if (keep[i]) drop(i);
  }
  std::string out;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!keep[i]) continue;
    if (!out.empty()) out.push_back(',');
    out.append(members_[i].first).append("=").append(members_[i].second);
  }
  return out;
}

std::optional<RemoteContext> extract(std::span<const std::pair<std::string_view, std::string_view>> headers) {
  std::optional<std::string_view> traceparent;
  std::vector<std::string_view> tracestates;
  for (const auto& [name, value] : headers) {
    if (same_name(name, "traceparent")) {
      if (traceparent) return std::nullopt;
      traceparent = value;
    } else if (same_name(name, "tracestate")) {
      tracestates.push_back(value);
    }
  }
  if (!traceparent) return std::nullopt;
  const auto parent = parse_traceparent(*traceparent);
  if (!parent) return std::nullopt;
  RemoteContext remote{*parent, ""};
  if (const auto state = TraceState::parse(tracestates)) remote.tracestate = state->str();
  return remote;
}

}  // namespace stella::telemetry
