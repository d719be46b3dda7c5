// Rows of a child process (records.h) back into records, so that they can be exported like our own.
#pragma once

#include <string>

#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// "" where the row is not what records.h lets through. Values keep their JSON type: ids and digests become text.
std::string to_record(const LogRecord& log);
std::string to_record(const SpanRecord& span);

}  // namespace stella::telemetry
