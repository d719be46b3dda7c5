// Policy sets: YAML (or JSON) documents read strictly, compiled, brought into one canonical form and named by its digest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/decision.h"
#include "stella/pipeline/policy/cel.h"

namespace stella::pipeline {

inline constexpr std::string_view kPolicyFormat = "stella.policy/v1";
inline constexpr std::size_t kPolicyRules = 500;

// Where a rule applies; an empty list does not narrow. A trailing `*` in packages and purls stands for any rest. Texts as they were
// written: packages are compared as the component's ecosystem compares names (Django is django on PyPI, not on npm), purls canonically.
struct RuleScope {
  std::vector<std::string> ecosystems;  // "npm", "Debian" (every release) or "Debian:12"
  std::vector<std::string> packages;    // names, in any spelling of their ecosystem
  std::vector<std::string> purls;       // purls, in any spelling
  std::vector<std::string> advisories;  // ids or aliases
  bool empty() const { return ecosystems.empty() && packages.empty() && purls.empty() && advisories.empty(); }
};

struct Rule {
  std::string id;                    // [A-Za-z0-9][A-Za-z0-9._-]{0,63}, unique; "default" is reserved
  std::int64_t priority = 0;         // lower numbers are looked at first; equal ones in document order
  RuleScope scope;
  std::string when;                  // the expression as written
  cel::Program program;
  contracts::Effect effect = contracts::Effect::kDeny;
  std::string reason;
  std::optional<Timestamp> expires;  // from this instant on the rule matches nothing
  std::string owner;                 // needed where `expires` stands: a waiver is somebody's
};

struct PolicySet {
  std::string label;
  std::string description;
  contracts::Effect default_effect = contracts::Effect::kDefer;  // of findings that no rule matches
  std::string default_reason;
  std::vector<Rule> rules;  // in the order of evaluation
  std::string canonical;    // RFC 8785 JSON; parses to the same set
  Sha256 sha256;            // of `canonical`
  std::string version;      // "<label>@<first 12 hex digits of sha256>"
};

// The names an expression may use, with their types; meanings: README.md.
const cel::Environment& policy_variables();

// One document. kMalformed (not YAML) or kInvalid (unknown or doubled key, doubled rule id, wrong value, faulty expression) with line and
// column of the document (1-based), `field` ("rules[2].when") and `expected`; kLimit beyond limits::kPolicyBytes, kPolicyRules or in
// depth. Anchors and aliases are refused: a set says what it means where it says it. A set that was published keeps its meaning and its
// digest when rules for new ones become stricter: kStored takes what was once taken.
enum class PolicyText : std::uint8_t { kWritten, kStored };
Result<PolicySet> parse_policy_set(std::string_view text, PolicyText from = PolicyText::kWritten);

}  // namespace stella::pipeline
