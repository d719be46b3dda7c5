// The pure half of `stella obs settings`: the command line as a change, and the answer as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/cli/console.h"

namespace stella::cli {

struct SettingsArgs {
  std::vector<std::string> levels;  // MODULE=LEVEL; the level `default` takes the module's rule back
  std::string level_for;            // how long the levels hold, as debug_for; "": until they are changed
  bool end_levels = false;          // ends those that hold for a time
  std::string sampling;             // 0…1, 10%, or `default`
  std::vector<std::string> debug;   // kinds of personal data
  std::string debug_for;            // 90s, 15m, 2h, 1d
  std::string reason;
  bool end_debug = false;
};

// The body of PATCH /obs/settings/telemetry. `levels`: those in force, since the server replaces them all. kInvalid names the option and
// what is expected; so does a change that changes nothing. What only the server knows (names of modules, bounds) it says itself.
Result<json::Value> settings_change(const SettingsArgs& args, const json::Value& levels);

// What holds, for people.
std::string settings_text(const json::Value& settings, Timestamp now, const Palette& paint);

}  // namespace stella::cli
