// The jobs table: scheduling, cancelling, retrying, and what completion handlers are told. Dispatch and results are services/orchestrator.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/evidence/format/stated.h"
#include "stella/platform/pg.h"
#include "stella/telemetry/context.h"

namespace stella::jobs {

// An object that a job reads: of the job's own tenant or of `global`.
struct InputRef {
  std::string name;  // file name in the job directory and in bundles
  Sha256 sha256;
  TenantId tenant;
};

struct OutputRef {
  std::string name;
  Sha256 sha256;
  std::uint64_t size = 0;
  std::string media_type;
};

struct Spec {
  std::string kind;                  // of contracts/jobs.json
  json::Value params = json::Value::object();
  std::vector<InputRef> inputs;
  std::vector<InputRef> made;        // those of them that the caller wrote for this job: custody begins with the event that says so
  std::optional<ProjectId> project;
  std::string resource_type;         // what it works for; resource_id becomes the subject_id of its attestations
  std::string resource_id;
  int priority = 0;
  std::string requested_by;          // opaque actor
  std::string traceparent;
  TraceId trace;
};

struct Scheduled {
  JobId job_id;
  bool cached = false;  // a finished job with the same idempotency digest exists: its outputs will be reused
};

// Over (kind, engine version, canonical parameters with as_of, inputs by name and digest). The tenant is the other half of the key.
Result<Sha256> idempotency_digest(const Spec& spec);
// Of which revision its kind was when this job was scheduled, by the digest that the row keeps; 1 where that is no digest of ours.
Result<std::uint32_t> revision_of(pg::TenantTx& tx, const JobId& job);

// Inserts the row (with the ambient trace state) and its job.scheduled event in the caller's transaction; wakes the orchestrator after commit.
Result<Scheduled> schedule(pg::TenantTx& tx, const Spec& spec);
Result<Scheduled> schedule(pg::SystemTx<pg::OrchestratorRole>& tx, const TenantId& tenant, const Spec& spec);

// kNotFound; kConflict where the job has ended already. A running attempt's result will be dropped by its fence. Asking again is no
// second event.
Result<void> cancel(pg::TenantTx& tx, const JobId& job, TraceId trace);
// Puts a failed, dead or cancelled job back into the queue with fresh attempts; kConflict otherwise.
Result<void> retry(pg::TenantTx& tx, const JobId& job, TraceId trace);

// What a completion handler is told. Outputs are in the tenant's object store already.
struct JobFacts {
  TenantId tenant;
  JobId job_id;
  std::string kind;
  std::string engine_version;
  json::Value params;
  std::vector<InputRef> inputs;
  std::optional<ProjectId> project;
  std::string resource_type;
  std::string resource_id;
  std::string requested_by;
  std::string traceparent;
  std::string tracestate;
  TraceId trace;
  int attempt = 0;
};
// The ambient context of work for a job: its own trace, its tenant, who asked for it.
telemetry::Context context_of(const JobFacts& job);
struct FinishedJob : JobFacts {
  std::vector<OutputRef> outputs;
  bool cached = false;
  std::optional<RunId> run_id;
  std::int64_t duration_ms = 0;
  const OutputRef* output(std::string_view name) const;
};
struct FailedJob : JobFacts {
  std::string error_code;     // wire code
  std::string error_message;  // literal of the error catalogue or of the runner
  json::Value error_fields;
  std::string root_cause;
  bool dead = false;          // attempts exhausted
  bool cancelled = false;
};

// What a job kind means to the platform: the state change and timeline events that follow from its end. Runs inside the
// orchestrator's transaction; an error rolls everything back and the job is tried again. Must be idempotent in its objects.
class KindHandler {
 public:
  virtual ~KindHandler() = default;
  // What the control plane is to sign about this job besides its provenance; asked before on_finished(), in the same transaction.
  virtual Result<std::vector<evidence::Stated>> statements(pg::SystemTx<pg::OrchestratorRole>& tx, const FinishedJob& job);
  virtual Result<void> on_finished(pg::SystemTx<pg::OrchestratorRole>& tx, const FinishedJob& job) = 0;
  virtual Result<void> on_failed(pg::SystemTx<pg::OrchestratorRole>& tx, const FailedJob& job) = 0;
};

// [{"name","sha256","tenant"}] and [{"name","sha256","size","media_type"}], as stored in the row.
json::Value to_json(const std::vector<InputRef>& inputs);
json::Value to_json(const std::vector<OutputRef>& outputs);
Result<std::vector<InputRef>> inputs_from_json(std::string_view text);
Result<std::vector<OutputRef>> outputs_from_json(std::string_view text);
// For `inputs` and `outputs` of event details.
json::Value digest_list(const std::vector<InputRef>& inputs);
json::Value digest_list(const std::vector<OutputRef>& outputs);
// Documents that a job found in what it read, as refs for such a list: each once, in the order of their digests.
std::vector<OutputRef> document_refs(std::vector<Sha256> documents);
// Event details must stay small: more than this many digests travel as one digest over their canonical list.
inline constexpr std::size_t kDigestsPerEvent = 200;

// Error as a JSON object {"code","message","fields":{…}}: for rows and replies.
json::Value error_json(const FailedJob& job);

// Attempts of jobs that are scheduled from now on (setting jobs.max_attempts); set once by apps.
void set_max_attempts(int attempts);

// Called after a transaction with new work committed; set once by apps (wakes the local orchestrator and tells the others).
void set_wake_hook(void (*hook)());
void wake();

}  // namespace stella::jobs
