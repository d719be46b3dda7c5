// Resolves names, macros and functions of a parsed expression and checks its types. Works in place, bottom up.
#include <re2/re2.h>

#include <algorithm>

#include "cel_ast.h"

namespace stella::pipeline::cel {
namespace {

struct Function {
  std::string_view name;
  Op op;
  bool global;
  bool method;
  int operands;  // target and arguments
};
constexpr Function kFunctions[] = {
    {"size", Op::kSize, true, true, 1},           {"startsWith", Op::kStartsWith, false, true, 2}, {"endsWith", Op::kEndsWith, false, true, 2},
    {"contains", Op::kContains, false, true, 2},  {"matches", Op::kMatches, true, true, 2},        {"int", Op::kToInt, true, false, 1},
    {"uint", Op::kToUint, true, false, 1},        {"double", Op::kToDouble, true, false, 1},       {"string", Op::kToString, true, false, 1},
    {"bytes", Op::kToBytes, true, false, 1},      {"bool", Op::kToBool, true, false, 1},           {"type", Op::kToType, true, false, 1},
    {"dyn", Op::kToDyn, true, false, 1}};

struct Macro {
  std::string_view name;
  Op op;
};
constexpr Macro kMacros[] = {{"all", Op::kAll}, {"exists", Op::kExists}, {"exists_one", Op::kExistsOne}, {"filter", Op::kFilter}, {"map", Op::kMapMacro}};

constexpr std::pair<std::string_view, Kind> kTypeNames[] = {{"bool", Kind::kBool}, {"int", Kind::kInt}, {"uint", Kind::kUint}, {"double", Kind::kDouble},
    {"string", Kind::kString}, {"bytes", Kind::kBytes}, {"list", Kind::kList}, {"map", Kind::kMap}, {"null_type", Kind::kNull}, {"type", Kind::kType}};

bool is_dyn(const Type& t) { return t.kind == Kind::kDyn; }
Type element_of(const Type& t) { return t.element ? *t.element : Type{}; }
Type key_of(const Type& t) { return t.key ? *t.key : Type{}; }
bool is_number(const Type& t) { return t.kind == Kind::kInt || t.kind == Kind::kUint || t.kind == Kind::kDouble; }

bool compatible(const Type& a, const Type& b) {
  if (is_dyn(a) || is_dyn(b)) return true;
  if (a.kind != b.kind) return false;
  if (a.kind == Kind::kList) return compatible(element_of(a), element_of(b));
  if (a.kind == Kind::kMap) return compatible(key_of(a), key_of(b)) && compatible(element_of(a), element_of(b));
  return true;
}

// Of the elements of a literal: their common type, else dyn.
void join(std::optional<Type>& joined, const Type& next) {
  if (!joined) joined = next;
  else if (!compatible(*joined, next) || is_dyn(next)) joined = Type{};
}

class Checker {
 public:
  Checker(Program::Code& code, const Environment& environment, const CompileOptions& options)
      : code_(code), environment_(environment), options_(options) {}

  Result<void> run() {
    if (!bind(code_.root)) return std::move(*error_);
    return {};
  }

 private:
  Node& node(int index) { return code_.nodes[static_cast<std::size_t>(index)]; }
  const Type& type_of(int index) { return node(index).type; }

  bool fail(Literal message, std::uint32_t offset, std::string expected) {
    if (!error_) error_ = error_at(base_errors::kInvalid, message, code_.source, offset, std::move(expected));
    return false;
  }
  // A type error where types are checked; otherwise the evaluation will say so.
  bool mismatch(std::uint32_t offset, std::string expected, const Type& found) {
    return !options_.check || fail("types do not fit", offset, std::move(expected) + ", found " + found.str());
  }
  bool require(int kid, Kind kind, std::uint32_t offset) {
    const Type& t = type_of(kid);
    return is_dyn(t) || t.kind == kind || mismatch(offset, std::string(to_string(kind)), t);
  }

  bool bind(int index) {
    switch (node(index).op) {
      case Op::kLiteral: node(index).type = Type::of(node(index).literal.kind()); return true;
      case Op::kIdent: return bind_name(index);
      case Op::kSelect: return bind_select(index);
      case Op::kCall:
      case Op::kMethod: return bind_call(index);
      default: break;
    }
    for (const int kid : std::vector<int>(node(index).kids))
      if (!bind(kid)) return false;
    return bind_operator(index);
  }

  // "a.b.c" where the node is a chain of members that ends in a name and no local is meant; "" otherwise.
  std::string path_of(int index) {
    std::string path;
    while (node(index).op == Op::kSelect) {
      path = path.empty() ? std::string(node(index).name) : std::string(node(index).name) + "." + path;
      index = node(index).kids[0];
    }
    if (node(index).op != Op::kIdent || local(node(index).name) >= 0) return "";
    return path.empty() ? std::string(node(index).name) : std::string(node(index).name) + "." + path;
  }
  int local(std::string_view name) const {
    for (int i = static_cast<int>(locals_.size()) - 1; i >= 0; --i)
      if (locals_[static_cast<std::size_t>(i)].first == name) return i;
    return -1;
  }
  int variable(std::string_view path) const {
    for (std::size_t i = 0; i < environment_.size(); ++i)
      if (environment_[i].name == path) return static_cast<int>(i);
    return -1;
  }

  void make_variable(int index, int slot, Op op) {
    Node& n = node(index);
    n.op = op;
    n.slot = slot;
    n.kids.clear();
    n.type = op == Op::kHasVariable ? Type::of(Kind::kBool) : environment_[static_cast<std::size_t>(slot)].type;
  }

  bool unknown_name(int index, const std::string& path) {
    if (!options_.check) return node(index).op = Op::kUnknownName, node(index).kids.clear(), true;
    const std::string root = path.substr(0, path.find('.')) + ".";
    std::string members;
    std::string all;
    for (const Variable& v : environment_) {
      all += (all.empty() ? "" : ", ") + v.name;
      if (v.name.starts_with(root)) members += (members.empty() ? "" : ", ") + v.name;
    }
    if (!members.empty()) return fail("unknown member", node(index).offset, "one of " + members);
    return fail("unknown name", node(index).offset, "one of " + all);
  }

  bool bind_name(int index) {
    Node& n = node(index);
    if (const int slot = local(n.name); slot >= 0) {
      n.op = Op::kLocal;
      n.slot = slot;
      n.type = locals_[static_cast<std::size_t>(slot)].second;
      return true;
    }
    if (const int slot = variable(n.name); slot >= 0) return make_variable(index, slot, Op::kVariable), true;
    for (const auto& [name, kind] : kTypeNames)
      if (n.name == name) {
        n.op = Op::kLiteral;
        n.literal = Value::type(kind);
        n.type = Type::of(Kind::kType);
        return true;
      }
    return unknown_name(index, std::string(n.name));
  }

  bool bind_select(int index) {
    const std::string path = path_of(index);
    if (!path.empty()) {
      if (const int slot = variable(path); slot >= 0) return make_variable(index, slot, Op::kVariable), true;
      bool prefix_declared = false;
      for (std::size_t dot = path.rfind('.'); dot != std::string::npos && !prefix_declared; dot = dot == 0 ? std::string::npos : path.rfind('.', dot - 1))
        prefix_declared = variable(path.substr(0, dot)) >= 0;
      if (!prefix_declared) return unknown_name(index, path);
    }
    const int target = node(index).kids[0];
    if (!bind(target)) return false;
    const Type& t = type_of(target);
    if (t.kind == Kind::kMap) node(index).type = element_of(t);
    else if (!is_dyn(t)) return mismatch(node(index).offset, "a map to select a member of", t);
    return true;
  }

  bool bind_has(int index) {
    if (node(index).kids.size() != 1 || node(node(index).kids[0]).op != Op::kSelect)
      return fail("malformed has()", node(index).offset, "has(operand.member)");
    const int kid = node(index).kids[0];
    const std::string path = path_of(kid);
    if (const int slot = path.empty() ? -1 : variable(path); slot >= 0) return make_variable(index, slot, Op::kHasVariable), true;
    if (!bind(kid)) return false;
    Node& n = node(index);
    if (node(kid).op == Op::kUnknownName) return n.op = Op::kUnknownName, true;
    n.op = Op::kHasMember;
    n.name = node(kid).name;
    n.kids = std::vector<int>(node(kid).kids);
    n.type = Type::of(Kind::kBool);
    return true;
  }

  bool bind_macro(int index, const Macro& macro) {
    const std::vector<int> kids = node(index).kids;
    const std::size_t wanted = kids.size() == 4 && macro.op == Op::kMapMacro ? 4 : 3;
    if (kids.size() != wanted || node(kids[1]).op != Op::kIdent)
      return fail("malformed macro", node(index).offset, std::string(macro.name) + "(name, expression)");
    if (!bind(kids[0])) return false;
    const Type range = type_of(kids[0]);
    Type item;
    if (range.kind == Kind::kList) item = element_of(range);
    else if (range.kind == Kind::kMap) item = key_of(range);
    else if (!is_dyn(range) && !mismatch(node(index).offset, "a list or a map", range)) return false;
    locals_.emplace_back(node(kids[1]).name, item);
    code_.locals = std::max(code_.locals, static_cast<int>(locals_.size()));
    const int slot = static_cast<int>(locals_.size()) - 1;
    for (std::size_t i = 2; i < kids.size(); ++i)
      if (!bind(kids[i])) return false;
    locals_.pop_back();
    const bool has_predicate = macro.op != Op::kMapMacro || wanted == 4;
    if (has_predicate && !require(kids[2], Kind::kBool, node(kids[2]).offset)) return false;
    Node& n = node(index);
    n.op = macro.op;
    n.slot = slot;
    n.kids = has_predicate ? std::vector<int>{kids[0], kids[2]} : std::vector<int>{kids[0], -1};
    if (macro.op == Op::kMapMacro) n.kids.push_back(kids.back());
    if (macro.op == Op::kFilter) n.type = Type::list_of(item);
    else if (macro.op == Op::kMapMacro) n.type = Type::list_of(type_of(kids.back()));
    else n.type = Type::of(Kind::kBool);
    return true;
  }

  bool bind_call(int index) {
    const bool method = node(index).op == Op::kMethod;
    const std::string_view name = node(index).name;
    if (!method && name == "has") return bind_has(index);
    if (method)
      for (const Macro& macro : kMacros)
        if (macro.name == name) return bind_macro(index, macro);
    for (const Function& f : kFunctions) {
      if (f.name != name || !(method ? f.method : f.global)) continue;
      if (static_cast<int>(node(index).kids.size()) != f.operands)
        return fail("wrong number of arguments", node(index).offset, std::to_string(f.operands - (method ? 1 : 0)));
      for (const int kid : std::vector<int>(node(index).kids))
        if (!bind(kid)) return false;
      node(index).op = f.op;
      return bind_function(index);
    }
    if (!options_.check) return node(index).op = Op::kUnknownFunction, true;
    std::string known;
    for (const Function& f : kFunctions) known.append(known.empty() ? "" : ", ").append(f.name);
    for (const Macro& macro : kMacros) known.append(", ").append(macro.name);
    return fail("unknown function", node(index).offset, "one of " + known + ", has");
  }

  bool bind_function(int index) {
    Node& n = node(index);
    const Type first = type_of(n.kids[0]);
    switch (n.op) {
      case Op::kSize:
        n.type = Type::of(Kind::kInt);
        return is_dyn(first) || first.kind == Kind::kString || first.kind == Kind::kBytes || first.kind == Kind::kList || first.kind == Kind::kMap ||
               mismatch(n.offset, "string, bytes, list or map", first);
      case Op::kMatches:
        n.type = Type::of(Kind::kBool);
        return require(n.kids[0], Kind::kString, n.offset) && require(n.kids[1], Kind::kString, node(n.kids[1]).offset) && compile_pattern(index);
      case Op::kStartsWith:
      case Op::kEndsWith:
      case Op::kContains:
        n.type = Type::of(Kind::kBool);
        return require(n.kids[0], Kind::kString, n.offset) && require(n.kids[1], Kind::kString, node(n.kids[1]).offset);
      case Op::kToInt: return convert(index, Kind::kInt, {Kind::kInt, Kind::kUint, Kind::kDouble, Kind::kString});
      case Op::kToUint: return convert(index, Kind::kUint, {Kind::kInt, Kind::kUint, Kind::kDouble, Kind::kString});
      case Op::kToDouble: return convert(index, Kind::kDouble, {Kind::kInt, Kind::kUint, Kind::kDouble, Kind::kString});
      case Op::kToString: return convert(index, Kind::kString, {Kind::kInt, Kind::kUint, Kind::kDouble, Kind::kString, Kind::kBytes, Kind::kBool});
      case Op::kToBytes: return convert(index, Kind::kBytes, {Kind::kString, Kind::kBytes});
      case Op::kToBool: return convert(index, Kind::kBool, {Kind::kBool, Kind::kString});
      case Op::kToType: n.type = Type::of(Kind::kType); return true;
      default: n.type = Type{}; return true;
    }
  }

  bool convert(int index, Kind to, std::initializer_list<Kind> from) {
    Node& n = node(index);
    n.type = Type::of(to);
    const Type& t = type_of(n.kids[0]);
    if (is_dyn(t) || std::find(from.begin(), from.end(), t.kind) != from.end()) return true;
    std::string expected;
    for (const Kind kind : from) expected.append(expected.empty() ? "" : " or ").append(to_string(kind));
    return mismatch(n.offset, expected, t);
  }

  // RE2 only: linear time, no backtracking, bounded memory.
  bool compile_pattern(int index) {
    const Node& pattern = node(node(index).kids[1]);
    if (pattern.op != Op::kLiteral || pattern.literal.kind() != Kind::kString) return true;
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    const auto text = pattern.literal.as_text();
    auto regex = std::make_shared<re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
    if (!regex->ok()) return fail("malformed regular expression", pattern.offset, "RE2 syntax: " + regex->error());
    node(index).regex = std::move(regex);
    return true;
  }

  bool bind_operator(int index) {
    Node& n = node(index);
    const auto kid = [&](std::size_t i) -> const Type& { return type_of(n.kids[i]); };
    switch (n.op) {
      case Op::kNot:
        n.type = Type::of(Kind::kBool);
        return require(n.kids[0], Kind::kBool, n.offset);
      case Op::kAnd:
      case Op::kOr:
        n.type = Type::of(Kind::kBool);
        for (const int k : n.kids)
          if (!require(k, Kind::kBool, node(k).offset)) return false;
        return true;
      case Op::kNegate:
        n.type = kid(0);
        return is_dyn(kid(0)) || kid(0).kind == Kind::kInt || kid(0).kind == Kind::kDouble || mismatch(n.offset, "int or double", kid(0));
      case Op::kTernary:
        n.type = compatible(kid(1), kid(2)) ? (is_dyn(kid(1)) ? kid(1) : kid(2)) : Type{};
        return require(n.kids[0], Kind::kBool, node(n.kids[0]).offset) && (compatible(kid(1), kid(2)) || mismatch(n.offset, kid(1).str() + " on both sides of ':'", kid(2)));
      case Op::kEqual:
      case Op::kNotEqual:
        n.type = Type::of(Kind::kBool);
        return compatible(kid(0), kid(1)) || mismatch(n.offset, kid(0).str() + " on both sides (dyn() compares different types)", kid(1));
      case Op::kLess:
      case Op::kLessEqual:
      case Op::kGreater:
      case Op::kGreaterEqual: return check_order(index);
      case Op::kAdd:
      case Op::kSubtract:
      case Op::kMultiply:
      case Op::kDivide:
      case Op::kModulo: return check_arithmetic(index);
      case Op::kIn: return check_in(index);
      case Op::kIndex: return check_index(index);
      case Op::kList:
      case Op::kMap: return check_literal(index);
      default: return true;
    }
  }

  bool check_order(int index) {
    Node& n = node(index);
    n.type = Type::of(Kind::kBool);
    const Type& a = type_of(n.kids[0]);
    const Type& b = type_of(n.kids[1]);
    for (const Type* t : {&a, &b})
      if (t->kind == Kind::kList || t->kind == Kind::kMap || t->kind == Kind::kNull || t->kind == Kind::kType) return mismatch(n.offset, "values that have an order", *t);
    return compatible(a, b) || (is_number(a) && is_number(b)) || mismatch(n.offset, a.str() + " on both sides", b);
  }

  bool check_arithmetic(int index) {
    Node& n = node(index);
    const Type a = type_of(n.kids[0]);
    const Type b = type_of(n.kids[1]);
    n.type = is_dyn(a) ? b : a;
    if (is_dyn(a) && is_dyn(b)) return true;
    const bool concat = n.op == Op::kAdd && (n.type.kind == Kind::kString || n.type.kind == Kind::kBytes || n.type.kind == Kind::kList);
    const bool number = is_number(n.type) && !(n.op == Op::kModulo && n.type.kind == Kind::kDouble);
    if (!concat && !number) return mismatch(n.offset, n.op == Op::kModulo ? "int or uint" : n.op == Op::kAdd ? "numbers, strings, bytes or lists" : "numbers", n.type);
    if (compatible(a, b)) return n.type = concat && n.type.kind == Kind::kList && is_dyn(element_of(b)) ? b : n.type, true;
    if (concat && a.kind == b.kind) return n.type = Type::list_of(Type{}), true;
    return mismatch(n.offset, a.str() + " on both sides", b);
  }

  bool check_in(int index) {
    Node& n = node(index);
    n.type = Type::of(Kind::kBool);
    const Type& item = type_of(n.kids[0]);
    const Type& range = type_of(n.kids[1]);
    if (is_dyn(range)) return true;
    if (range.kind != Kind::kList && range.kind != Kind::kMap) return mismatch(n.offset, "a list or a map behind 'in'", range);
    const Type held = range.kind == Kind::kList ? element_of(range) : key_of(range);
    return compatible(item, held) || mismatch(n.offset, held.str() + " before 'in'", item);
  }

  bool check_index(int index) {
    Node& n = node(index);
    const Type target = type_of(n.kids[0]);
    const Type& key = type_of(n.kids[1]);
    if (is_dyn(target)) return true;
    n.type = element_of(target);
    if (target.kind == Kind::kList) return is_dyn(key) || key.kind == Kind::kInt || mismatch(node(n.kids[1]).offset, "int", key);
    if (target.kind != Kind::kMap) return mismatch(n.offset, "a list or a map", target);
    return compatible(key, key_of(target)) || mismatch(node(n.kids[1]).offset, key_of(target).str(), key);
  }

  bool check_literal(int index) {
    Node& n = node(index);
    std::optional<Type> key;
    std::optional<Type> element;
    bool constant = true;
    for (std::size_t i = 0; i < n.kids.size(); ++i) {
      const bool is_key = n.op == Op::kMap && i % 2 == 0;
      join(is_key ? key : element, type_of(n.kids[i]));
      constant = constant && node(n.kids[i]).op == Op::kLiteral;
    }
    const Type held = element.value_or(Type{});
    if (n.op == Op::kMap) return n.type = Type::map_of(key.value_or(Type{}), held), true;
    n.type = Type::list_of(held);
    if (!constant) return true;
    List* list = code_.arena.list();  // `x in ["a", "b"]` must not build its list for every finding
    for (const int kid : n.kids) list->push_back(node(kid).literal);
    n.op = Op::kLiteral;
    n.literal = Value::list(list);
    n.kids.clear();
    return true;
  }

  Program::Code& code_;
  const Environment& environment_;
  const CompileOptions& options_;
  std::vector<std::pair<std::string_view, Type>> locals_;
  std::optional<Error> error_;
};

}  // namespace

Result<void> check(Program::Code& code, const Environment& environment, const CompileOptions& options) {
  return Checker(code, environment, options).run();
}

}  // namespace stella::pipeline::cel
