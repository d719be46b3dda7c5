// The keys that a deployment's own evidence is verified with.
#pragma once

#include "stella/evidence/locker/locker.h"
#include "stella/web/context.h"

namespace stella::web::handlers {

// The evidence keys that this deployment introduced and did not withdraw.
Result<evidence::Trust> trust_of(Context& ctx);

}  // namespace stella::web::handlers
