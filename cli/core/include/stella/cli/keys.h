// What commands ask of the server's keys.
#pragma once

#include "stella/base/result.h"
#include "stella/cli/api.h"

namespace stella::cli {

// Whether an evidence key is there to sign with: without one no bundle is sealed.
Result<bool> evidence_key_signs(Api& api);

}  // namespace stella::cli
