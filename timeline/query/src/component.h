// Which package URLs a filter such as component/pkg:npm/left-pad asks for.
#pragma once

#include <vector>

#include "stella/timeline/query.h"

namespace stella::timeline {

// A filter by component is resolved to the SBOMs that have it; one by no component in particular ("component/") is not.
bool asks_for_component(const ResourceFilter& filter);

// Exact with a version or without a package URL; a prefix as it is; else every version of the package: the name alone, and the name before
// a version or a qualifier. "@angular/core" is taken for its spelling in package URLs, "%40angular/core".
std::vector<ResourceFilter> component_parts(const ResourceFilter& filter);

}  // namespace stella::timeline
