// The expression language of policy rules: compile once, evaluate many times. No I/O, no clock, bounded cost.
//
// A subset of CEL with its syntax and meaning: literals (int, uint, double, string, bytes, bool, null, list, map), comparison,
// `&& || !` with CEL's commutative handling of errors, arithmetic with overflow errors, `in`, `?:`, member and index access,
// `has`, `size`, `startsWith endsWith contains matches`, conversions (`int uint double string bytes bool type dyn`), and the macros
// `all exists exists_one filter map`. Left out: messages, timestamps, durations, enums, namespaces (docs: README.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stella/pipeline/policy/cel_value.h"

namespace stella::pipeline::cel {

inline constexpr std::size_t kExpressionBytes = 16u << 10;  // longest expression
inline constexpr int kExpressionDepth = 128;                // deepest nesting
inline constexpr std::size_t kVariables = 64;               // a set of variables is a 64-bit mask
inline constexpr std::uint32_t kSteps = 100'000;            // operations per evaluation; long texts and lists count by their size

// A name an expression may use. Names may be dotted ("component.name"): the longest declared prefix of a path wins (CEL's
// qualified identifiers), so records need no value of their own and a misspelt field is a compile error.
struct Variable {
  std::string name;
  Type type;
};
using Environment = std::vector<Variable>;  // at most kVariables; an index into it names a variable below

struct CompileOptions {
  bool check = true;  // false: types and unknown names are errors of the evaluation instead (conformance tests need it)
};

// Values of the variables; borrowed by every Value it returns until the evaluation's result is no longer used.
class Activation {
 public:
  virtual ~Activation() = default;
  virtual Value get(std::size_t variable) const = 0;
};

// Working memory of evaluations; one per thread, reused.
class Scratch {
 public:
  explicit Scratch(std::uint32_t max_steps = kSteps) : max_steps_(max_steps) {}
  // Bit i set: variable i was read by the last evaluation.
  std::uint64_t reads() const { return reads_; }
  // Operations of the last evaluation.
  std::uint32_t steps() const { return steps_; }

 private:
  friend class Evaluator;
  Arena arena_;
  std::vector<Value> locals_;
  std::uint64_t reads_ = 0;
  std::uint32_t steps_ = 0;
  std::uint32_t max_steps_;
};

// Immutable; copies share. Thread-safe.
class Program {
 public:
  const std::string& source() const;
  const Type& type() const;
  // Never throws, never runs longer than the scratch allows. Errors are values of kind kError; running out of steps is an error that no
  // `||` can hide. The result is valid until the scratch's next evaluation.
  Value evaluate(const Activation& activation, Scratch& scratch) const;
  // 1-based line and byte column of an offset (Value::error_offset) in the source.
  std::pair<std::size_t, std::size_t> position(std::uint32_t offset) const;

  struct Code;
  explicit Program(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

 private:
  std::shared_ptr<const Code> code_;
};

// kMalformed (syntax) or kInvalid (types, names, patterns) with line, column (1-based, bytes) and expected; kLimit with limit.
Result<Program> compile(std::string_view source, const Environment& environment, const CompileOptions& options = {});

}  // namespace stella::pipeline::cel
