// Tokens of the expression language, with the decoding of string and number literals.
#include "cel_lexer.h"

#include <charconv>
#include <limits>

#include "stella/base/encoding.h"

namespace stella::pipeline::cel {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) put(c);
  else if (c < 0x800) put(0xc0 | c >> 6), put(0x80 | (c & 63));
  else if (c < 0x10000) put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  else put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
}

}  // namespace

std::optional<Token> Lexer::fail(Literal message, std::size_t offset, std::string expected) {
  if (!error_) error_ = error_at(base_errors::kMalformed, message, source_, offset, std::move(expected));
  return std::nullopt;
}

bool Lexer::skip_blanks() {
  for (;;) {
    const char c = at(at_);
    if (at_ < source_.size() && (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')) {
      ++at_;
    } else if (c == '/' && at(at_ + 1) == '/') {
      while (at_ < source_.size() && source_[at_] != '\n') ++at_;
    } else {
      return true;
    }
  }
}

std::optional<Token> Lexer::next() {
  skip_blanks();
  Token token{.offset = static_cast<std::uint32_t>(at_)};
  if (at_ >= source_.size()) {
    token.end = token.offset;
    return token;
  }
  const std::size_t start = at_;
  const char c = source_[at_];
  if (is_digit(c) || (c == '.' && is_digit(at(at_ + 1)))) return number();
  std::size_t quote = at_;
  while (quote - at_ < 2 && std::string_view("rRbB").find(at(quote)) != std::string_view::npos) ++quote;
  if (at(quote) == '"' || at(quote) == '\'') return text_literal(start);
  if (c == '`') {
    const std::size_t close = source_.find('`', at_ + 1);
    if (close == std::string_view::npos || close == at_ + 1) return fail("malformed expression", at_, "a name in backquotes");
    token.kind = Tok::kQuotedIdent;
    token.text = source_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
  } else if (is_letter(c)) {
    while (is_letter(at(at_)) || is_digit(at(at_))) ++at_;
    token.kind = Tok::kIdent;
    token.text = source_.substr(start, at_ - start);
    if (token.text == "true" || token.text == "false" || token.text == "null") {
      token.kind = Tok::kLiteral;
      token.literal = token.text == "null" ? Value::null() : Value::boolean(token.text == "true");
    }
  } else {
    static constexpr std::string_view kTwo[] = {"==", "!=", "<=", ">=", "&&", "||"};
    token.kind = Tok::kPunct;
    std::size_t length = std::string_view("+-*/%<>!?:.,()[]{}").find(c) != std::string_view::npos ? 1 : 0;
    for (const auto two : kTwo)
      if (source_.substr(at_, 2) == two) length = 2;
    if (length == 0) return fail("malformed expression", at_, "an operator, a name or a literal");
    at_ += length;
    token.text = source_.substr(start, length);
  }
  token.end = static_cast<std::uint32_t>(at_);
  return token;
}

std::optional<Token> Lexer::number() {
  const std::size_t start = at_;
  if (at(at_) == '0' && (at(at_ + 1) == 'x' || at(at_ + 1) == 'X')) {
    at_ += 2;
    const std::size_t digits = at_;
    while (is_hex(at(at_))) ++at_;
    const auto text = source_.substr(digits, at_ - digits);
    const bool is_unsigned = at(at_) == 'u' || at(at_) == 'U';
    at_ += is_unsigned ? 1 : 0;
    return integer_literal(text, 16, is_unsigned, start);
  }
  while (is_digit(at(at_))) ++at_;
  bool real = false;
  if (at(at_) == '.' && is_digit(at(at_ + 1))) {
    real = true;
    ++at_;
    while (is_digit(at(at_))) ++at_;
  }
  if (at(at_) == 'e' || at(at_) == 'E') {
    std::size_t exponent = at_ + 1;
    if (at(exponent) == '+' || at(exponent) == '-') ++exponent;
    if (!is_digit(at(exponent))) return fail("malformed number", at_, "digits of the exponent");
    real = true;
    at_ = exponent;
    while (is_digit(at(at_))) ++at_;
  }
  const auto text = source_.substr(start, at_ - start);
  if (!real) {
    const bool is_unsigned = at(at_) == 'u' || at(at_) == 'U';
    at_ += is_unsigned ? 1 : 0;
    return integer_literal(text, 10, is_unsigned, start);
  }
  double value = 0;
  const std::string full = (text.front() == '.' ? "0" : "") + std::string(text);
  if (std::from_chars(full.data(), full.data() + full.size(), value).ec != std::errc()) return fail("number out of range", start, "a double");
  if (is_letter(at(at_))) return fail("malformed number", at_, "an operator");
  return Token{.kind = Tok::kLiteral, .offset = static_cast<std::uint32_t>(start), .end = static_cast<std::uint32_t>(at_), .text = text, .literal = Value::number(value)};
}

std::optional<Token> Lexer::integer_literal(std::string_view digits, int base, bool is_unsigned, std::size_t start) {
  Token token{.kind = Tok::kLiteral, .offset = static_cast<std::uint32_t>(start), .end = static_cast<std::uint32_t>(at_)};
  token.text = source_.substr(start, at_ - start);
  std::uint64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (digits.empty()) return fail("malformed number", start, "hexadecimal digits");
  if (is_letter(at(at_)) || is_digit(at(at_))) return fail("malformed number", at_, "an operator");
  constexpr auto kMin = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + 1;
  if (result.ec != std::errc() || (!is_unsigned && value > kMin))
    return fail("number out of range", start, is_unsigned ? "an unsigned 64-bit integer" : "a signed 64-bit integer");
  if (is_unsigned) token.literal = Value::uinteger(value);
  else token.literal = Value::integer(static_cast<std::int64_t>(value));
  token.min_int = !is_unsigned && value == kMin;
  return token;
}

bool Lexer::hex_digits(int count, std::uint32_t& out) {
  out = 0;
  for (int i = 0; i < count; ++i) {
    if (!is_hex(at(at_))) return false;
    std::uint32_t digit = 0;
    std::from_chars(source_.data() + at_, source_.data() + at_ + 1, digit, 16);
    out = out << 4 | digit;
    ++at_;
  }
  return true;
}

// At a backslash. In strings \x and octal escapes name code points, in bytes they are bytes.
bool Lexer::escape(std::string& out, bool bytes) {
  const std::size_t start = at_++;
  const char c = at(at_);
  static constexpr std::string_view kSimple = "\\?\"'`abfnrtv";
  static constexpr std::string_view kMeaning = "\\?\"'`\a\b\f\n\r\t\v";
  if (const auto i = kSimple.find(c); c != '\0' && i != std::string_view::npos) {
    out += kMeaning[i];
    ++at_;
    return true;
  }
  std::uint32_t code = 0;
  bool ok = false;
  if (c == 'x' || c == 'X') ok = (++at_, hex_digits(2, code));
  else if (c == 'u' && !bytes) ok = (++at_, hex_digits(4, code));
  else if (c == 'U' && !bytes) ok = (++at_, hex_digits(8, code));
  else if (c >= '0' && c <= '3') {
    ok = true;
    for (int i = 0; i < 3; ++i, ++at_) {
      const char digit = at(at_);
      ok = ok && digit >= '0' && digit <= '7';
      code = code << 3 | static_cast<std::uint32_t>(digit & 7);
    }
  }
  if (!ok) return fail("malformed escape", start, "one of \\a \\b \\f \\n \\r \\t \\v \\\\ \\\" \\' \\` \\? \\xHH \\uHHHH \\UHHHHHHHH \\OOO"), false;
  if (bytes) return out += static_cast<char>(code), true;
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return fail("malformed escape", start, "a Unicode scalar value"), false;
  append_utf8(out, code);
  return true;
}

std::optional<Token> Lexer::text_literal(std::size_t start) {
  bool raw = false;
  bool bytes = false;
  for (; at(at_) != '"' && at(at_) != '\''; ++at_) {
    const bool is_raw = at(at_) == 'r' || at(at_) == 'R';
    if (is_raw ? raw : bytes || raw) return fail("malformed string", start, "at most one b before at most one r");
    (is_raw ? raw : bytes) = true;
  }
  const char quote = at(at_);
  const std::string triple(3, quote);
  const bool is_triple = source_.substr(at_, 3) == triple;
  const std::string_view close = is_triple ? std::string_view(triple) : std::string_view(triple).substr(0, 1);
  at_ += close.size();
  std::string out;
  while (source_.substr(at_, close.size()) != close) {
    if (at_ >= source_.size() || (!is_triple && (source_[at_] == '\n' || source_[at_] == '\r')))
      return fail("unterminated string", start, std::string(close));
    if (raw || source_[at_] != '\\') {
      out += source_[at_++];
    } else if (!escape(out, bytes)) {
      return std::nullopt;
    }
  }
  at_ += close.size();
  Token token{.kind = Tok::kLiteral, .offset = static_cast<std::uint32_t>(start), .end = static_cast<std::uint32_t>(at_)};
  token.text = source_.substr(start, at_ - start);
  const auto kept = arena_.keep(std::move(out));
  token.literal = bytes ? Value::bytes(kept) : Value::string(kept);
  return token;
}

}  // namespace stella::pipeline::cel
