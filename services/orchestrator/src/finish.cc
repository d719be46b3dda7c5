// The ends of a job, each one transaction: run, row, handler, events, provenance.
#include <algorithm>
#include <cmath>

#include "state.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/contracts/metrics.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/kdf.h"
#include "stella/provenance/attest.h"
#include "stella/services/job_event.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::orchestrator {
namespace {

constexpr std::size_t kFieldsBytes = 4096;      // fields of an error, as reported
constexpr std::size_t kMessageBytes = 500;
constexpr std::int64_t kUsageCeiling = 1ll << 40;

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr telemetry::Counter kJobs{contracts::metrics::kJobs};
constexpr telemetry::Counter kRetries{contracts::metrics::kJobRetries};
constexpr telemetry::Histogram kDuration{contracts::metrics::kJobDurationSeconds};
constexpr telemetry::Histogram kJourney{contracts::metrics::kJourneyDurationSeconds};

// What the work reported, as an error of ours: its code where it is one of ours. Its text came from a sandboxed process and stays a field.
Error reported_error(const json::Value& error, Literal message, ErrorCode otherwise) {
  const contracts::ErrorInfo* known = contracts::find_error(error.str("code"));
  return Error(known != nullptr ? known->code : otherwise, message).with("message", std::string(clip_utf8(error.str("message"), kMessageBytes)));
}

// Counted and told when it is true, which is after the commit; the caller's EndSpan is ambient then. `error`: what ended the job without a
// result. A document that is no good is its sender's, and a warning; work that we could not do, after every attempt, is an error of ours.
void count_end(Tx& tx, const JobRow& job, std::string_view outcome, const std::string& root_cause = "", const json::Value& error = {}) {
  const bool ours = outcome == "dead_lettered";
  Error why = ours ? reported_error(error, "every attempt of the job failed", contracts::errors::kInternal) : reported_error(error, "the work was refused", contracts::errors::kJobFailed);
  tx.on_commit([kind = job.kind, attempt = job.attempt, outcome, root_cause, ours, why = std::move(why)] {
    kJobs.add(1, kind, outcome);
    if (outcome == "finished" || outcome == "cached") return kLog.info("job ended", {f::job_kind(kind), f::attempt(attempt), f::state(outcome)});
    const auto told = {f::job_kind(kind), f::attempt(attempt), f::state(outcome), f::root_cause(root_cause), f::error(why)};
    if (ours) kLog.error("job ended without a result", told);
    else kLog.warn("job ended without a result", told);
  });
}

json::Value failure_details(const JobRow& job, const json::Value& error, const std::string& root_cause) {
  json::Value d = json::Value::object({{"job_id", job.job_id.str()}, {"job_kind", job.kind}, {"attempt", job.attempt}, {"root_cause", root_cause},
                                       {"error_code", clip_utf8(error.str("code"), 64)}, {"error_message", clip_utf8(error.str("message"), kMessageBytes)}});
  return d;
}

jobs::FailedJob failed_job(const JobRow& job, const json::Value& error, const std::string& root_cause) {
  jobs::FailedJob out;
  static_cast<jobs::JobFacts&>(out) = job;
  out.error_code = std::string(clip_utf8(error.str("code"), 64));
  out.error_message = std::string(clip_utf8(error.str("message"), kMessageBytes));
  if (const json::Value* fields = error.find("fields"); fields != nullptr && fields->is_object() && json::dump(*fields).size() <= kFieldsBytes) out.error_fields = *fields;
  out.root_cause = root_cause;
  return out;
}

std::int64_t usage(const Report* report, std::string_view name) {
  const json::Value* u = report == nullptr ? nullptr : report->body.find("usage");
  return u == nullptr || !u->is_object() ? 0 : std::clamp<std::int64_t>(u->integer(name), 0, kUsageCeiling);
}

json::Value usage_json(const Report& report) {
  return json::Value::object({{"cpu_ms", usage(&report, "cpu_ms")}, {"max_rss_kb", usage(&report, "max_rss_kb")}, {"wall_ms", usage(&report, "wall_ms")}});
}

// Names plain, values as HMAC under a key of the tenant.
json::Value environment_digests(const Report& report, const std::string& key) {
  json::Value out = json::Value::object();
  if (const json::Value* e = report.body.find("environment"); e != nullptr && e->is_object())
    for (const auto& [name, value] : e->as_object()) out.set(name, "hmac-sha256:" + crypto::hmac_sha256(key, value.is_string() ? value.as_string() : json::dump(value)).hex());
  return out;
}

std::string transcript_text(const Report& report) {
  std::string lines;
  for (const json::Value& step : report.body.items("transcript")) lines += json::dump(step) + "\n";
  return lines;
}

attest::JobProvenance provenance_of(const jobs::FinishedJob& job, const Report* report) {
  attest::JobProvenance p;
  p.tenant = job.tenant;
  p.job_id = job.job_id;
  p.run_id = job.run_id;
  p.kind = job.kind;
  p.engine_version = job.engine_version;
  p.params = job.params;
  for (const jobs::InputRef& i : job.inputs) p.inputs.push_back({i.name, i.sha256});
  for (const jobs::OutputRef& o : job.outputs) p.outputs.push_back({o.name, o.sha256});
  p.subject_id = job.resource_id;
  p.scheduled_by = job.requested_by;
  p.trace = job.trace;
  p.traceparent = job.traceparent;
  p.finished_at = Timestamp::now();
  p.started_at = p.finished_at - std::chrono::milliseconds(job.duration_ms);
  if (report != nullptr) {
    p.runner_image = report->image;
    p.transcript = crypto::sha256(transcript_text(*report));
  }
  return p;
}

// A reused result was made by the run of another job: what is stated names that run, and says that it was reused.
Result<void> name_the_run(pg::SystemTx<pg::OrchestratorRole>& tx, const JobId& made_by, attest::JobProvenance& p) {
  p.reused_from = made_by;
  p.started_at = p.finished_at = Timestamp();
  const auto runs = STELLA_TRY(tx.query("SELECT run_id, image_sha256, transcript_sha256, started_at, finished_at FROM runs WHERE tenant_id = $1 AND job_id = $2 AND state = 'finished' ORDER BY attempt DESC LIMIT 1", {p.tenant, made_by}));
  if (runs.empty()) return {};  // its record expired
  p.run_id = STELLA_TRY(RunId::parse(runs.text(0, 0)));
  p.runner_image = STELLA_TRY(runs.sha256(0, 1));
  if (!runs.is_null(0, 2)) p.transcript = STELLA_TRY(runs.sha256(0, 2));
  p.started_at = runs.timestamp(0, 3);
  p.finished_at = runs.timestamp(0, 4);
  return {};
}

// A user's way from the request to its result: from the first job that was scheduled for the thing to this end. None where a person put one
// of its jobs back: that time is theirs.
Result<void> count_journey(Tx& tx, const JobRow& job) {
  const auto* kind = contracts::find_job_kind(job.kind);
  if (kind == nullptr || kind->journey.empty()) return {};
  const auto rows = STELLA_TRY(tx.query("SELECT min(created_at), bool_or(retried_at IS NOT NULL) FROM jobs WHERE tenant_id = $1 AND (job_id = $2 OR (resource_type = $3 AND resource_id = $4 AND $4 <> ''))",
                                        {job.tenant, job.job_id, job.resource_type, job.resource_id}));
  if (rows.boolean(0, 1)) return {};
  tx.on_commit([journey = std::string(kind->journey), since = rows.timestamp(0, 0)] {
    kJourney.record(std::max(0.0, static_cast<double>((Timestamp::now() - since).count()) / 1e6), journey);
  });
  return {};
}

}  // namespace

jobs::KindHandler* Orchestrator::Impl::handler(std::string_view kind) const {
  const auto it = handlers.find(kind);
  return it == handlers.end() ? nullptr : it->second.get();
}

Result<void> Orchestrator::Impl::begin_run(Tx& tx, const JobRow& job, const Report& report) {
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'running', runner_id = $3, started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => $4) "
                           "WHERE tenant_id = $1 AND job_id = $2",
                           {job.tenant, job.job_id, report.runner_id, static_cast<double>(options.lease.count()) / 1000.0}));
  STELLA_TRY_VOID(tx.query("INSERT INTO runs (tenant_id, run_id, job_id, attempt, runner_id, state, image_sha256, sandbox, started_at) "
                           "VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, now())",
                           {job.tenant, report.run_id, job.job_id, job.attempt, report.runner_id, report.image, pg::Param::json(report.sandbox)}));
  STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(contracts::events::kJobStarted, job,
                                                           json::Value::object({{"job_id", job.job_id.str()}, {"run_id", report.run_id.str()}, {"job_kind", job.kind},
                                                                                {"attempt", job.attempt}, {"runner_id", report.runner_id},
                                                                                {"inputs", jobs::digest_list(job.inputs)}}))));
  return {};
}

Result<void> Orchestrator::Impl::end_run(Tx& tx, const JobRow& job, std::string_view state, const std::string& root_cause, const Report* report) {
  std::optional<Sha256> transcript;
  std::string environment = "{}";
  std::string used = "{}";
  if (report != nullptr) {
    const std::string lines = transcript_text(*report);
    transcript = crypto::sha256(lines);
    STELLA_TRY_VOID(store.put(object_key::object(job.tenant, *transcript), lines));
    environment = json::dump(environment_digests(*report, crypto::hkdf_sha256(options.environment_key, job.tenant.str(), "stella/environment/v1")));
    used = json::dump(usage_json(*report));
    STELLA_TRY_VOID(keep_telemetry(tx, job, *report));
  }
  STELLA_TRY_VOID(tx.query("UPDATE runs SET state = $4, root_cause = $5, environment = $6, usage = $7, transcript_sha256 = $8, finished_at = now() "
                           "WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state = 'running'",
                           {job.tenant, job.job_id, job.attempt, state, root_cause.empty() ? pg::Param(nullptr) : pg::Param(root_cause), pg::Param::json(environment), used, transcript}));
  if (report != nullptr) tx.on_commit([kind = job.kind, ms = usage(report, "wall_ms")] { kDuration.record(static_cast<double>(ms) / 1000.0, kind); });
  return {};
}

Result<void> Orchestrator::Impl::finish(Tx& tx, const JobRow& job, std::vector<jobs::OutputRef> outputs, const Report* report) {
  jobs::FinishedJob done;
  static_cast<jobs::JobFacts&>(done) = job;
  done.outputs = std::move(outputs);
  done.cached = job.cached_from.has_value();
  if (report != nullptr) done.run_id = report->run_id;
  done.duration_ms = usage(report, "wall_ms");
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'finished', outputs = $3, finished_at = now(), lease_until = NULL, error_code = NULL, error_message = NULL, "
                           "error_fields = NULL, root_cause = NULL WHERE tenant_id = $1 AND job_id = $2",
                           {job.tenant, job.job_id, json::dump(jobs::to_json(done.outputs))}));
  json::Value details = json::Value::object({{"job_id", job.job_id.str()}, {"job_kind", job.kind}, {"attempt", job.attempt}, {"cached", done.cached},
                                             {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(done.outputs)}});
  if (report != nullptr) {
    details.set("run_id", report->run_id.str());
    details.set("runner_id", report->runner_id);
    details.set("duration_ms", done.duration_ms);
    details.set("cpu_ms", usage(report, "cpu_ms"));
    details.set("max_rss_bytes", usage(report, "max_rss_kb") * 1024);
  }
  STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(contracts::events::kJobFinished, job, std::move(details))));
  jobs::KindHandler* h = handler(job.kind);
  std::vector<evidence::Stated> stated;
  if (h != nullptr) stated = STELLA_TRY(h->statements(tx, done));
  attest::JobProvenance provenance = provenance_of(done, report);
  if (job.cached_from) STELLA_TRY_VOID(name_the_run(tx, *job.cached_from, provenance));
  STELLA_TRY_VOID(attest::attest_job(tx, store, *signer.load(), provenance, std::move(stated)));
  if (h != nullptr) STELLA_TRY_VOID(h->on_finished(tx, done));
  count_end(tx, job, done.cached ? "cached" : "finished");
  STELLA_TRY_VOID(count_journey(tx, job));
  return {};
}

Result<void> Orchestrator::Impl::fail(Tx& tx, const JobRow& job, const json::Value& error, const std::string& root_cause, bool cancelled, bool dead) {
  jobs::FailedJob failed = failed_job(job, error, root_cause);
  failed.cancelled = cancelled;
  failed.dead = dead;
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = $3, error_code = $4, error_message = $5, error_fields = $6, root_cause = $7, finished_at = now(), lease_until = NULL, "
                           "attempt = attempt + $8 WHERE tenant_id = $1 AND job_id = $2",
                           {job.tenant, job.job_id, cancelled ? "cancelled" : dead ? "dead" : "failed", failed.error_code, failed.error_message,
                            pg::Param::json(json::dump(failed.error_fields)), root_cause, cancelled ? 1 : 0}));
  if (!cancelled) {  // a cancellation was announced by whoever asked for it
    json::Value details = failure_details(job, error, root_cause);
    details.set("inputs", jobs::digest_list(job.inputs));
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(contracts::events::kJobFailed, job, std::move(details))));
  }
  if (dead) STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(contracts::events::kJobDeadLettered, job, failure_details(job, error, root_cause))));
  if (jobs::KindHandler* h = handler(job.kind)) STELLA_TRY_VOID(h->on_failed(tx, failed));
  count_end(tx, job, cancelled ? "cancelled" : dead ? "dead_lettered" : "failed", root_cause, error);
  return {};
}

Result<void> Orchestrator::Impl::retry_or_bury(Tx& tx, const JobRow& job, const json::Value& error, const std::string& root_cause, std::string_view reason) {
  const std::int64_t failures = job.failures + 1;
  if (failures >= job.max_attempts) return fail(tx, job, error, root_cause, false, true);
  std::uint32_t random = 0;
  fill_random(&random, sizeof random);
  const double jitter = 0.5 + static_cast<double>(random % 1000) / 1000.0;
  const double delay_ms = std::min(static_cast<double>(options.retry_max.count()), static_cast<double>(options.retry_base.count()) * std::ldexp(1.0, static_cast<int>(std::min<std::int64_t>(failures, 10)))) * jitter;
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'queued', lease_until = NULL, runner_id = NULL, not_before = clock_timestamp() + make_interval(secs => $3), root_cause = $4 "
                           "WHERE tenant_id = $1 AND job_id = $2",
                           {job.tenant, job.job_id, delay_ms / 1000.0, root_cause}));
  json::Value details = failure_details(job, error, root_cause);
  details.set("delay_ms", static_cast<std::int64_t>(delay_ms));
  STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(contracts::events::kJobRetried, job, std::move(details))));
  tx.on_commit([kind = job.kind, attempt = job.attempt, reason, root_cause] {
    kRetries.add(1, kind, reason);
    kLog.warn("job is tried again", {f::job_kind(kind), f::attempt(attempt), f::reason(reason), f::root_cause(root_cause), f::retry(true)});
  });
  return {};
}

}  // namespace stella::orchestrator
