// Small helpers that the ledger's parts share.
#pragma once

#include "stella/base/limits.h"
#include "stella/services/ledger.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::ledger {

using OrchestratorTx = pg::SystemTx<pg::OrchestratorRole>;

inline timeline::Event make_event(std::string_view kind, std::string actor, std::string type, std::string id, const Trace& trace, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.actor = std::move(actor);
  event.resource_type = std::move(type);
  event.resource_id = std::move(id);
  event.trace = trace.id;
  event.traceparent = trace.traceparent;
  event.details = std::move(details);
  return event;
}

inline timeline::Event make_event(std::string_view kind, const jobs::JobFacts& job, std::string type, std::string id, json::Value details) {
  details.set("job_id", job.job_id.str());
  timeline::Event event = make_event(kind, "system:orchestrator", std::move(type), std::move(id), Trace{job.trace, job.traceparent}, std::move(details));
  event.project = job.project;
  event.resources.emplace_back("job", job.job_id.str());
  return event;
}

// Reads an output of a finished job; kInternal where the kind's contract is broken.
inline Result<std::string> read_output(objects::Store& store, const jobs::FinishedJob& job, std::string_view name, std::uint64_t max_bytes = 1ull << 30) {
  const jobs::OutputRef* out = job.output(name);
  if (out == nullptr) return Error(base_errors::kInternal, "a job finished without one of its outputs").with("name", std::string(name));
  return store.get(object_key::object(job.tenant, out->sha256), max_bytes);
}

// {"name","sha256"} for event details.
inline json::Value digest_entry(std::string_view name, const Sha256& digest) { return json::Value::object({{"name", name}, {"sha256", digest.hex()}}); }

// Ids of documents and vulnerabilities are index keys and resources of events.
inline constexpr std::size_t kIdBytes = 500;
inline bool usable_id(std::string_view id) { return !id.empty() && id.size() <= kIdBytes && id.find('\0') == id.npos; }

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> sbom_handlers(objects::Store& store);
std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> batch_handlers(objects::Store& store);
std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> evaluation_handlers(objects::Store& store);

}  // namespace stella::ledger
