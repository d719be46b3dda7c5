// W3C Trace Context: traceparent and tracestate, parsed as the recommendation says and written in one form.
#include <cstring>

#include "hex_block.h"
#include "stella/telemetry/propagation.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kKeyChars = 256;
constexpr std::size_t kValueChars = 256;
constexpr std::size_t kLongMember = 128;

bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Level 2: a key is a letter or digit, then letters, digits and _-*/@; a value is printable ASCII without comma and equals sign.
enum Class : std::uint8_t { kFirst = 1, kKey = 2, kValue = 4 };
constexpr auto kClasses = [] {
  std::array<std::uint8_t, 256> out{};
  for (std::size_t c = 0x20; c <= 0x7e; ++c)
    if (c != ',' && c != '=') out[c] = kValue;
  for (std::size_t c = 'a'; c <= 'z'; ++c) out[c] |= kFirst | kKey;
  for (std::size_t c = '0'; c <= '9'; ++c) out[c] |= kFirst | kKey;
  for (const unsigned char c : {'_', '-', '*', '/', '@'}) out[c] |= kKey;
  return out;
}();
bool is(Class which, char c) { return (kClasses[static_cast<unsigned char>(c)] & which) != 0; }

const char* while_in(Class which, const char* p, const char* end) {
  while (p != end && is(which, *p)) ++p;
  return p;
}

}  // namespace

std::optional<TraceParent> parse_traceparent(std::string_view text) {
  // With blanks around it is longer, or too short.
  if (text.size() != kTraceparentBytes) [[unlikely]] {
    text = trim(text);
    if (text.size() < kTraceparentBytes) return std::nullopt;
  }
  const char* const p = text.data();
  const int version = detail::hex_value(p[0]) << 4 | detail::hex_value(p[1]), flags = detail::hex_value(p[53]) << 4 | detail::hex_value(p[54]);
  std::uint8_t trace[16], span[8];
  const bool digits = detail::read_ids(p + 3, p + 36, trace, span);
  if (!digits || (version | flags) < 0 || p[2] != '-' || p[35] != '-' || p[52] != '-') return std::nullopt;
  if (version == 0xff || (text.size() != kTraceparentBytes && (version == 0 || p[55] != '-'))) return std::nullopt;
  std::optional<TraceParent> out(std::in_place, TraceParent{TraceId(std::to_array(trace)), SpanId(std::to_array(span)), static_cast<std::uint8_t>(flags & (TraceParent::kSampled | TraceParent::kRandom))});
  if (out->trace_id.empty() || out->span_id.empty()) out.reset();
  return out;
}

void write_traceparent(const TraceParent& parent, std::span<char, kTraceparentBytes> out) noexcept {
  char* const p = out.data();
  std::memcpy(p, "00-", 3);
  p[35] = '-';
  detail::write_ids(parent.trace_id.bytes().data(), parent.span_id.bytes().data(), p + 3, p + 36);
  std::memcpy(p + 52, "-0", 2);
  p[54] = static_cast<char>('0' + (parent.flags & (TraceParent::kSampled | TraceParent::kRandom)));
}

std::string format_traceparent(const TraceParent& parent) {
  char text[kTraceparentBytes];
  write_traceparent(parent, text);
  return std::string(text, sizeof text);
}

void TraceStateReader::add(std::string_view value) {
  const char* p = value.data();
  const char* const end = p + value.size();
  bool any = false;
  while (!malformed_) {
    while (p != end && (is_blank(*p) || *p == ',')) ++p;  // empty members are allowed
    if (p == end) break;
    any = true;
    const char* const at = p;
    p = while_in(kKey, p, end);
    const std::size_t key = static_cast<std::size_t>(p - at);
    malformed_ = key == 0 || key > kKeyChars || !is(kFirst, *at) || p == end || *p != '=';
    if (malformed_) break;
    const char* const content = ++p;  // may begin with blanks
    p = while_in(kValue, p, end);
    const char* last = p;
    while (last != content && last[-1] == ' ') --last;
    while (p != end && is_blank(*p)) ++p;
    const std::size_t size = static_cast<std::size_t>(last - content);
    malformed_ = size == 0 || size > kValueChars || (p != end && *p != ',');
    if (!malformed_) keep(at, key, static_cast<std::size_t>(last - at));
  }
  if (!any) return;
  several_ = !only_.empty();
  only_ = value;
}

void TraceStateReader::keep(const char* at, std::size_t key, std::size_t size) {
  for (std::size_t i = 0; i < count_; ++i)
    if (members_[i].key == key && std::memcmp(members_[i].at, at, key) == 0) return;  // the first, newest one counts
  if (count_ == kMembers) {
    malformed_ = true;
    return;
  }
  bytes_ += size + (count_ == 0 ? 0 : 1);
  members_[count_++] = {at, static_cast<std::uint16_t>(size), static_cast<std::uint16_t>(key)};
}

std::string_view TraceStateReader::text(std::array<char, kTextBytes>& buffer) const {
  if (malformed_ || count_ == 0) return {};
  // A value that has nothing but its members is in order already.
  if (!several_ && bytes_ == only_.size() && bytes_ <= kTextBytes) return only_;
  bool keep[kMembers];
  std::size_t total = bytes_ + 1;  // a comma each
  for (std::size_t i = 0; i < count_; ++i) keep[i] = true;
  const auto drop = [&](std::size_t i) {
    keep[i] = false;
    total -= members_[i].size + std::size_t{1};
  };
  for (std::size_t i = count_; i-- > 0 && total > kTextBytes + 1;)
    if (members_[i].size > kLongMember) drop(i);
  for (std::size_t i = count_; i-- > 0 && total > kTextBytes + 1;)
    if (keep[i]) drop(i);
  char* out = buffer.data();
  for (std::size_t i = 0; i < count_; ++i) {
    if (!keep[i]) continue;
    if (out != buffer.data()) *out++ = ',';
    std::memcpy(out, members_[i].at, members_[i].size);
    out += members_[i].size;
  }
  return {buffer.data(), static_cast<std::size_t>(out - buffer.data())};
}

}  // namespace stella::telemetry
