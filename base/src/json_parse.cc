// Strict recursive-descent JSON parser (RFC 8259) with positions in its errors.
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <set>

#include "stella/base/encoding.h"
#include "stella/base/json.h"

namespace stella::json {
namespace {

class Parser {
 public:
  Parser(std::string_view text, int max_depth) : text_(text), max_depth_(max_depth) {}

  Result<Value> document() {
    Value v;
    if (!ws() || !value(v, 0)) return std::move(*error_);
    ws();
    if (at_ != text_.size()) {
      fail("end of input");
      return std::move(*error_);
    }
    return v;
  }

 private:
  bool fail(Literal expected) { return fail("malformed JSON", expected); }
  bool fail(Literal message, Literal expected) { return fail(base_errors::kMalformed, message, expected); }
  bool fail(ErrorCode code, Literal message, Literal expected) {
    if (error_) return false;
    std::size_t line = 1;
    std::size_t start = 0;
    const std::size_t end = std::min(at_, text_.size());
    for (std::size_t i = 0; i < end; ++i)
      if (text_[i] == '\n') {
        ++line;
        start = i + 1;
      }
    error_ = Error(code, message).with("line", line).with("column", end - start + 1).with("expected", std::string(expected.view()));
    return false;
  }

  bool ws() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    return true;
  }
  bool peek(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool eat(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view w) {
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }

  bool value(Value& out, int depth) {
    if (depth > max_depth_) return fail(base_errors::kLimit, "JSON is nested too deeply", "less nesting");
    if (at_ >= text_.size()) return fail("a value");
    switch (text_[at_]) {
      case '{': return object(out, depth);
      case '[': return array(out, depth);
      case '"': {
        std::string s;
        if (!string(s)) return false;
        out = Value(std::move(s));
        return true;
      }
      case 't':
        if (word("true")) return out = Value(true), true;
        break;
      case 'f':
        if (word("false")) return out = Value(false), true;
        break;
      case 'n':
        if (word("null")) return out = Value(), true;
        break;
      default:
        if (text_[at_] == '-' || (text_[at_] >= '0' && text_[at_] <= '9')) return number(out);
    }
    return fail("a value");
  }

  bool object(Value& out, int depth) {
    ++at_;
    Object o;
    // Few members: a linear scan finds duplicates; many: a set, so that hostile input stays O(n log n).
    std::set<std::string, std::less<>> names;
    ws();
    if (eat('}')) return out = Value(std::move(o)), true;
    for (;;) {
      ws();
      if (!peek('"')) return fail("a member name in quotes");
      const std::size_t name_at = at_;
      std::string name;
      if (!string(name)) return false;
      if (o.size() < 16 ? o.find(name) != nullptr : names.contains(name)) {
        at_ = name_at;
        return fail("duplicate member name", "a name once per object");
      }
      if (o.size() == 15)
        for (const auto& m : o) names.insert(m.first);
      if (o.size() >= 15) names.insert(name);
      ws();
      if (!eat(':')) return fail("':'");
      ws();
      Value v;
      if (!value(v, depth + 1)) return false;
      o.append(std::move(name), std::move(v));
      ws();
      if (eat('}')) return out = Value(std::move(o)), true;
      if (!eat(',')) return fail("',' or '}'");
    }
  }

  bool array(Value& out, int depth) {
    ++at_;
    Array a;
    ws();
    if (eat(']')) return out = Value(std::move(a)), true;
    for (;;) {
      ws();
      Value v;
      if (!value(v, depth + 1)) return false;
      a.push_back(std::move(v));
      ws();
      if (eat(']')) return out = Value(std::move(a)), true;
      if (!eat(',')) return fail("',' or ']'");
    }
  }

  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  bool hex4(std::uint32_t& out) {
    out = 0;
    for (int i = 0; i < 4; ++i) {
      const int v = at_ < text_.size() ? hex_digit(text_[at_]) : -1;
      if (v < 0) return fail("four hex digits");
      out = out << 4 | static_cast<std::uint32_t>(v);
      ++at_;
    }
    return true;
  }

  static void append_utf8(std::string& s, std::uint32_t c) {
    if (c < 0x80) {
      s += static_cast<char>(c);
    } else if (c < 0x800) {
      s += static_cast<char>(0xc0 | c >> 6);
      s += static_cast<char>(0x80 | (c & 63));
    } else if (c < 0x10000) {
      s += static_cast<char>(0xe0 | c >> 12);
      s += static_cast<char>(0x80 | (c >> 6 & 63));
      s += static_cast<char>(0x80 | (c & 63));
    } else {
      s += static_cast<char>(0xf0 | c >> 18);
      s += static_cast<char>(0x80 | (c >> 12 & 63));
      s += static_cast<char>(0x80 | (c >> 6 & 63));
      s += static_cast<char>(0x80 | (c & 63));
    }
  }

  bool escape(std::string& out) {
    if (at_ >= text_.size()) return fail("an escape");
    switch (text_[at_++]) {
      case '"': out += '"'; return true;
      case '\\': out += '\\'; return true;
      case '/': out += '/'; return true;
      case 'b': out += '\b'; return true;
      case 'f': out += '\f'; return true;
      case 'n': out += '\n'; return true;
      case 'r': out += '\r'; return true;
      case 't': out += '\t'; return true;
      case 'u': {
        std::uint32_t c = 0;
        if (!hex4(c)) return false;
        if (c >= 0xdc00 && c <= 0xdfff) return fail("a high surrogate before a low one");
        if (c >= 0xd800 && c <= 0xdbff) {
          std::uint32_t low = 0;
          if (!word("\\u") || !hex4(low) || low < 0xdc00 || low > 0xdfff) return fail("a low surrogate after a high one");
          c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        append_utf8(out, c);
        return true;
      }
      default: --at_; return fail("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    }
  }

  bool string(std::string& out) {
    ++at_;
    for (;;) {
      const std::size_t start = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && static_cast<std::uint8_t>(text_[at_]) >= 0x20) ++at_;
      out.append(text_.substr(start, at_ - start));
      if (at_ >= text_.size()) return fail("'\"' at the end of a string");
      if (eat('"')) return true;
      if (!eat('\\')) return fail("an escaped control character");
      if (!escape(out)) return false;
    }
  }

  bool digits() {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ != start || fail("a digit");
  }

  bool number(Value& out) {
    const std::size_t start = at_;
    bool integral = true;
    eat('-');
    if (eat('0')) {
      if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') return fail("no leading zero");
    } else if (!digits()) {
      return false;
    }
    if (eat('.')) {
      integral = false;
      if (!digits()) return false;
    }
    if (peek('e') || peek('E')) {
      integral = false;
      ++at_;
      if (!eat('+')) eat('-');
      if (!digits()) return false;
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    if (integral) {
      std::int64_t i = 0;
      if (std::from_chars(first, last, i).ec == std::errc() && !(i == 0 && *first == '-')) return out = Value(i), true;
    }
    double d = 0;
    if (std::from_chars(first, last, d).ec == std::errc::result_out_of_range) {
      // Underflow is a legal zero; overflow has no IEEE 754 value.
      d = std::strtod(std::string(first, last).c_str(), nullptr);
      if (!std::isfinite(d)) return at_ = start, fail("a number within the range of IEEE 754 doubles");
    }
    out = Value(d);
    return true;
  }

  std::string_view text_;
  int max_depth_;
  std::size_t at_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<Value> parse(std::string_view text, const ParseOptions& options) {
  if (text.size() > options.max_bytes)
    return Error(base_errors::kLimit, "JSON text is too large").with("limit", options.max_bytes).with("actual", text.size());
  if (!is_utf8(text)) {
    std::size_t good = 0;  // the longest valid prefix names the position; only on the error path, so a halving search is cheap enough
    for (std::size_t step = text.size(); step > 0; step /= 2)
      while (good + step <= text.size() && is_utf8(text.substr(0, good + step))) good += step;
    std::size_t line = 1;
    std::size_t start = 0;
    for (std::size_t i = 0; i < good; ++i)
      if (text[i] == '\n') ++line, start = i + 1;
    return Error(base_errors::kMalformed, "text is not valid UTF-8").with("line", line).with("column", good - start + 1).with("expected", "UTF-8");
  }
  return Parser(text, options.max_depth).document();
}

}  // namespace stella::json
