// JSON text: compact, pretty and canonical (RFC 8785) forms, and the streaming writer.
#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "stella/base/json.h"

namespace stella::json {
namespace {

constexpr std::int64_t kSafeInteger = 9'007'199'254'740'992;  // 2^53

void append_int(std::string& out, std::int64_t i) {
  char buf[24];
  const auto r = std::to_chars(buf, buf + sizeof buf, i);
  out.append(buf, r.ptr);
}

void write(std::string& out, const Value& v, int indent) {
  const auto newline = [&](int level) {
    if (indent >= 0) out.append(1, '\n').append(static_cast<std::size_t>(2 * level), ' ');
  };
  const int inner = indent < 0 ? -1 : indent + 1;
  if (v.is_null()) out += "null";
  else if (v.is_bool()) out += v.as_bool() ? "true" : "false";
  else if (v.is_int()) append_int(out, v.as_int());
  else if (v.is_double()) append_number(out, v.as_double());
  else if (v.is_string()) append_quoted(out, v.as_string());
  else if (v.is_array()) {
    out += '[';
    bool first = true;
    for (const Value& item : v.as_array()) {
      if (!std::exchange(first, false)) out += ',';
      newline(inner);
      write(out, item, inner);
    }
    if (!first) newline(indent);
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [name, item] : v.as_object()) {
      if (!std::exchange(first, false)) out += ',';
      newline(inner);
      append_quoted(out, name);
      out += indent < 0 ? ":" : ": ";
      write(out, item, inner);
    }
    if (!first) newline(indent);
    out += '}';
  }
}

// UTF-16 code-unit order of two UTF-8 strings (RFC 8785 §3.2.3): differs from byte order only where a supplementary
// character (lead byte 0xf0 and up, so surrogates in UTF-16) meets U+E000…U+FFFF (lead bytes 0xee, 0xef).
bool utf16_less(std::string_view a, std::string_view b) {
  const std::size_t n = std::min(a.size(), b.size());
  for (std::size_t i = 0; i < n; ++i) {
    const auto x = static_cast<std::uint8_t>(a[i]);
    const auto y = static_cast<std::uint8_t>(b[i]);
    if (x == y) continue;
    const bool xs = x >= 0xf0;
    const bool ys = y >= 0xf0;
    if (xs != ys && std::min(x, y) >= 0xee) return xs;
    return x < y;
  }
  return a.size() < b.size();
}

Result<void> write_canonical(std::string& out, const Value& v) {
  if (v.is_int()) {
    if (v.as_int() > kSafeInteger || v.as_int() < -kSafeInteger)
      return Error(base_errors::kInvalid, "an integer beyond 2^53 has no canonical form").with("expected", "a string");
    append_int(out, v.as_int());
  } else if (v.is_double()) {
    if (!std::isfinite(v.as_double())) return Error(base_errors::kInvalid, "NaN and infinity have no canonical form");
    append_number(out, v.as_double());
  } else if (v.is_array()) {
    out += '[';
    bool first = true;
    for (const Value& item : v.as_array()) {
      if (!std::exchange(first, false)) out += ',';
      STELLA_TRY_VOID(write_canonical(out, item));
    }
    out += ']';
  } else if (v.is_object()) {
    std::vector<const Object::Member*> sorted;
    sorted.reserve(v.as_object().size());
    for (const auto& m : v.as_object()) sorted.push_back(&m);
    std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return utf16_less(a->first, b->first); });
    out += '{';
    bool first = true;
    for (const auto* m : sorted) {
      if (!std::exchange(first, false)) out += ',';
      append_quoted(out, m->first);
      out += ':';
      STELLA_TRY_VOID(write_canonical(out, m->second));
    }
    out += '}';
  } else {
    write(out, v, -1);
  }
  return {};
}

}  // namespace

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  std::size_t run = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<std::uint8_t>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(run, i - run));
    run = i + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\t': out += "\\t"; break;
      case '\n': out += "\\n"; break;
      case '\f': out += "\\f"; break;
      case '\r': out += "\\r"; break;
      default:
        out += "\\u00";
        out += "0123456789abcdef"[c >> 4];
        out += "0123456789abcdef"[c & 15];
    }
  }
  out.append(text.substr(run));
  out += '"';
}

// ES6 Number::toString: shortest digits that read back, decimal notation for exponents in [-7, 21).
void append_number(std::string& out, double d) {
  if (d == 0) {
    out += '0';
    return;
  }
  char buf[32];
  const auto r = std::to_chars(buf, buf + sizeof buf, std::fabs(d), std::chars_format::scientific);
  const std::string_view sci(buf, static_cast<std::size_t>(r.ptr - buf));
  const std::size_t e = sci.find('e');
  std::string digits;
  for (const char c : sci.substr(0, e))
    if (c != '.') digits += c;
  const char* exponent_text = buf + e + 1 + (buf[e + 1] == '+' ? 1 : 0);
  int exponent = 0;
  std::from_chars(exponent_text, r.ptr, exponent);
  const int n = exponent + 1;  // position of the decimal point relative to the digits
  const int k = static_cast<int>(digits.size());
  if (d < 0) out += '-';
  if (k <= n && n <= 21) {
    out.append(digits).append(static_cast<std::size_t>(n - k), '0');
  } else if (0 < n && n <= 21) {
    out.append(digits, 0, static_cast<std::size_t>(n)).append(1, '.').append(digits, static_cast<std::size_t>(n), std::string::npos);
  } else if (-6 < n && n <= 0) {
    out.append("0.").append(static_cast<std::size_t>(-n), '0').append(digits);
  } else {
    out += digits[0];
    if (k > 1) out.append(1, '.').append(digits, 1, std::string::npos);
    out.append(1, 'e').append(1, n - 1 < 0 ? '-' : '+');
    append_int(out, std::abs(n - 1));
  }
}

std::string dump(const Value& value) {
  std::string out;
  write(out, value, -1);
  return out;
}

std::string pretty(const Value& value) {
  std::string out;
  write(out, value, 0);
  out += '\n';
  return out;
}

Result<std::string> canonical(const Value& value) {
  std::string out;
  STELLA_TRY_VOID(write_canonical(out, value));
  return out;
}

void Writer::comma() {
  if (need_comma_) out_ += ',';
  need_comma_ = true;
}

Writer& Writer::begin_object() {
  comma();
  out_ += '{';
  need_comma_ = false;
  return *this;
}
Writer& Writer::end_object() {
  out_ += '}';
  need_comma_ = true;
  return *this;
}
Writer& Writer::begin_array() {
  comma();
  out_ += '[';
  need_comma_ = false;
  return *this;
}
Writer& Writer::end_array() {
  out_ += ']';
  need_comma_ = true;
  return *this;
}
Writer& Writer::key(std::string_view name) {
  comma();
  append_quoted(out_, name);
  out_ += ':';
  need_comma_ = false;
  return *this;
}
Writer& Writer::value(std::string_view text) {
  comma();
  append_quoted(out_, text);
  return *this;
}
Writer& Writer::value(bool b) {
  comma();
  out_ += b ? "true" : "false";
  return *this;
}
Writer& Writer::value(std::int64_t i) {
  comma();
  append_int(out_, i);
  return *this;
}
Writer& Writer::value(std::uint64_t i) {
  comma();
  out_ += std::to_string(i);
  return *this;
}
Writer& Writer::value(double d) {
  comma();
  append_number(out_, d);
  return *this;
}
Writer& Writer::null() {
  comma();
  out_ += "null";
  return *this;
}
Writer& Writer::raw(std::string_view json) {
  comma();
  out_ += json;
  return *this;
}
Writer& Writer::value(const Value& v) {
  comma();
  write(out_, v, -1);
  return *this;
}

}  // namespace stella::json
