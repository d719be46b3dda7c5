// How many searches by text a tenant may have at once in this process: each reads every event of its window, and holds a connection as long.
#pragma once

#include <memory>

#include "stella/base/ids.h"

namespace stella::timeline {

inline constexpr int kSearchesPerTenant = 2;

// Held until it is destroyed. Null where the tenant has as many as it may. Thread-safe.
std::shared_ptr<void> take_search(const TenantId& tenant);

}  // namespace stella::timeline
