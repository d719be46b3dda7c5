// The slow question about levels.
#pragma once

#include <atomic>
#include <string_view>

#include "stella/telemetry/log.h"

namespace stella::telemetry::detail {

extern std::atomic<bool> g_level_rules;  // there are rules beside the process's level
bool passes_rules(Level level, std::string_view module, std::string_view tenant);

}  // namespace stella::telemetry::detail
