// What the orchestrator's parts share: the row of a job, and the state behind the public class.
#pragma once

#include <atomic>
#include <list>
#include <optional>
#include <thread>

#include "stella/base/sync.h"
#include "stella/services/orchestrator.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/span.h"

namespace stella::orchestrator {

using Tx = pg::SystemTx<pg::OrchestratorRole>;

inline double seconds_of(std::chrono::milliseconds duration) { return static_cast<double>(duration.count()) / 1000.0; }

struct JobRow : jobs::JobFacts {
  std::string state;
  int max_attempts = 0;
  bool cancel_requested = false;
  std::optional<JobId> cached_from;
  std::string outputs;  // JSON text of an earlier job, where cached
  std::string controls;  // JSON text of the tenant's run-time controls of telemetry, "" where there are none
  std::int64_t failures = 0;
};

// The columns of JobRow in order; `j` is the alias of jobs.
inline constexpr std::string_view kJobColumns =
    "j.tenant_id, j.job_id, j.kind, j.state, j.engine_version, j.params, j.inputs, j.project_id, j.resource_type, j.resource_id, j.requested_by, "
    "j.traceparent, j.trace_id, j.attempt, j.max_attempts, j.cancel_requested, j.cached_from, "
    "(SELECT count(*) FROM runs r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.job_id AND r.state IN ('failed', 'errored', 'lost')), j.tracestate";
Result<JobRow> read_job(const pg::Rows& rows, int row);

// The span under which a job's end is written down, ambient until it goes: what is counted and logged after the commit belongs to it.
// Child of the runner's span where a report names one of the job's own trace, else of the request's.
class EndSpan {
 public:
  explicit EndSpan(const JobRow& job, std::string_view runner_traceparent = {});
  // A failing callee asks its callers to keep the trace.
  void keep() { span_.keep(); }
  void fail(const Error& error) { span_.fail(error); }

 private:
  telemetry::ContextScope scope_;
  telemetry::Span span_;
};

struct JobKey {
  TenantId tenant;
  JobId job;
};

// What a runner reported, validated: names, sizes and numbers are bounded, nothing else of it is believed.
struct Report {
  TenantId tenant;
  JobId job_id;
  int attempt = 0;
  std::string runner_id;
  RunId run_id;
  Sha256 image;
  std::string sandbox = "{}";
  // result only
  std::string status;  // "finished", "failed", "errored"
  json::Value body;    // the whole message
};
Result<Report> parse_report(std::string_view payload);

// Spans and log lines of the run into their tables; only those of the job's own trace, so that a runner cannot write into another one.
// What there is no room for is counted.
Result<void> keep_telemetry(Tx& tx, const JobRow& job, const Report& report);

// The database or another part is away, or full: that says nothing of what was asked of it.
bool away(const Error& error);
// Passes by itself: another transaction, a part that is away, a full disk. Everything else would be the same the next time.
bool passing(const Error& error);

struct Orchestrator::Impl {
  pg::SystemPool<pg::OrchestratorRole>& pool;
  bus::Connection& bus;
  objects::Store& store;
  SharedSlot<crypto::Signer> signer;
  Handlers handlers;
  Options options;

  std::atomic<bool> stopping{false};
  Mutex mutex;
  CondVar changed;
  bool woken STELLA_GUARDED_BY(mutex) = false;
  std::atomic<std::int64_t> last_message_micros{0};
  Deadline next_sweep = Deadline::after(std::chrono::seconds(0));    // dispatcher's
  Deadline next_measure = Deadline::after(std::chrono::seconds(0));  // dispatcher's
  double silence = 0, patience = 0;                                  // dispatcher's, of a round: see keep_waiting()
  int missing = 0;                                                   // dispatcher's: see keep_waiting()
  bool more = false;                                                 // dispatcher's: a round left something that needs no runner
  std::thread dispatcher;
  std::thread receiver;
  std::thread finisher;

  // Results wait here for the finisher: what the end of one means may take longer than the leases of all others.
  struct Ended {
    bus::Delivery delivery;
    Report report;
  };
  Mutex results_mutex;
  CondVar results_changed;
  std::list<Ended> results STELLA_GUARDED_BY(results_mutex);
  Deadline next_hold = Deadline::after(std::chrono::seconds(0));  // receiver's
  // Whether silence means something: since when every message that lay on the bus then has been read, and until when there is no telling
  // because some may come again. Microseconds of the steady clock.
  std::atomic<std::int64_t> read_up_to{0};
  std::atomic<std::int64_t> unsure_until{0};

  // dispatch.cc
  void dispatch_loop();
  Result<int> dispatch_round();
  Result<void> keep_waiting();
  Result<bool> take(const JobKey& key);           // one queued job: cancel, complete from cache, or dispatch
  Result<void> send(const JobRow& job);           // directory and message
  Result<void> give_up(const JobRow& job, const Error& why);  // what cannot be sent, ever: its inputs are not there
  Result<void> reap();                            // running jobs whose lease is over
  Result<void> reap_one(const JobKey& key);
  void sweep();                                   // directories of attempts that are over
  void measure();                                 // gauges
  void take_away(const JobId& job, int attempt);  // an attempt's directory, and with it the work in it
  void keep_dispatch(const JobRow& job, std::chrono::milliseconds duration, bool told);
  void watch_bus(int waiting);                    // probes and rebuilds (architecture.md §2)
  void tell_again();
  Result<void> prepare_directory(const JobRow& job, json::Value& message);
  // receive.cc
  void receive_loop();
  void finish_loop();
  bool receive(bus::Delivery& delivery);          // false where the message comes again
  void hold_results();                            // those that wait for the finisher stay ours, on the bus and in their rows
  void unsure();
  double silence_s() const;                       // leases that ended longer ago than this have really ended
  bool answer(bus::Delivery& delivery, const Result<void>& handled);
  bool is_ending(const Report& report);
  // results.cc
  Result<void> on_started(const Report& report);
  Result<void> on_heartbeat(const Report& report);
  Result<void> hold(const Report& report);        // a lease for an attempt whose result is here
  Result<void> on_result(const Report& pointer);
  Result<void> end_attempt(Report& report, const std::vector<jobs::OutputRef>& outputs, const std::optional<Error>& bad);
  Result<std::vector<jobs::OutputRef>> collect_outputs(const Report& report, std::uint64_t max_bytes);
  // finish.cc: each inside the caller's transaction, after the job's row was locked
  Result<void> finish(Tx& tx, const JobRow& job, std::vector<jobs::OutputRef> outputs, const Report* report);
  Result<void> fail(Tx& tx, const JobRow& job, const json::Value& error, const std::string& root_cause, bool cancelled, bool dead);
  // `reason` is a value of stella_job_retries.
  Result<void> retry_or_bury(Tx& tx, const JobRow& job, const json::Value& error, const std::string& root_cause, std::string_view reason);
  Result<void> begin_run(Tx& tx, const JobRow& job, const Report& report);
  Result<void> end_run(Tx& tx, const JobRow& job, std::string_view state, const std::string& root_cause, const Report* report);
  jobs::KindHandler* handler(std::string_view kind) const;
  std::string directory(const JobId& job, int attempt) const;
};

}  // namespace stella::orchestrator
