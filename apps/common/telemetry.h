// Telemetry of our programs, made of the settings: the same in each.
#pragma once

#include <string>
#include <string_view>

#include "stella/platform/config.h"
#include "stella/telemetry/backend.h"

namespace stella::apps {

// Of the program `service` (its file name). Who it is, where it writes, what it limits, where it sends to. kInvalid where an OTLP endpoint
// or a header cannot be used.
Result<telemetry::BackendOptions> backend_options(const config::Settings& settings, std::string_view service);

// After the backend is there: the deployment's rate of head sampling (telemetry.sampling, or OTEL_TRACES_SAMPLER); tenants may have their
// own (telemetry/controls). Where telemetry.enabled is false: nothing but errors.
void apply_sampling(const config::Settings& settings);

// SIGHUP opens the log file of `backend` anew (logrotate); nullptr before the backend goes.
void reopen_on_hangup(telemetry::Backend* backend);

}  // namespace stella::apps
