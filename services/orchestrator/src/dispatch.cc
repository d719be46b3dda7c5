// From rows to the bus: picks queued jobs, gives each its directory and its message, and brings back what was lost.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "state.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/contracts/metrics.h"
#include "stella/platform/bus_topology.h"
#include "stella/services/controls.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/span.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::orchestrator {
namespace {

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr std::int64_t kSilenceMicros = 5'000'000;   // no message for so long while rows wait: probe
constexpr std::uint64_t kInputBytes = 4ull << 30;      // of a job, unless its kind may write more
constexpr std::size_t kListBytes = 512u << 10;       // of inputs in a message; the bus takes 1 MiB in all
constexpr std::chrono::seconds kPreparing{60};       // of a dispatch that copies inputs, until it says that it still does
constexpr int kMissing = 12;                         // looks in a row that find fewer messages than jobs: then one was lost, and is told again

constexpr std::chrono::seconds kMeasureEvery{5};
constexpr telemetry::Gauge kQueued{contracts::metrics::kJobsQueued};
constexpr telemetry::Gauge kRunning{contracts::metrics::kJobsRunning};

// A queued job that no runner was told of, or whose message must be gone. Of two roundings by `now()` neither takes what keep_waiting() keeps:
// what it did not see expire waits for its next look.
#define STELLA_SQL_UNTOLD(silence, patience) \
  "(j.lease_until IS NULL OR (j.lease_until <= now() - make_interval(secs => " silence ") AND (j.dispatched_at IS NULL OR j.dispatched_at <= now() - make_interval(secs => " patience "))))"

// Copies an object into the job's directory: a link could be changed by its owner, a copy cannot be changed by the store's.
// `alive` is called between the pieces.
Result<std::uint64_t> copy_into(objects::Store& store, const std::string& key, const std::string& path, const std::function<void()>& alive) {
  const Fd in = STELLA_TRY(store.open(key));
  const Fd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!out) return io_error("cannot create a job input", path);
  std::uint64_t total = 0;
  std::string buffer;  // only where the kernel cannot copy between the two file systems
  for (;;) {
    alive();
    ssize_t n = buffer.empty() ? ::copy_file_range(in.get(), nullptr, out.get(), nullptr, 64u << 20, 0) : ::read(in.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && buffer.empty() && total == 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
      buffer.resize(1u << 20);
      continue;
    }
    if (n < 0) return io_error("cannot copy a job input", path);
    if (n == 0) break;
    if (!buffer.empty()) STELLA_TRY_VOID(write_all(out.get(), std::string_view(buffer).substr(0, static_cast<std::size_t>(n))));
    total += static_cast<std::uint64_t>(n);
  }
  return total;
}

// "<job>.<attempt>", as directory() names them.
std::optional<std::pair<JobId, int>> parse_directory(std::string_view name) {
  const std::size_t dot = name.find('.');
  if (dot == name.npos || name.size() - dot > 10 || name.size() == dot + 1 || name.find_first_not_of("0123456789", dot + 1) != name.npos) return std::nullopt;
  auto job = JobId::parse(name.substr(0, dot));
  if (!job) return std::nullopt;
  return std::pair(*job, std::stoi(std::string(name.substr(dot + 1))));
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
  job.tracestate = std::string(rows.text(row, 18));
  return job;
}

namespace {

telemetry::Context end_context(const JobRow& job, std::string_view runner_traceparent) {
  telemetry::Context context = jobs::context_of(job);
  // A runner is not trusted: only a span of the job's own trace becomes the parent.
  const auto runner = telemetry::parse_traceparent(runner_traceparent);
  if (runner && runner->trace_id == context.trace_id) context.span_id = runner->span_id;
  return context;
}

}  // namespace

EndSpan::EndSpan(const JobRow& job, std::string_view runner_traceparent)
    : scope_(end_context(job, runner_traceparent)), span_("orchestrator.finish", telemetry::SpanKind::kConsumer, {f::job_kind(job.kind), f::attempt(job.attempt)}) {}

std::string Orchestrator::Impl::directory(const JobId& job, int attempt) const {
  return options.jobs_dir + "/" + job.str() + "." + std::to_string(attempt);
}

void Orchestrator::Impl::dispatch_loop() {
  while (!stopping) {
    int waiting = 0;
    more = false;
    if (auto round = dispatch_round()) waiting = *round;
    else kLog.warn("dispatch round failed", {f::error(round.error())});
    if (auto reaped = reap(); !reaped) kLog.warn("lease check failed", {f::error(reaped.error())});
    watch_bus(waiting);
    if (next_sweep.passed()) sweep();
    if (next_measure.passed()) measure();
    Lock lock(mutex);
    const Deadline deadline = Deadline::after(options.poll);
    while (!woken && !more && !stopping && changed.wait_until(mutex, deadline)) {
    }
    woken = false;
  }
}

// What was dispatched and still lies on the bus waits for a runner: told again, its inputs would be copied anew, and the message that is
// there would lead nowhere. Sets `silence` and `patience` for this round.
Result<void> Orchestrator::Impl::keep_waiting() {
  const double age = std::chrono::duration<double>(bus::kJobAge).count();
  silence = silence_s();
  patience = age;
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query("SELECT count(*), count(*) FILTER (WHERE lease_until <= now() - make_interval(secs => $1)) FROM jobs WHERE state = 'queued' AND lease_until IS NOT NULL "
                                        "AND dispatched_at > now() - make_interval(secs => $2)", {silence, age}));
  STELLA_TRY_VOID(tx.commit());
  if (rows.integer(0, 0) == 0) missing = 0;
  if (rows.integer(0, 1) == 0) return {};  // dispatched a moment ago, or nothing
  const auto backlog = bus.backlog(bus::kJobsStream, bus::kRunnerConsumer);
  // Without an answer nothing is known: should the stream be gone, watch_bus() notices.
  const std::uint64_t there = backlog ? backlog->waiting + backlog->taken : 0;
  // One look proves nothing: a runner may have taken a message whose `started` is on its way.
  if (!backlog || there >= static_cast<std::uint64_t>(rows.integer(0, 0))) missing = 0;
  else missing += there == 0 ? kMissing / 2 : 1;
  if (missing >= kMissing) {
    missing = 0;
    patience = 0;
    return {};
  }
  auto keeping = STELLA_TRY(Tx::open(pool));
  STELLA_TRY_VOID(keeping.query("UPDATE jobs SET lease_until = now() + make_interval(secs => $3) WHERE (tenant_id, job_id) IN (SELECT tenant_id, job_id FROM jobs WHERE state = 'queued' "
                                "AND lease_until <= now() - make_interval(secs => $1) AND dispatched_at > now() - make_interval(secs => $2) FOR UPDATE SKIP LOCKED)",
                                {silence, patience, seconds_of(options.dispatch_timeout)}));
  return keeping.commit();
}

Result<int> Orchestrator::Impl::dispatch_round() {
  std::vector<JobKey> keys;
  int waiting = 0;
  int at_once = 0;
  STELLA_TRY_VOID(keep_waiting());
  {
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto busy = STELLA_TRY(tx.query("SELECT count(*) FROM jobs j WHERE state = 'running' OR (state = 'queued' AND NOT " STELLA_SQL_UNTOLD("$1", "$2") ")", {silence, patience}));
    waiting = static_cast<int>(busy.integer(0, 0));
    const int room = bus.connected() ? std::max(0, options.in_flight - waiting) : 0;  // nothing is copied that cannot be told
    // Tenants take turns: a job's place is how many of its tenant's go before it, what runs already included.
    // Cancelled and cached jobs need no runner, so they are taken even where there is no room: few at once, since they take turns with all
    // others on this thread.
    const auto rows = STELLA_TRY(tx.query(
        "WITH busy AS (SELECT tenant_id, count(*) AS n FROM jobs j WHERE state = 'running' OR (state = 'queued' AND NOT " STELLA_SQL_UNTOLD("$3", "$4") ") GROUP BY tenant_id), "
        "ready AS (SELECT tenant_id, job_id, priority, created_at, row_number() OVER (PARTITION BY tenant_id ORDER BY priority DESC, created_at, job_id) AS n FROM jobs j "
        "WHERE state = 'queued' AND not_before <= now() AND " STELLA_SQL_UNTOLD("$3", "$4") " AND cached_from IS NULL AND NOT cancel_requested), "
        "reused AS (SELECT tenant_id, job_id, priority, created_at, row_number() OVER (PARTITION BY tenant_id ORDER BY priority DESC, created_at, job_id) AS n FROM jobs "
        "WHERE state = 'queued' AND not_before <= now() AND cached_from IS NOT NULL AND NOT cancel_requested), "
        "cancelled AS (SELECT tenant_id, job_id, priority, created_at, row_number() OVER (PARTITION BY tenant_id ORDER BY created_at, job_id) AS n FROM jobs "
        "WHERE state IN ('queued', 'running') AND cancel_requested) "
        "(SELECT r.tenant_id, r.job_id, 0 AS class, r.n + coalesce(b.n, 0) AS place, r.priority, r.created_at FROM ready r LEFT JOIN busy b USING (tenant_id) "
        "WHERE r.n + coalesce(b.n, 0) <= $2 ORDER BY r.priority DESC, place, r.created_at LIMIT $1) UNION ALL "
        "(SELECT tenant_id, job_id, 1, n, priority, created_at FROM reused ORDER BY n, created_at LIMIT 8) UNION ALL "
        "(SELECT tenant_id, job_id, 2, n, priority, created_at FROM cancelled ORDER BY n, created_at LIMIT 8) ORDER BY class DESC, priority DESC, place, created_at",
        {room, options.per_tenant, silence, patience}));
    for (int i = 0; i < rows.size(); ++i) {
      JobKey key;
      key.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      key.job = STELLA_TRY(JobId::parse(rows.text(i, 1)));
      keys.push_back(std::move(key));
      at_once += rows.integer(i, 2) > 0 ? 1 : 0;
    }
    STELLA_TRY_VOID(tx.commit());
  }
  if (!keys.empty()) kLog.debug("jobs chosen", {f::count(static_cast<std::int64_t>(keys.size())), f::queue_depth(waiting), f::limit(options.in_flight)});
  bool all = true;
  for (const JobKey& key : keys) {
    if (stopping) break;
    auto taken = take(key);
    all = all && taken && *taken;  // what another one has locked is not waited for in a loop
    if (!taken) kLog.warn("a job could not be dispatched", {f::error(taken.error()), f::detail(key.job.str())});
  }
  more = all && at_once >= 8;
  return waiting + static_cast<int>(keys.size());
}

Result<bool> Orchestrator::Impl::take(const JobKey& key) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      ", (SELECT c.outputs FROM jobs c WHERE c.tenant_id = j.tenant_id AND c.job_id = j.cached_from), " STELLA_SQL_CONTROLS("j.tenant_id") " FROM jobs j "
      "WHERE j.tenant_id = $1 AND j.job_id = $2 AND ((j.state IN ('queued', 'running') AND j.cancel_requested) OR (j.state = 'queued' AND j.not_before <= now() AND "
      "(j.cached_from IS NOT NULL OR " STELLA_SQL_UNTOLD("$3", "$4") "))) FOR UPDATE OF j SKIP LOCKED"),
      {key.tenant, key.job, silence, patience}));
  if (rows.empty()) return false;
  JobRow job = STELLA_TRY(read_job(rows, 0));
  job.controls = std::string(rows.text(0, 20));
  if (job.cancel_requested) {
    const EndSpan ending(job);
    if (job.state == "running") STELLA_TRY_VOID(end_run(tx, job, "cancelled", "cancelled on request", nullptr));
    STELLA_TRY_VOID(fail(tx, job, json::Value::object({{"code", "cancelled"}, {"message", "was cancelled"}}), "cancelled on request", true, false));
    STELLA_TRY_VOID(tx.commit());
    take_away(job.job_id, job.attempt);
    return true;
  }
  if (job.cached_from) {
    EndSpan ending(job);
    auto outputs = STELLA_TRY(jobs::outputs_from_json(rows.text(0, 19)));
    auto finished = finish(tx, job, std::move(outputs), nullptr);
    if (finished) finished = tx.commit();
    if (finished) return true;
    if (passing(finished.error())) return std::move(finished.error());
    // Reusing does not work out: then it runs like any other.
    ending.fail(finished.error());
    kLog.warn("outputs of an earlier job cannot be reused", {f::error(finished.error()), f::detail(job.job_id.str())});
    tx.rollback();
    auto fresh = STELLA_TRY(Tx::open(pool));
    STELLA_TRY_VOID(fresh.query("UPDATE jobs SET cached_from = NULL WHERE tenant_id = $1 AND job_id = $2 AND state = 'queued'", {job.tenant, job.job_id}));
    STELLA_TRY_VOID(fresh.commit());
    return true;
  }
  const int before = job.attempt;
  job.attempt += 1;
  STELLA_TRY_VOID(tx.query(
      "UPDATE jobs SET attempt = $3, dispatches = dispatches + 1, dispatched_at = NULL, lease_until = now() + make_interval(secs => $4) WHERE tenant_id = $1 AND job_id = $2",
      {job.tenant, job.job_id, job.attempt, seconds_of(std::max<std::chrono::milliseconds>(kPreparing, options.dispatch_timeout))}));
  STELLA_TRY_VOID(tx.commit());
  // Outside the transaction: if this fails, nobody starts the attempt and the row's dispatch time-out brings the next.
  const telemetry::ContextScope scope(jobs::context_of(job));
  telemetry::Span span("orchestrator.schedule", telemetry::SpanKind::kProducer, {f::job_kind(job.kind), f::attempt(job.attempt)});
  if (before > 0) take_away(job.job_id, before);
  auto sent = send(job);
  keep_dispatch(job, options.dispatch_timeout, sent.has_value());
  kLog.debug("job told to the runners", {f::job_kind(job.kind), f::attempt(job.attempt), f::state(sent ? "told" : "not told"), f::count(static_cast<std::int64_t>(job.inputs.size()))});
  if (!sent) {
    span.fail(sent.error());
    if (!passing(sent.error()) && sent.error().code() != base_errors::kIo) STELLA_TRY_VOID(give_up(job, sent.error()));
    return std::move(sent.error());
  }
  return true;
}

// An attempt that is over: a runner that works on it stops, one that takes its message later ends at once.
void Orchestrator::Impl::take_away(const JobId& job, int attempt) {
  std::error_code ignored;
  std::filesystem::remove_all(directory(job, attempt), ignored);  // what a runner makes meanwhile is left to sweep()
}

void Orchestrator::Impl::keep_dispatch(const JobRow& job, std::chrono::milliseconds duration, bool told) {
  auto tx = Tx::open(pool);
  if (!tx) return;  // the longer lease of its preparation runs out
  const auto kept = tx->query("UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => $4), dispatched_at = CASE WHEN $5 THEN clock_timestamp() END "
                              "WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state = 'queued' AND lease_until IS NOT NULL",
                              {job.tenant, job.job_id, job.attempt, seconds_of(duration), told});
  if (kept) (void)tx->commit().has_value();
}

Result<void> Orchestrator::Impl::prepare_directory(const JobRow& job, json::Value& message) {
  const std::string dir = directory(job.job_id, job.attempt);
  // The jobs directory carries the runner's group and the set-group-id bit; what others may do ends at its mode.
  STELLA_TRY_VOID(make_dirs(dir + "/in", 0750));
  STELLA_TRY_VOID(make_dirs(dir + "/out", 0770));
  if (::chmod((dir + "/out").c_str(), 0770) != 0) return io_error("cannot open the output directory to the runner", dir);
  json::Array inputs;
  std::map<std::string, std::string> files;  // by digest and tenant: an object is copied once
  const auto* kind = contracts::find_job_kind(job.kind);
  const std::uint64_t most = std::max(kInputBytes, kind == nullptr ? std::uint64_t{0} : static_cast<std::uint64_t>(kind->output_bytes));
  std::uint64_t total = 0;
  auto next = Deadline::after(kPreparing / 3);
  const auto alive = [&] {
    if (!next.passed()) return;
    keep_dispatch(job, kPreparing, false);
    next = Deadline::after(kPreparing / 3);
  };
  for (const jobs::InputRef& input : job.inputs) {
    const std::string key = object_key::object(input.tenant, input.sha256);
    auto [it, fresh] = files.try_emplace(key, "in/" + std::to_string(files.size()));
    struct stat st {};
    if (fresh) {
      total += STELLA_TRY(copy_into(store, key, dir + "/" + it->second, alive));
      if (total > most) return Error(base_errors::kLimit, "job inputs are too large").with("limit", most);
    }
    if (::stat((dir + "/" + it->second).c_str(), &st) != 0) return io_error("cannot read a job input", dir);
    inputs.push_back(json::Value::object({{"name", input.name}, {"file", it->second}, {"sha256", input.sha256.hex()}, {"size", static_cast<std::int64_t>(st.st_size)}}));
  }
  message.set("dir", dir);
  const std::string list = json::dump(json::Value(inputs));
  if (list.size() > kListBytes) {
    STELLA_TRY_VOID(write_file_durable(dir + "/inputs.json", list, 0640));
    message.set("inputs_file", "inputs.json");
    inputs.clear();
  }
  message.set("inputs", std::move(inputs));
  return {};
}

Result<void> Orchestrator::Impl::send(const JobRow& job) {
  const auto* kind = contracts::find_job_kind(job.kind);
  if (kind == nullptr) return Error(base_errors::kInternal, "job kind is not in contracts/jobs.json");
  json::Value message = json::Value::object({{"job_id", job.job_id.str()}, {"attempt", job.attempt}, {"kind", job.kind}, {"tenant", job.tenant.str()},
                                             {"params", job.params}, {"engine_version", job.engine_version}});
  bus::Headers headers;
  telemetry::inject(telemetry::Context::current(), [&](std::string_view name, std::string_view value) {
    message.set(std::string(name), value);
    headers.emplace_back(name, value);
  });
  // A runner has no database: what holds for the tenant's telemetry comes with the job.
  if (const auto controls = json::parse(job.controls); controls && controls->is_object()) message.set("telemetry", *controls);
  message.set("limits", json::Value::object({{"cpu_s", static_cast<std::int64_t>(kind->cpu_ms / 1000)},
                                             {"wall_s", static_cast<std::int64_t>(kind->wall_ms / 1000)},
                                             {"memory_mb", static_cast<std::int64_t>(kind->memory_bytes >> 20)},
                                             {"output_mb", static_cast<std::int64_t>(kind->output_bytes >> 20)}}));
  STELLA_TRY_VOID(prepare_directory(job, message));
  return bus.publish(subject::job(job.kind, job.tenant), json::dump(message), headers,
                     job.job_id.str() + "." + std::to_string(job.attempt), Deadline::after(std::chrono::seconds(5)));
}

// A lease counts as over only where every message that might have renewed it has been read.
Result<void> Orchestrator::Impl::reap() {
  std::vector<JobKey> lost;
  {
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto rows = STELLA_TRY(tx.query("SELECT tenant_id, job_id FROM jobs WHERE state = 'running' AND lease_until < now() - make_interval(secs => $1) LIMIT 64", {silence_s()}));
    for (int i = 0; i < rows.size(); ++i) {
      JobKey key;
      key.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      key.job = STELLA_TRY(JobId::parse(rows.text(i, 1)));
      lost.push_back(std::move(key));
    }
    STELLA_TRY_VOID(tx.commit());
  }
  for (const JobKey& key : lost)
    if (auto reaped = reap_one(key); !reaped) kLog.warn("a lost job could not be taken back", {f::error(reaped.error()), f::detail(key.job.str())});
  return {};
}

Result<void> Orchestrator::Impl::reap_one(const JobKey& key) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.state = 'running' AND j.lease_until < now() - make_interval(secs => $3) FOR UPDATE OF j SKIP LOCKED"),
      {key.tenant, key.job, silence_s()}));
  if (rows.empty()) return {};
  const JobRow job = STELLA_TRY(read_job(rows, 0));
  EndSpan ending(job);
  ending.fail(Error(contracts::errors::kUnavailable, "the runner fell silent").with("part", "runner"));
  STELLA_TRY_VOID(end_run(tx, job, "lost", "errored: the runner fell silent", nullptr));
  STELLA_TRY_VOID(retry_or_bury(tx, job, json::Value::object({{"code", "unavailable"}, {"message", "the runner fell silent"}}), "errored: the runner fell silent", "lease_expired"));
  STELLA_TRY_VOID(tx.commit());
  take_away(job.job_id, job.attempt);
  return {};
}

Result<void> Orchestrator::Impl::give_up(const JobRow& job, const Error& why) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query("SELECT 1 FROM jobs WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state = 'queued' FOR UPDATE", {job.tenant, job.job_id, job.attempt}));
  if (rows.empty()) return {};
  EndSpan ending(job);
  ending.fail(why);
  const json::Value error = json::Value::object({{"code", contracts::error_info(why.code()).wire}, {"message", why.message()}});
  STELLA_TRY_VOID(fail(tx, job, error, "errored: " + std::string(why.message()), false, true));
  return tx.commit();
}

// A crash, a cancellation or a lost runner leaves its attempt's directory behind. The names are read before the rows: a directory that
// a dispatch makes meanwhile is not among them.
void Orchestrator::Impl::sweep() {
  next_sweep = Deadline::after(options.sweep);
  std::error_code error;
  std::vector<std::pair<JobId, int>> found;
  for (std::filesystem::directory_iterator it(options.jobs_dir, error), end; !error && it != end; it.increment(error))
    if (const auto attempt = parse_directory(it->path().filename().native())) found.push_back(*attempt);
  if (found.empty()) return;
  std::vector<std::string> ids;
  for (const auto& [job, attempt] : found) ids.push_back(job.str());
  auto rows = Tx::read(pool, "SELECT job_id, attempt FROM jobs WHERE job_id = ANY($1::uuid[]) AND state IN ('queued', 'running')", {pg::Param::uuid_array(ids)});
  if (!rows) return;
  std::map<std::string, std::int64_t, std::less<>> alive;
  for (int i = 0; i < rows->size(); ++i) alive.emplace(rows->text(i, 0), rows->integer(i, 1));
  telemetry::Work work(contracts::work::kOrchestratorSweep);
  for (const auto& [job, attempt] : found) {
    const auto it = alive.find(job.str());
    if (it != alive.end() && attempt >= it->second) continue;
    std::filesystem::remove_all(directory(job, attempt), error);
    work.did(error ? 0 : 1);
    if (!error) continue;
    work.fail(Error(base_errors::kIo, "a job directory could not be removed").with("cause", error.message()));
    kLog.warn("a job directory could not be removed", {f::detail(job.str())});
  }
}

void Orchestrator::Impl::measure() {
  next_measure = Deadline::after(kMeasureEvery);
  auto rows = Tx::read(pool, "SELECT kind, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running') FROM jobs WHERE state IN ('queued', 'running') GROUP BY kind");
  if (!rows) return;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>, std::less<>> counts;
  for (const auto& kind : contracts::kJobKinds) counts.try_emplace(std::string(kind.kind));
  for (int i = 0; i < rows->size(); ++i) counts[std::string(rows->text(i, 0))] = {rows->integer(i, 1), rows->integer(i, 2)};
  for (const auto& [kind, n] : counts) {
    kQueued.set(static_cast<double>(n.first), kind);
    kRunning.set(static_cast<double>(n.second), kind);
  }
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
    if (auto rebuilt = telemetry::in_work(contracts::work::kOrchestratorRebuild, {}, [&](telemetry::Work&) { return bus.rebuild(topology.stream, topology.consumers); }); !rebuilt) {
      kLog.warn("rebuilding a stream failed", {f::error(rebuilt.error())});
      return;
    }
    rebuilt_any = true;
  }
  if (rebuilt_any) tell_again();
}

// Whatever was told before is gone: dispatched jobs that nobody started are told again at once.
void Orchestrator::Impl::tell_again() {
  if (auto tx = Tx::open(pool)) {
    auto updated = tx->query("UPDATE jobs SET lease_until = NULL WHERE state = 'queued' AND lease_until IS NOT NULL");
    if (updated) (void)tx->commit().has_value();
  }
}

}  // namespace stella::orchestrator
