// What started, heartbeat and result messages of the runners do to rows. A runner touches hostile input, so nothing in a
// message is believed beyond what the fence, the lease and our own hashing confirm.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "state.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"
#include "stella/tenancy/paths.h"

namespace stella::orchestrator {
namespace {

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr std::uint64_t kReportBytes = 16u << 20;
constexpr std::size_t kOutputs = 256;
constexpr std::size_t kSandboxBytes = 4096;
constexpr std::int64_t kAttempts = 1'000'000'000;
constexpr std::int64_t kLongestMs = 3'600'000;   // of a kind that we do not know
constexpr double kAroundTheChildS = 60;          // inputs and outputs are hashed before and after it
// An attempt that has a run is over once the job is queued again: its late or repeated messages must not revive it.
constexpr std::string_view kAlive = " AND (j.state = 'running' OR (j.state = 'queued' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.tenant_id = j.tenant_id "
                                    "AND r.job_id = j.job_id AND r.attempt = j.attempt)))";

bool plain_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

std::string media_type(std::string_view text) {
  const bool plain = !text.empty() && text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '.' || c == '+' || c == '-';
  });
  return plain ? std::string(text) : "application/octet-stream";
}

// Opens a file that a runner wrote: no links, a regular file, inside its own directory.
Result<Fd> open_output(int dir, const std::string& name) {
  if (!plain_name(name)) return Error(contracts::errors::kIntegrity, "a runner named an output that is no plain file name");
  Fd fd(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0) return io_error("cannot open a job output", name);
  if (!S_ISREG(st.st_mode)) return Error(contracts::errors::kIntegrity, "a job output is no regular file");
  return fd;
}

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace

bool away(const Error& error) {
  namespace errors = contracts::errors;
  return error.code() == errors::kUnavailable || error.code() == errors::kDiskFull || error.code() == errors::kTimeout;
}

bool passing(const Error& error) { return away(error) || (error.code() == contracts::errors::kConflict && error.field("retry") == "yes"); }

Result<Report> parse_report(std::string_view payload) {
  Report r;
  r.body = STELLA_TRY(json::parse(payload, {.max_bytes = kReportBytes, .max_depth = 32}));
  r.tenant = STELLA_TRY(TenantId::parse(r.body.str("tenant")));
  r.job_id = STELLA_TRY(JobId::parse(r.body.str("job_id")));
  const std::int64_t attempt = STELLA_TRY(r.body.require_int("attempt"));
  if (attempt < 1 || attempt > kAttempts) return Error(base_errors::kInvalid, "a report's attempt is no attempt");
  r.attempt = static_cast<int>(attempt);
  r.runner_id = std::string(clip_utf8(r.body.str("runner_id"), 128));
  if (auto run = RunId::parse(r.body.str("run_id"))) r.run_id = *run;
  else r.run_id = RunId::generate();
  if (auto image = Sha256::parse(r.body.str("image_sha256"))) r.image = *image;
  if (const json::Value* sandbox = r.body.find("sandbox"); sandbox != nullptr && sandbox->is_object()) r.sandbox = json::dump(*sandbox);
  if (r.sandbox.size() > kSandboxBytes) r.sandbox = "{}";
  r.status = std::string(r.body.str("status"));
  return r;
}

Result<void> Orchestrator::Impl::on_started(const Report& report) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.attempt = $3 AND j.state = 'queued'").append(kAlive).append(" FOR UPDATE OF j"),
      {report.tenant, report.job_id, report.attempt}));
  if (rows.empty()) return {};  // older attempt, or told twice
  const JobRow job = STELLA_TRY(read_job(rows, 0));
  const telemetry::ContextScope scope(jobs::context_of(job));
  STELLA_TRY_VOID(begin_run(tx, job, report));
  return tx.commit();
}

// The row may be locked by whoever ends the attempt: it decides, and nobody waits for it here.
Result<void> Orchestrator::Impl::on_heartbeat(const Report& report) {
  // A child ends at its wall clock. A runner that goes on saying otherwise is stuck, or lies.
  const std::string_view name = report.body.str("kind");  // of the row, or it holds nothing
  const auto* kind = contracts::find_job_kind(name);
  const double longest = static_cast<double>(kind != nullptr ? kind->wall_ms : kLongestMs) / 1000.0 + kAroundTheChildS + seconds_of(options.lease);
  auto tx = STELLA_TRY(Tx::open(pool));
  STELLA_TRY_VOID(tx.query("WITH mine AS (SELECT tenant_id, job_id FROM jobs WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state = 'running' AND kind = $6 FOR UPDATE SKIP LOCKED) "
                           "UPDATE jobs j SET lease_until = least(now() + make_interval(secs => $4), (SELECT max(r.started_at) FROM runs r WHERE r.tenant_id = j.tenant_id "
                           "AND r.job_id = j.job_id AND r.attempt = j.attempt) + make_interval(secs => $5)) FROM mine WHERE j.tenant_id = mine.tenant_id AND j.job_id = mine.job_id",
                           {report.tenant, report.job_id, report.attempt, seconds_of(options.lease), longest, name}));
  return tx.commit();
}

Result<void> Orchestrator::Impl::hold(const Report& report) {
  auto tx = STELLA_TRY(Tx::open(pool));
  STELLA_TRY_VOID(tx.query("WITH mine AS (SELECT tenant_id, job_id FROM jobs WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state IN ('queued', 'running') "
                           "AND lease_until IS NOT NULL FOR UPDATE SKIP LOCKED) "
                           "UPDATE jobs j SET lease_until = now() + make_interval(secs => $4) FROM mine WHERE j.tenant_id = mine.tenant_id AND j.job_id = mine.job_id",
                           {report.tenant, report.job_id, report.attempt, seconds_of(options.lease)}));
  return tx.commit();
}

Result<std::vector<jobs::OutputRef>> Orchestrator::Impl::collect_outputs(const Report& report, std::uint64_t max_bytes) {
  const std::string dir = directory(report.job_id, report.attempt) + "/out";
  const Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir_fd) return io_error("cannot open the output directory of a job", dir);
  std::vector<jobs::OutputRef> out;
  std::uint64_t left = max_bytes;
  for (const json::Value& o : report.body.items("outputs")) {
    if (out.size() == kOutputs) return Error(base_errors::kLimit, "a job wrote too many outputs").with("limit", kOutputs);
    const Fd fd = STELLA_TRY(open_output(dir_fd.get(), std::string(base_name(o.str("file")))));
    const auto copied = STELLA_TRY(store.put_fd(fd.get(), left, [&](const Sha256& d) { return object_key::object(report.tenant, d); }));
    left -= copied.size;
    jobs::OutputRef ref;
    ref.name = std::string(o.str("name"));
    if (!plain_name(ref.name)) return Error(contracts::errors::kIntegrity, "a runner named an output that is no plain file name");
    ref.sha256 = copied.sha256;
    ref.size = copied.size;
    // A message that was delivered twice has two children write here: only what the reporting one closed is its result.
    const auto said = Sha256::parse(o.str("sha256"));
    if (!said || *said != copied.sha256 || o.integer("size", -1) != static_cast<std::int64_t>(copied.size))
      return Error(contracts::errors::kIntegrity, "a job output is not what its runner reported").with("actual", copied.sha256.hex());
    if (std::any_of(out.begin(), out.end(), [&](const jobs::OutputRef& other) { return other.name == ref.name; }))
      return Error(contracts::errors::kIntegrity, "a runner named two outputs alike");
    ref.media_type = media_type(o.str("media_type"));
    out.push_back(std::move(ref));
  }
  return out;
}

namespace {

// The whole report lies beside the outputs where it is larger than a bus message.
Result<Report> read_report_file(const std::string& dir, std::string_view file, const Report& pointer) {
  const Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir_fd) return io_error("cannot open the output directory of a job", dir);
  const Fd fd = STELLA_TRY(open_output(dir_fd.get(), std::string(base_name(file))));
  const std::string text = STELLA_TRY(read_fd(fd.get(), kReportBytes));
  Report whole = STELLA_TRY(parse_report(text));
  if (whole.job_id != pointer.job_id || whole.attempt != pointer.attempt || whole.tenant != pointer.tenant)
    return Error(contracts::errors::kIntegrity, "a runner's report is about another job");
  return whole;
}

json::Value error_of(const Error& error) {
  return json::Value::object({{"code", contracts::error_info(error.code()).wire}, {"message", error.message()}});
}

}  // namespace

Result<void> Orchestrator::Impl::on_result(const Report& pointer) {
  {
    // A look without a lock first: outputs of an older attempt need no copying.
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto rows = STELLA_TRY(tx.query(std::string("SELECT 1 FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.attempt = $3").append(kAlive),
                                          {pointer.tenant, pointer.job_id, pointer.attempt}));
    if (rows.empty()) return {};
    STELLA_TRY_VOID(tx.commit());
  }
  Report report = pointer;
  std::optional<Error> bad;
  const auto reject = [&](Error error) {
    kLog.warn("a job's result is not acceptable", {f::error(error), f::detail(report.job_id.str())});
    bad = std::move(error);
  };
  if (const json::Value* file = report.body.find("result_file"); file != nullptr && file->is_string()) {
    auto whole = read_report_file(directory(report.job_id, report.attempt) + "/out", file->as_string(), report);
    if (whole) report = std::move(*whole);
    else reject(std::move(whole.error()));
  }
  const auto* kind = contracts::find_job_kind(report.body.str("kind"));
  std::vector<jobs::OutputRef> outputs;
  if (!bad && report.status == "finished" && kind != nullptr) {
    auto collected = collect_outputs(report, static_cast<std::uint64_t>(kind->output_bytes));
    if (collected) outputs = std::move(*collected);
    else if (passing(collected.error())) return std::move(collected.error());
    else reject(std::move(collected.error()));
  }
  auto ended = end_attempt(report, outputs, bad);
  if (!ended && !passing(ended.error())) {
    // What the outputs mean could not be written down, and would not be the next time: the attempt is at fault, not the message.
    reject(std::move(ended.error()));
    ended = end_attempt(report, {}, bad);
  }
  if (!ended) return ended;
  std::error_code ignored;
  std::filesystem::remove_all(directory(report.job_id, report.attempt), ignored);
  jobs::wake();
  return {};
}

// One transaction: the run, the job, and what the end means to the platform. `bad` is why the report cannot be taken as it is.
Result<void> Orchestrator::Impl::end_attempt(Report& report, const std::vector<jobs::OutputRef>& outputs, const std::optional<Error>& bad) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.attempt = $3").append(kAlive).append(" FOR UPDATE OF j"),
      {report.tenant, report.job_id, report.attempt}));
  if (rows.empty()) return {};
  const JobRow job = STELLA_TRY(read_job(rows, 0));
  EndSpan ending(job, report.body.str("traceparent"));
  if (report.body.boolean("keep")) ending.keep();
  if (job.state == "queued") {
    STELLA_TRY_VOID(begin_run(tx, job, report));  // its `started` was lost
  } else {
    // The run that was begun is the one that ends: a message that was delivered twice may have begun twice.
    const auto run = STELLA_TRY(tx.query("SELECT run_id FROM runs WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3", {job.tenant, job.job_id, job.attempt}));
    if (!run.empty()) report.run_id = STELLA_TRY(RunId::parse(run.text(0, 0)));
  }
  const json::Value* error = report.body.find("error");
  json::Value problem = error != nullptr && error->is_object() ? *error : json::Value::object({{"code", "internal"}, {"message", "the runner gave no reason"}});
  std::string cause(clip_utf8(report.body.str("cause"), 500));
  if (job.cancel_requested) {
    STELLA_TRY_VOID(end_run(tx, job, "cancelled", "cancelled on request", &report));
    STELLA_TRY_VOID(fail(tx, job, json::Value::object({{"code", "cancelled"}, {"message", "was cancelled"}}), "cancelled on request", true, false));
  } else if (report.status == "finished" && !bad && job.kind == report.body.str("kind")) {
    STELLA_TRY_VOID(end_run(tx, job, "finished", "", &report));
    STELLA_TRY_VOID(finish(tx, job, outputs, &report));
  } else if (report.status == "failed" && !bad) {
    if (cause.empty()) cause = clip_utf8(problem.str("message"), 500);
    ending.fail(Error(contracts::errors::kJobFailed, "the job failed").with("cause", cause));
    STELLA_TRY_VOID(end_run(tx, job, "failed", "failed: " + cause, &report));
    STELLA_TRY_VOID(fail(tx, job, problem, "failed: " + cause, false, false));
  } else {
    if (bad) {
      problem = error_of(*bad);
      cause = clip_utf8(bad->message(), 500);  // its fields are for the log
    }
    if (cause.empty()) cause = clip_utf8(problem.str("message"), 500);
    ending.fail(bad ? *bad : Error(contracts::errors::kJobFailed, "the attempt errored").with("cause", cause));
    STELLA_TRY_VOID(end_run(tx, job, "errored", "errored: " + cause, &report));
    STELLA_TRY_VOID(retry_or_bury(tx, job, problem, "errored: " + cause, "errored"));
  }
  return tx.commit();
}

}  // namespace stella::orchestrator
