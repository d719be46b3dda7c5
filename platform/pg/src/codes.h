// Error codes this module answers with.
#pragma once

#include "stella/contracts/errors.h"

namespace stella::pg {

using contracts::errors::kConflict;
using contracts::errors::kDiskFull;
using contracts::errors::kTimeout;
using contracts::errors::kUnavailable;

}  // namespace stella::pg
