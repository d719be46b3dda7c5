// The verdict on a bundle: nine dimensions, each PASS, FAIL or NOT-CHECKED with its reason and what was trusted. CLI, API and Console share it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/evidence/format/seal.h"

namespace stella::evidence {

enum class Dimension { kIntegrity, kAuthenticity, kTime, kInclusion, kConsistency, kCompleteness, kCustody, kKeyStatus, kRetentionState };
inline constexpr std::size_t kDimensions = 9;
enum class Outcome { kPass, kFail, kNotChecked };

// "INTEGRITY", …, "KEY-STATUS", "RETENTION-STATE".
std::string_view dimension_name(Dimension dimension);
// Any letter case; '_' counts as '-'. nullopt for other texts.
std::optional<Dimension> parse_dimension(std::string_view name);
// "PASS", "FAIL", "NOT-CHECKED".
std::string_view outcome_name(Outcome outcome);

struct DimensionVerdict {
  Outcome outcome = Outcome::kNotChecked;
  std::string reason;
  std::string trust_input;  // what outside of the bundle the outcome rests on; empty = nothing
};

struct Disclosure {
  std::uint64_t disclosed = 0;
  std::uint64_t withheld = 0;
  std::uint64_t authorised = 0;   // of the withheld
  std::uint64_t unaccounted = 0;  // leaves of the tree without a line
};

struct Verdict {
  std::array<DimensionVerdict, kDimensions> dimensions;
  std::optional<Seal> seal;  // what the bundle says of itself; believe it only where INTEGRITY and AUTHENTICITY pass
  Disclosure disclosure;
  std::vector<std::string> signers;  // key ids of the trusted keys that signed
  Timestamp proven_at;               // the seal was signed no later than this, as trusted authorities say; zero where none does
  std::chrono::microseconds proven_within{0};  // what the authority says of its accuracy; zero where it says nothing
  std::vector<std::string> time_authorities;
  std::vector<Item> items;           // disclosed
  std::size_t hints = 0;             // files in trust-hints/, which nothing rests on

  DimensionVerdict& of(Dimension d) { return dimensions[static_cast<std::size_t>(d)]; }
  const DimensionVerdict& of(Dimension d) const { return dimensions[static_cast<std::size_t>(d)]; }
};

inline constexpr Dimension kDefaultRequired[] = {Dimension::kIntegrity, Dimension::kAuthenticity};

inline constexpr int kExitPass = 0;
inline constexpr int kExitFail = 1;
inline constexpr int kExitNotChecked = 2;
inline constexpr int kExitMalformed = 3;

// 0 where all required dimensions pass, 1 where one of them fails, else 2. (3, malformed, is an Error and has no verdict.)
int exit_code(const Verdict& verdict, std::span<const Dimension> required = kDefaultRequired);

// {"result":"pass|fail|not_checked","exit_code",…,"dimensions":[{"name","outcome","reason","trust_input","required"}],"bundle":{…},
//  "disclosure":{…},"signers":[…]}
json::Value verdict_json(const Verdict& verdict, std::span<const Dimension> required = kDefaultRequired);
// For people: a line per dimension, then signer, time source, and what was not checked. No colours.
std::string verdict_text(const Verdict& verdict, std::span<const Dimension> required = kDefaultRequired);

}  // namespace stella::evidence
