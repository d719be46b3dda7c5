// Turns what a reader found into the component table: parses purls, joins duplicates, resolves references, names problems.
#pragma once

#include "raw_document.h"
#include "stella/pipeline/sbom/parse.h"

namespace stella::pipeline::sbom {

// Fills components, edges and problems of `table`. Linear in `raw` (edges are sorted).
void build_table(const RawDocument& raw, const ParseLimits& limits, contracts::ComponentTable& table);

}  // namespace stella::pipeline::sbom
