// Runs a checked expression over the values of an activation. Errors are values; every operation costs steps.
#include <re2/re2.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "cel_ast.h"
#include "stella/base/encoding.h"

namespace stella::pipeline::cel {
namespace {

constexpr Literal kNoOverload{"no such overload"};
constexpr Literal kOverflow{"arithmetic overflow"};
constexpr Literal kDivideByZero{"division by zero"};
constexpr Literal kNoKey{"no such key"};
constexpr Literal kRange{"value out of range"};
constexpr Literal kConversion{"value cannot be converted"};
constexpr Literal kOutOfSteps{"evaluation is too expensive"};

std::int64_t code_points(std::string_view s) {
  std::int64_t n = 0;
  for (const char c : s) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return n;
}

// -1, 0, 1; 2: unordered (NaN); 3: no order between these kinds.
int compare(const Value& a, const Value& b) {
  const auto three_way = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_numeric() && b.is_numeric()) {
    if (a.kind() == b.kind() && a.kind() == Kind::kInt) return three_way(a.as_int(), b.as_int());
    if (a.kind() == b.kind() && a.kind() == Kind::kUint) return three_way(a.as_uint(), b.as_uint());
    if (a.kind() != Kind::kDouble && b.kind() != Kind::kDouble) {
      if (a.kind() == Kind::kInt) return a.as_int() < 0 ? -1 : three_way(static_cast<std::uint64_t>(a.as_int()), b.as_uint());
      return b.as_int() < 0 ? 1 : three_way(a.as_uint(), static_cast<std::uint64_t>(b.as_int()));
    }
    const double x = a.to_double();
    const double y = b.to_double();
    return std::isnan(x) || std::isnan(y) ? 2 : three_way(x, y);
  }
  if (a.kind() != b.kind()) return 3;
  if (a.kind() == Kind::kString || a.kind() == Kind::kBytes) return three_way(a.as_text(), b.as_text());
  if (a.kind() == Kind::kBool) return three_way(a.as_bool(), b.as_bool());
  return 3;
}

const Value* find(const Map& map, const Value& key) {
  for (const auto& [k, v] : map)
    if (equal(k, key)) return &v;
  return nullptr;
}

}  // namespace

class Evaluator {
 public:
  Evaluator(const Program::Code& code, const Activation& activation, Scratch& scratch)
      : code_(code), activation_(activation), scratch_(scratch) {
    scratch_.arena_.clear();
    scratch_.locals_.assign(static_cast<std::size_t>(code.locals), Value());
    scratch_.reads_ = 0;
    scratch_.steps_ = 0;
  }

  Value run() {
    const Value value = eval(code_.root);
    if (exhausted()) return Value::error(kOutOfSteps, code_.nodes[static_cast<std::size_t>(code_.root)].offset);
    return value;
  }

 private:
  bool exhausted() const { return scratch_.steps_ > scratch_.max_steps_; }
  // False where the budget is used up; saturates.
  bool spend(std::size_t steps) {
    const std::size_t left = std::numeric_limits<std::uint32_t>::max() - scratch_.steps_;
    scratch_.steps_ += static_cast<std::uint32_t>(std::min(steps, left));
    return !exhausted();
  }
  // Texts cost a step per 64 bytes, so that the budget also bounds memory and time of string operations.
  bool spend_text(std::size_t bytes) { return spend(bytes / 64); }

  static Value wrong(const Node& n) { return Value::error(kNoOverload, n.offset); }
  Value kid(const Node& n, std::size_t i) { return eval(n.kids[i]); }

  Value eval(int index) {
    const Node& n = code_.nodes[static_cast<std::size_t>(index)];
    if (!spend(1)) return Value::error(kOutOfSteps, n.offset);
    switch (n.op) {
      case Op::kLiteral: return n.literal;
      case Op::kVariable: return read(n.slot);
      case Op::kLocal: return scratch_.locals_[static_cast<std::size_t>(n.slot)];
      case Op::kHasVariable: return present(n);
      case Op::kAnd: return logic(n, false);
      case Op::kOr: return logic(n, true);
      case Op::kNot: {
        const Value v = kid(n, 0);
        return v.is_error() ? v : v.is_bool() ? Value::boolean(!v.as_bool()) : wrong(n);
      }
      case Op::kTernary: {
        const Value condition = kid(n, 0);
        if (!condition.is_bool()) return condition.is_error() ? condition : wrong(n);
        return kid(n, condition.as_bool() ? 1 : 2);
      }
      case Op::kUnknownName: return Value::error("unknown name", n.offset);
      case Op::kUnknownFunction: return Value::error("unknown function", n.offset);
      case Op::kAll:
      case Op::kExists:
      case Op::kExistsOne:
      case Op::kFilter:
      case Op::kMapMacro: return comprehension(n);
      case Op::kList: return list_literal(n);
      case Op::kMap: return map_literal(n);
      default: return strict(n);
    }
  }

  Value read(int slot) {
    scratch_.reads_ |= std::uint64_t{1} << slot;
    return activation_.get(static_cast<std::size_t>(slot));
  }

  // has() of a declared variable: it holds something (not null, "", an empty list or map).
  Value present(const Node& n) {
    const Value v = read(n.slot);
    if (v.is_error()) return v;
    if (v.kind() == Kind::kString || v.kind() == Kind::kBytes) return Value::boolean(!v.as_text().empty());
    if (v.kind() == Kind::kList) return Value::boolean(!v.as_list().empty());
    if (v.kind() == Kind::kMap) return Value::boolean(!v.as_map().empty());
    return Value::boolean(v.kind() != Kind::kNull);
  }

  // && (absorbing = false) and || (absorbing = true): the absorbing value wins over any error on either side.
  Value logic(const Node& n, bool absorbing) {
    Value first_error;
    bool failed = false;
    for (const int k : n.kids) {
      const Value v = eval(k);
      if (v.is_bool() && v.as_bool() == absorbing) return v;
      if (v.is_bool() || failed) continue;
      failed = true;
      first_error = v.is_error() ? v : wrong(n);
    }
    return failed ? first_error : Value::boolean(!absorbing);
  }

  Value list_literal(const Node& n) {
    List* list = scratch_.arena_.list();
    list->reserve(n.kids.size());
    for (const int k : n.kids) {
      list->push_back(eval(k));
      if (list->back().is_error()) return list->back();
    }
    return Value::list(list);
  }

  Value map_literal(const Node& n) {
    Map* map = scratch_.arena_.map();
    for (std::size_t i = 0; i + 1 < n.kids.size(); i += 2) {
      const Value key = kid(n, i);
      if (key.is_error()) return key;
      const Value value = kid(n, i + 1);
      if (value.is_error()) return value;
      if (!key.is_bool() && key.kind() != Kind::kInt && key.kind() != Kind::kUint && key.kind() != Kind::kString) return wrong(n);
      if (!spend(map->size()) || find(*map, key) != nullptr) return Value::error("repeated key", n.offset);
      map->emplace_back(key, value);
    }
    return Value::map(map);
  }

  Value comprehension(const Node& n) {
    const Value range = kid(n, 0);
    if (range.is_error()) return range;
    if (range.kind() != Kind::kList && range.kind() != Kind::kMap) return wrong(n);
    const bool is_list = range.kind() == Kind::kList;
    const std::size_t size = is_list ? range.as_list().size() : range.as_map().size();
    List* out = n.op == Op::kFilter || n.op == Op::kMapMacro ? scratch_.arena_.list() : nullptr;
    Value first_error;
    bool failed = false;
    std::size_t hits = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (!spend(1)) return Value::error(kOutOfSteps, n.offset);
      const Value item = is_list ? range.as_list()[i] : range.as_map()[i].first;
      scratch_.locals_[static_cast<std::size_t>(n.slot)] = item;
      const Value test = n.kids[1] < 0 ? Value::boolean(true) : eval(n.kids[1]);
      if (!test.is_bool()) {
        const Value error = test.is_error() ? test : wrong(n);
        if (n.op != Op::kAll && n.op != Op::kExists) return error;
        if (!std::exchange(failed, true)) first_error = error;  // a later item may still decide
        continue;
      }
      if (n.op == Op::kAll && !test.as_bool()) return test;
      if (n.op == Op::kExists && test.as_bool()) return test;
      hits += test.as_bool() ? 1 : 0;
      if (out == nullptr || !test.as_bool()) continue;
      out->push_back(n.op == Op::kFilter ? item : eval(n.kids[2]));
      if (out->back().is_error()) return out->back();
    }
    if (failed) return first_error;
    if (out != nullptr) return Value::list(out);
    return Value::boolean(n.op == Op::kAll || (n.op == Op::kExistsOne && hits == 1));
  }

  // Operations whose operands are all evaluated and must not be errors.
  Value strict(const Node& n) {
    const Value a = kid(n, 0);
    if (a.is_error()) return a;
    const Value b = n.kids.size() > 1 ? kid(n, 1) : Value();
    if (b.is_error()) return b;
    switch (n.op) {
      case Op::kEqual:
      case Op::kNotEqual:
        if (!spend(weight(a))) return Value::error(kOutOfSteps, n.offset);
        return Value::boolean(equal(a, b) == (n.op == Op::kEqual));
      case Op::kLess:
      case Op::kLessEqual:
      case Op::kGreater:
      case Op::kGreaterEqual: return order(n, compare(a, b));
      case Op::kIn: return contains(n, a, b);
      case Op::kIndex: return index(n, a, b);
      case Op::kSelect: return member(n, a);
      case Op::kHasMember:
        if (a.kind() != Kind::kMap) return wrong(n);
        return Value::boolean(find(a.as_map(), Value::string(n.name)) != nullptr);
      case Op::kNegate:
        if (a.kind() == Kind::kDouble) return Value::number(-a.as_double());
        if (a.kind() != Kind::kInt) return wrong(n);
        return a.as_int() == std::numeric_limits<std::int64_t>::min() ? Value::error(kOverflow, n.offset) : Value::integer(-a.as_int());
      case Op::kAdd:
      case Op::kSubtract:
      case Op::kMultiply:
      case Op::kDivide:
      case Op::kModulo: return arithmetic(n, a, b);
      default: return function(n, a, b);
    }
  }

  // Steps that comparing or copying a value costs.
  static std::size_t weight(const Value& v) {
    if (v.kind() == Kind::kString || v.kind() == Kind::kBytes) return v.as_text().size() / 64;
    if (v.kind() == Kind::kMap) return v.as_map().size() * v.as_map().size();
    if (v.kind() != Kind::kList) return 0;
    std::size_t sum = v.as_list().size();
    for (const Value& item : v.as_list())
      if (item.kind() == Kind::kList || item.kind() == Kind::kMap) sum += weight(item);
    return sum;
  }

  static Value order(const Node& n, int c) {
    if (c == 3) return wrong(n);
    if (c == 2) return Value::boolean(false);
    switch (n.op) {
      case Op::kLess: return Value::boolean(c < 0);
      case Op::kLessEqual: return Value::boolean(c <= 0);
      case Op::kGreater: return Value::boolean(c > 0);
      default: return Value::boolean(c >= 0);
    }
  }

  Value contains(const Node& n, const Value& item, const Value& range) {
    if (range.kind() == Kind::kList) {
      if (!spend(range.as_list().size() / 4)) return Value::error(kOutOfSteps, n.offset);
      for (const Value& held : range.as_list())
        if (equal(item, held)) return Value::boolean(true);
      return Value::boolean(false);
    }
    if (range.kind() != Kind::kMap) return wrong(n);
    if (!spend(range.as_map().size() / 4)) return Value::error(kOutOfSteps, n.offset);
    return Value::boolean(find(range.as_map(), item) != nullptr);
  }

  Value member(const Node& n, const Value& target) {
    if (target.kind() != Kind::kMap) return wrong(n);
    const Value* found = find(target.as_map(), Value::string(n.name));
    return found != nullptr ? *found : Value::error(kNoKey, n.offset);
  }

  Value index(const Node& n, const Value& target, const Value& key) {
    if (target.kind() == Kind::kMap) {
      if (!spend(target.as_map().size() / 4)) return Value::error(kOutOfSteps, n.offset);
      const Value* found = find(target.as_map(), key);
      return found != nullptr ? *found : Value::error(kNoKey, n.offset);
    }
    if (target.kind() != Kind::kList || !key.is_numeric()) return wrong(n);
    const double at = key.to_double();
    if (!(at >= 0) || at >= static_cast<double>(target.as_list().size()) || at != std::floor(at)) return Value::error("index out of range", n.offset);
    return target.as_list()[static_cast<std::size_t>(at)];
  }

  Value arithmetic(const Node& n, const Value& a, const Value& b) {
    if (a.kind() != b.kind()) return wrong(n);
    switch (a.kind()) {
      case Kind::kInt: return int_math(n, a.as_int(), b.as_int());
      case Kind::kUint: return uint_math(n, a.as_uint(), b.as_uint());
      case Kind::kDouble: return double_math(n, a.as_double(), b.as_double());
      default: return n.op == Op::kAdd ? concatenate(n, a, b) : wrong(n);
    }
  }

  static Value int_math(const Node& n, std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    bool overflow = false;
    switch (n.op) {
      case Op::kAdd: overflow = __builtin_add_overflow(a, b, &out); break;
      case Op::kSubtract: overflow = __builtin_sub_overflow(a, b, &out); break;
      case Op::kMultiply: overflow = __builtin_mul_overflow(a, b, &out); break;
      default:
        if (b == 0) return Value::error(kDivideByZero, n.offset);
        overflow = a == std::numeric_limits<std::int64_t>::min() && b == -1;
        if (!overflow) out = n.op == Op::kDivide ? a / b : a % b;
    }
    return overflow ? Value::error(kOverflow, n.offset) : Value::integer(out);
  }

  static Value uint_math(const Node& n, std::uint64_t a, std::uint64_t b) {
    std::uint64_t out = 0;
    bool overflow = false;
    switch (n.op) {
      case Op::kAdd: overflow = __builtin_add_overflow(a, b, &out); break;
      case Op::kSubtract: overflow = __builtin_sub_overflow(a, b, &out); break;
      case Op::kMultiply: overflow = __builtin_mul_overflow(a, b, &out); break;
      default:
        if (b == 0) return Value::error(kDivideByZero, n.offset);
        out = n.op == Op::kDivide ? a / b : a % b;
    }
    return overflow ? Value::error(kOverflow, n.offset) : Value::uinteger(out);
  }

  static Value double_math(const Node& n, double a, double b) {
    switch (n.op) {
      case Op::kAdd: return Value::number(a + b);
      case Op::kSubtract: return Value::number(a - b);
      case Op::kMultiply: return Value::number(a * b);
      case Op::kDivide: return Value::number(a / b);
      default: return wrong(n);
    }
  }

  Value concatenate(const Node& n, const Value& a, const Value& b) {
    if (a.kind() == Kind::kList) {
      if (!spend(a.as_list().size() + b.as_list().size())) return Value::error(kOutOfSteps, n.offset);
      List* out = scratch_.arena_.list();
      *out = a.as_list();
      out->insert(out->end(), b.as_list().begin(), b.as_list().end());
      return Value::list(out);
    }
    if (a.kind() != Kind::kString && a.kind() != Kind::kBytes) return wrong(n);
    if (!spend_text(a.as_text().size() + b.as_text().size())) return Value::error(kOutOfSteps, n.offset);
    const auto kept = scratch_.arena_.keep(std::string(a.as_text()).append(b.as_text()));
    return a.kind() == Kind::kString ? Value::string(kept) : Value::bytes(kept);
  }

  Value function(const Node& n, const Value& a, const Value& b) {
    switch (n.op) {
      case Op::kSize:
        if (a.kind() == Kind::kString) return spend_text(a.as_text().size()) ? Value::integer(code_points(a.as_text())) : Value::error(kOutOfSteps, n.offset);
        if (a.kind() == Kind::kBytes) return Value::integer(static_cast<std::int64_t>(a.as_text().size()));
        if (a.kind() == Kind::kList) return Value::integer(static_cast<std::int64_t>(a.as_list().size()));
        return a.kind() == Kind::kMap ? Value::integer(static_cast<std::int64_t>(a.as_map().size())) : wrong(n);
      case Op::kStartsWith:
      case Op::kEndsWith:
      case Op::kContains:
      case Op::kMatches: {
        if (a.kind() != Kind::kString || b.kind() != Kind::kString) return wrong(n);
        if (!spend_text(a.as_text().size())) return Value::error(kOutOfSteps, n.offset);
        if (n.op == Op::kStartsWith) return Value::boolean(a.as_text().starts_with(b.as_text()));
        if (n.op == Op::kEndsWith) return Value::boolean(a.as_text().ends_with(b.as_text()));
        return n.op == Op::kContains ? Value::boolean(a.as_text().find(b.as_text()) != std::string_view::npos) : matches(n, a.as_text(), b.as_text());
      }
      case Op::kToType: return Value::type(a.kind());
      case Op::kToDyn: return a;
      default: return convert(n, a);
    }
  }

  Value matches(const Node& n, std::string_view text, std::string_view pattern) {
    const re2::StringPiece piece(text.data(), text.size());
    if (n.regex) return Value::boolean(re2::RE2::PartialMatch(piece, *n.regex));
    if (!spend(500 + pattern.size())) return Value::error(kOutOfSteps, n.offset);  // compiling costs more than matching
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    const re2::RE2 regex(re2::StringPiece(pattern.data(), pattern.size()), options);
    if (!regex.ok()) return Value::error("malformed regular expression", n.offset);
    return Value::boolean(re2::RE2::PartialMatch(piece, regex));
  }

  Value convert(const Node& n, const Value& a) {
    switch (n.op) {
      case Op::kToInt: return to_int(n, a);
      case Op::kToUint: return to_uint(n, a);
      case Op::kToDouble: {
        if (a.is_numeric()) return Value::number(a.to_double());
        double out = 0;
        return a.kind() != Kind::kString ? wrong(n) : parse_whole(a.as_text(), out) ? Value::number(out) : Value::error(kConversion, n.offset);
      }
      case Op::kToString: return to_text(n, a);
      case Op::kToBytes: return a.kind() == Kind::kBytes || a.kind() == Kind::kString ? Value::bytes(a.as_text()) : wrong(n);
      case Op::kToBool: {
        if (a.is_bool()) return a;
        if (a.kind() != Kind::kString) return wrong(n);
        for (const std::string_view word : {"1", "t", "true", "T", "TRUE", "True"})
          if (a.as_text() == word) return Value::boolean(true);
        for (const std::string_view word : {"0", "f", "false", "F", "FALSE", "False"})
          if (a.as_text() == word) return Value::boolean(false);
        return Value::error(kConversion, n.offset);
      }
      default: return wrong(n);
    }
  }

  template <class T>
  static bool parse_whole(std::string_view text, T& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  }

  static Value to_int(const Node& n, const Value& a) {
    constexpr double kEdge = 9223372036854775808.0;  // 2^63
    std::int64_t out = 0;
    switch (a.kind()) {
      case Kind::kInt: return a;
      case Kind::kUint: return a.as_uint() > static_cast<std::uint64_t>(INT64_MAX) ? Value::error(kRange, n.offset) : Value::integer(static_cast<std::int64_t>(a.as_uint()));
      case Kind::kDouble: return a.as_double() > -kEdge && a.as_double() < kEdge ? Value::integer(static_cast<std::int64_t>(a.as_double())) : Value::error(kRange, n.offset);
      case Kind::kString: return parse_whole(a.as_text(), out) ? Value::integer(out) : Value::error(kConversion, n.offset);
      default: return wrong(n);
    }
  }

  static Value to_uint(const Node& n, const Value& a) {
    constexpr double kEdge = 18446744073709551616.0;  // 2^64
    std::uint64_t out = 0;
    switch (a.kind()) {
      case Kind::kUint: return a;
      case Kind::kInt: return a.as_int() < 0 ? Value::error(kRange, n.offset) : Value::uinteger(static_cast<std::uint64_t>(a.as_int()));
      case Kind::kDouble: return a.as_double() > -1 && a.as_double() < kEdge ? Value::uinteger(static_cast<std::uint64_t>(a.as_double())) : Value::error(kRange, n.offset);
      case Kind::kString: return parse_whole(a.as_text(), out) ? Value::uinteger(out) : Value::error(kConversion, n.offset);
      default: return wrong(n);
    }
  }

  Value to_text(const Node& n, const Value& a) {
    char buffer[32];
    std::to_chars_result end{buffer, std::errc()};
    switch (a.kind()) {
      case Kind::kString: return a;
      case Kind::kBytes: return is_utf8(a.as_text()) ? Value::string(a.as_text()) : Value::error(kConversion, n.offset);
      case Kind::kBool: return Value::string(a.as_bool() ? "true" : "false");
      case Kind::kInt: end = std::to_chars(buffer, buffer + sizeof buffer, a.as_int()); break;
      case Kind::kUint: end = std::to_chars(buffer, buffer + sizeof buffer, a.as_uint()); break;
      case Kind::kDouble:
        if (std::isnan(a.as_double())) return Value::string("NaN");
        if (std::isinf(a.as_double())) return Value::string(a.as_double() > 0 ? "+Inf" : "-Inf");
        end = std::to_chars(buffer, buffer + sizeof buffer, a.as_double());
        break;
      default: return wrong(n);
    }
    return Value::string(scratch_.arena_.keep(std::string(buffer, end.ptr)));
  }

  const Program::Code& code_;
  const Activation& activation_;
  Scratch& scratch_;
};

const std::string& Program::source() const { return code_->source; }
const Type& Program::type() const { return code_->nodes[static_cast<std::size_t>(code_->root)].type; }
std::pair<std::size_t, std::size_t> Program::position(std::uint32_t offset) const { return position_of(code_->source, offset); }

Value Program::evaluate(const Activation& activation, Scratch& scratch) const { return Evaluator(*code_, activation, scratch).run(); }

Result<Program> compile(std::string_view source, const Environment& environment, const CompileOptions& options) {
  if (source.size() > kExpressionBytes)
    return Error(base_errors::kLimit, "expression is too long").with("limit", std::uint64_t{kExpressionBytes}).with("actual", std::uint64_t{source.size()});
  if (environment.size() > kVariables) return Error(base_errors::kLimit, "too many variables").with("limit", std::uint64_t{kVariables});
  auto code = std::make_shared<Program::Code>();
  code->source = source;
  STELLA_TRY_VOID(parse(*code));
  STELLA_TRY_VOID(check(*code, environment, options));
  return Program(std::move(code));
}

}  // namespace stella::pipeline::cel
