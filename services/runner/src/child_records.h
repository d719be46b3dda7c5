// Spans and lines of a job's child as records that the runner's own backend exports: what the child reported is checked, not believed.
#pragma once

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/telemetry/records.h"

namespace stella::runner {

// `spans` and `logs` as in TelemetryCapture. Of another tenant or trace nothing is taken, every text is scrubbed again; kMalformed where
// anything is no record. `failed`: spans that the head did not choose carry the reason `error`.
Result<telemetry::Records> child_records(const json::Value& spans, const json::Value& logs, const TenantId& tenant, const TraceId& trace, bool failed);

}  // namespace stella::runner
