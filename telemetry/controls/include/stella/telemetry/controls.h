// Run-time controls of telemetry, per tenant: log levels, sampling, deep debug.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/scrub.h"

namespace stella::controls {

inline constexpr std::chrono::hours kLongestDebug{24};  // and the longest time of a temporary level
inline constexpr std::size_t kMostModules = 64;
inline constexpr std::string_view kEveryModule = "*";

struct DeepDebug {
  telemetry::PiiSet kinds;
  Timestamp until;
  friend bool operator==(const DeepDebug&, const DeepDebug&) = default;
};

struct TemporaryLevel {
  telemetry::Level level = telemetry::Level::kInfo;
  Timestamp until;
  friend bool operator==(const TemporaryLevel&, const TemporaryLevel&) = default;
};

// What holds for one tenant beside the deployment's settings.
struct Controls {
  std::map<std::string, telemetry::Level, std::less<>> levels;  // module, or kEveryModule → least level
  std::map<std::string, TemporaryLevel, std::less<>> temporary_levels;  // before `levels` until their time; they end by themselves
  std::optional<double> sampling;                               // share of traces, 0…1
  std::optional<DeepDebug> deep_debug;
  friend bool operator==(const Controls&, const Controls&) = default;
};

// `email`, `ip`, `phone`, `card`, `iban`.
json::Array class_names(telemetry::PiiSet kinds);
// {"levels":{…},"temporary_levels":{"web":{"level":"debug","until":"…"}},"sampling":0.1|null,"deep_debug":{"classes":[…],"until":"…"}|null}: for replies and job messages.
json::Value to_json(const Controls& controls);
json::Value temporary_json(const Controls& controls);
// Total: what is not well-formed is left out. For what an orchestrator of ours sent.
Controls from_json(const json::Value& value);

// A wanted change: what is absent stays as it is.
struct Change {
  std::optional<std::map<std::string, telemetry::Level, std::less<>>> levels;
  struct Temporary {
    std::map<std::string, telemetry::Level, std::less<>> levels;  // beside those that hold already; empty: ends them all
    std::chrono::seconds ttl{0};
  };
  std::optional<Temporary> temporary_levels;
  std::optional<std::optional<double>> sampling;  // inner nullopt: the deployment's rate again
  struct Debug {
    telemetry::PiiSet kinds;         // empty: ends it
    std::chrono::seconds ttl{0};
    std::string reason;
  };
  std::optional<Debug> deep_debug;
};
// From the body of a request; kInvalid names the member and what is expected.
Result<Change> parse_change(const json::Value& body);

// From now on in this process; what `controls` does not name is the deployment's again. Costs memory only where it
// changes something: a runner calls it for every job. Thread-safe.
void apply(const TenantId& tenant, const Controls& controls);

}  // namespace stella::controls
