// What must be true when a run is over: read from rows by plain SQL and from files as they lie there, judged by an RFC 6962 tree of its own.
#pragma once

#include <string>
#include <vector>

#include "run.h"
#include "world.h"

namespace stella::chaos {

// The checkpoints that lie in the store, of all logs.
Seen checkpoint_objects(const World& world);
// Whether the last process says that its fault has come.
bool struck_line(const World& world);
// Adds to `problems` what is wrong.
void judge(const World& world, std::uint64_t seed, const Seen& seen, Tally& tally, std::vector<std::string>& problems);

}  // namespace stella::chaos
