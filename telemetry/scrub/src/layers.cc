// Decoding with a map back to where each character came from, so that a mask covers exactly the encoded characters.
#include "layers.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace stella::telemetry::scrubbing {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Decoded text and the places where it and the raw text go apart.
class Decoded {
 public:
  explicit Decoded(std::string_view raw) : raw_(raw) { text_.reserve(raw.size()); }
  const std::string& text() const { return text_; }
  // Takes raw characters up to `end` as they are.
  void copy_to(std::size_t end) {
    text_.append(raw_.substr(at_, end - at_));
    at_ = end;
  }
  // Takes `size` raw characters as `value`.
  void take(std::size_t size, std::string_view value) {
    steps_.push_back({text_.size(), at_, value.size(), size});
    text_.append(value);
    at_ += size;
  }
  std::size_t raw_begin(std::size_t pos) const { return place(pos, false); }
  std::size_t raw_end(std::size_t pos) const { return place(pos - 1, true); }

 private:
  struct Step {
    std::size_t text, raw, text_size, raw_size;
  };
  // Where the character at `pos` of the text begins (ends) in the raw text.
  std::size_t place(std::size_t pos, bool end) const {
    auto step = std::upper_bound(steps_.begin(), steps_.end(), pos, [](std::size_t p, const Step& s) { return p < s.text; });
    if (step == steps_.begin()) return pos + (end ? 1 : 0);
    --step;
    if (pos < step->text + step->text_size) return step->raw + (end ? step->raw_size : 0);
    return step->raw + step->raw_size + (pos - step->text - step->text_size) + (end ? 1 : 0);
  }

  std::string_view raw_;
  std::string text_;
  std::size_t at_ = 0;
  std::vector<Step> steps_;
};

void map_back(const Decoded& decoded, std::size_t base, Hits& hits, Layers layers, Engine engine) {
  Hits inner;
  find(decoded.text(), inner, {.escapes = false, .base64 = layers.base64}, engine);
  for (const Hit& h : inner) hits.push({base + decoded.raw_begin(h.begin), base + decoded.raw_end(h.end), h.rule});
}

void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 63)));
  } else {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 63)));
    out.push_back(static_cast<char>(0x80 | (code & 63)));
  }
}

// The value of the escape that begins `text`, and its size; 0 where it is none.
std::size_t json_escape(std::string_view text, std::string& value) {
  if (text.size() < 2) return 0;
  value.clear();
  switch (text[1]) {
    case '"': case '\\': case '/': value.push_back(text[1]); return 2;
    case 'n': case 'r': case 't': case 'b': case 'f': value.push_back(text[1] == 't' ? '\t' : '\n'); return 2;
    case 'u': break;
    default: return 0;
  }
  if (text.size() < 6) return 0;
  unsigned code = 0;
  for (std::size_t i = 2; i < 6; ++i) {
    const int digit = hex_value(text[i]);
    if (digit < 0) return 0;
    code = code << 4 | static_cast<unsigned>(digit);
  }
  append_utf8(value, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);  // no rule looks beyond the basic plane
  return 6;
}

// Value of each base64 character, either alphabet; 64: none.
constexpr std::array<std::uint8_t, 256> kSextets = [] {
  std::array<std::uint8_t, 256> t{};
  t.fill(64);
  for (int i = 0; i < 26; ++i) {
    t[static_cast<std::size_t>('A' + i)] = static_cast<std::uint8_t>(i);
    t[static_cast<std::size_t>('a' + i)] = static_cast<std::uint8_t>(26 + i);
  }
  for (int i = 0; i < 10; ++i) t[static_cast<std::size_t>('0' + i)] = static_cast<std::uint8_t>(52 + i);
  t['+'] = t['-'] = 62;
  t['/'] = t['_'] = 63;
  return t;
}();

bool printable(unsigned byte) { return (byte >= 0x20 && byte < 0x7f) || byte == '\n' || byte == '\r' || byte == '\t'; }

}  // namespace

void find_in_json_escapes(std::string_view text, Hits& hits, Layers layers, Engine engine) {
  Decoded decoded(text);
  std::string value;
  bool any = false;
  for (std::size_t at = text.find('\\'); at != std::string_view::npos;) {
    const std::size_t size = json_escape(text.substr(at), value);
    if (size != 0) {
      decoded.copy_to(at);
      decoded.take(size, value);
      any = true;
    }
    at = text.find('\\', at + std::max<std::size_t>(size, 1));
  }
  if (!any) return;
  decoded.copy_to(text.size());
  map_back(decoded, 0, hits, layers, engine);
}

void find_in_percent(std::string_view text, Hits& hits, Layers layers, Engine engine) {
  const auto ends_word = [](char c) { return is(c, kSpace) || c == '"' || c == '\'' || c == '<' || c == '>'; };
  const auto escape = [&](std::size_t i) { return i + 2 < text.size() && text[i] == '%' && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0; };
  for (std::size_t done = 0, at = text.find('%'); at != std::string_view::npos; at = text.find('%', std::max(at + 1, done))) {
    if (!escape(at)) continue;
    std::size_t begin = at, end = at;
    while (begin > done && !ends_word(text[begin - 1])) --begin;
    while (end < text.size() && !ends_word(text[end])) ++end;
    Decoded decoded(text.substr(begin, end - begin));
    for (std::size_t i = at; i < end; ++i) {
      if (!escape(i)) continue;
      decoded.copy_to(i - begin);
      const char byte = static_cast<char>(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
      decoded.take(3, {&byte, 1});
      i += 2;
    }
    decoded.copy_to(end - begin);
    map_back(decoded, begin, hits, layers, engine);
    done = end;
  }
}

std::size_t decode_base64_text(std::string_view encoded, std::string& out) {
  std::size_t used = 0;
  while (used < encoded.size()) {
    unsigned bits = 0, n = 0;
    for (; n < 4 && used + n < encoded.size(); ++n) {
      const unsigned sextet = kSextets[static_cast<std::uint8_t>(encoded[used + n])];
      if (sextet == 64) break;
      bits = bits << 6 | sextet;
    }
    if (n < 2) break;
    bits <<= 6 * (4 - n);
    for (unsigned i = 0; i + 1 < n; ++i) {
      const unsigned byte = bits >> (16 - 8 * i) & 255;
      if (!printable(byte)) return used + i;
      out.push_back(static_cast<char>(byte));
    }
    used += n;
    if (n < 4) break;
  }
  return used;
}

void Finder::base64(std::size_t start) {
  if (start < seen_.base64) return;
  std::string decoded;
  if (seen_.base64_run <= start) seen_.base64_run = run(start, kBase64);
  if (seen_.base64_run < start + 16) return;
  const std::size_t used = decode_base64_text(text_.substr(start, seen_.base64_run - start), decoded);
  if (decoded.size() < 9) return;
  seen_.base64 = start + used;
  Hits inner;
  find(decoded, inner, {.escapes = false, .base64 = false}, engine_);
  for (const Hit& h : inner) {
    if (h.cls() == Class::kPath) continue;  // nothing of a path remains readable in base64
    std::size_t end = seen_.base64_run;
    while (end < text_.size() && end < seen_.base64_run + 2 && text_[end] == '=') ++end;
    seen_.base64 = end;
    return hit(h.rule, start, end);
  }
}

}  // namespace stella::telemetry::scrubbing
