// Version orders of the ecosystems. Pure and thread-safe.
#pragma once

#include <compare>
#include <string_view>

#include "stella/base/result.h"

namespace stella::pipeline {

enum class VersionOrder : unsigned char {
  kNone,       // no order known: ecosystem not supported yet
  kSemver,     // npm, Go, crates.io, Hex, …
  kPep440,     // PyPI
  kMaven,      // Maven
};

// The order of an OSV ecosystem; the part after ':' (release) does not matter. kNone where it is not supported yet: a new
// ecosystem is one row in the table of ecosystems.cc and, where its order is new, one comparator.
VersionOrder version_order(std::string_view ecosystem);

// True where the text is a version in this order; comparisons of texts that are none are refused.
bool parsable(VersionOrder order, std::string_view version);

// kMalformed where either side is not parsable in this order.
Result<std::strong_ordering> compare_versions(VersionOrder order, std::string_view a, std::string_view b);

}  // namespace stella::pipeline
