// How changed settings stand on the timeline.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "stella/base/json.h"
#include "stella/timeline/emit.h"

namespace stella::controls::detail {

// One value of a config.changed; longer ones are cut, so whoever has more says it in several events.
inline constexpr std::size_t kValueBytes = 1000;

timeline::Event config_event(const std::string& name, std::string from, std::string to, TraceId trace);

// The modules that differ between two objects by module, before and after, as JSON texts of at most kValueBytes each: several where they need more.
std::vector<std::pair<std::string, std::string>> differing(const json::Value& from, const json::Value& to);

}  // namespace stella::controls::detail
