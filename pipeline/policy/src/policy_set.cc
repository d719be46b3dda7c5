// Reads policy sets: structure, values, expressions, canonical form.
#include "stella/pipeline/policy/policy_set.h"

#include <algorithm>
#include <charconv>

#include "policy_variables.h"
#include "scope_match.h"
#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/crypto/digest.h"
#include "yaml_tree.h"

namespace stella::pipeline {
namespace {

using cel::Kind;
using cel::Type;

constexpr std::string_view kTopKeys[] = {"format", "label", "description", "defaults", "rules"};
constexpr std::string_view kDefaultKeys[] = {"effect", "reason"};
constexpr std::string_view kRuleKeys[] = {"id", "priority", "scope", "when", "effect", "reason", "expires", "owner"};
constexpr std::string_view kScopeKeys[] = {"ecosystems", "packages", "purls", "advisories"};

bool is_name(std::string_view text) {
  const auto letter_or_digit = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= 64 && letter_or_digit(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

class Reader {
 public:
  Reader(std::string_view document, PolicyText from) : document_(document), from_(from) {}

  Result<PolicySet> read(const YamlNode& root) {
    PolicySet set;
    STELLA_TRY_VOID(map(root, "", kTopKeys));
    const std::string format = STELLA_TRY(text(root, "", "format", false, 64));
    if (!format.empty() && format != kPolicyFormat) return wrong(*root.find("format"), "format", std::string(kPolicyFormat));
    set.label = STELLA_TRY(text(root, "", "label", true, 64));
    if (!is_name(set.label)) return wrong(*root.find("label"), "label", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    set.description = STELLA_TRY(text(root, "", "description", false, 2000));
    if (const YamlNode* defaults = root.find("defaults")) {
      STELLA_TRY_VOID(map(*defaults, "defaults", kDefaultKeys));
      set.default_effect = STELLA_TRY(effect(*defaults, "defaults"));
      set.default_reason = STELLA_TRY(text(*defaults, "defaults", "reason", false, 500));
    }
    const YamlNode* rules = root.find("rules");
    if (rules == nullptr) return wrong(root, "rules", "a list of rules");
    if (rules->kind != YamlNode::Kind::kSequence) return wrong(*rules, "rules", "a list of rules");
    if (rules->items.size() > kPolicyRules)
      return Error(base_errors::kLimit, "too many rules").with("limit", std::uint64_t{kPolicyRules}).with("actual", std::uint64_t{rules->items.size()});
    for (std::size_t i = 0; i < rules->items.size(); ++i) {
      Rule next = STELLA_TRY(rule(rules->items[i], "rules[" + std::to_string(i) + "]"));
      for (const Rule& other : set.rules)
        if (other.id == next.id) return wrong(*rules->items[i].find("id"), "rules[" + std::to_string(i) + "].id", "an id that no other rule has");
      set.rules.push_back(std::move(next));
    }
    std::stable_sort(set.rules.begin(), set.rules.end(), [](const Rule& a, const Rule& b) { return a.priority < b.priority; });
    return set;
  }

 private:
  static Error wrong(const YamlNode& node, std::string field, std::string expected) {
    return Error(base_errors::kInvalid, "not an acceptable policy set").with("line", std::uint64_t{node.line}).with("column", std::uint64_t{node.column})
        .with("field", std::move(field)).with("expected", std::move(expected));
  }
  static std::string below(std::string_view path, std::string_view key) { return path.empty() ? std::string(key) : std::string(path) + "." + std::string(key); }

  // A map that has no other keys than these.
  template <std::size_t N>
  static Result<void> map(const YamlNode& node, std::string_view path, const std::string_view (&keys)[N]) {
    std::string all;
    for (const auto key : keys) all.append(all.empty() ? "" : ", ").append(key);
    if (node.kind != YamlNode::Kind::kMap) return wrong(node, std::string(path), "a map with the keys " + all);
    for (const auto& [key, value] : node.entries)
      if (std::find(std::begin(keys), std::end(keys), key.scalar) == std::end(keys)) return wrong(key, below(path, key.scalar.substr(0, 64)), "one of the keys " + all);
    return {};
  }

  static Result<std::string> text(const YamlNode& node, std::string_view path, std::string_view key, bool required, std::size_t longest) {
    const YamlNode* value = node.find(key);
    if (value == nullptr && !required) return std::string();
    if (value == nullptr) return wrong(node, below(path, key), "the key " + std::string(key));
    if (value->kind != YamlNode::Kind::kScalar) return wrong(*value, below(path, key), "a text");
    std::string out = value->scalar;
    while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
    if (out.empty() && required) return wrong(*value, below(path, key), "a text that is not empty");
    if (out.size() > longest) return wrong(*value, below(path, key), "at most " + std::to_string(longest) + " bytes");
    return out;
  }

  static Result<contracts::Effect> effect(const YamlNode& node, std::string_view path) {
    const std::string word = STELLA_TRY(text(node, path, "effect", true, 64));
    auto parsed = contracts::parse_effect(word);
    if (!parsed) return wrong(*node.find("effect"), below(path, "effect"), "allow, defer, warn or deny");
    return *parsed;
  }

  static Result<std::vector<std::string>> list(const YamlNode& node, std::string_view path, std::string_view key) {
    std::vector<std::string> out;
    const YamlNode* value = node.find(key);
    if (value == nullptr) return out;
    if (value->kind != YamlNode::Kind::kSequence || value->items.empty() || value->items.size() > 1000) return wrong(*value, below(path, key), "a list of 1 to 1000 texts");
    for (const YamlNode& item : value->items) {
      if (item.kind != YamlNode::Kind::kScalar || item.scalar.empty() || item.scalar.size() > 500) return wrong(item, below(path, key), "a text of 1 to 500 bytes");
      out.push_back(item.scalar);
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Result<RuleScope> scope(const YamlNode& rule, const std::string& path) const {
    RuleScope out;
    const YamlNode* node = rule.find("scope");
    if (node == nullptr) return out;
    STELLA_TRY_VOID(map(*node, path + ".scope", kScopeKeys));
    out.ecosystems = STELLA_TRY(list(*node, path + ".scope", "ecosystems"));
    out.packages = STELLA_TRY(list(*node, path + ".scope", "packages"));
    out.purls = STELLA_TRY(list(*node, path + ".scope", "purls"));
    if (const YamlNode* purls = node->find("purls"); purls != nullptr && from_ == PolicyText::kWritten)
      for (const YamlNode& item : purls->items)
        if (canonical_purl_pattern(item.scalar).empty()) return wrong(item, path + ".scope.purls", "a package URL, or the beginning of one with * at its end");
    out.advisories = STELLA_TRY(list(*node, path + ".scope", "advisories"));
    if (out.empty()) return wrong(*node, path + ".scope", "at least one of ecosystems, packages, purls, advisories");
    return out;
  }

  static Result<std::int64_t> priority(const YamlNode& rule, const std::string& path) {
    const YamlNode* value = rule.find("priority");
    if (value == nullptr) return wrong(rule, path + ".priority", "the key priority");
    std::int64_t out = 0;
    const auto& digits = value->scalar;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    const bool whole = value->kind == YamlNode::Kind::kScalar && value->plain && result.ec == std::errc() && result.ptr == digits.data() + digits.size();
    if (!whole || out < 0 || out > 1'000'000) return wrong(*value, path + ".priority", "an integer from 0 to 1000000");
    return out;
  }

  // "2027-01-31" means its first instant in UTC.
  static Result<std::optional<Timestamp>> expires(const YamlNode& rule, const std::string& path) {
    const std::string written = STELLA_TRY(text(rule, path, "expires", false, 64));
    if (rule.find("expires") == nullptr) return std::optional<Timestamp>();
    auto at = Timestamp::parse(written.size() == 10 ? written + "T00:00:00Z" : written);
    if (!at) return wrong(*rule.find("expires"), path + ".expires", "a date (2027-01-31) or an RFC 3339 time");
    return std::optional<Timestamp>(*at);
  }

  // An error of the expression, with its place in the document.
  Error faulty(const YamlNode& node, const std::string& path, const Error& error) const {
    std::size_t line = 1;
    std::size_t column = 1;
    const auto number = [](std::string_view field, std::size_t& out) { std::from_chars(field.data(), field.data() + field.size(), out); };
    number(error.field("line"), line);
    number(error.field("column"), column);
    std::size_t offset = 0;
    for (std::size_t l = 1; l < line; ++l) offset = node.scalar.find('\n', offset) + 1;
    const auto [document_line, document_column] = scalar_position(document_, node, offset + column - 1);
    std::string expected(error.message());
    expected.append(": expected ").append(error.field("expected"));
    return Error(error.code(), "faulty expression in a policy set").with("line", std::uint64_t{document_line}).with("column", std::uint64_t{document_column})
        .with("field", path + ".when").with("expected", std::move(expected));
  }

  Result<Rule> rule(const YamlNode& node, const std::string& path) const {
    STELLA_TRY_VOID(map(node, path, kRuleKeys));
    const std::string id = STELLA_TRY(text(node, path, "id", true, 64));
    if (!is_name(id) || id == "default") return wrong(*node.find("id"), path + ".id", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}, but not \"default\"");
    const std::string when = STELLA_TRY(text(node, path, "when", true, cel::kExpressionBytes));
    auto program = cel::compile(when, policy_variables());
    if (!program) return faulty(*node.find("when"), path, program.error());
    if (program->type().kind != Kind::kBool && program->type().kind != Kind::kDyn)
      return wrong(*node.find("when"), path + ".when", "an expression of type bool, found " + program->type().str());
    Rule rule{.id = id, .when = when, .program = std::move(*program)};
    rule.priority = STELLA_TRY(priority(node, path));
    rule.scope = STELLA_TRY(scope(node, path));
    rule.effect = STELLA_TRY(effect(node, path));
    rule.reason = STELLA_TRY(text(node, path, "reason", true, 500));
    rule.expires = STELLA_TRY(expires(node, path));
    rule.owner = STELLA_TRY(text(node, path, "owner", rule.expires.has_value(), 200));
    return rule;
  }

  std::string_view document_;
  PolicyText from_;
};

void set_list(json::Value& object, std::string name, const std::vector<std::string>& list) {
  if (list.empty()) return;
  json::Array items(list.begin(), list.end());
  object.set(std::move(name), json::Value(std::move(items)));
}

json::Value tree_of(const Rule& rule) {
  json::Value v = json::Value::object({{"id", rule.id}, {"priority", rule.priority}, {"when", rule.when}, {"effect", contracts::to_string(rule.effect)}, {"reason", rule.reason}});
  if (!rule.scope.empty()) {
    json::Value scope = json::Value::object();
    set_list(scope, "ecosystems", rule.scope.ecosystems);
    set_list(scope, "packages", rule.scope.packages);
    set_list(scope, "purls", rule.scope.purls);
    set_list(scope, "advisories", rule.scope.advisories);
    v.set("scope", std::move(scope));
  }
  if (rule.expires) v.set("expires", rule.expires->rfc3339());
  if (!rule.owner.empty()) v.set("owner", rule.owner);
  return v;
}

// Rules stand in the order of evaluation, texts trimmed, lists sorted: two documents that decide alike by structure are one set.
Result<void> name_set(PolicySet& set) {
  json::Value defaults = json::Value::object({{"effect", contracts::to_string(set.default_effect)}});
  if (!set.default_reason.empty()) defaults.set("reason", set.default_reason);
  json::Value root = json::Value::object({{"format", kPolicyFormat}, {"label", set.label}});
  root.set("defaults", std::move(defaults));
  if (!set.description.empty()) root.set("description", set.description);
  json::Array rules;
  for (const Rule& rule : set.rules) rules.push_back(tree_of(rule));
  root.set("rules", json::Value(std::move(rules)));
  set.canonical = STELLA_TRY(json::canonical(root));
  set.sha256 = crypto::sha256(set.canonical);
  set.version = set.label + "@" + set.sha256.hex().substr(0, 12);
  return {};
}

}  // namespace

const cel::Environment& policy_variables() {
  static const Type kText = Type::of(Kind::kString);
  static const Type kTexts = Type::list_of(kText);
  static const cel::Environment kVariables = {
      {"component.purl", kText}, {"component.type", kText}, {"component.ecosystem", kText}, {"component.name", kText}, {"component.version", kText},
      {"component.label", kText}, {"component.problem", kText},
      {"advisory.id", kText}, {"advisory.ids", kTexts}, {"advisory.summary", kText}, {"advisory.published", kText}, {"advisory.modified", kText},
      {"exposure.verdict", kText}, {"exposure.reason", kText}, {"exposure.clause", kText}, {"exposure.range_type", kText}, {"exposure.introduced", kText},
      {"exposure.fixed", kText}, {"exposure.last_affected", kText}, {"exposure.fixed_versions", kTexts},
      {"severity", kText}, {"score", Type::of(Kind::kDouble)}, {"cvss.version", kText}, {"cvss.vector", kText},
      {"vex.status", kText}, {"vex.justification", kText}, {"vex.conflict", Type::of(Kind::kBool)}, {"vex.statements", Type::of(Kind::kInt)},
      {"fix_available", Type::of(Kind::kBool)}, {"age_days", Type::of(Kind::kInt)}, {"modified_days", Type::of(Kind::kInt)}, {"as_of", kText}};
  return kVariables;
}

Result<PolicySet> parse_policy_set(std::string_view text, PolicyText from) {
  if (text.size() > limits::kPolicyBytes)
    return Error(base_errors::kLimit, "policy set is too large").with("limit", std::uint64_t{limits::kPolicyBytes}).with("actual", std::uint64_t{text.size()});
  const YamlNode root = STELLA_TRY(parse_yaml(text));
  PolicySet set = STELLA_TRY(Reader(text, from).read(root));
  STELLA_TRY_VOID(name_set(set));
  return set;
}

}  // namespace stella::pipeline
