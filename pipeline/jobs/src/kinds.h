// The kinds, one function each; kinds.cc collects them.
#pragma once

#include "stella/pipeline/jobs/jobs.h"

namespace stella::pipeline {

inline constexpr std::string_view kNdjson = "application/x-ndjson";
inline constexpr std::string_view kJson = "application/json";
inline constexpr std::string_view kSegment = "application/vnd.stella.segment";

Result<void> sbom_compute(const json::Value& params, JobIo& io);
Result<void> advisory_ingest(const json::Value& params, JobIo& io);
Result<void> advisory_link(const json::Value& params, JobIo& io);

}  // namespace stella::pipeline
