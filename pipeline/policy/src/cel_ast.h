// The tree of an expression: the parser makes syntax nodes, the checker turns them in place into nodes the evaluator runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/pipeline/policy/cel.h"

namespace re2 {
class RE2;
}

namespace stella::pipeline::cel {

enum class Op : std::uint8_t {
  // Syntax only: gone after checking.
  kIdent, kCall, kMethod,
  // Operators; kids are the operands.
  kLiteral, kList, kMap /* key, value, key, value … */, kSelect, kIndex, kNot, kNegate, kAnd, kOr, kTernary,
  kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kAdd, kSubtract, kMultiply, kDivide, kModulo,
  // After checking.
  kVariable, kHasVariable, kHasMember, kLocal, kUnknownName, kUnknownFunction,
  // Macros; kids are range, predicate and (map) result; `slot` is the local.
  kAll, kExists, kExistsOne, kFilter, kMapMacro,
  // Functions; kids are target and arguments.
  kSize, kStartsWith, kEndsWith, kContains, kMatches, kToInt, kToUint, kToDouble, kToString, kToBytes, kToBool, kToType, kToDyn,
};

struct Node {
  Op op = Op::kLiteral;
  std::uint32_t offset = 0;
  int depth = 1;
  int slot = -1;           // variable or local
  std::string_view name;   // identifier, member or function
  Value literal;
  std::vector<int> kids;
  Type type;
  std::shared_ptr<const re2::RE2> regex;  // kMatches with a literal pattern
};

struct Program::Code {
  std::string source;
  std::vector<Node> nodes;
  int root = -1;
  int locals = 0;  // most locals alive at once
  Arena arena;     // literals and names
};

// Position of a byte: 1-based line and column.
std::pair<std::size_t, std::size_t> position_of(std::string_view source, std::size_t offset);
Error error_at(ErrorCode code, Literal message, std::string_view source, std::size_t offset, std::string expected);

// Fills code.nodes and code.root with syntax nodes; code.source is set by the caller.
Result<void> parse(Program::Code& code);
// Resolves names, macros and functions and checks types; see CompileOptions.
Result<void> check(Program::Code& code, const Environment& environment, const CompileOptions& options);

}  // namespace stella::pipeline::cel
