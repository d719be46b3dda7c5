// One shape for all kinds.
#include "stella/services/job_event.h"

namespace stella::jobs {

timeline::Event job_event(std::string_view kind, const JobFacts& job, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.project = job.project;
  event.actor = "system:orchestrator";
  event.resource_type = "job";
  event.resource_id = job.job_id.str();
  event.trace = job.trace;
  event.traceparent = job.traceparent;
  event.details = std::move(details);
  if (!job.resource_type.empty()) event.resources.emplace_back(job.resource_type, job.resource_id);
  return event;
}

}  // namespace stella::jobs
