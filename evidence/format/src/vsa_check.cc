// A verification summary against what its consumer demands.
#include "stella/evidence/format/vsa_check.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "stella/evidence/format/predicates.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kPrefix = "SLSA_";
constexpr std::string_view kLevel = "_LEVEL_";

Error invalid(std::string_view field, std::string_view expected, std::string_view actual) {
  return Error(base_errors::kInvalid, "the verification summary is not what is demanded").with("field", std::string(field)).with("expected", std::string(expected)).with("actual", std::string(actual));
}

struct Level {
  std::string_view track;
  unsigned number = 0;
};

// nullopt where it is none of SLSA's, or not well-formed.
std::optional<Level> slsa_level(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  const std::size_t at = text.rfind(kLevel);
  if (at == text.npos || at == 0) return std::nullopt;
  Level out{.track = text.substr(0, at)};
  const std::string_view digits = text.substr(at + kLevel.size());
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.number);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return out;
}

bool holds(std::span<const std::string> verified, const std::string& demanded) {
  const auto wanted = slsa_level(demanded);
  return std::any_of(verified.begin(), verified.end(), [&](const std::string& level) {
    if (level == demanded) return true;
    const auto have = slsa_level(level);
    return wanted && have && have->track == wanted->track && have->number >= wanted->number;
  });
}

bool is_subject(const json::Value& statement, const std::string& digest) {
  const std::size_t colon = digest.find(':');
  if (colon == std::string::npos || colon + 1 == digest.size()) return false;
  const std::string algorithm = digest.substr(0, colon), value = digest.substr(colon + 1);
  const json::Array& subjects = statement.items("subject");
  return std::any_of(subjects.begin(), subjects.end(), [&](const json::Value& s) {
    const json::Value* digests = s.find("digest");
    return digests != nullptr && digests->is_object() && digests->str(algorithm) == value;
  });
}

}  // namespace

Result<void> check_levels(std::span<const std::string> levels) {
  for (const std::string& level : levels)
    if (level.empty() || (level.starts_with(kPrefix) && !slsa_level(level))) return invalid("verifiedLevels", "SLSA_<TRACK>_LEVEL_<number>, or a level of its owner's", level);
  return {};
}

Result<void> levels_hold(std::span<const std::string> verified, std::span<const std::string> demanded) {
  STELLA_TRY_VOID(check_levels(verified));
  STELLA_TRY_VOID(check_levels(demanded));
  for (const std::string& level : demanded) {
    if (holds(verified, level)) continue;
    std::string all;
    for (const std::string& v : verified) all += (all.empty() ? "" : ", ") + v;
    return invalid("verifiedLevels", level, all);
  }
  return {};
}

Result<void> verify_vsa(const json::Value& statement, const VsaExpectation& expected) {
  if (expected.digests.empty()) return invalid("digests", "at least one digest of the artifact", "none");
  if (expected.verifier_id.empty() || expected.resource_uri.empty()) return invalid("expectation", "verifier and resource", "none");
  if (statement.str("predicateType") != kVsaPredicate) return invalid("predicateType", kVsaPredicate, statement.str("predicateType"));
  for (const std::string& digest : expected.digests)
    if (!is_subject(statement, digest)) return invalid("subject", digest, "no subject with it");
  const json::Value* predicate = statement.find("predicate");
  if (predicate == nullptr || !predicate->is_object()) return invalid("predicate", "an object", "none");
  const json::Value* verifier = predicate->find("verifier");
  const std::string_view id = verifier == nullptr ? std::string_view() : verifier->str("id");
  if (id != expected.verifier_id) return invalid("verifier.id", expected.verifier_id, id);
  if (predicate->str("resourceUri") != expected.resource_uri) return invalid("resourceUri", expected.resource_uri, predicate->str("resourceUri"));
  if (predicate->str("verificationResult") != "PASSED") return invalid("verificationResult", "PASSED", predicate->str("verificationResult"));
  std::vector<std::string> verified;
  for (const json::Value& level : predicate->items("verifiedLevels")) {
    if (!level.is_string()) return invalid("verifiedLevels", "texts", json::dump(level));
    verified.emplace_back(level.as_string());
  }
  return levels_hold(verified, expected.levels);
}

}  // namespace stella::evidence
