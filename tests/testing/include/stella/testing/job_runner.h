// Runs queued jobs in the test's own thread with the real pipeline functions, and tells their handlers: a ledger without bus and runner.
// Header only: whoever includes it links services_jobs, pipeline_jobs and stella_testing_postgres.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/job_event.h"
#include "stella/services/jobs.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::testing {

// job.started or job.finished as the orchestrator emits them; `details`: what is not the same in both.
inline Result<void> tell_of_job(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FinishedJob& job, std::string_view kind, json::Value details) {
  details.set("job_id", job.job_id.str());
  details.set("job_kind", job.kind);
  details.set("attempt", job.attempt);
  details.set("inputs", jobs::digest_list(job.inputs));
  STELLA_TRY_VOID(timeline::emit(tx, job.tenant, jobs::job_event(kind, job, std::move(details))));
  return {};
}

class JobRunner {
 public:
  using Handlers = std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>>;
  JobRunner(pg::SystemPool<pg::OrchestratorRole>& pool, objects::Store& store, const Handlers& handlers) : pool_(pool), store_(store) {
    for (const auto& [kind, handler] : handlers) handlers_.emplace(kind, handler);
  }

  // May change what a job wrote before its handler sees it.
  std::function<void(std::string_view kind, std::vector<pipeline::MemoryOutput>& outputs)> tamper;

  // Emits job.started and job.finished as the orchestrator does: for tests of the chain of custody, which names what is missing of a job.
  bool tells_of_jobs = false;

  // Every queued job, also those that the handlers schedule; how many.
  int drain() {
    int count = 0;
    while (one()) ++count;
    return count;
  }
  // The result of the last handler.
  Result<void> last;
  // What it wants to be signed; a test that wants signatures uses the orchestrator.
  std::vector<evidence::Stated> stated;

 private:
  bool one() {
    auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
    auto rows = tx->query(
        "SELECT tenant_id, job_id, kind, params, inputs, project_id, resource_type, resource_id, requested_by, traceparent, trace_id, engine_version, "
        "(SELECT c.outputs FROM jobs c WHERE c.tenant_id = j.tenant_id AND c.job_id = j.cached_from) FROM jobs j WHERE state = 'queued' ORDER BY created_at, job_id LIMIT 1 FOR UPDATE OF j");
    EXPECT_TRUE(rows.has_value()) << rows.error().describe();
    if (!rows || rows->empty()) return false;
    jobs::FinishedJob job;
    job.tenant = TenantId::parse(rows->text(0, 0)).value();
    job.job_id = JobId::parse(rows->text(0, 1)).value();
    job.kind = std::string(rows->text(0, 2));
    job.params = json::parse(rows->text(0, 3)).value();
    job.inputs = jobs::inputs_from_json(rows->text(0, 4)).value();
    if (!rows->is_null(0, 5)) job.project = ProjectId::parse(rows->text(0, 5)).value();
    job.resource_type = std::string(rows->text(0, 6));
    job.resource_id = std::string(rows->text(0, 7));
    job.requested_by = std::string(rows->text(0, 8));
    job.traceparent = std::string(rows->text(0, 9));
    job.trace = TraceId::parse(rows->text(0, 10)).value();
    job.engine_version = std::string(rows->text(0, 11));
    job.attempt = 1;
    last = rows->is_null(0, 12) ? run(*tx, job) : reuse(*tx, job, rows->text(0, 12));
    if (last) last = tx->commit();
    if (last) return true;
    // As the orchestrator does with a result that cannot be taken; here without another attempt.
    tx->rollback();
    end_failed(job, last.error());
    return true;
  }

  Result<void> tell(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FinishedJob& job, std::string_view kind, json::Value details) {
    return tells_of_jobs ? tell_of_job(tx, job, kind, std::move(details)) : Result<void>();
  }

  Result<void> run(pg::SystemTx<pg::OrchestratorRole>& tx, jobs::FinishedJob& job) {
    STELLA_TRY_VOID(tell(tx, job, contracts::events::kJobStarted, json::Value::object({{"run_id", Uuid::v7().str()}})));
    std::vector<std::string> bytes;
    for (const jobs::InputRef& input : job.inputs) bytes.push_back(STELLA_TRY(store_.get(object_key::object(input.tenant, input.sha256), 1ull << 30)));
    std::vector<pipeline::MemoryInput> inputs;
    for (std::size_t i = 0; i < bytes.size(); ++i) inputs.push_back({job.inputs[i].name, bytes[i]});
    auto outputs = pipeline::run_job(job.kind, json::dump(job.params), inputs);
    if (!outputs) {
      jobs::FailedJob failed;
      static_cast<jobs::JobFacts&>(failed) = job;
      failed.error_code = std::string(contracts::error_info(outputs.error().code()).wire);
      failed.error_message = std::string(outputs.error().message());
      return fail(tx, failed);
    }
    if (tamper) tamper(job.kind, *outputs);
    for (const auto& o : *outputs) {
      const Sha256 digest = crypto::sha256(o.bytes);
      STELLA_TRY_VOID(store_.put(object_key::object(job.tenant, digest), o.bytes));
      job.outputs.push_back({o.name, digest, o.bytes.size(), o.media_type});
    }
    return finish(tx, job);
  }
  Result<void> reuse(pg::SystemTx<pg::OrchestratorRole>& tx, jobs::FinishedJob& job, std::string_view outputs) {
    job.cached = true;
    job.outputs = STELLA_TRY(jobs::outputs_from_json(outputs));
    return finish(tx, job);
  }
  Result<void> finish(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FinishedJob& job) {
    STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'finished', attempt = 1, outputs = $3 WHERE tenant_id = $1 AND job_id = $2", {job.tenant, job.job_id, json::dump(jobs::to_json(job.outputs))}));
    STELLA_TRY_VOID(tell(tx, job, contracts::events::kJobFinished, json::Value::object({{"cached", job.cached}, {"outputs", jobs::digest_list(job.outputs)}})));
    const auto it = handlers_.find(job.kind);
    if (it == handlers_.end()) return {};
    stated = STELLA_TRY(it->second->statements(tx, job));
    return it->second->on_finished(tx, job);
  }
  Result<void> fail(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FailedJob& job) {
    STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'failed', attempt = 1 WHERE tenant_id = $1 AND job_id = $2", {job.tenant, job.job_id}));
    const auto it = handlers_.find(job.kind);
    return it == handlers_.end() ? Result<void>() : it->second->on_failed(tx, job);
  }
  void end_failed(const jobs::FinishedJob& job, const Error& why) {
    jobs::FailedJob failed;
    static_cast<jobs::JobFacts&>(failed) = job;
    failed.error_code = std::string(contracts::error_info(why.code()).wire);
    failed.error_message = std::string(why.message());
    failed.dead = true;
    auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
    const auto ended = fail(*tx, failed);
    EXPECT_TRUE(ended.has_value()) << ended.error().describe();
    EXPECT_TRUE(tx->commit().has_value());
  }

  pg::SystemPool<pg::OrchestratorRole>& pool_;
  objects::Store& store_;
  std::map<std::string, std::shared_ptr<jobs::KindHandler>, std::less<>> handlers_;
};

}  // namespace stella::testing
