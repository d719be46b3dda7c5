// Recursive-descent parser of the expression language: text to syntax nodes, bounded in depth.
#include <algorithm>

#include "cel_lexer.h"
#include "stella/base/encoding.h"

namespace stella::pipeline::cel {

std::pair<std::size_t, std::size_t> position_of(std::string_view source, std::size_t offset) {
  std::size_t line = 1;
  std::size_t start = 0;
  for (std::size_t i = 0; i < offset && i < source.size(); ++i)
    if (source[i] == '\n') ++line, start = i + 1;
  return {line, offset - start + 1};
}

Error error_at(ErrorCode code, Literal message, std::string_view source, std::size_t offset, std::string expected) {
  const auto [line, column] = position_of(source, offset);
  return Error(code, message).with("line", line).with("column", column).with("expected", std::move(expected));
}

namespace {

// Reserved by the language: no identifiers, but fine as member and method names.
constexpr std::string_view kReserved[] = {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop",
                                          "namespace", "package", "return", "var", "void", "while"};

struct Infix {
  std::string_view text;
  Op op;
};
constexpr Infix kRelations[] = {{"==", Op::kEqual}, {"!=", Op::kNotEqual}, {"<", Op::kLess}, {"<=", Op::kLessEqual},
                                {">", Op::kGreater}, {">=", Op::kGreaterEqual}, {"in", Op::kIn}};
constexpr Infix kSums[] = {{"+", Op::kAdd}, {"-", Op::kSubtract}};
constexpr Infix kProducts[] = {{"*", Op::kMultiply}, {"/", Op::kDivide}, {"%", Op::kModulo}};

// Every function returns the index of a node, or -1 once error_ is set.
class Parser {
 public:
  explicit Parser(Program::Code& code) : code_(code), lexer_(code.source, code.arena) {}

  Result<void> run() {
    if (!is_utf8(code_.source)) return error_at(base_errors::kMalformed, "malformed expression", code_.source, 0, "UTF-8");
    advance();
    code_.root = ternary(0);
    if (!error_ && token_.kind != Tok::kEnd) fail("an operator or the end of the expression");
    if (error_) return std::move(*error_);
    return {};
  }

 private:
  int fail(std::string expected) {
    if (!error_) error_ = error_at(base_errors::kMalformed, "malformed expression", code_.source, token_.offset, std::move(expected));
    return -1;
  }
  int too_deep(std::uint32_t offset) {
    if (!error_) error_ = error_at(base_errors::kLimit, "expression is nested too deeply", code_.source, offset, "less nesting").with("limit", static_cast<std::uint64_t>(kExpressionDepth));
    return -1;
  }
  void advance() {
    if (error_) return;
    auto token = lexer_.next();
    if (!token) {
      error_ = lexer_.take_error();
      token_ = Token{};
      return;
    }
    token_ = *token;
  }
  bool is(std::string_view punct) const { return !error_ && token_.kind == Tok::kPunct && token_.text == punct; }
  bool eat(std::string_view punct) {
    if (!is(punct)) return false;
    advance();
    return true;
  }
  bool expect(std::string_view punct) {
    if (eat(punct)) return true;
    fail(std::string(punct));
    return false;
  }

  int add(Op op, std::uint32_t offset, std::vector<int> kids) {
    if (error_) return -1;
    int depth = 1;
    for (const int kid : kids) depth = std::max(depth, code_.nodes[static_cast<std::size_t>(kid)].depth + 1);
    if (depth > kExpressionDepth) return too_deep(offset);
    Node node;
    node.op = op;
    node.offset = offset;
    node.depth = depth;
    node.kids = std::move(kids);
    code_.nodes.push_back(std::move(node));
    return static_cast<int>(code_.nodes.size()) - 1;
  }
  int add_named(Op op, std::uint32_t offset, std::string_view name, std::vector<int> kids) {
    const int index = add(op, offset, std::move(kids));
    if (index >= 0) code_.nodes[static_cast<std::size_t>(index)].name = code_.arena.keep(std::string(name));
    return index;
  }

  int ternary(int depth) {
    if (depth > kExpressionDepth) return too_deep(token_.offset);
    const int condition = chain(Op::kOr, depth);
    if (!is("?")) return condition;
    const auto offset = token_.offset;
    advance();
    const int yes = chain(Op::kOr, depth + 1);
    if (!expect(":")) return -1;
    const int no = ternary(depth + 1);
    return error_ ? -1 : add(Op::kTernary, offset, {condition, yes, no});
  }

  // `a || b || c` is one node, so that long chains are not deep.
  int chain(Op op, int depth) {
    const auto operand = [&] { return op == Op::kOr ? chain(Op::kAnd, depth) : infix(kRelations, depth); };
    const std::string_view text = op == Op::kOr ? "||" : "&&";
    const auto offset = token_.offset;
    std::vector<int> kids = {operand()};
    while (eat(text)) kids.push_back(operand());
    if (error_) return -1;
    return kids.size() == 1 ? kids.front() : add(op, offset, std::move(kids));
  }

  template <std::size_t N>
  int infix(const Infix (&table)[N], int depth) {
    const auto operand = [&] {
      if constexpr (N == std::size(kRelations)) return infix(kSums, depth);
      else if constexpr (N == std::size(kSums)) return infix(kProducts, depth);
      else return unary(depth);
    };
    int left = operand();
    while (!error_) {
      const Infix* found = nullptr;
      for (const Infix& entry : table)
        if ((token_.kind == Tok::kPunct || (token_.kind == Tok::kIdent && entry.op == Op::kIn)) && token_.text == entry.text) found = &entry;
      if (found == nullptr) return left;
      const auto offset = token_.offset;
      advance();
      const int right = operand();
      if (error_) return -1;
      left = add(found->op, offset, {left, right});
    }
    return -1;
  }

  int unary(int depth) {
    const auto offset = token_.offset;
    if (is("!")) {
      std::size_t count = 0;
      while (eat("!")) ++count;
      int node = member(depth);
      for (; count > 0 && node >= 0; --count) node = add(Op::kNot, offset, {node});
      return node;
    }
    if (!is("-")) return member(depth);
    std::size_t count = 0;
    while (eat("-")) ++count;
    const bool folds = token_.kind == Tok::kLiteral && token_.literal.is_numeric() && token_.literal.kind() != Kind::kUint;
    negative_ = folds;
    int node = member(depth);
    if (folds) --count;
    for (; count > 0 && node >= 0; --count) node = add(Op::kNegate, offset, {node});
    return node;
  }

  int member(int depth) {
    int node = primary(depth);
    while (node >= 0 && !error_) {
      const auto offset = token_.offset;
      if (eat("[")) {
        const int index = ternary(depth + 1);
        if (!expect("]")) return -1;
        node = add(Op::kIndex, offset, {node, index});
      } else if (eat(".")) {
        if (token_.kind == Tok::kLiteral || (token_.kind != Tok::kIdent && token_.kind != Tok::kQuotedIdent)) return fail("a member name");
        const auto name = token_.text;
        const bool quoted = token_.kind == Tok::kQuotedIdent;
        const auto at = token_.offset;
        advance();
        if (!quoted && eat("(")) {
          std::vector<int> kids = {node};
          if (!arguments(")", depth, kids)) return -1;
          node = add_named(Op::kMethod, at, name, std::move(kids));
        } else {
          node = add_named(Op::kSelect, at, name, {node});
        }
      } else if (is("{")) {
        error_ = error_at(base_errors::kInvalid, "messages are not part of this expression language", code_.source, offset, "an operator");
      } else {
        return node;
      }
    }
    return error_ ? -1 : node;
  }

  // Up to and including `close`.
  bool arguments(std::string_view close, int depth, std::vector<int>& out) {
    if (eat(close)) return true;
    for (;;) {
      out.push_back(ternary(depth + 1));
      if (error_) return false;
      if (eat(close)) return true;
      if (!expect(",")) return false;
      if (close == "]" && eat(close)) return true;  // a trailing comma is fine in lists
    }
  }

  int map_literal(std::uint32_t offset, int depth) {
    std::vector<int> kids;
    while (!eat("}")) {
      if (!kids.empty() && (!expect(",") || eat("}"))) break;
      kids.push_back(ternary(depth + 1));
      if (!expect(":")) break;
      kids.push_back(ternary(depth + 1));
      if (error_) break;
    }
    return error_ ? -1 : add(Op::kMap, offset, std::move(kids));
  }

  int primary(int depth) {
    if (error_) return -1;
    const auto offset = token_.offset;
    if (token_.kind == Tok::kLiteral) return literal();
    if (eat("(")) {
      const int inner = ternary(depth + 1);
      return expect(")") ? inner : -1;
    }
    if (eat("[")) {
      std::vector<int> kids;
      return arguments("]", depth, kids) ? add(Op::kList, offset, std::move(kids)) : -1;
    }
    if (eat("{")) return map_literal(offset, depth);
    eat(".");  // a leading dot names the root scope: we have no other
    if (error_ || token_.kind != Tok::kIdent) return fail("a literal, a name or a bracket");
    const auto name = token_.text;
    for (const auto word : kReserved)
      if (name == word) return fail("a name that is not reserved");
    advance();
    if (!eat("(")) return add_named(Op::kIdent, offset, name, {});
    std::vector<int> kids;
    return arguments(")", depth, kids) ? add_named(Op::kCall, offset, name, std::move(kids)) : -1;
  }

  int literal() {
    const Token token = token_;
    const bool negative = std::exchange(negative_, false);
    Value value = token.literal;
    if (negative && value.kind() == Kind::kDouble) value = Value::number(-value.as_double());
    else if (negative && !token.min_int) value = Value::integer(-value.as_int());
    else if (!negative && token.min_int) return fail("a signed 64-bit integer");
    advance();
    const int node = add(Op::kLiteral, token.offset, {});
    if (node >= 0) code_.nodes[static_cast<std::size_t>(node)].literal = value;
    return node;
  }

  Program::Code& code_;
  Lexer lexer_;
  Token token_;
  bool negative_ = false;  // the literal about to be read stands behind a minus
  std::optional<Error> error_;
};

}  // namespace

Result<void> parse(Program::Code& code) {
  return Parser(code).run();
}

}  // namespace stella::pipeline::cel
