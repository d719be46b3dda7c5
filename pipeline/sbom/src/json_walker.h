// Walks a tape: checks the whole grammar, skips what nobody asks for, hands out strings as views into the document.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "json_tape.h"
#include "stella/base/result.h"

namespace stella::pipeline::sbom {

// name == literal, compiled to a comparison of words instead of a call: names are compared millions of times.
template <std::size_t N>
inline bool is(std::string_view name, const char (&literal)[N]) {
  return name.size() == N - 1 && __builtin_memcmp(name.data(), literal, N - 1) == 0;
}

// Which members of an object were seen: a member that we interpret may stand only once.
class Seen {
 public:
  bool first(unsigned bit) {
    const bool fresh = (bits_ >> bit & 1u) == 0;
    bits_ |= 1u << bit;
    return fresh;
  }
  bool has(unsigned bit) const { return (bits_ >> bit & 1u) != 0; }

 private:
  std::uint32_t bits_ = 0;
};

// Every function returns false after the first failure; failure() then says what and where. Strings live as long as document
// and walker.
class Walker {
 public:
  Walker(const Tape& tape, int max_depth, std::size_t max_string_bytes);

  // '{', '[', '"', another first byte of a value, or '\0' at the end.
  char peek() const { return at_ < end_ ? text_[*at_] : '\0'; }
  // Byte offset of the current token.
  std::size_t offset() const { return *at_; }

  // Calls on_member(name, name_offset) for each member; it consumes the member's value.
  template <class F>
  bool object(F&& on_member) {
    if (peek() != '{') return expected("an object");
    if (++depth_ > max_depth_) return too_deep();
    ++at_;
    if (peek() != '}') {
      for (;;) {
        if (peek() != '"') return malformed("a member name in quotes");
        const std::size_t name_offset = *at_;
        std::string_view name;
        if (!key(name)) return false;
        if (!on_member(name, name_offset)) return false;
        if (peek() == ',') {
          ++at_;
          continue;
        }
        if (peek() != '}') return malformed("',' or '}'");
        break;
      }
    }
    ++at_;
    --depth_;
    return true;
  }
  // Calls on_item(index) for each element; it consumes the element.
  template <class F>
  bool array(F&& on_item) {
    if (peek() != '[') return expected("an array");
    if (++depth_ > max_depth_) return too_deep();
    ++at_;
    if (peek() != ']') {
      for (std::uint32_t i = 0;; ++i) {
        if (!on_item(i)) return false;
        if (peek() == ',') {
          ++at_;
          continue;
        }
        if (peek() != ']') return malformed("',' or ']'");
        break;
      }
    }
    ++at_;
    --depth_;
    return true;
  }
  // A string; null counts as "". Refuses NUL and more than max_string_bytes.
  bool string(std::string_view& out);
  // A string or a number, as the document spells it.
  bool string_or_number(std::string_view& out);
  // Consumes any value, checking its grammar.
  bool skip();
  // After the document's value: nothing may follow.
  bool finish() { return at_ == end_ || malformed("end of input"); }

  // Always false.
  bool duplicate(std::size_t name_offset);
  bool malformed(std::string_view what);  // `what` must be a literal
  // The grammar is fine, the document is not of the format's shape.
  bool expected(std::string_view what);
  bool fail(Error error);
  Error error_at(ErrorCode code, Literal message, std::size_t offset) const;

  bool failed() const { return failure_.has_value(); }
  bool failed_on_shape() const { return shape_; }
  Error take_failure() { return std::move(*failure_); }

 private:
  bool key(std::string_view& name);
  std::string_view raw_string() const;
  // Does the raw string hold an escape? Strings must be asked about in document order.
  bool escaped(std::string_view raw) {
    const auto start = static_cast<std::uint32_t>(raw.data() - text_);
    while (*escape_ < start) ++escape_;
    return *escape_ < start + raw.size();
  }
  bool unescape(std::string_view raw, std::string_view& out);
  std::string_view scalar_text() const;
  bool scalar();
  bool too_deep();

  const char* text_;
  std::size_t size_;
  const std::uint32_t* at_;
  const std::uint32_t* end_;
  int depth_ = 0;
  int max_depth_;
  const std::uint32_t* escape_;  // the first that is not behind us
  bool shape_ = false;
  std::size_t max_string_bytes_;
  std::string_view document_;
  std::optional<Error> failure_;
  std::deque<std::string> unescaped_;
};

}  // namespace stella::pipeline::sbom
