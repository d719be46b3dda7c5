// Patterns of a scope against components: both in the one spelling of the ecosystem.
#include "scope_match.h"

#include <algorithm>

#include "stella/pipeline/versions/ecosystem.h"
#include "stella/pipeline/versions/purl.h"

namespace stella::pipeline {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  return pattern.ends_with('*') ? text.starts_with(pattern.substr(0, pattern.size() - 1)) : pattern == text;
}

// One ecosystem for each rule of names.
constexpr std::array<std::pair<NameRule, std::string_view>, 3> kSpellings{{{NameRule::kExact, "npm"}, {NameRule::kLowerCase, "NuGet"}, {NameRule::kPep503, "PyPI"}}};

// Go's own packages as OSV spells them, a purl or a pattern of one: "std" is "stdlib", whose versions begin with neither "go" nor "v".
std::string spelled_go(std::string text) {
  constexpr std::string_view kStd = "pkg:golang/std", kStdlib = "pkg:golang/stdlib";
  if (!text.starts_with(kStd)) return text;
  if (text.size() == kStd.size() || std::string_view("@?#").find(text[kStd.size()]) != std::string_view::npos) text.insert(kStd.size(), "lib");
  if (!text.starts_with(std::string(kStdlib) + "@")) return text;
  const std::string_view version = std::string_view(text).substr(kStdlib.size() + 1);
  if (version.starts_with("go")) text.erase(kStdlib.size() + 1, 2);
  else if (version.starts_with('v')) text.erase(kStdlib.size() + 1, 1);
  return text;
}

std::string spelled(std::string_view ecosystem, std::string_view pattern) {
  const bool open = pattern.ends_with('*');
  std::string out = index_name(ecosystem, open ? pattern.substr(0, pattern.size() - 1) : pattern);
  return open ? out + "*" : out;
}

}  // namespace

std::string canonical_purl_pattern(std::string_view pattern) {
  if (!pattern.ends_with('*')) {
    const auto purl = parse_purl(pattern);
    return purl ? purl->str() : std::string();
  }
  // What any purl with this beginning is written like: one more letter makes it whole.
  constexpr char kLetter = 'x';
  const auto purl = parse_purl(std::string(pattern.substr(0, pattern.size() - 1)) + kLetter);
  if (!purl) return std::string(pattern);
  std::string out = purl->str();
  if (!out.ends_with(kLetter)) return std::string(pattern);
  out.back() = '*';
  return out;
}

ScopeMatch::ScopeMatch(const RuleScope& scope) : scope_(&scope) {
  for (const auto& [rule, ecosystem] : kSpellings)
    for (const std::string& pattern : scope.packages) packages_[static_cast<std::size_t>(rule)].push_back(spelled(ecosystem, pattern));
  for (const std::string& pattern : scope.purls) {
    std::string canonical = canonical_purl_pattern(pattern);
    purls_.push_back(spelled_go(canonical.empty() ? pattern : std::move(canonical)));
  }
}

bool ScopeMatch::covers(const contracts::Exposure& e, const contracts::Component& component) const {
  const auto any = [](const auto& list, const auto& test) { return list.empty() || std::any_of(list.begin(), list.end(), test); };
  const std::string_view ecosystem = component.ecosystem;
  if (!any(scope_->ecosystems, [&](const std::string& x) { return ecosystem == x || (ecosystem.starts_with(x) && ecosystem.substr(x.size()).starts_with(":")); })) return false;
  if (!scope_->packages.empty()) {
    const Ecosystem* row = find_ecosystem(ecosystem);
    const auto& patterns = packages_[static_cast<std::size_t>(row == nullptr ? NameRule::kExact : row->names)];
    const std::string name = index_name(ecosystem, component.name);
    if (!any(patterns, [&](const std::string& x) { return matches(x, name) || (ecosystem == "Go" && go_module(x) == name); })) return false;
  }
  const std::string purl = purls_.empty() ? std::string() : spelled_go(e.purl);
  return any(purls_, [&](const std::string& x) { return matches(x, purl); }) &&
         any(scope_->advisories, [&](const std::string& x) { return x == e.advisory.id || std::find(e.advisory.aliases.begin(), e.advisory.aliases.end(), x) != e.advisory.aliases.end(); });
}

}  // namespace stella::pipeline
