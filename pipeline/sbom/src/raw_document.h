// What a reader found in a document, before purls are parsed, duplicates joined and references resolved. Views into the document.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "stella/contracts/components.h"

namespace stella::pipeline::sbom {

inline constexpr std::uint32_t kNoEntry = 0xffffffffu;

struct RawEntry {
  std::string_view purl;
  bool has_purl = false;
  std::string_view group;    // CycloneDX only
  std::string_view name;
  std::string_view version;
  std::string_view ref;      // bom-ref or SPDXID
  std::uint32_t parent = kNoEntry;   // the entry it is nested in
  std::uint32_t ordinal = 0;         // index in its array
  std::uint32_t external = kNoEntry; // SPDX: index in externalRefs
  bool is_subject = false;           // CycloneDX metadata.component
  bool continues = false;            // SPDX: one more purl of the same package as the entry before
  const char* problem = nullptr;     // code of a problem the reader saw
};

struct RawEdge {
  std::string_view from;
  std::string_view to;
  contracts::EdgeKind kind = contracts::EdgeKind::kDependsOn;
};

struct RawDocument {
  std::vector<RawEntry> entries;
  std::vector<RawEdge> edges;
  std::vector<contracts::Problem> problems;  // of the document itself
  // References that name something that is no component (files, services, the document): no edge, no problem.
  std::vector<std::string_view> other_refs;
  const char* array_pointer = "/components";
};

}  // namespace stella::pipeline::sbom
