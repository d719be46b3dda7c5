// SBOM documents to component tables: CycloneDX 1.4–1.6 JSON, SPDX 2.2 and 2.3 JSON. Pure and thread-safe; linear in the input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/limits.h"
#include "stella/base/result.h"
#include "stella/contracts/components.h"

namespace stella::pipeline {

struct ParseLimits {
  std::uint64_t max_bytes = limits::kSbomBytes;
  int max_depth = limits::kJsonDepth;                // at most 64
  std::size_t max_string_bytes = limits::kStringBytes;  // of a string that would be kept; others may be longer
  std::uint32_t max_components = 1u << 21;           // entries before duplicates are joined
  std::uint32_t max_edges = 1u << 23;
  std::uint32_t max_problems = 10'000;               // further ones are counted in one last "more_problems"
};

// Codes of ComponentTable::problems, besides Component::problem:
//   malformed_purl, missing_purl, missing_version, missing_name, missing_type, unknown_type, duplicate_ref, dangling_ref,
//   unknown_relationship, more_problems
//
// Edges say what lies in or below what, whatever direction the document wrote it in. In CycloneDX metadata.component contains the
// top-level components, a component its nested ones. An SPDX package with several purls becomes one component per purl; the first
// and each other one contain each other, so that either identity reaches the same parts.
//
// Errors: kMalformed with line, column (1-based, bytes) and expected; kLimit with limit (and line, column where it is a place);
// kInvalid for formats and versions that are not supported, with expected.
Result<contracts::ComponentTable> parse_sbom(std::string_view bytes, const ParseLimits& limits = {});

// "CycloneDX 1.5", "SPDX-2.3", …; reads the whole document's grammar but none of its components. Errors as above.
Result<std::string> sniff_format(std::string_view bytes, const ParseLimits& limits = {});

}  // namespace stella::pipeline
