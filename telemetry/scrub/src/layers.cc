// Decoding with a map back to where each character came from, so that a mask covers exactly the encoded characters.
#include "layers.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "words.h"

namespace stella::telemetry::scrubbing {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Writes the UTF-8 of a character of the basic plane; returns its size.
std::size_t put_utf8(char* out, unsigned code) {
  if (code < 0x80) {
    out[0] = static_cast<char>(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<char>(0xc0 | code >> 6);
    out[1] = static_cast<char>(0x80 | (code & 63));
    return 2;
  }
  out[0] = static_cast<char>(0xe0 | code >> 12);
  out[1] = static_cast<char>(0x80 | (code >> 6 & 63));
  out[2] = static_cast<char>(0x80 | (code & 63));
  return 3;
}

// The escapes of an encoding: how many raw characters the one at `at` takes (0: none stands there), and what it writes, which is never longer.
struct JsonEscapes {
  static constexpr char kMark = '\\';
  static std::size_t read(std::string_view text, std::size_t at, char* out, std::size_t& written) {
    if (at + 2 > text.size()) return 0;
    const char c = text[at + 1];
    written = 1;
    switch (c) {
      case '"': case '\\': case '/': *out = c; return 2;
      case 'n': case 'r': case 't': case 'b': case 'f': *out = c == 't' ? '\t' : '\n'; return 2;
      case 'u': break;
      default: return 0;
    }
    if (at + 6 > text.size()) return 0;
    unsigned code = 0;
    for (std::size_t i = 2; i < 6; ++i) {
      const int digit = hex_value(text[at + i]);
      if (digit < 0) return 0;
      code = code << 4 | static_cast<unsigned>(digit);
    }
    written = put_utf8(out, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);  // no rule looks beyond the basic plane
    return 6;
  }
};
struct PercentEscapes {
  static constexpr char kMark = '%';
  static std::size_t read(std::string_view text, std::size_t at, char* out, std::size_t& written) {
    if (at + 3 > text.size()) return 0;
    const int high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
    if (high < 0 || low < 0) return 0;
    *out = static_cast<char>(high << 4 | low);
    written = 1;
    return 3;
  }
};

// The first escape at or after `at`, or the end of the text. `size` and `written` as read() gives them.
template <class Escapes>
std::size_t next_escape(std::string_view text, std::size_t at, char* out, std::size_t& size, std::size_t& written) {
  while (at < text.size()) {
    if (text[at] == Escapes::kMark && (size = Escapes::read(text, at, out, written)) != 0) return at;
    const std::size_t from = at + (text[at] == Escapes::kMark ? 1 : 0);
    const void* mark = from == text.size() ? nullptr : std::memchr(text.data() + from, Escapes::kMark, text.size() - from);
    if (mark == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const char*>(mark) - text.data());
  }
  size = written = 0;
  return text.size();
}

// Puts positions of the decoded text back into the raw one, by decoding once more beside them: texts with hits are few, so that decoding keeps
// no map. `hits` are those of the decoded text.
template <class Escapes>
void map_back(std::string_view text, Hits& hits) {
  struct Place {
    std::size_t at;
    std::size_t* to;
    bool end;
  };
  std::vector<Place> places;
  places.reserve(2 * hits.size());
  for (Hit& h : hits) {
    places.push_back({h.begin, &h.begin, false});
    places.push_back({h.end - 1, &h.end, true});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.at < b.at; });
  std::size_t raw = 0, decoded = 0;
  char out[4];
  for (auto place = places.begin(); place != places.end();) {
    std::size_t size = 0, written = 0;
    const std::size_t escape = next_escape<Escapes>(text, raw, out, size, written);
    const std::size_t plain = decoded + (escape - raw);
    for (; place != places.end() && place->at < plain; ++place) *place->to = raw + (place->at - decoded) + (place->end ? 1 : 0);
    for (; place != places.end() && place->at < plain + written; ++place) *place->to = escape + (place->end ? size : 0);
    raw = escape + size;
    decoded = plain + written;
    if (size == 0) break;
  }
}

// Looks at `text` with its escapes taken away; hits are pushed `base` further on. `depth` times in all, where escapes come out of it: a line of
// JSON that a program logged as a string has them twice.
template <class Escapes>
void find_decoded(std::string_view text, std::size_t base, Hits& hits, Layers layers, Engine engine, int depth) {
  std::size_t size = 0, written = 0;
  char first[4];
  if (next_escape<Escapes>(text, 0, first, size, written) == text.size()) return;
  const auto buffer = std::make_unique_for_overwrite<char[]>(text.size());
  std::size_t used = 0;
  for (std::size_t at = 0; at < text.size();) {
    char out[4];
    const std::size_t escape = next_escape<Escapes>(text, at, out, size, written);
    text.copy(buffer.get() + used, escape - at, at);
    used += escape - at;
    for (std::size_t i = 0; i < written; ++i) buffer[used++] = out[i];
    at = escape + size;
  }
  const std::string_view decoded(buffer.get(), used);
  if (used <= kShort && quiet(decoded, engine)) return;
  Hits inner;
  find(decoded, inner, {.escapes = false, .base64 = layers.base64}, engine);
  if (depth > 1) find_decoded<Escapes>(decoded, 0, inner, layers, engine, depth - 1);
  if (inner.empty()) return;
  map_back<Escapes>(text, inner);
  for (const Hit& h : inner) hits.push({base + h.begin, base + h.end, h.rule});
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

// Blank to tilde, and the marks that end or indent a line.
constexpr std::array<bool, 256> kPrintable = [] {
  std::array<bool, 256> t{};
  for (std::size_t c = 0x20; c < 0x7f; ++c) t[c] = true;
  t['\n'] = t['\r'] = t['\t'] = true;
  return t;
}();
// Twelve characters of base64 that say nine bytes of text: the least that is looked into.
bool nine_printable(const char* p) {
  for (int quad = 0; quad < 3; ++quad, p += 4) {
    unsigned bits = 0;
    for (int i = 0; i < 4; ++i) bits = bits << 6 | (kSextets[static_cast<std::uint8_t>(p[i])] & 63);
    if (!kPrintable[bits >> 16] || !kPrintable[bits >> 8 & 255] || !kPrintable[bits & 255]) return false;
  }
  return true;
}

}  // namespace

void find_in_json_escapes(std::string_view text, Hits& hits, Layers layers, Engine engine) { find_decoded<JsonEscapes>(text, 0, hits, layers, engine, 2); }

void find_in_percent(std::string_view text, Hits& hits, Layers layers, Engine engine) {
  // From the word of the first escape to the end of that of the last: of a line with one encoded URL, the URL.
  const auto ends_word = [](char c) { return is(c, kSpace) || c == '"' || c == '\'' || c == '<' || c == '>'; };
  std::size_t begin = text.find('%'), end = text.rfind('%');
  if (begin == std::string_view::npos) return;
  while (begin > 0 && !ends_word(text[begin - 1])) --begin;
  while (end < text.size() && !ends_word(text[end])) ++end;
  find_decoded<PercentEscapes>(text.substr(begin, end - begin), begin, hits, layers, engine, 1);
}

Decoded decode_base64_text(std::string_view encoded, char* out) {
  const auto sextet = [&](std::size_t i) -> unsigned { return kSextets[static_cast<std::uint8_t>(encoded[i])]; };
  Decoded done{0, 0};
  while (done.used + 4 <= encoded.size()) {  // whole quads of text
    const unsigned a = sextet(done.used), b = sextet(done.used + 1), c = sextet(done.used + 2), d = sextet(done.used + 3);
    const unsigned bits = a << 18 | b << 12 | c << 6 | d;
    if (((a | b | c | d) & 64) != 0 || !kPrintable[bits >> 16] || !kPrintable[bits >> 8 & 255] || !kPrintable[bits & 255]) break;
    out[done.size] = static_cast<char>(bits >> 16);
    out[done.size + 1] = static_cast<char>(bits >> 8);
    out[done.size + 2] = static_cast<char>(bits);
    done.size += 3;
    done.used += 4;
  }
  // What is left, or the quad that ends it.
  unsigned bits = 0, n = 0;
  for (; n < 4 && done.used + n < encoded.size() && sextet(done.used + n) != 64; ++n) bits = bits << 6 | sextet(done.used + n);
  if (n < 2) return done;
  bits <<= 6 * (4 - n);
  for (unsigned i = 0; i + 1 < n; ++i) {
    const unsigned byte = bits >> (16 - 8 * i) & 255;
    if (!kPrintable[byte]) {
      done.used += i;
      return done;
    }
    out[done.size++] = static_cast<char>(byte);
  }
  done.used += n;
  return done;
}

void Finder::base64(std::size_t start) {
  if (start < seen_.base64) return;
  if (seen_.base64_run <= start) {
    const auto marks = [](std::uint64_t x) { return in_range(x | 0x20 * kOnes, 'a', 'z') | in_range(x, '/', '9') | equal_to(x, '+') | equal_to(x, '-') | equal_to(x, '_'); };
    seen_.base64_run = run_end(text_, start, marks, [](char c) { return is(c, kBase64); });
  }
  if (seen_.base64_run < start + 16) return;
  if (!nine_printable(text_.data() + start)) return;
  const std::size_t size = seen_.base64_run - start;
  char few[192];
  std::unique_ptr<char[]> many;
  if (decoded_room(size) > sizeof few) many = std::make_unique_for_overwrite<char[]>(decoded_room(size));
  char* const buffer = many ? many.get() : few;
  const Decoded done = decode_base64_text(text_.substr(start, size), buffer);
  const std::string_view decoded(buffer, done.size);
  if (decoded.size() < 9) return;
  seen_.base64 = start + done.used;
  if (decoded.size() <= kShort && quiet(decoded, engine_)) return;
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
