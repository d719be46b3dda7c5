// The keys that a deployment's own evidence is verified with.
#pragma once

#include "stella/evidence/locker/locker.h"
#include "stella/web/context.h"

namespace stella::web::handlers {

// The evidence keys that this deployment introduced and did not withdraw.
Result<evidence::Trust> trust_of(Context& ctx);
// The handler goes on to read a whole bundle, which may have gigabytes: the server waits longer for its answer.
void read_whole_bundle(Context& ctx);

}  // namespace stella::web::handlers
