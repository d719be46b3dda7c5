// What must be true of bundles, holds and deletions.
#pragma once

#include <functional>
#include <string>

#include "reading.h"
#include "run.h"

namespace stella::chaos {

void check_evidence(const World& world, const Reading& read, const Seen& seen, Tally& tally, const std::function<void(const std::string&)>& say);

}  // namespace stella::chaos
