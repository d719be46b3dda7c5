// The modules that log: what a level can be set for. tools/lint.py holds the list, docs/observability/logging.md and the loggers of the tree together.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace stella::controls {

inline constexpr std::array<std::string_view, 17> kModules{
    "bus", "controls", "evidence.keeper", "evidence.locker", "ledger", "objects", "objects.encryption", "orchestrator", "pg",
    "runner", "stellad", "telemetry", "telemetry.export", "timeline.checkpoint", "timeline.indexer", "timeline.witness", "web"};

// "*" is every module without a rule of its own.
inline bool known_module(std::string_view name) { return name == "*" || std::find(kModules.begin(), kModules.end(), name) != kModules.end(); }

// "*, bus, controls, …": for people.
inline std::string module_names() {
  std::string out = "*";
  for (const std::string_view name : kModules) out.append(", ").append(name);
  return out;
}

}  // namespace stella::controls
