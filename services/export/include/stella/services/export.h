// The Export Center: reports of finished evaluations, each made by a job and attested.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/jobs.h"

namespace stella::exports {

struct ExportRequest {
  EvaluationId evaluation;
  std::string format = "json";
  std::string traceparent;
  TraceId trace;
};

// Schedules export.bundle. kNotFound, kNotReady (evaluation not finished), kInvalid (format).
Result<ExportId> request_export(pg::TenantTx& tx, const ExportRequest& request);

// Handler of export.bundle.
std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers();

}  // namespace stella::exports
