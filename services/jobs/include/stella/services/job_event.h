// The timeline event about a job that the control plane works on.
#pragma once

#include <string_view>

#include "stella/base/json.h"
#include "stella/services/jobs.h"
#include "stella/timeline/emit.h"

namespace stella::jobs {

// By system:orchestrator, in the job's own trace and project; found under the job and under what it is about.
timeline::Event job_event(std::string_view kind, const JobFacts& job, json::Value details);

}  // namespace stella::jobs
