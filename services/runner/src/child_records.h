// Spans and lines of a job's child as records that the runner passes on, to its own backend and to the orchestrator: what the child reported
// is checked, not believed.
#pragma once

#include <cstdint>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/telemetry/records.h"

namespace stella::runner {

// `spans` and `logs` as in TelemetryCapture. Of another tenant or trace nothing is taken, every text is scrubbed again; kMalformed where
// anything is no record. What is said of why a span is kept is ours, not the child's, unless the head chose the trace.
enum class ChildTrace : std::uint8_t {
  kChosen,     // by the head
  kFailed,     // the job failed: spans carry the reason `error`
  kUndecided,  // spans carry no reason: they wait for the end of runner.execute in the backend, and the orchestrator says why it keeps them
};
Result<telemetry::Records> child_records(const json::Value& spans, const json::Value& logs, const TenantId& tenant, const TraceId& trace, ChildTrace state);

}  // namespace stella::runner
