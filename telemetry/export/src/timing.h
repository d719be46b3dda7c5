// What the exporter asks the world for besides the network and the disk: the time, and chance.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "stella/base/result.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

// Thread-safe.
class Timing {
 public:
  using Steady = std::chrono::steady_clock;
  virtual ~Timing() = default;
  virtual Steady::time_point now() = 0;
  virtual std::int64_t unix_seconds() = 0;
  // Evenly distributed from 0 to `most`.
  virtual std::int64_t random(std::int64_t most) = 0;
  // The exporter gives once what is to be called when the time was moved by hand; a clock that only goes needs it not.
  virtual void on_move(std::function<void()> /*look*/) {}
};

std::shared_ptr<Timing> system_timing();
Result<std::unique_ptr<Exporter>> make_otlp_exporter(ExporterOptions options, std::shared_ptr<Timing> timing);

}  // namespace stella::telemetry
