// advisory.link: which advisories concern which components, and the clause that decided. Pure and thread-safe.
#pragma once

#include <span>

#include "stella/base/result.h"
#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/pipeline/conseiller/active_set.h"
#include "stella/pipeline/conseiller/segment.h"

namespace stella::pipeline {

// One exposure per (component, document in force that names its package), sorted by (component, advisory id, digest):
//   affected, not_affected     by the record's `versions` or `ranges`, as OSV's evaluation says; clause.by tells which
//   withdrawn                  the record is withdrawn, whatever its clauses say (clause still tells)
//   unknown, with reason       "version not parsable", "advisory version not parsable", "only GIT ranges"
// and one for each component that cannot be asked about at all (advisory.id is ""), reason: the component's own problem, "no purl",
// "ecosystem not supported yet" or "no version".
// The result depends on the components and on the candidate records alone: not on how records are spread over segments.
// Cost: a binary search per component and segment of its ecosystem. kMalformed where a segment holds garbage.
Result<contracts::ExposureSet> link(const contracts::ComponentTable& components, std::span<const Segment> segments, const ActiveSet& active);

}  // namespace stella::pipeline
