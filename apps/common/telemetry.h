// Telemetry of our programs, made of the settings: the same in each.
#pragma once

#include <memory>
#include <string_view>

#include "stella/platform/config.h"
#include "stella/telemetry/backend.h"

namespace stella::apps {

// The backend of the program `service` (its file name), of which a process has one: who it is, where it writes, what it limits, where it
// sends to. SIGHUP opens its log file anew (logrotate) as long as it lives.
class Telemetry {
 public:
  // Also puts the deployment's rate of head sampling into force (telemetry.sampling, or OTEL_TRACES_SAMPLER); tenants may have their own
  // (telemetry/controls). Where telemetry.enabled is false: nothing but errors. kInvalid where an OTLP endpoint or a header cannot be used.
  static Result<std::unique_ptr<Telemetry>> start(const config::Settings& settings, std::string_view service);
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  telemetry::Backend* operator->() const { return backend_.get(); }

 private:
  explicit Telemetry(std::unique_ptr<telemetry::Backend> backend);
  std::unique_ptr<telemetry::Backend> backend_;
};

}  // namespace stella::apps
