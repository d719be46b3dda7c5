// Output of sbom.compute: the component table of one SBOM. Meeting point of pipeline/sbom, conseiller, excitator and policy.
//
// Wire form (`components.ndjson`, media type application/x-ndjson), deterministic, no ids, no times:
//   line 1      {"format":"stella.components/v1","source_format":…,"document":{…},"components":N,"edges":N,"problems":N}
//   then        {"c":{…}} per component in table order, {"e":[from,to,"contains"|"depends_on"]} per edge, {"p":{…}} per problem
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"

namespace stella::contracts {

inline constexpr std::string_view kComponentsFormat = "stella.components/v1";

// One distinct package of the SBOM: entries with the same canonical purl are joined, `refs` keeps where each stood.
struct Component {
  std::string purl;        // canonical package-url; "" where the document gives none or a malformed one
  std::string raw_purl;    // as received, where it differs from `purl`
  std::string type;        // purl type ("npm", "golang", "deb", …); "" without purl
  std::string ecosystem;   // OSV ecosystem ("npm", "Go", "PyPI", "Maven", "crates.io", "Debian:11", …); "" where none is known
  std::string name;        // name as the ecosystem's index spells it (PyPI normalised, Maven group:artifact, …)
  std::string version;     // as the purl (else the document) gives it, Go without 'v'; "" where missing or none ("(devel)")
  std::string label;       // name as the document shows it to people
  std::vector<std::string> refs;  // bom-refs or SPDXIDs, document order
  std::string problem;     // "" or why no verdict is possible: "malformed purl", "no purl", "no version", …

  friend bool operator==(const Component&, const Component&) = default;
};

enum class EdgeKind : std::uint8_t { kContains, kDependsOn };

// Indexes into ComponentTable::components.
struct Edge {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  EdgeKind kind = EdgeKind::kDependsOn;
  friend auto operator<=>(const Edge&, const Edge&) = default;
};

// Something in the document that we could not use; never a reason to drop a component.
struct Problem {
  std::string code;    // "malformed_purl", "duplicate_ref", "dangling_ref", "missing_version", …
  std::string where;   // JSON pointer or ref
  std::string detail;
};

struct ComponentTable {
  std::string source_format;     // "CycloneDX 1.5", "SPDX-2.3"
  std::string document_name;     // what the SBOM is about
  std::string document_version;  // version of what it is about
  std::string document_id;       // serialNumber#version, or documentNamespace
  std::vector<Component> components;  // first occurrence in the document decides the order; metadata.component is one of them
  std::vector<Edge> edges;            // sorted, unique
  std::vector<Problem> problems;
};

std::string encode(const ComponentTable& table);
// kMalformed with line for anything that encode() would not have written.
Result<ComponentTable> decode_components(std::string_view ndjson);

}  // namespace stella::contracts
