// What a consumer demands of a SLSA verification summary (slsa.dev/spec, "Verification Summary Attestation": how to verify). Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::evidence {

struct VsaExpectation {
  std::vector<std::string> digests;  // "algorithm:value", at least one; each must be a subject's
  std::string verifier_id;           // required
  std::string resource_uri;          // required
  std::vector<std::string> levels;   // each must be verified; SLSA_<TRACK>_LEVEL_<n> by n or more, others exactly
};

// `statement`: the JSON of a statement whose signature was verified before. Predicate type, subject, verifier, resource, result PASSED, levels.
// kInvalid with field, expected and actual.
Result<void> verify_vsa(const json::Value& statement, const VsaExpectation& expected);

// Levels that begin with SLSA_ must be SLSA_<TRACK>_LEVEL_<number>; others are their owners' business. kInvalid with field.
Result<void> check_levels(std::span<const std::string> levels);
// kInvalid unless every demanded level is verified.
Result<void> levels_hold(std::span<const std::string> verified, std::span<const std::string> demanded);

}  // namespace stella::evidence
