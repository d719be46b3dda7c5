// Rows of telemetry/otlp as the JSON of protocol buffers (bytes in base64), for a comparison with what went in.
#pragma once

#include "stella/base/json.h"
#include "stella/telemetry/otlp_rows.h"

namespace stella::telemetry {

json::Value to_json(const TraceRows& rows);
json::Value to_json(const LogRows& rows);
json::Value to_json(const MetricRows& rows);

}  // namespace stella::telemetry
