// The commands of this module, one per file, and what they share.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/cli/app.h"

namespace stella::cli {

void register_obs_trace(App& app);
void register_obs_health(App& app);
void register_obs_settings(App& app);
void register_timeline(App& app);
void register_timeline_log(App& app);
void register_timeline_export(App& app);

// RFC 3339 as it is; "15m", "2h", "7d", "90s" as that long before `now`. kInvalid otherwise.
Result<std::string> time_argument(std::string_view text, Timestamp now);

}  // namespace stella::cli
