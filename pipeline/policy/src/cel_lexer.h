// Tokens of the expression language, with the decoding of string and number literals.
#pragma once

#include <optional>

#include "cel_ast.h"

namespace stella::pipeline::cel {

enum class Tok : std::uint8_t { kEnd, kIdent, kQuotedIdent, kLiteral, kPunct };

struct Token {
  Tok kind = Tok::kEnd;
  std::uint32_t offset = 0;
  std::uint32_t end = 0;
  std::string_view text;  // identifier, or punctuation as written
  Value literal;          // numbers without their sign
  bool min_int = false;   // 9223372036854775808: only acceptable behind a minus
};

class Lexer {
 public:
  Lexer(std::string_view source, Arena& arena) : source_(source), arena_(arena) {}
  // The token at the read position; afterwards the position is behind it. nullopt: error() says why.
  std::optional<Token> next();
  Error take_error() { return std::move(*error_); }

 private:
  bool skip_blanks();
  std::optional<Token> number();
  std::optional<Token> integer_literal(std::string_view digits, int base, bool is_unsigned, std::size_t start);
  std::optional<Token> text_literal(std::size_t start);
  bool escape(std::string& out, bool bytes);
  bool hex_digits(int count, std::uint32_t& out);
  std::optional<Token> fail(Literal message, std::size_t offset, std::string expected);
  char at(std::size_t i) const { return i < source_.size() ? source_[i] : '\0'; }

  std::string_view source_;
  Arena& arena_;
  std::size_t at_ = 0;
  std::optional<Error> error_;
};

}  // namespace stella::pipeline::cel
