// The kinds, one function each; kinds.cc collects them.
#pragma once

#include "stella/pipeline/jobs/jobs.h"

namespace stella::pipeline {

inline constexpr std::string_view kNdjson = "application/x-ndjson";
inline constexpr std::string_view kJson = "application/json";
inline constexpr std::string_view kSegment = "application/vnd.stella.segment";
inline constexpr std::string_view kTar = "application/x-tar";

Result<void> sbom_compute(const json::Value& params, JobIo& io);
Result<void> advisory_ingest(const json::Value& params, JobIo& io);
Result<void> advisory_link(const json::Value& params, JobIo& io);
Result<void> vex_ingest(const json::Value& params, JobIo& io);
Result<void> vex_reconcile(const json::Value& params, JobIo& io);
Result<void> policy_evaluate(const json::Value& params, JobIo& io);
Result<void> export_bundle(const json::Value& params, JobIo& io);
Result<void> evidence_snapshot(const json::Value& params, JobIo& io);

}  // namespace stella::pipeline
