// Reads the NDJSON that our own encoders write: fixed member order, minimal escapes, absent where empty. Whatever an encoder
// would not have written is refused, so a decoded object has exactly one spelling, and reading needs no tree.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::contracts {

class LineReader {
 public:
  explicit LineReader(std::string_view text) : text_(text) {}

  // The whole text is UTF-8 and ends with a newline; call once, first.
  bool well_formed() {
    if (!is_utf8(text_)) return fail("UTF-8");
    if (text_.empty() || text_.back() != '\n') {
      at_ = text_.size();
      return fail("a newline at the end");
    }
    return true;
  }
  bool at_end() const { return at_ == text_.size(); }

  bool accept(std::string_view literal) {
    if (text_.substr(at_, literal.size()) != literal) return false;
    at_ += literal.size();
    return true;
  }
  // `literal` must outlive the reader: it becomes the error's `expected`.
  bool expect(std::string_view literal) { return accept(literal) || fail(literal); }

  bool string(std::string& out) {
    out.clear();
    if (!accept("\"")) return fail("a string");
    for (;;) {
      const std::size_t start = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && static_cast<std::uint8_t>(text_[at_]) >= 0x20) ++at_;
      out.append(text_.substr(start, at_ - start));
      if (accept("\"")) return true;
      if (!escape(out)) return false;
    }
  }

  // A member that stands only where it is not empty: `,"name":"value"`.
  bool optional(std::string_view prefix, std::string& out) {
    out.clear();
    if (!accept(prefix)) return true;
    return string(out) && (!out.empty() || fail("no member where the value is empty"));
  }

  template <class Int>
  bool integer(Int& out) {
    const char* first = text_.data() + at_;
    const auto [end, error] = std::from_chars(first, text_.data() + text_.size(), out);
    if (error != std::errc() || std::to_string(out) != std::string_view(first, static_cast<std::size_t>(end - first))) return fail("an integer");
    at_ += static_cast<std::size_t>(end - first);
    return true;
  }

  // Always false. The first failure counts.
  bool fail(std::string_view expected) {
    if (expected_.empty()) expected_ = expected, failed_at_ = at_;
    return false;
  }
  Error error(Literal message) const {
    std::size_t line = 1;
    std::size_t start = 0;
    for (std::size_t i = 0; i < failed_at_ && i < text_.size(); ++i)
      if (text_[i] == '\n') ++line, start = i + 1;
    return Error(base_errors::kMalformed, message).with("line", line).with("column", failed_at_ - start + 1).with("expected", std::string(expected_));
  }

 private:
  // The escapes of json::append_quoted: the seven short ones and \u00xx for other control characters.
  bool escape(std::string& out) {
    static constexpr std::string_view kShort = "\"\\bfnrt";
    static constexpr std::string_view kMeaning = "\"\\\b\f\n\r\t";
    if (at_ + 1 >= text_.size() || text_[at_] != '\\') return fail("an escaped control character");
    const char c = text_[at_ + 1];
    if (const auto i = kShort.find(c); i != std::string_view::npos) {
      out += kMeaning[i];
      at_ += 2;
      return true;
    }
    unsigned code = 0;
    const auto hex = text_.substr(at_, 6);
    if (hex.size() != 6 || !hex.starts_with("\\u00") || std::from_chars(hex.data() + 4, hex.data() + 6, code, 16).ptr != hex.data() + 6)
      return fail("a minimal escape");
    std::string minimal;
    json::append_quoted(minimal, std::string(1, static_cast<char>(code)));
    if (code >= 0x20 || minimal.substr(1, minimal.size() - 2) != hex) return fail("a minimal escape");
    out += static_cast<char>(code);
    at_ += 6;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t failed_at_ = 0;
  std::string_view expected_;
};

// Appends `,"name":"value"` (prefix holds everything up to the value) unless the value is empty.
inline void append_optional(std::string& out, std::string_view prefix, std::string_view value) {
  if (value.empty()) return;
  out += prefix;
  json::append_quoted(out, value);
}

}  // namespace stella::contracts
