// From rows to the bus: picks queued jobs, gives each its directory and its message, and brings back what was lost.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "state.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::orchestrator {
namespace {

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr std::int64_t kSilenceMicros = 5'000'000;   // no message for so long while rows wait: probe
constexpr std::int64_t kInputBytes = 4ll << 30;

// Copies an object into the job's directory: a link could be changed by its owner, a copy cannot be changed by the store's.
Result<std::uint64_t> copy_into(objects::Store& store, const std::string& key, const std::string& path) {
  const Fd in = STELLA_TRY(store.open(key));
  const Fd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!out) return io_error("cannot create a job input", path);
  std::uint64_t total = 0;
  for (;;) {
    const ssize_t n = ::copy_file_range(in.get(), nullptr, out.get(), nullptr, 64u << 20, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot copy a job input", path);
    if (n == 0) break;
    total += static_cast<std::uint64_t>(n);
  }
  return total;
}


}  // namespace

Result<JobRow> read_job(const pg::Rows& rows, int row) {
  JobRow job;
  job.tenant = STELLA_TRY(TenantId::parse(rows.text(row, 0)));
  job.job_id = STELLA_TRY(JobId::parse(rows.text(row, 1)));
  job.kind = std::string(rows.text(row, 2));
  job.state = std::string(rows.text(row, 3));
  job.engine_version = std::string(rows.text(row, 4));
  job.params = STELLA_TRY(json::parse(rows.text(row, 5)));
  job.inputs = STELLA_TRY(jobs::inputs_from_json(rows.text(row, 6)));
  if (!rows.is_null(row, 7)) job.project = STELLA_TRY(ProjectId::parse(rows.text(row, 7)));
  job.resource_type = std::string(rows.text(row, 8));
  job.resource_id = std::string(rows.text(row, 9));
  job.requested_by = std::string(rows.text(row, 10));
  job.traceparent = std::string(rows.text(row, 11));
  job.trace = STELLA_TRY(TraceId::parse(rows.text(row, 12)));
  job.attempt = static_cast<int>(rows.integer(row, 13));
  job.max_attempts = static_cast<int>(rows.integer(row, 14));
  job.cancel_requested = rows.boolean(row, 15);
  if (!rows.is_null(row, 16)) job.cached_from = STELLA_TRY(JobId::parse(rows.text(row, 16)));
  job.failures = rows.integer(row, 17);
  return job;
}

telemetry::Context job_context(const JobRow& job) {
  telemetry::Context context;
  if (const auto parent = telemetry::parse_traceparent(job.traceparent)) context = telemetry::Context::continue_from({*parent, ""});
  context.tenant_id = job.tenant;
  if (job.project) context.project_id = *job.project;
  context.job_id = job.job_id;
  context.actor = job.requested_by;
  return context;
}

std::string Orchestrator::Impl::directory(const JobId& job, int attempt) const {
  return options.jobs_dir + "/" + job.str() + "." + std::to_string(attempt);
}

void Orchestrator::Impl::dispatch_loop() {
  while (!stopping) {
    int waiting = 0;
    if (auto round = dispatch_round()) waiting = *round;
    else kLog.warn("dispatch round failed", {f::error(round.error())});
    if (auto reaped = reap(); !reaped) kLog.warn("lease check failed", {f::error(reaped.error())});
    watch_bus(waiting);
    Lock lock(mutex);
    const Deadline deadline = Deadline::after(options.poll);
    while (!woken && !stopping && changed.wait_until(mutex, deadline)) {
    }
    woken = false;
  }
}

Result<int> Orchestrator::Impl::dispatch_round() {
  std::vector<JobKey> keys;
  int waiting = 0;
  {
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto busy = STELLA_TRY(tx.query("SELECT count(*) FROM jobs WHERE state = 'running' OR (state = 'queued' AND lease_until > now())"));
    waiting = static_cast<int>(busy.integer(0, 0));
    const int room = std::max(0, options.in_flight - waiting);
    // Cancelled and cached jobs need no runner, so they are taken even where there is no room.
    const auto rows = STELLA_TRY(tx.query(
        "(SELECT tenant_id, job_id, priority, created_at FROM jobs WHERE state = 'queued' AND not_before <= now() AND (lease_until IS NULL OR lease_until <= now()) "
        "AND cached_from IS NULL AND NOT cancel_requested ORDER BY priority DESC, created_at LIMIT $1) UNION ALL "
        "(SELECT tenant_id, job_id, priority, created_at FROM jobs WHERE state = 'queued' AND not_before <= now() AND (cached_from IS NOT NULL OR cancel_requested) LIMIT 64) UNION ALL "
        "(SELECT tenant_id, job_id, priority, created_at FROM jobs WHERE state = 'running' AND cancel_requested LIMIT 64) ORDER BY 3 DESC, 4",
        {room}));
    for (int i = 0; i < rows.size(); ++i) {
      JobKey key;
      key.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      key.job = STELLA_TRY(JobId::parse(rows.text(i, 1)));
      keys.push_back(std::move(key));
    }
    STELLA_TRY_VOID(tx.commit());
  }
  for (const JobKey& key : keys) {
    if (stopping) break;
    if (auto taken = take(key); !taken) kLog.warn("a job could not be dispatched", {f::error(taken.error()), f::detail(key.job.str())});
  }
  return waiting + static_cast<int>(keys.size());
}

Result<bool> Orchestrator::Impl::take(const JobKey& key) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      ", (SELECT c.outputs FROM jobs c WHERE c.tenant_id = j.tenant_id AND c.job_id = j.cached_from) FROM jobs j "
      "WHERE j.tenant_id = $1 AND j.job_id = $2 AND (j.state = 'queued' OR (j.state = 'running' AND j.cancel_requested)) FOR UPDATE OF j SKIP LOCKED"),
      {key.tenant, key.job}));
  if (rows.empty()) return false;
  JobRow job = STELLA_TRY(read_job(rows, 0));
  if (job.cancel_requested) {
    if (job.state == "running") STELLA_TRY_VOID(end_run(tx, job, "cancelled", "cancelled on request", nullptr));
    STELLA_TRY_VOID(fail(tx, job, json::Value::object({{"code", "cancelled"}, {"message", "was cancelled"}}), "cancelled on request", true, false));
    STELLA_TRY_VOID(tx.commit());
    return true;
  }
  if (job.cached_from) {
    auto outputs = STELLA_TRY(jobs::outputs_from_json(rows.text(0, 18)));
    STELLA_TRY_VOID(finish(tx, job, std::move(outputs), nullptr));
    STELLA_TRY_VOID(tx.commit());
    return true;
  }
  job.attempt += 1;
  STELLA_TRY_VOID(tx.query(
      "UPDATE jobs SET attempt = $3, dispatches = dispatches + 1, lease_until = now() + make_interval(secs => $4) WHERE tenant_id = $1 AND job_id = $2",
      {job.tenant, job.job_id, job.attempt, static_cast<double>(options.dispatch_timeout.count()) / 1000.0}));
  STELLA_TRY_VOID(tx.commit());
  // Outside the transaction: if this fails, nobody starts the attempt and the row's dispatch time-out brings the next.
  const telemetry::ContextScope scope(job_context(job));
  telemetry::Span span("orchestrator.schedule", telemetry::SpanKind::kProducer, {f::job_kind(job.kind), f::attempt(job.attempt)});
  auto sent = send(job);
  if (!sent) {
    span.fail(sent.error());
    return std::move(sent.error());
  }
  return true;
}

Result<void> Orchestrator::Impl::prepare_directory(const JobRow& job, json::Value& message) {
  const std::string dir = directory(job.job_id, job.attempt);
  // The jobs directory carries the runner's group and the set-group-id bit; what others may do ends at its mode.
  STELLA_TRY_VOID(make_dirs(dir + "/in", 0750));
  STELLA_TRY_VOID(make_dirs(dir + "/out", 0770));
  if (::chmod((dir + "/out").c_str(), 0770) != 0) return io_error("cannot open the output directory to the runner", dir);
  json::Array inputs;
  std::map<std::string, std::string> files;  // by digest and tenant: an object is copied once
  std::uint64_t total = 0;
  for (const jobs::InputRef& input : job.inputs) {
    const std::string key = object_key::object(input.tenant, input.sha256);
    auto [it, fresh] = files.try_emplace(key, "in/" + std::to_string(files.size()));
    struct stat st {};
    if (fresh) {
      total += STELLA_TRY(copy_into(store, key, dir + "/" + it->second));
      if (total > static_cast<std::uint64_t>(kInputBytes)) return Error(base_errors::kLimit, "job inputs are too large").with("limit", static_cast<std::uint64_t>(kInputBytes));
    }
    if (::stat((dir + "/" + it->second).c_str(), &st) != 0) return io_error("cannot read a job input", dir);
    inputs.push_back(json::Value::object({{"name", input.name}, {"file", it->second}, {"sha256", input.sha256.hex()}, {"size", static_cast<std::int64_t>(st.st_size)}}));
  }
  message.set("dir", dir);
  message.set("inputs", std::move(inputs));
  return {};
}

Result<void> Orchestrator::Impl::send(const JobRow& job) {
  const auto* kind = contracts::find_job_kind(job.kind);
  if (kind == nullptr) return Error(base_errors::kInternal, "job kind is not in contracts/jobs.json");
  json::Value message = json::Value::object({{"job_id", job.job_id.str()}, {"attempt", job.attempt}, {"kind", job.kind}, {"tenant", job.tenant.str()},
                                             {"params", job.params}, {"engine_version", job.engine_version}});
  message.set("traceparent", telemetry::Context::current().traceparent());
  message.set("limits", json::Value::object({{"cpu_s", static_cast<std::int64_t>(kind->cpu_ms / 1000)},
                                             {"wall_s", static_cast<std::int64_t>(kind->wall_ms / 1000)},
                                             {"memory_mb", static_cast<std::int64_t>(kind->memory_bytes >> 20)},
                                             {"output_mb", static_cast<std::int64_t>(kind->output_bytes >> 20)}}));
  STELLA_TRY_VOID(prepare_directory(job, message));
  return bus.publish(subject::job(job.kind, job.tenant), json::dump(message), {{"traceparent", telemetry::Context::current().traceparent()}},
                     job.job_id.str() + "." + std::to_string(job.attempt), Deadline::after(std::chrono::seconds(5)));
}

Result<void> Orchestrator::Impl::reap() {
  std::vector<JobKey> lost;
  {
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto rows = STELLA_TRY(tx.query("SELECT tenant_id, job_id FROM jobs WHERE state = 'running' AND lease_until < now() LIMIT 64"));
    for (int i = 0; i < rows.size(); ++i) {
      JobKey key;
      key.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      key.job = STELLA_TRY(JobId::parse(rows.text(i, 1)));
      lost.push_back(std::move(key));
    }
    STELLA_TRY_VOID(tx.commit());
  }
  for (const JobKey& key : lost) {
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
        " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.state = 'running' AND j.lease_until < now() FOR UPDATE SKIP LOCKED"), {key.tenant, key.job}));
    if (rows.empty()) continue;
    const JobRow job = STELLA_TRY(read_job(rows, 0));
    STELLA_TRY_VOID(end_run(tx, job, "lost", "errored: the runner fell silent", nullptr));
    STELLA_TRY_VOID(retry_or_bury(tx, job, json::Value::object({{"code", "unavailable"}, {"message", "the runner fell silent"}}), "errored: the runner fell silent"));
    STELLA_TRY_VOID(tx.commit());
  }
  return {};
}

void Orchestrator::Impl::watch_bus(int waiting) {
  const std::int64_t now = Timestamp::now().micros();
  if (waiting == 0) {
    last_message_micros = now;
    return;
  }
  if (now - last_message_micros < kSilenceMicros) return;
  last_message_micros = now;  // one look per silence
  if (!bus.connected()) return;
  bool rebuilt_any = false;
  for (const bus::Topology& topology : {bus::jobs_topology(), bus::results_topology()}) {
    const auto answers = [&] { return bus.probe(topology.stream, "", Deadline::after(std::chrono::seconds(2))).has_value(); };
    if (answers() || answers()) continue;
    kLog.warn("a stream of the job bus does not answer, rebuilding it");
    if (auto rebuilt = bus.rebuild(topology.stream, topology.consumers); !rebuilt) {
      kLog.warn("rebuilding a stream failed", {f::error(rebuilt.error())});
      return;
    }
    rebuilt_any = true;
  }
  if (!rebuilt_any) return;
  // Whatever was told before is gone: dispatched jobs that nobody started are told again at once.
  if (auto tx = Tx::open(pool)) {
    auto updated = tx->query("UPDATE jobs SET lease_until = NULL WHERE state = 'queued' AND lease_until IS NOT NULL");
    if (updated) (void)tx->commit().has_value();
  }
}

}  // namespace stella::orchestrator
