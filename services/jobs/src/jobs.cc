// Rows of the jobs table and their events.
#include "stella/services/jobs.h"

#include <algorithm>
#include <atomic>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/timeline/emit.h"

namespace stella::jobs {
namespace {

std::atomic<void (*)()> g_wake{nullptr};
std::atomic<int> g_max_attempts{5};

timeline::Event job_event(std::string_view kind, std::string_view actor, const JobId& job, const Spec* spec, TraceId trace, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.actor = std::string(actor);
  event.resource_type = "job";
  event.resource_id = job.str();
  event.trace = trace;
  event.details = std::move(details);
  if (spec != nullptr) {
    event.project = spec->project;
    event.traceparent = spec->traceparent;
    if (!spec->resource_type.empty()) event.resources.emplace_back(spec->resource_type, spec->resource_id);
  }
  return event;
}

// The inputs that were there before: what the caller made for this job is an output of the event, and not its input as well.
std::vector<InputRef> taken(const Spec& spec) {
  std::vector<InputRef> out;
  for (const InputRef& input : spec.inputs)
    if (std::none_of(spec.made.begin(), spec.made.end(), [&](const InputRef& made) { return made.sha256 == input.sha256; })) out.push_back(input);
  return out;
}

// Emission differs by kind of transaction only in where the tenant comes from.
Result<EventId> emit(pg::TenantTx& tx, const TenantId&, timeline::Event event) { return timeline::emit(tx, std::move(event)); }
Result<EventId> emit(pg::SystemTx<pg::OrchestratorRole>& tx, const TenantId& tenant, timeline::Event event) {
  return timeline::emit(tx, tenant, std::move(event));
}

Result<Sha256> call_digest(const Spec& spec, std::string_view engine, std::uint32_t revision) {
  json::Array inputs;
  for (const InputRef& i : spec.inputs) inputs.push_back(json::Value::object({{"name", i.name}, {"sha256", i.sha256.hex()}}));
  json::Value call = json::Value::object({{"kind", spec.kind}, {"engine_version", engine}, {"params", spec.params}, {"inputs", std::move(inputs)}});
  if (revision != 1) call.set("revision", std::int64_t{revision});
  return crypto::sha256(STELLA_TRY(json::canonical(call)));
}

template <class Tx>
Result<Scheduled> schedule_in(Tx& tx, const TenantId& tenant, const Spec& spec) {
  if (contracts::find_job_kind(spec.kind) == nullptr) return Error(base_errors::kInternal, "job kind is not in contracts/jobs.json");
  const std::string params = STELLA_TRY(json::canonical(spec.params));
  const Sha256 key = STELLA_TRY(idempotency_digest(spec));
  const auto earlier = STELLA_TRY(tx.query(
      "SELECT job_id FROM jobs WHERE tenant_id = $1 AND idempotency_sha256 = $2 AND state = 'finished' AND cached_from IS NULL LIMIT 1", {tenant, key}));
  Scheduled out;
  out.job_id = JobId::generate();
  out.cached = !earlier.empty();
  const pg::Param cached_from = out.cached ? pg::Param(earlier.text(0, 0)) : pg::Param(nullptr);
  STELLA_TRY_VOID(tx.query(
      "INSERT INTO jobs (tenant_id, job_id, project_id, kind, state, priority, engine_version, params, inputs, idempotency_sha256, resource_type, "
      "resource_id, cached_from, requested_by, traceparent, trace_id, max_attempts, tracestate) VALUES ($1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
      {tenant, out.job_id, spec.project, spec.kind, spec.priority, STELLA_VERSION, params, json::dump(to_json(spec.inputs)), key, spec.resource_type,
       spec.resource_id, cached_from, spec.requested_by, spec.traceparent, spec.trace.hex(), g_max_attempts.load(), timeline::tracestate_of(spec.trace)}));
  json::Value details = json::Value::object({{"job_id", out.job_id.str()}, {"job_kind", spec.kind}, {"priority", spec.priority},
                                             {"params_sha256", crypto::sha256(params).hex()}, {"engine_version", STELLA_VERSION},
                                             {"cached", out.cached}, {"inputs", digest_list(taken(spec))}});
  if (!spec.made.empty()) details.set("outputs", digest_list(spec.made));
  STELLA_TRY_VOID(emit(tx, tenant, job_event(contracts::events::kJobScheduled, spec.requested_by, out.job_id, &spec, spec.trace, std::move(details))));
  tx.on_commit(wake);
  return out;
}

json::Value digest_items(json::Array items) {
  if (items.size() <= kDigestsPerEvent) return items;
  const std::string all = json::dump(json::Value(items));
  return json::Value::array({json::Value::object({{"name", "list:" + std::to_string(items.size())}, {"sha256", crypto::sha256(all).hex()}})});
}

// Locks the job's row and demands one of `states`.
Result<pg::Rows> lock_job(pg::TenantTx& tx, const JobId& job, std::initializer_list<std::string_view> states) {
  auto rows = STELLA_TRY(tx.query("SELECT state, kind, attempt, cancel_requested FROM jobs WHERE tenant_id = $1 AND job_id = $2 FOR UPDATE", {tx.tenant(), job}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such job");
  if (std::find(states.begin(), states.end(), rows.text(0, 0)) == states.end())
    return Error(contracts::errors::kConflict, "the job is in another state").with("state", std::string(rows.text(0, 0)));
  return rows;
}

}  // namespace

telemetry::Context context_of(const JobFacts& job) {
  auto context = telemetry::Context::continue_from(job.traceparent, job.tracestate);
  context.tenant_id = job.tenant;
  if (job.project) context.project_id = *job.project;
  context.job_id = job.job_id;
  context.actor = job.requested_by;
  return context;
}

Result<std::vector<evidence::Stated>> KindHandler::statements(pg::SystemTx<pg::OrchestratorRole>& /*tx*/, const FinishedJob& /*job*/) { return std::vector<evidence::Stated>(); }

const OutputRef* FinishedJob::output(std::string_view name) const {
  const auto it = std::find_if(outputs.begin(), outputs.end(), [&](const OutputRef& o) { return o.name == name; });
  return it == outputs.end() ? nullptr : &*it;
}

json::Value to_json(const std::vector<InputRef>& inputs) {
  json::Array out;
  for (const InputRef& i : inputs) out.push_back(json::Value::object({{"name", i.name}, {"sha256", i.sha256.hex()}, {"tenant", i.tenant.str()}}));
  return out;
}

json::Value to_json(const std::vector<OutputRef>& outputs) {
  json::Array out;
  for (const OutputRef& o : outputs)
    out.push_back(json::Value::object({{"name", o.name}, {"sha256", o.sha256.hex()}, {"size", o.size}, {"media_type", o.media_type}}));
  return out;
}

Result<std::vector<InputRef>> inputs_from_json(std::string_view text) {
  const json::Value list = STELLA_TRY(json::parse(text));
  std::vector<InputRef> out;
  if (!list.is_array()) return Error(base_errors::kMalformed, "inputs are no array");
  for (const json::Value& v : list.as_array()) {
    InputRef ref;
    ref.name = STELLA_TRY(v.require_string("name"));
    ref.sha256 = STELLA_TRY(Sha256::parse(v.str("sha256")));
    ref.tenant = STELLA_TRY(TenantId::parse(v.str("tenant")));
    out.push_back(std::move(ref));
  }
  return out;
}

Result<std::vector<OutputRef>> outputs_from_json(std::string_view text) {
  const json::Value list = STELLA_TRY(json::parse(text));
  std::vector<OutputRef> out;
  if (!list.is_array()) return Error(base_errors::kMalformed, "outputs are no array");
  for (const json::Value& v : list.as_array()) {
    OutputRef ref;
    ref.name = STELLA_TRY(v.require_string("name"));
    ref.sha256 = STELLA_TRY(Sha256::parse(v.str("sha256")));
    ref.size = static_cast<std::uint64_t>(v.integer("size"));
    ref.media_type = std::string(v.str("media_type"));
    out.push_back(std::move(ref));
  }
  return out;
}

json::Value digest_list(const std::vector<InputRef>& inputs) {
  json::Array out;
  for (const InputRef& i : inputs) out.push_back(json::Value::object({{"name", i.name}, {"sha256", i.sha256.hex()}}));
  return digest_items(std::move(out));
}

json::Value digest_list(const std::vector<OutputRef>& outputs) {
  json::Array out;
  for (const OutputRef& o : outputs) out.push_back(json::Value::object({{"name", o.name}, {"sha256", o.sha256.hex()}}));
  return digest_items(std::move(out));
}

std::vector<OutputRef> document_refs(std::vector<Sha256> documents) {
  std::sort(documents.begin(), documents.end());
  documents.erase(std::unique(documents.begin(), documents.end()), documents.end());
  std::vector<OutputRef> out;
  for (const Sha256& document : documents) {
    OutputRef ref;
    ref.name = "vex-" + document.hex().substr(0, 12) + ".json";
    ref.sha256 = document;
    out.push_back(std::move(ref));
  }
  return out;
}

json::Value error_json(const FailedJob& job) {
  json::Value out = json::Value::object({{"code", job.error_code}, {"message", job.error_message}, {"root_cause", job.root_cause}});
  if (job.error_fields.is_object() && !job.error_fields.as_object().empty()) out.set("fields", job.error_fields);
  return out;
}

Result<Sha256> idempotency_digest(const Spec& spec) { return call_digest(spec, STELLA_VERSION, contracts::job_kinds::revision(spec.kind)); }

Result<std::uint32_t> revision_of(pg::TenantTx& tx, const JobId& job) {
  const auto rows = STELLA_TRY(tx.query("SELECT kind, params, inputs, engine_version, idempotency_sha256 FROM jobs WHERE tenant_id = $1 AND job_id = $2", {tx.tenant(), job}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such job");
  Spec spec;
  spec.kind = rows.text(0, 0);
  spec.params = STELLA_TRY(json::parse(rows.text(0, 1)));
  spec.inputs = STELLA_TRY(inputs_from_json(rows.text(0, 2)));
  const Sha256 kept = STELLA_TRY(rows.sha256(0, 4));
  for (std::uint32_t revision = contracts::job_kinds::revision(spec.kind); revision > 1; --revision)
    if (STELLA_TRY(call_digest(spec, rows.text(0, 3), revision)) == kept) return revision;
  return 1u;
}

Result<Scheduled> schedule(pg::TenantTx& tx, const Spec& spec) { return schedule_in(tx, tx.tenant(), spec); }
Result<Scheduled> schedule(pg::SystemTx<pg::OrchestratorRole>& tx, const TenantId& tenant, const Spec& spec) { return schedule_in(tx, tenant, spec); }

Result<void> cancel(pg::TenantTx& tx, const JobId& job, TraceId trace) {
  const auto rows = STELLA_TRY(lock_job(tx, job, {"queued", "running"}));
  if (rows.boolean(0, 3)) return {};  // asked before: one request, one event
  // The orchestrator ends it (its handler and event belong to its transaction); the request only asks.
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET cancel_requested = true, not_before = now() WHERE tenant_id = $1 AND job_id = $2", {tx.tenant(), job}));
  timeline::Event event = job_event(contracts::events::kJobCancelled, tx.actor(), job, nullptr, trace,
                                    json::Value::object({{"job_id", job.str()}, {"job_kind", rows.text(0, 1)}, {"reason", "requested"}}));
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  tx.on_commit(wake);
  return {};
}

Result<void> retry(pg::TenantTx& tx, const JobId& job, TraceId trace) {
  const auto rows = STELLA_TRY(lock_job(tx, job, {"failed", "dead", "cancelled"}));
  STELLA_TRY_VOID(tx.query(
      "UPDATE jobs SET state = 'queued', cancel_requested = false, not_before = now(), retried_at = now(), lease_until = NULL, finished_at = NULL, error_code = NULL, error_message = NULL, "
      "root_cause = NULL, max_attempts = (SELECT count(*) FROM runs r WHERE r.tenant_id = jobs.tenant_id AND r.job_id = jobs.job_id) + $3 "
      "WHERE tenant_id = $1 AND job_id = $2",
      {tx.tenant(), job, g_max_attempts.load()}));
  timeline::Event event = job_event(contracts::events::kJobRetried, tx.actor(), job, nullptr, trace,
                                    json::Value::object({{"job_id", job.str()}, {"job_kind", rows.text(0, 1)}, {"attempt", rows.integer(0, 2)}, {"reason", "requested"}}));
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  tx.on_commit(wake);
  return {};
}

void set_max_attempts(int attempts) { g_max_attempts.store(std::max(1, attempts)); }
void set_wake_hook(void (*hook)()) { g_wake.store(hook); }
void wake() {
  if (auto* hook = g_wake.load()) hook();
}

}  // namespace stella::jobs
