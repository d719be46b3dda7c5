// The bus side of the runner: takes messages, says `started`, `heartbeat`, `result`. The work itself is execute.cc.
#include "stella/services/runner.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>

#include "child_records.h"
#include "execute.h"
#include "sandbox.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/crypto/digest.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/controls.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/sparing.h"
#include "stella/tenancy/paths.h"

namespace stella::runner {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr telemetry::Logger kLog{"runner"};
constexpr telemetry::Counter kDropped{contracts::metrics::kTelemetryDropped};
constexpr std::size_t kMessageBytes = 512 * 1024;  // larger results lie in a file
constexpr auto kSilence = seconds(10);             // without messages: bind again (architecture.md §2)
constexpr auto kStartFor = seconds(20);            // less than the queue's ack_wait: then another runner gets the message
constexpr auto kReportFor = seconds(120);          // a result that nobody takes for so long is lost: the lease is over by then

std::string host_and_pid() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return std::string(host[0] == '\0' ? "runner" : host) + "-" + std::to_string(::getpid());
}

// What every message of one attempt carries.
struct Reporter {
  const JobMessage& job;
  RunId run_id = RunId::generate();
  std::string runner_id;
  std::string image;
  json::Value sandbox;
  std::string traceparent;  // of runner.execute: what the orchestrator's work on the result continues
  bus::Headers headers;     // the same as headers

  json::Value base() const {
    return json::Value::object({{"job_id", job.job_id.str()},
                                {"attempt", job.attempt},
                                {"kind", job.kind},
                                {"tenant", job.tenant.str()},
                                {"runner_id", runner_id},
                                {"run_id", run_id.str()},
                                {"image_sha256", image},
                                {"traceparent", traceparent},
                                {"sandbox", sandbox}});
  }
};

// What the child or its sandbox said, as an error of ours: the code where it is one of ours; the text, which nobody vouches for, as a field.
Error why_not(const Outcome& outcome) {
  const contracts::ErrorInfo* known = contracts::find_error(outcome.error.str("code"));
  return Error(known != nullptr ? known->code : contracts::errors::kJobFailed, "job did not finish").with("cause", outcome.cause).with("message", std::string(outcome.error.str("message")));
}

// Within runner.execute, which is a little longer: whoever is told to keep the trace finds that span kept as well.
bool is_slow(Clock::duration so_far) {
  const std::int64_t threshold = telemetry::tail_keep_threshold({});
  return threshold >= 0 && telemetry::tail_keep({}) && std::chrono::nanoseconds(so_far).count() > threshold;
}

json::Value outputs_json(const Outcome& outcome) {
  json::Value out = json::Value::array();
  for (const auto& output : outcome.outputs) {
    out.push(json::Value::object({{"name", output.name}, {"file", output.file}, {"media_type", output.media_type}, {"size", output.size}, {"sha256", output.sha256.hex()}}));
  }
  return out;
}

void append_all(json::Value& to, const json::Value& more) {
  for (const auto& item : more.as_array()) to.push(item);
}

void count_dropped(std::uint64_t logs, std::uint64_t spans, std::string_view reason) {
  if (logs > 0) kDropped.add(logs, "logs", reason);
  if (spans > 0) kDropped.add(spans, "spans", reason);
}

// Beside the outputs, in a name that no output can have (theirs are numbers).
Result<void> write_result_file(const std::string& dir, const std::string& text) {
  const std::string path = dir + "/out/result.json";
  ::unlink(path.c_str());
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return io_error("cannot write the result", path);
  return write_all(fd.get(), text);
}

}  // namespace

struct Runner::Impl {
  bus::Connection& bus;
  Options options;
  Fd program;
  std::string image;
  SandboxFacts facts;
  bool landlock = true;
  std::atomic<bool> stopping{false};
  std::atomic<bool> abort{false};
  Mutex mutex;
  CondVar changed;
  std::map<const Reporter*, std::pair<std::string, std::string>> active STELLA_GUARDED_BY(mutex);  // subject and text of the heartbeat
  int working STELLA_GUARDED_BY(mutex) = 0;
  std::vector<std::thread> threads;

  explicit Impl(bus::Connection& connection) : bus(connection) {}
  void work();
  void beat();
  void handle(bus::Delivery& delivery);
  void run(bus::Delivery& delivery, const JobMessage& job);
  void relay(const JobMessage& job, Outcome& outcome);
  json::Value result_of(const Reporter& reporter, const JobMessage& job, Timestamp started, const Outcome& outcome, bool slow, const TelemetryCapture& capture);
  void deliver(const Reporter& reporter, const JobMessage& job, const json::Value& result);
  Result<void> tell(const std::string& subject, const std::string& text, const bus::Headers& headers, const std::string& message_id, seconds patience, const std::atomic<bool>& give_up);
  void pause(milliseconds duration);
};

SandboxFacts probe_sandbox() { return {landlock_abi(), ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0}; }

void Runner::Impl::pause(milliseconds duration) {
  const auto deadline = Deadline::after(duration);
  const Lock lock(mutex);
  while (!stopping && !deadline.passed()) changed.wait_until(mutex, deadline);
}

void Runner::Impl::work() {
  std::unique_ptr<bus::PullConsumer> consumer;
  auto heard = Clock::now();
  while (!stopping) {
    if (!consumer) {
      auto bound = bus::PullConsumer::bind(bus, std::string(bus::kJobsStream), std::string(bus::kRunnerConsumer));
      if (!bound) {
        pause(seconds(1));
        continue;
      }
      consumer = std::move(*bound);
      heard = Clock::now();
    }
    auto fetched = consumer->fetch(1, milliseconds(500));
    if (!fetched) {
      consumer.reset();
      pause(milliseconds(500));
      continue;
    }
    if (!fetched->empty()) {
      handle(fetched->front());
      heard = Clock::now();
    } else if (Clock::now() - heard >= kSilence) {
      consumer.reset();
    }
  }
}

void Runner::Impl::beat() {
  while (true) {
    {
      const auto deadline = Deadline::after(options.heartbeat);
      const Lock lock(mutex);
      while (!(stopping && working == 0) && !deadline.passed()) changed.wait_until(mutex, deadline);
      if (stopping && working == 0) return;
    }
    std::vector<std::pair<std::string, std::string>> messages;
    {
      const Lock lock(mutex);
      for (const auto& [reporter, message] : active) messages.push_back(message);
    }
    // A lost heartbeat is repeated by the next; the lease is several of them long.
    for (const auto& [subject, text] : messages) {
      if (auto told = bus.publish(subject, text, {}, "", Deadline::after(seconds(2))); !told) kLog.warn("heartbeat was not taken", {f::error(told.error())});
    }
  }
}

void Runner::Impl::handle(bus::Delivery& delivery) {
  const auto job = parse_job(delivery.message().payload);
  if (!job) {
    static telemetry::Sparing told{seconds(10)};
    if (const std::int64_t times = told.due(); times > 0) kLog.error("job message is not one of ours", {f::error(job.error()), f::count(times)});
    (void)delivery.ack().has_value();  // it would not get better
    return;
  }
  {
    const Lock lock(mutex);
    ++working;
  }
  run(delivery, *job);
  const Lock lock(mutex);
  --working;
  changed.notify_all();
}

// What the child reported becomes what may be passed on, both ways: in the result, and to our own backend, which has a network. Before
// runner.execute ends, since spans of a trace that was not chosen wait there for that end.
void Runner::Impl::relay(const JobMessage& job, Outcome& outcome) {
  const telemetry::Context& context = telemetry::Context::current();
  count_dropped(outcome.dropped.logs, outcome.dropped.spans, "queue_full");
  const bool chosen = (context.flags & telemetry::TraceParent::kSampled) != 0;
  const ChildTrace state = chosen ? ChildTrace::kChosen : outcome.status != "finished" ? ChildTrace::kFailed : ChildTrace::kUndecided;
  auto records = child_records(outcome.spans, outcome.logs, job.tenant, context.trace_id, state);
  const json::Value spans = std::exchange(outcome.spans, json::Value::array()), logs = std::exchange(outcome.logs, json::Value::array());
  if (!records) {
    count_dropped(logs.as_array().size(), spans.as_array().size(), "encode");
    kLog.warn("telemetry of a job's child cannot be read", {f::error(records.error())});
    return;
  }
  for (const auto& span : records->spans) outcome.spans.push(to_json(span));
  for (const auto& log : records->logs) {
    if (auto line = json::parse(log.line)) outcome.logs.push(std::move(*line));
  }
  if (options.child_telemetry) options.child_telemetry(std::move(*records));
}

void Runner::Impl::run(bus::Delivery& delivery, const JobMessage& job) {
  Reporter reporter{job};
  reporter.runner_id = options.runner_id;
  reporter.image = image;
  reporter.sandbox = json::Value::object({{"landlock_abi", facts.landlock_abi}, {"landlock", landlock}, {"seccomp", facts.seccomp}, {"separate_user", options.child_user.has_value()}});
  auto context = telemetry::Context::continue_from(job.traceparent, job.tracestate);
  context.tenant_id = job.tenant;
  context.job_id = job.job_id;
  context.run_id = reporter.run_id;
  controls::apply(job.tenant, controls::from_json(job.controls));
  const telemetry::ContextScope scope(std::move(context));
  const TelemetryCapture capture;
  const auto started = Timestamp::now();
  Outcome outcome;
  bool slow = false;
  {
    telemetry::Span span("runner.execute", telemetry::SpanKind::kConsumer, {f::job_kind(job.kind), f::attempt(job.attempt), f::runner_id(reporter.runner_id)});
    const auto begun = Clock::now();
    reporter.traceparent = telemetry::Context::current().traceparent();
    telemetry::inject(telemetry::Context::current(), [&](std::string_view name, std::string_view value) { reporter.headers.emplace_back(name, value); });
    auto text = reporter.base();
    text.set("started_at", started.rfc3339());
    // Nothing begins that the orchestrator was not told of: without its lease the job would be given to somebody else.
    if (auto told = tell(subject::result("started", job.tenant), json::dump(text), reporter.headers, reporter.run_id.str() + ".started", kStartFor, stopping); !told) {
      kLog.warn("start of a job was not taken, leaving it", {f::error(told.error())});
      (void)delivery.nak(seconds(1)).has_value();
      return;
    }
    (void)delivery.ack().has_value();  // from here the lease counts, not the queue
    {
      const Lock lock(mutex);
      active[&reporter] = {subject::result("heartbeat", job.tenant), json::dump(reporter.base())};
    }
    ExecuteOptions execution;
    execution.program = program.get();
    execution.landlock = landlock;
    execution.user = options.child_user;
    execution.abort = &abort;
    execution.context = {telemetry::Context::current(), telemetry::resource(), job.controls};
    outcome = execute(job, execution);
    relay(job, outcome);
    slow = is_slow(Clock::now() - begun);
    if (outcome.status == "finished") {
      span.ok();
      kLog.info("job finished", {f::job_kind(job.kind), f::attempt(job.attempt), f::duration(milliseconds(outcome.wall_ms))});
    } else {
      const Error error = why_not(outcome);
      span.fail(error);
      // A warning whoever's fault it is: what a job comes to, after how many attempts, is the orchestrator's to say.
      kLog.warn("job did not finish", {f::job_kind(job.kind), f::attempt(job.attempt), f::state(outcome.status), f::root_cause(outcome.cause), f::error(error)});
    }
  }
  deliver(reporter, job, result_of(reporter, job, started, outcome, slow, capture));
  const Lock lock(mutex);
  active.erase(&reporter);
}

json::Value Runner::Impl::result_of(const Reporter& reporter, const JobMessage&, Timestamp started, const Outcome& outcome, bool slow, const TelemetryCapture& capture) {
  auto result = reporter.base();
  result.set("status", outcome.status);
  result.set("outputs", outputs_json(outcome));
  if (outcome.status != "finished") {
    result.set("error", outcome.error);
    result.set("cause", outcome.cause);
  }
  if (slow || outcome.status != "finished") result.set("keep", true);  // its callers keep the trace, too
  result.set("usage", json::Value::object({{"cpu_ms", outcome.cpu_ms}, {"max_rss_kb", outcome.max_rss_kb}, {"wall_ms", outcome.wall_ms}}));
  count_dropped(capture.dropped().logs, capture.dropped().spans, "queue_full");
  auto spans = capture.spans();
  append_all(spans, outcome.spans);
  auto logs = capture.logs();
  append_all(logs, outcome.logs);
  result.set("spans", std::move(spans));
  result.set("logs", std::move(logs));
  result.set("started_at", started.rfc3339());
  result.set("finished_at", Timestamp::now().rfc3339());
  result.set("environment", outcome.environment);
  result.set("transcript", outcome.transcript);
  return result;
}

void Runner::Impl::deliver(const Reporter& reporter, const JobMessage& job, const json::Value& result) {
  std::string text = json::dump(result);
  if (text.size() > kMessageBytes) {
    auto pointer = reporter.base();
    pointer.set("status", result.str("status"));
    if (auto written = write_result_file(job.dir, text); written) {
      pointer.set("result_file", "out/result.json");
    } else {
      pointer.set("status", "errored");
      pointer.set("error", error_json(written.error()));
      pointer.set("cause", "cannot write the result");
    }
    text = json::dump(pointer);
  }
  if (auto told = tell(subject::result("result", job.tenant), text, reporter.headers, reporter.run_id.str() + ".result", kReportFor, abort); !told) {
    kLog.error("result of a job was not taken", {f::error(told.error())});
  }
}

// Again and again: the message id makes repeats harmless.
Result<void> Runner::Impl::tell(const std::string& subject, const std::string& text, const bus::Headers& headers, const std::string& message_id, seconds patience, const std::atomic<bool>& give_up) {
  const auto until = Deadline::after(patience);
  for (;;) {
    auto told = bus.publish(subject, text, headers, message_id, Deadline::after(seconds(5)));
    if (told || until.passed() || give_up || told.error().code() != contracts::errors::kUnavailable) return told;
    std::this_thread::sleep_for(milliseconds(100));
  }
}

Runner::Runner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Runner::~Runner() { stop(milliseconds(0)); }

const std::string& Runner::image_sha256() const { return impl_->image; }

Result<std::unique_ptr<Runner>> Runner::create(bus::Connection& bus, Options options) {
  auto impl = std::make_unique<Impl>(bus);
  impl->facts = probe_sandbox();
  impl->landlock = impl->facts.landlock_abi > 0;
  if (!impl->landlock && !options.allow_without_landlock) {
    return Error(contracts::errors::kUnavailable, "this kernel has no Landlock and runner.allow_without_landlock is off").with("part", std::string("runner"));
  }
  if (options.runner_id.empty()) options.runner_id = host_and_pid();
  const std::string path = options.program.empty() ? "/proc/self/exe" : options.program;
  impl->program = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!impl->program) return io_error("cannot open the runner's program", path);
  // The open file, not the path: an upgrade between now and a job changes neither what runs nor its digest.
  const auto digest = STELLA_TRY(crypto::sha256_file("/proc/self/fd/" + std::to_string(impl->program.get())));
  impl->image = digest.sha256.hex();
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  impl->options = std::move(options);
  install_capture();
  return std::unique_ptr<Runner>(new Runner(std::move(impl)));
}

Result<void> Runner::start() {
  if (!impl_->threads.empty()) return Error(base_errors::kInternal, "runner was started already");
  for (int i = 0; i < impl_->options.concurrency; ++i) impl_->threads.push_back(start_thread("runner", [this] { impl_->work(); }));
  impl_->threads.push_back(start_thread("heartbeat", [this] { impl_->beat(); }));
  kLog.info("runner takes jobs", {f::runner_id(impl_->options.runner_id), f::count(impl_->options.concurrency)});
  return {};
}

void Runner::stop(milliseconds grace) {
  impl_->stopping = true;
  {
    const auto deadline = Deadline::after(grace);
    const Lock lock(impl_->mutex);
    impl_->changed.notify_all();
    while (impl_->working > 0 && !deadline.passed()) impl_->changed.wait_until(impl_->mutex, deadline);
  }
  impl_->abort = true;
  for (auto& thread : impl_->threads) thread.join();
  impl_->threads.clear();
}

}  // namespace stella::runner
