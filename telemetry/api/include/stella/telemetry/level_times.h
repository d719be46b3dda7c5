// Log levels that hold for a time: for whoever sets them, apart from log.h, which every call site includes.
#pragma once

#include <string_view>

#include "stella/base/time.h"
#include "stella/telemetry/log.h"

namespace stella::telemetry {

// Until then, before all other rules of the tenant (`module` "*": every module that has no such level of its own); what those say holds
// again at that time without another call. clear_tenant_levels() takes it back. Thread-safe.
void set_tenant_level(std::string_view tenant, std::string_view module, Level level, Timestamp until);

}  // namespace stella::telemetry
