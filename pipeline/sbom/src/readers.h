// The readers of the two formats: each consumes the value of one top-level member. parse.cc walks the document.
#pragma once

#include <string_view>

#include "json_walker.h"
#include "raw_document.h"
#include "stella/pipeline/sbom/parse.h"

namespace stella::pipeline::sbom {

// CycloneDX: what the top-level members say.
struct CycloneDxHead {
  std::string_view bom_format;
  std::string_view spec_version;
  std::string_view serial_number;
  std::string_view version;
  std::uint32_t subject = kNoEntry;  // entry of metadata.component
};
bool read_cyclonedx_metadata(Walker& in, const ParseLimits& limits, CycloneDxHead& head, RawDocument& raw);
bool read_cyclonedx_components(Walker& in, const ParseLimits& limits, RawDocument& raw);
bool read_cyclonedx_dependencies(Walker& in, const ParseLimits& limits, RawDocument& raw);
bool read_cyclonedx_services(Walker& in, RawDocument& raw);

struct SpdxHead {
  std::string_view spdx_version;
  std::string_view document_ref;  // SPDXID of the document
  std::string_view name;
  std::string_view document_namespace;
  std::vector<std::string_view> described;
};
bool read_spdx_packages(Walker& in, const ParseLimits& limits, RawDocument& raw);
bool read_spdx_relationships(Walker& in, const ParseLimits& limits, SpdxHead& head, RawDocument& raw);
// files, snippets: their SPDXIDs are no components.
bool read_spdx_elements(Walker& in, RawDocument& raw);
bool read_spdx_described(Walker& in, SpdxHead& head);

bool over_limit(Walker& in, Literal message, std::uint64_t limit);

}  // namespace stella::pipeline::sbom
