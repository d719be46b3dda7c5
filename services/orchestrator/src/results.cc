// From the bus to rows: started, heartbeat and result messages of the runners. A runner touches hostile input, so nothing in a
// message is believed beyond what the fence, the lease and our own hashing confirm.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "state.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"
#include "stella/tenancy/paths.h"

namespace stella::orchestrator {
namespace {

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr std::uint64_t kReportBytes = 16u << 20;
constexpr std::size_t kOutputs = 256;

bool plain_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
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

Result<Report> parse_report(std::string_view payload) {
  Report r;
  r.body = STELLA_TRY(json::parse(payload, {.max_bytes = kReportBytes, .max_depth = 32}));
  r.tenant = STELLA_TRY(TenantId::parse(r.body.str("tenant")));
  r.job_id = STELLA_TRY(JobId::parse(r.body.str("job_id")));
  r.attempt = static_cast<int>(STELLA_TRY(r.body.require_int("attempt")));
  r.runner_id = std::string(r.body.str("runner_id").substr(0, 128));
  if (auto run = RunId::parse(r.body.str("run_id"))) r.run_id = *run;
  else r.run_id = RunId::generate();
  if (auto image = Sha256::parse(r.body.str("image_sha256"))) r.image = *image;
  if (const json::Value* sandbox = r.body.find("sandbox")) r.sandbox = json::dump(*sandbox);
  r.status = std::string(r.body.str("status"));
  return r;
}

void Orchestrator::Impl::receive_loop() {
  std::unique_ptr<bus::PullConsumer> consumer;
  std::int64_t quiet_since = Timestamp::now().micros();
  while (!stopping) {
    if (!consumer) {
      auto bound = bus::PullConsumer::bind(bus, std::string(bus::kResultsStream), std::string(bus::kOrchestratorConsumer));
      if (!bound) {
        kLog.warn("cannot bind to the results", {f::error(bound.error())});
        Lock lock(mutex);
        changed.wait_until(mutex, Deadline::after(std::chrono::seconds(1)));
        continue;
      }
      consumer = std::move(*bound);
    }
    auto fetched = consumer->fetch(16, std::chrono::milliseconds(500));
    const std::int64_t now = Timestamp::now().micros();
    if (!fetched || fetched->empty()) {
      // A store that was deleted looks like silence: bind again.
      if (now - quiet_since > 10'000'000) {
        quiet_since = now;
        if (auto again = consumer->rebind(); !again) consumer.reset();
      }
      continue;
    }
    quiet_since = now;
    last_message_micros = now;
    for (bus::Delivery& delivery : *fetched) {
      if (auto handled = on_message(delivery.message()); handled) {
        (void)delivery.ack().has_value();
      } else {
        kLog.warn("a runner's message could not be handled, it will come again", {f::error(handled.error())});
      }
    }
  }
}

Result<void> Orchestrator::Impl::on_message(const bus::Message& message) {
  const std::string_view subject = message.subject;
  const std::size_t dot = subject.find('.');
  const std::string_view what = subject.substr(dot + 1, subject.find('.', dot + 1) - dot - 1);
  auto report = parse_report(message.payload);
  if (!report) {
    kLog.error("a runner sent nonsense", {f::error(report.error())});
    return {};  // acknowledged: it would not get better
  }
  if (report->tenant.str() != base_name(std::string_view(subject).substr(subject.rfind('.') + 1))) return {};
  if (what == "started") return on_started(*report);
  if (what == "heartbeat") return on_heartbeat(*report);
  if (what == "result") return on_result(*report);
  return {};
}

Result<void> Orchestrator::Impl::on_started(const Report& report) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.attempt = $3 AND j.state = 'queued' FOR UPDATE"), {report.tenant, report.job_id, report.attempt}));
  if (rows.empty()) return {};  // older attempt, or told twice
  const JobRow job = STELLA_TRY(read_job(rows, 0));
  STELLA_TRY_VOID(begin_run(tx, job, report));
  return tx.commit();
}

Result<void> Orchestrator::Impl::on_heartbeat(const Report& report) {
  auto tx = STELLA_TRY(Tx::open(pool));
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET lease_until = now() + make_interval(secs => $4) WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state = 'running'",
                           {report.tenant, report.job_id, report.attempt, static_cast<double>(options.lease.count()) / 1000.0}));
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
    ref.media_type = std::string(o.str("media_type").substr(0, 100));
    out.push_back(std::move(ref));
  }
  return out;
}

Result<void> Orchestrator::Impl::on_result(const Report& short_report) {
  Report report = short_report;
  if (const json::Value* file = report.body.find("result_file"); file != nullptr && file->is_string()) {
    // Larger than a bus message: the whole report lies beside the outputs.
    const std::string dir = directory(report.job_id, report.attempt) + "/out";
    const Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!dir_fd) return {};  // cleaned up: an old attempt
    const Fd fd = STELLA_TRY(open_output(dir_fd.get(), std::string(base_name(file->as_string()))));
    const std::string text = STELLA_TRY(read_fd(fd.get(), kReportBytes));
    auto whole = parse_report(text);
    if (!whole || whole->job_id != report.job_id || whole->attempt != report.attempt || whole->tenant != report.tenant) return {};
    report = std::move(*whole);
  }
  {
    // A look without a lock first: outputs of an older attempt need no copying.
    auto tx = STELLA_TRY(Tx::open(pool));
    const auto rows = STELLA_TRY(tx.query("SELECT 1 FROM jobs WHERE tenant_id = $1 AND job_id = $2 AND attempt = $3 AND state IN ('queued', 'running')",
                                          {report.tenant, report.job_id, report.attempt}));
    if (rows.empty()) return {};
    STELLA_TRY_VOID(tx.commit());
  }
  const auto* kind = contracts::find_job_kind(report.body.str("kind"));
  std::vector<jobs::OutputRef> outputs;
  std::optional<Error> bad_output;
  if (report.status == "finished" && kind != nullptr) {
    auto collected = collect_outputs(report, static_cast<std::uint64_t>(kind->output_bytes));
    if (collected) outputs = std::move(*collected);
    else if (collected.error().code() == contracts::errors::kUnavailable) return std::move(collected.error());
    else bad_output = std::move(collected.error());
  }
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query(std::string("SELECT ").append(kJobColumns).append(
      " FROM jobs j WHERE j.tenant_id = $1 AND j.job_id = $2 AND j.attempt = $3 AND j.state IN ('queued', 'running') FOR UPDATE"),
      {report.tenant, report.job_id, report.attempt}));
  if (rows.empty()) return {};
  const JobRow job = STELLA_TRY(read_job(rows, 0));
  if (job.state == "queued") STELLA_TRY_VOID(begin_run(tx, job, report));  // its `started` was lost
  const json::Value* error = report.body.find("error");
  json::Value problem = error != nullptr && error->is_object() ? *error : json::Value::object({{"code", "internal"}, {"message", "the runner gave no reason"}});
  std::string cause(report.body.str("cause").substr(0, 500));
  if (job.cancel_requested) {
    STELLA_TRY_VOID(end_run(tx, job, "cancelled", "cancelled on request", &report));
    STELLA_TRY_VOID(fail(tx, job, json::Value::object({{"code", "cancelled"}, {"message", "was cancelled"}}), "cancelled on request", true, false));
  } else if (report.status == "finished" && !bad_output && job.kind == report.body.str("kind")) {
    STELLA_TRY_VOID(end_run(tx, job, "finished", "", &report));
    STELLA_TRY_VOID(finish(tx, job, std::move(outputs), &report));
  } else if (report.status == "failed") {
    if (cause.empty()) cause = problem.str("message");
    STELLA_TRY_VOID(end_run(tx, job, "failed", "failed: " + cause, &report));
    STELLA_TRY_VOID(fail(tx, job, problem, "failed: " + cause, false, false));
  } else {
    if (bad_output) {
      problem = json::Value::object({{"code", "io"}, {"message", bad_output->message()}});
      cause = bad_output->describe();
    }
    if (cause.empty()) cause = problem.str("message");
    STELLA_TRY_VOID(end_run(tx, job, "errored", "errored: " + cause, &report));
    STELLA_TRY_VOID(retry_or_bury(tx, job, problem, "errored: " + cause));
  }
  STELLA_TRY_VOID(tx.commit());
  std::error_code ignored;
  std::filesystem::remove_all(directory(report.job_id, report.attempt), ignored);
  jobs::wake();
  return {};
}

}  // namespace stella::orchestrator
