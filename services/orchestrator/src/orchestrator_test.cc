// The orchestrator between a real database, a real bus and a runner that is played by the test: fences, leases, hostile results.
#include "stella/services/orchestrator.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "stella/base/file.h"
#include "stella/base/sync.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/context.h"
#include "stella/tenancy/paths.h"
#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/sink.h"
#include "stella/testing/nats_server.h"
#include "stella/testing/postgres.h"
#include "stella/testing/work_seen.h"

namespace stella::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
namespace kinds = contracts::job_kinds;

struct Recorder final : jobs::KindHandler {
  Result<void> on_finished(pg::SystemTx<pg::OrchestratorRole>&, const jobs::FinishedJob& job) override {
    if (refusals > 0) {
      --refusals;
      return Error(base_errors::kMalformed, "the output means nothing");
    }
    if (const int ms = slow_ms.exchange(0); ms > 0) std::this_thread::sleep_for(milliseconds(ms));
    std::this_thread::sleep_for(milliseconds(each_ms));
    ++finished;
    cached += job.cached ? 1 : 0;
    return {};
  }
  Result<void> on_failed(pg::SystemTx<pg::OrchestratorRole>&, const jobs::FailedJob& job) override {
    ++failed;
    dead += job.dead ? 1 : 0;
    cancelled += job.cancelled ? 1 : 0;
    return {};
  }
  std::atomic<int> finished{0}, failed{0}, dead{0}, cancelled{0}, cached{0}, refusals{0};
  std::atomic<int> slow_ms{0};  // of the next end
  std::atomic<int> each_ms{0};  // of every end
};

// Waits for what must happen; the bound only ends a broken test.
template <class F>
bool eventually(F condition) {
  for (const auto deadline = Deadline::after(seconds(60)); !deadline.passed(); std::this_thread::sleep_for(milliseconds(10)))
    if (condition()) return true;
  return false;
}

// Of stella_telemetry_dropped.
std::int64_t counted(std::string_view signal, std::string_view reason) {
  const telemetry::MetricSnapshot now = telemetry::snapshot();
  for (const auto& family : now.families)
    if (family.spec->name == "stella_telemetry_dropped")
      for (const auto& point : family.points)
        if (!point.overflow && (*point.labels)[0] == signal && (*point.labels)[1] == reason) return point.whole;
  return 0;
}

// Lines as the process writes them, instead of on standard error.
class Lines final : public telemetry::Sink {
 public:
  Lines() : before_(telemetry::install_sink(std::shared_ptr<Lines>(this, [](Lines*) {}))) {}
  ~Lines() override { telemetry::install_sink(before_); }
  void log(telemetry::LogRecord&& record) noexcept override {
    const Lock lock(mutex_);
    lines_.push_back(json::parse(record.line).value());
  }
  void span(telemetry::SpanRecord&&) noexcept override {}
  std::vector<json::Value> with(std::string_view message) const {
    const Lock lock(mutex_);
    std::vector<json::Value> out;
    for (const json::Value& line : lines_)
      if (line.str("message") == message) out.push_back(line);
    return out;
  }

 private:
  mutable Mutex mutex_;
  std::vector<json::Value> lines_ STELLA_GUARDED_BY(mutex_);
  std::shared_ptr<telemetry::Sink> before_;
};

class Orchestration : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-orchestrator-XXXXXX";
    root_ = ::mkdtemp(name);
    store_ = std::move(objects::open_posix_store(root_ + "/objects").value());
    options_.jobs_dir = root_ + "/jobs";
    ASSERT_TRUE(make_dirs(options_.jobs_dir));
    options_.retry_base = milliseconds(1);
    options_.poll = milliseconds(20);
    options_.environment_key = "key";
    owner_ = server_.connect(bus::user::kOrchestrator);
    jobs::set_max_attempts(3);
    ASSERT_TRUE(store_->put(object_key::object(acme_, crypto::sha256("input")), "input"));
  }
  void TearDown() override {
    orchestrator_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  void start() {
    Handlers handlers{{std::string(kinds::kSbomCompute), recorder_}};
    orchestrator_ = std::make_unique<Orchestrator>(pool_, *owner_, *store_, key_, handlers, options_);
    const auto started = orchestrator_->start();
    ASSERT_TRUE(started.has_value()) << started.error().describe();
    runner_ = server_.connect(bus::user::kRunner);
    bind();
  }
  void bind() { queue_ = bus::PullConsumer::bind(*runner_, std::string(bus::kJobsStream), std::string(bus::kRunnerConsumer)).value(); }

  JobId schedule(std::string_view salt = "", const Sha256& input = crypto::sha256("input"), const TenantId* tenant = nullptr) {
    auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
    jobs::Spec spec;
    spec.kind = std::string(kinds::kSbomCompute);
    spec.params = json::Value::object({{"salt", salt}});
    spec.inputs.push_back({"sbom", input, acme_});
    spec.resource_type = "sbom";
    spec.resource_id = SbomId::generate().str();
    spec.requested_by = "user:test";
    spec.trace = TraceId::generate();
    spec.traceparent = "00-" + spec.trace.hex() + "-b7ad6b7169203331-01";
    const telemetry::ContextScope request(telemetry::Context::continue_from({*telemetry::parse_traceparent(spec.traceparent), "vendor=1"}));
    auto scheduled = jobs::schedule(*tx, tenant != nullptr ? *tenant : acme_, spec);
    EXPECT_TRUE(scheduled.has_value()) << scheduled.error().describe();
    EXPECT_TRUE(tx->commit().has_value());
    if (orchestrator_) orchestrator_->wake();
    return scheduled->job_id;
  }
  // The next job message; an empty object where none comes while `orchestrator` has time to send one.
  json::Value take(int patience_ms = 30'000) {
    auto fetched = queue_->fetch(1, milliseconds(patience_ms));
    if (!fetched || fetched->empty()) return json::Value::object();
    EXPECT_TRUE(fetched->front().ack());
    return json::parse(fetched->front().message().payload).value();
  }
  json::Value report(const json::Value& message, std::string_view status = "") {
    json::Value r = json::Value::object({{"job_id", message.str("job_id")}, {"attempt", message.integer("attempt")}, {"kind", message.str("kind")}, {"tenant", message.str("tenant")},
                                         {"runner_id", "fake"}, {"run_id", RunId::generate().str()}, {"image_sha256", crypto::sha256("image").hex()}});
    if (!status.empty()) r.set("status", status);
    return r;
  }
  json::Value finished(const json::Value& message, std::string_view text = "{}\n") {
    EXPECT_TRUE(write_file_durable(std::string(message.str("dir")) + "/out/0", text));
    json::Value r = report(message, "finished");
    r.set("outputs", json::Value::array({json::Value::object({{"name", "components.ndjson"}, {"file", "0"}, {"media_type", "application/x-ndjson"},
                                                              {"sha256", crypto::sha256(text).hex()}, {"size", static_cast<std::int64_t>(text.size())}})}));
    return r;
  }
  void tell(std::string_view what, const json::Value& r) {
    const auto told = runner_->publish(subject::result(what, TenantId::parse(r.str("tenant")).value()), json::dump(r), {}, "", Deadline::after(seconds(10)));
    ASSERT_TRUE(told.has_value()) << told.error().describe();
  }
  std::string state(const JobId& job) { return db_.sql("SELECT state FROM jobs WHERE job_id = '" + job.str() + "'"); }
  std::string field(const JobId& job, std::string_view column) { return db_.sql("SELECT " + std::string(column) + " FROM jobs WHERE job_id = '" + job.str() + "'"); }
  int events(std::string_view kind, const JobId& job) {
    return std::stoi(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%' AND convert_from(entry, 'UTF8') LIKE '%" + job.str() + "%'"));
  }

  testing::TestDatabase db_;
  testing::NatsServer server_;
  TenantId acme_ = db_.tenant("acme");
  TenantId beta_ = db_.tenant("beta");
  pg::SystemPool<pg::OrchestratorRole> pool_{db_.options("stella_orchestrator")};
  pg::Pool web_{db_.options("stella_web")};
  std::shared_ptr<const crypto::Signer> key_ = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  std::shared_ptr<Recorder> recorder_ = std::make_shared<Recorder>();
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<bus::Connection> owner_, runner_;
  std::unique_ptr<bus::PullConsumer> queue_;
  std::unique_ptr<Orchestrator> orchestrator_;
  Options options_;
  std::string root_;
};

TEST_F(Orchestration, AJobRunsOnceAndLeavesItsRecord) {
  start();
  const JobId job = schedule();
  const json::Value message = take();
  ASSERT_EQ(message.str("job_id"), job.str());
  EXPECT_EQ(message.integer("attempt"), 1);
  EXPECT_NE(message.str("tracestate").find("vendor=1"), std::string_view::npos) << json::dump(message);
  EXPECT_EQ(message.str("traceparent").substr(3, 32), db_.sql("SELECT trace_id FROM jobs WHERE job_id = '" + job.str() + "'"));
  EXPECT_EQ(read_file(std::string(message.str("dir")) + "/in/0", 100).value(), "input");
  tell("started", report(message));
  ASSERT_TRUE(eventually([&] { return state(job) == "running"; }));
  tell("started", report(message));  // told twice
  tell("result", finished(message, "the output"));
  tell("result", report(message, "failed"));  // what is told afterwards changes nothing
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  EXPECT_EQ(recorder_->finished, 1);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM runs WHERE state = 'finished'"), "1");
  for (const char* kind : {"job.scheduled", "job.started", "job.finished", "attestation.created"}) EXPECT_EQ(events(kind, job), 1) << kind;
  EXPECT_EQ(store_->get(object_key::object(acme_, crypto::sha256("the output")), 100).value(), "the output");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM attestation_facts WHERE job_id = '" + job.str() + "'"), "1");
  EXPECT_TRUE(eventually([&] { return ::access(std::string(message.str("dir")).c_str(), F_OK) != 0; }));
  EXPECT_EQ(recorder_->failed, 0);
}

TEST_F(Orchestration, AResultWithoutItsStartIsAStartToo) {
  start();
  const JobId job = schedule();
  const json::Value message = take();
  tell("result", finished(message));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  tell("started", report(message));  // overtaken by its result
  const JobId next = schedule("2");
  const json::Value second = take();
  tell("result", finished(second));
  ASSERT_TRUE(eventually([&] { return state(next) == "finished"; }));
  EXPECT_EQ(state(job), "finished");
  EXPECT_EQ(events("job.started", job), 1);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM runs WHERE job_id = '" + job.str() + "'"), "1");
}

TEST_F(Orchestration, AnOlderAttemptIsDropped) {
  options_.dispatch_timeout = milliseconds(50);
  options_.lease = seconds(2);
  start();
  const JobId job = schedule();
  const json::Value first = take();
  json::Value newest = take();
  ASSERT_EQ(first.integer("attempt"), 1);
  ASSERT_EQ(newest.integer("attempt"), 2);
  EXPECT_NE(::access((std::string(first.str("dir")) + "/in/0").c_str(), F_OK), 0);  // its message finds no inputs any more
  EXPECT_TRUE(make_dirs(std::string(first.str("dir")) + "/out"));
  tell("started", report(first));
  tell("result", finished(first, "old"));
  // On a slow machine an attempt is told again before its start arrives: then it is the next one's turn.
  while (state(job) == "queued") {
    tell("started", report(newest));
    for (json::Value next = take(200); next.find("attempt") != nullptr; next = take(1)) newest = next;
  }
  ASSERT_EQ(state(job), "running");
  ASSERT_EQ(field(job, "attempt"), std::to_string(newest.integer("attempt")));
  tell("result", finished(newest, "new"));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  EXPECT_EQ(recorder_->finished, 1);
  EXPECT_FALSE(store_->stat(object_key::object(acme_, crypto::sha256("old"))).has_value());
  EXPECT_TRUE(store_->stat(object_key::object(acme_, crypto::sha256("new"))).has_value());
}

// Without a runner the queue stands: nothing is copied again, no message is added.
TEST_F(Orchestration, WhatWaitsOnTheBusIsNotToldAgain) {
  options_.dispatch_timeout = milliseconds(50);
  options_.lease = milliseconds(100);
  start();
  for (const char* salt : {"a", "b", "c"}) schedule(salt);
  ASSERT_TRUE(eventually([&] { return db_.sql("SELECT count(*) FROM jobs WHERE dispatched_at < now() - interval '1 s'") == "3"; }));
  EXPECT_EQ(db_.sql("SELECT max(attempt) || ' ' || max(dispatches) FROM jobs"), "1 1");
  const auto backlog = owner_->backlog(bus::kJobsStream, bus::kRunnerConsumer);
  ASSERT_TRUE(backlog);
  EXPECT_EQ(backlog->waiting + backlog->taken, 3u);
  EXPECT_EQ(read_file(std::string(take().str("dir")) + "/in/0", 100).value(), "input");
}

// Inputs are not copied for a message that cannot be sent.
TEST_F(Orchestration, NothingIsPreparedWhileTheBusIsAway) {
  start();
  const JobId first = schedule("a");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(first) == "finished"; }));
  server_.kill();
  ASSERT_TRUE(eventually([&] { return !owner_->connected(); }));
  const JobId second = schedule("b");
  std::this_thread::sleep_for(milliseconds(200));  // ten rounds
  EXPECT_EQ(field(second, "attempt"), "0");
  server_.start();
  EXPECT_TRUE(eventually([&] { return field(second, "attempt") == "1"; }));
}

TEST_F(Orchestration, ASilentRunnerLosesItsJobUntilItIsDead) {
  options_.lease = milliseconds(50);
  jobs::set_max_attempts(2);
  const Lines lines;
  start();
  const JobId job = schedule();
  json::Value lost;
  for (int attempt = 1; attempt <= 2; ++attempt) {
    lost = take();
    ASSERT_EQ(lost.integer("attempt"), attempt);
    tell("started", report(lost));
    ASSERT_TRUE(eventually([&] { return db_.sql("SELECT count(*) FROM runs WHERE state = 'lost'") == std::to_string(attempt); }));
  }
  ASSERT_TRUE(eventually([&] { return state(job) == "dead"; }));
  EXPECT_EQ(recorder_->dead, 1);
  EXPECT_EQ(events("job.started", job), 2);
  EXPECT_EQ(events("job.retried", job), 1);
  EXPECT_EQ(events("job.failed", job), 1);
  EXPECT_EQ(events("job.dead_lettered", job), 1);
  EXPECT_EQ(field(job, "root_cause"), "errored: the runner fell silent");
  // Ours: an error, with its code.
  ASSERT_TRUE(eventually([&] { return lines.with("job ended without a result").size() == 1; }));
  const json::Value line = lines.with("job ended without a result").front();
  EXPECT_EQ(line.str("level"), "error");
  EXPECT_EQ(line.str("error_code"), "unavailable");
  EXPECT_NE(line.str("error_message"), "");
  // Put back by a person: fresh attempts, a higher number; what the lost runner says at last is not believed.
  {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
    const auto retried = jobs::retry(*tx, job, TraceId::generate());
    ASSERT_TRUE(retried.has_value()) << retried.error().describe();
    EXPECT_TRUE(make_dirs(std::string(lost.str("dir")) + "/out"));  // its own was taken away with its lease
    tell("result", finished(lost, "late"));
    ASSERT_TRUE(tx->commit().has_value());
  }
  orchestrator_->wake();
  const json::Value again = take();
  ASSERT_EQ(again.integer("attempt"), 3);
  tell("result", finished(again, "good"));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  EXPECT_FALSE(store_->stat(object_key::object(acme_, crypto::sha256("late"))).has_value());
}

TEST_F(Orchestration, ASlowEndCostsNobodyElseTheLease) {
  options_.lease = milliseconds(1000);
  recorder_->slow_ms = 2500;
  start();
  const JobId slow = schedule("slow");
  const json::Value first = take();
  const JobId other = schedule("other");
  const json::Value second = take();
  for (const auto* message : {&first, &second}) tell("started", report(*message));
  ASSERT_TRUE(eventually([&] { return state(slow) == "running" && state(other) == "running"; }));
  tell("result", finished(first));
  for (const auto until = Deadline::after(milliseconds(2500)); !until.passed(); std::this_thread::sleep_for(milliseconds(100))) tell("heartbeat", report(second));
  EXPECT_EQ(state(other), "running");
  tell("result", finished(second));
  EXPECT_TRUE(eventually([&] { return state(slow) == "finished" && state(other) == "finished"; })) << state(slow) << " " << state(other);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM runs WHERE state <> 'finished'"), "0");
  EXPECT_EQ(recorder_->finished, 2);
}

TEST_F(Orchestration, WhatWasToldWhileNobodyListenedCounts) {
  options_.lease = milliseconds(1000);
  start();
  std::vector<JobId> all;
  std::vector<json::Value> messages;
  for (const char* salt : {"a", "b", "c"}) {
    all.push_back(schedule(salt));
    messages.push_back(take());
    tell("started", report(messages.back()));
  }
  ASSERT_TRUE(eventually([&] { return db_.sql("SELECT count(*) FROM jobs WHERE state = 'running'") == "3"; }));
  orchestrator_.reset();
  for (const json::Value& message : messages) tell("result", finished(message));
  ASSERT_TRUE(eventually([&] { return db_.sql("SELECT count(*) FROM jobs WHERE lease_until < now()") == "3"; }));
  recorder_->slow_ms = 500;  // of the first: meanwhile the others wait with a lease that is over
  start();
  for (const JobId& job : all) ASSERT_TRUE(eventually([&] { return state(job) == "finished"; })) << state(job);
  EXPECT_EQ(db_.sql("SELECT max(attempt) FROM jobs"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM runs WHERE state <> 'finished'"), "0");
}

TEST_F(Orchestration, HeartbeatsBeyondTheWallClockKeepNoLease) {
  options_.lease = milliseconds(1500);
  start();
  const JobId job = schedule();
  const json::Value message = take();
  tell("started", report(message));
  ASSERT_TRUE(eventually([&] { return state(job) == "running"; }));
  EXPECT_EQ(db_.sql("WITH u AS (UPDATE runs SET started_at = now() - interval '1 hour' RETURNING 1) SELECT count(*) FROM u"), "1");
  EXPECT_TRUE(eventually([&] {
    tell("heartbeat", report(message));
    return db_.sql("SELECT count(*) FROM runs WHERE state = 'lost'") == "1";
  }));
}

// A start that says another job's run: it fails now and every time, so it is not heard again.
TEST_F(Orchestration, AMessageThatCannotBeHandledIsGivenUp) {
  options_.lease = options_.dispatch_timeout = std::chrono::minutes(10);  // no other attempt makes it an old one
  start();
  const JobId job = schedule("a");
  const json::Value first = report(take());
  schedule("b");
  json::Value second = report(take());
  second.set("run_id", first.str("run_id"));
  tell("started", first);
  ASSERT_TRUE(eventually([&] { return state(job) == "running"; }));
  tell("started", second);
  EXPECT_TRUE(eventually([&] {
    const auto left = owner_->backlog(bus::kResultsStream, bus::kOrchestratorConsumer);
    return left && left->waiting + left->taken == 0;
  }));
}

TEST_F(Orchestration, HostileOutputsAreErrorsAndNeverObjects) {
  jobs::set_max_attempts(1);
  start();
  ASSERT_TRUE(write_file_durable(root_ + "/secret", "secret"));
  const auto output = [](std::string_view name, std::string_view file) { return json::Value::object({{"name", name}, {"file", file}, {"sha256", crypto::sha256("x").hex()}, {"size", 1}}); };
  const auto attack = [&](std::string_view what, const json::Value& outputs, const std::function<void(const std::string&)>& prepare) {
    const JobId job = schedule(what);
    const json::Value message = take();
    ASSERT_EQ(message.str("job_id"), job.str());
    prepare(std::string(message.str("dir")) + "/out");
    json::Value r = report(message, "finished");
    r.set("outputs", outputs);
    tell("result", r);
    ASSERT_TRUE(eventually([&] { return state(job) == "dead"; })) << what << ": " << state(job);
    EXPECT_EQ(field(job, "root_cause").substr(0, 8), "errored:") << what;
  };
  const auto nothing = [](const std::string&) {};
  const auto file = [](const std::string& out) { ASSERT_TRUE(write_file_durable(out + "/0", "x")); };
  attack("a link", json::Value::array({output("components.ndjson", "0")}), [&](const std::string& out) { ASSERT_EQ(::symlink((root_ + "/secret").c_str(), (out + "/0").c_str()), 0); });
  attack("a pipe", json::Value::array({output("components.ndjson", "0")}), [](const std::string& out) { ASSERT_EQ(::mkfifo((out + "/0").c_str(), 0600), 0); });
  attack("a directory", json::Value::array({output("components.ndjson", "0")}), [](const std::string& out) { ASSERT_EQ(::mkdir((out + "/0").c_str(), 0700), 0); });
  attack("no file", json::Value::array({output("components.ndjson", "0")}), nothing);
  attack("upwards", json::Value::array({output("../../secret", "0")}), file);
  attack("hidden", json::Value::array({output("components.ndjson", "../../../secret")}), nothing);
  attack("twice", json::Value::array({output("a", "0"), output("a", "0")}), file);
  attack("no name", json::Value::array({json::Value(7)}), file);
  EXPECT_FALSE(store_->stat(object_key::object(acme_, crypto::sha256("secret"))).has_value());
  EXPECT_EQ(recorder_->finished, 0);
}

// A line of ours is not a runner's to write as often as it likes.
TEST_F(Orchestration, NonsenseIsToldOnceInAWhile) {
  const Lines lines;
  start();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(runner_->publish(subject::result("result", acme_), "{", {}, "", Deadline::after(seconds(10))));
  const JobId job = schedule();
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));  // so it has read those before it
  EXPECT_LE(lines.with("a runner sent nonsense").size(), 2u);
}

TEST_F(Orchestration, HostileReportsDoNotStopTheOthers) {
  start();
  for (const char* text : {"", "{", "[]", R"({"tenant":"acme"})", R"({"tenant":"acme","job_id":"00000000-0000-7000-8000-000000000001","attempt":99999999999})"})
    ASSERT_TRUE(runner_->publish(subject::result("result", acme_), text, {}, "", Deadline::after(seconds(10))));
  const JobId job = schedule();
  const json::Value message = take();
  json::Value r = finished(message);
  // NULs, other people's traces, numbers beyond everything, text cut inside a character.
  const std::string nul("n\0l", 3);
  json::Array lines, spans;
  const std::string trace = field(job, "trace_id");
  const std::string last = SpanId::generate().hex();
  for (int i = 0; i < 2500; ++i) {
    lines.push_back(json::Value::object({{"ts", "2026-11-25T00:00:00Z"}, {"trace_id", trace}, {"level", nul}, {"span_id", "x"}, {"msg", nul}}));
    spans.push_back(json::Value::object({{"trace_id", trace}, {"span_id", i == 2499 ? last : SpanId::generate().hex()}, {"start_ts", "2026-11-25T00:00:00Z"}, {"end_ts", "2026-11-25T00:00:00Z"},
                                         {"name", std::string(99, 'n') + "漢"}, {"attributes", json::Value::object({{nul, nul}})}}));
  }
  // What says most comes last: an error, and the span around all others. A line over its limit is no row, large attributes leave the others.
  lines.push_back(json::Value::object({{"ts", "2026-11-25T00:00:00Z"}, {"trace_id", trace}, {"level", "error"}, {"message", "it failed"}}));
  lines.insert(lines.begin(), json::Value::object({{"ts", "2026-11-25T00:00:00Z"}, {"trace_id", trace}, {"level", "info"}, {"message", std::string(70'000, 'x')}}));
  spans.back().set("attributes", json::Value::object({{"large", std::string(70'000, 'x')}, {"small", "kept"}}));
  const auto dropped = [this] { return std::array{counted("logs", "trace_limit"), counted("logs", "encode"), counted("spans", "trace_limit"), counted("spans", "encode")}; };
  const auto before = dropped();
  lines.insert(lines.begin(), json::Value::object({{"ts", "2026-11-25T00:00:00Z"}, {"trace_id", TraceId::generate().hex()}, {"level", "info"}}));
  r.set("logs", std::move(lines));
  r.set("spans", std::move(spans));
  r.set("usage", json::Value::object({{"wall_ms", std::int64_t{9'223'372'036'854'775'807}}, {"cpu_ms", -5}, {"max_rss_kb", "x"}}));
  r.set("sandbox", json::Value::object({{nul, nul}}));
  r.set("runner_id", std::string(127, 'r') + "漢");
  const std::string text = json::dump(r);
  ASSERT_TRUE(write_file_durable(std::string(message.str("dir")) + "/out/result.json", text));
  json::Value pointer = report(message, "finished");
  pointer.set("result_file", "out/result.json");
  tell("result", pointer);
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; })) << field(job, "root_cause");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM telemetry_spans"), "2000");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM telemetry_logs WHERE trace_id = '" + trace + "'"), "2001");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM telemetry_logs WHERE level = 'error'"), "1");
  EXPECT_EQ(db_.sql("SELECT attributes->>'small' FROM telemetry_spans WHERE span_id = '" + last + "'"), "kept");
  EXPECT_TRUE(eventually([&] { return dropped()[0] > before[0]; }));
  EXPECT_EQ(dropped(), (std::array{before[0] + 500, before[1] + 1, before[2] + 500, before[3] + 1}));
  EXPECT_EQ(db_.sql("SELECT count(*) FROM telemetry_logs WHERE trace_id <> '" + trace + "'"), "0");
}

// From the first job for the thing to the end of the last; not where a person put a job back.
TEST_F(Orchestration, AJourneyBeginsWithTheFirstJob) {
  const auto journeys = [] {
    const telemetry::MetricSnapshot now = telemetry::snapshot();
    std::pair<std::uint64_t, double> out;
    for (const auto& family : now.families)
      if (family.spec->name == "stella_journey_duration_seconds")
        for (const auto& point : family.points)
          if (!point.overflow && (*point.labels)[0] == "sbom_ingest") out = {point.count, point.sum};
    return out;
  };
  start();
  const auto before = journeys();
  const JobId first = schedule("first");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return journeys().first == before.first + 1; }));
  const JobId next = schedule("next");
  db_.sql("UPDATE jobs SET resource_id = (SELECT resource_id FROM jobs WHERE job_id = '" + first.str() + "') WHERE job_id = '" + next.str() + "'");
  db_.sql("UPDATE jobs SET created_at = created_at - interval '1 hour' WHERE job_id = '" + first.str() + "'");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return journeys().first == before.first + 2; }));
  EXPECT_GT(journeys().second, before.second + 3600);
  const JobId third = schedule("third");
  json::Value failure = report(take(), "failed");
  tell("result", failure);
  ASSERT_TRUE(eventually([&] { return state(third) == "failed"; }));
  {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
    ASSERT_TRUE(jobs::retry(*tx, third, TraceId::generate()).has_value());
    ASSERT_TRUE(tx->commit().has_value());
  }
  orchestrator_->wake();
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(third) == "finished"; }));
  const JobId last = schedule("last");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(last) == "finished" && journeys().first > before.first + 2; }));
  EXPECT_EQ(journeys().first, before.first + 3);
}

TEST_F(Orchestration, OutputsThatMeanNothingAreTheAttemptsFault) {
  recorder_->refusals = 1;
  start();
  const JobId job = schedule();
  tell("result", finished(take()));
  const json::Value second = take();
  ASSERT_EQ(second.integer("attempt"), 2);
  EXPECT_EQ(db_.sql("SELECT root_cause FROM runs WHERE attempt = 1"), "errored: the output means nothing");
  tell("result", finished(second));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  EXPECT_EQ(events("job.retried", job), 1);
  EXPECT_EQ(events("job.finished", job), 1);
}

// Two children of one attempt, whose message was delivered twice: the second has begun to write what the first reports.
TEST_F(Orchestration, OutputsThatAreNotWhatWasReportedAreTriedAgain) {
  start();
  const JobId job = schedule();
  const json::Value message = take();
  const json::Value whole = finished(message, "all of it");
  ASSERT_TRUE(write_file_durable(std::string(message.str("dir")) + "/out/0", "all"));
  tell("result", whole);
  const json::Value second = take();
  ASSERT_EQ(second.integer("attempt"), 2);
  EXPECT_EQ(db_.sql("SELECT root_cause FROM runs WHERE attempt = 1"), "errored: a job output is not what its runner reported");
  EXPECT_EQ(events("job.finished", job), 0);
  tell("result", finished(second, "all of it"));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
}

TEST_F(Orchestration, WhatFailedIsNotTriedAgain) {
  const Lines lines;
  start();
  const JobId job = schedule();
  json::Value r = report(take(), "failed");
  r.set("cause", "line 3: not an SBOM");
  r.set("error", json::Value::object({{"code", "malformed"}, {"message", "not an SBOM"}, {"fields", json::Value::object({{"line", "3"}})}}));
  tell("result", r);
  ASSERT_TRUE(eventually([&] { return state(job) == "failed"; }));
  EXPECT_EQ(field(job, "error_code"), "malformed");
  EXPECT_EQ(field(job, "root_cause"), "failed: line 3: not an SBOM");
  EXPECT_EQ(field(job, "error_fields->>'line'"), "3");
  EXPECT_EQ(recorder_->failed, 1);
  EXPECT_EQ(recorder_->dead, 0);
  EXPECT_EQ(events("job.failed", job), 1);
  // A tenant's document is no error of ours, and whoever looks for it finds what was wrong with it.
  ASSERT_TRUE(eventually([&] { return lines.with("job ended without a result").size() == 1; }));
  const json::Value line = lines.with("job ended without a result").front();
  EXPECT_EQ(line.str("level"), "warn");
  EXPECT_EQ(line.str("error_code"), "malformed");
  EXPECT_EQ(line.find("details")->find("error")->str("message"), "not an SBOM");
}

TEST_F(Orchestration, CancellingARunningJobDropsItsResult) {
  options_.sweep = std::chrono::hours(1);  // not what takes the directory away
  start();
  const JobId job = schedule();
  const json::Value message = take();
  tell("started", report(message));
  ASSERT_TRUE(eventually([&] { return state(job) == "running"; }));
  for (int i = 0; i < 2; ++i) {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
    const auto cancelled = jobs::cancel(*tx, job, TraceId::generate());
    EXPECT_TRUE(cancelled.has_value() || i > 0);  // the second meets a job that may have ended already
    EXPECT_TRUE(!cancelled || tx->commit().has_value());
  }
  orchestrator_->wake();
  ASSERT_TRUE(eventually([&] { return state(job) == "cancelled"; }));
  EXPECT_TRUE(eventually([&] { return ::access(std::string(message.str("dir")).c_str(), F_OK) != 0; }));  // the work in it stops
  ASSERT_TRUE(make_dirs(std::string(message.str("dir")) + "/out"));
  tell("result", finished(message, "too late"));
  const JobId next = schedule("next");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(next) == "finished"; }));
  EXPECT_EQ(state(job), "cancelled");
  EXPECT_EQ(recorder_->cancelled, 1);
  EXPECT_EQ(events("job.cancelled", job), 1);
  EXPECT_EQ(db_.sql("SELECT state FROM runs WHERE job_id = '" + job.str() + "'"), "cancelled");
  EXPECT_FALSE(store_->stat(object_key::object(acme_, crypto::sha256("too late"))).has_value());
}

TEST_F(Orchestration, TheSameInputsReuseTheOutputs) {
  start();
  const JobId job = schedule();
  tell("result", finished(take(), "once"));
  ASSERT_TRUE(eventually([&] { return state(job) == "finished"; }));
  const JobId same = schedule();
  ASSERT_TRUE(eventually([&] { return state(same) == "finished"; }));
  EXPECT_EQ(recorder_->cached, 1);
  EXPECT_EQ(field(same, "attempt"), "0");
  EXPECT_EQ(field(same, "outputs"), field(job, "outputs"));
  EXPECT_EQ(events("job.started", same), 0);
  // What is stated about it names the run that made the outputs, and that they were reused.
  const auto stated = [&](const JobId& of) {
    const auto text = store_->get(db_.sql("SELECT a.statement_path FROM attestations a JOIN attestation_facts f ON f.attestation_id = a.id WHERE f.job_id = '" + of.str() + "'"), 1 << 20).value();
    return json::parse(crypto::dsse_parse(json::dump(*json::parse(text)->find("dsseEnvelope")))->payload).value();
  };
  const json::Value first = stated(job), second = stated(same);
  const json::Value& details = *second.find("predicate")->find("runDetails");
  EXPECT_EQ(json::dump(*details.find("builder")), json::dump(*first.find("predicate")->find("runDetails")->find("builder")));
  EXPECT_EQ(json::dump(*details.find("byproducts")), json::dump(*first.find("predicate")->find("runDetails")->find("byproducts")));
  EXPECT_EQ(details.find("metadata")->str("invocationId"), db_.sql("SELECT run_id FROM runs"));
  EXPECT_EQ(details.find("metadata")->str("finishedOn"), db_.sql("SELECT to_char(finished_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM runs"));
  EXPECT_EQ(second.find("predicate")->find("buildDefinition")->find("internalParameters")->str("reused_from_job"), job.str());
  EXPECT_EQ(first.find("predicate")->find("buildDefinition")->find("internalParameters")->find("reused_from_job"), nullptr);
  // Where reuse does not work out the job runs like any other.
  recorder_->refusals = 1;
  const JobId third = schedule();
  const json::Value message = take();
  ASSERT_EQ(message.str("job_id"), third.str());
  tell("result", finished(message, "once"));
  ASSERT_TRUE(eventually([&] { return state(third) == "finished"; }));
}

TEST_F(Orchestration, AnInputThatIsNotThereEndsTheJob) {
  start();
  const JobId job = schedule("", crypto::sha256("never stored"));
  ASSERT_TRUE(eventually([&] { return state(job) == "dead"; }));
  EXPECT_EQ(field(job, "error_code"), "not_found");
  EXPECT_EQ(recorder_->dead, 1);
}

TEST_F(Orchestration, MoreInputsThanAMessageHoldsLieInAFile) {
  start();
  {
    auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
    jobs::Spec spec;
    spec.kind = std::string(kinds::kEvidenceSnapshot);
    spec.inputs.assign(10'000, {"f", crypto::sha256("input"), acme_});
    for (std::size_t i = 0; i < spec.inputs.size(); ++i) spec.inputs[i].name += std::to_string(i);
    spec.resource_type = "bundle";
    spec.resource_id = BundleId::generate().str();
    spec.requested_by = "user:test";
    spec.trace = TraceId::generate();
    ASSERT_TRUE(jobs::schedule(*tx, acme_, spec).has_value());
    ASSERT_TRUE(tx->commit().has_value());
  }
  orchestrator_->wake();
  const json::Value message = take();
  ASSERT_EQ(message.str("inputs_file"), "inputs.json");
  const auto list = json::parse(read_file(std::string(message.str("dir")) + "/inputs.json", 16u << 20).value(), {.max_bytes = 16u << 20}).value();
  ASSERT_EQ(list.as_array().size(), 10'000u);
  EXPECT_EQ(list.as_array().back().str("name"), "f9999");
  EXPECT_EQ(list.as_array().back().str("file"), "in/0");  // one object, one copy
}

TEST_F(Orchestration, TenantsTakeTurns) {
  options_.per_tenant = 1;
  std::vector<JobId> ours;
  for (int i = 0; i < 3; ++i) ours.push_back(schedule(std::to_string(i)));
  ASSERT_TRUE(store_->put(object_key::object(acme_, crypto::sha256("input")), "input"));
  const JobId theirs = schedule("", crypto::sha256("input"), &beta_);
  start();
  std::vector<std::string> first{std::string(take().str("tenant")), std::string(take().str("tenant"))};
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, (std::vector<std::string>{"acme", "beta"}));
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs WHERE attempt > 0"), "2");
  EXPECT_EQ(field(theirs, "attempt"), "1");
  EXPECT_EQ(field(ours[0], "attempt"), "1");
}

// A tenant whose many jobs need no runner holds up nobody.
TEST_F(Orchestration, CachedJobsTakeTurnsToo) {
  start();
  const JobId first = schedule();
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(first) == "finished"; }));
  orchestrator_.reset();
  for (int i = 0; i < 60; ++i) schedule();
  const JobId other = schedule("", crypto::sha256("input"), &beta_);
  const JobId cancelled = schedule("cancelled", crypto::sha256("input"), &beta_);
  db_.sql("UPDATE jobs SET cancel_requested = true WHERE job_id = '" + cancelled.str() + "'");
  recorder_->each_ms = 50;
  start();
  ASSERT_TRUE(eventually([&] { return state(cancelled) == "cancelled" && field(other, "attempt") == "1"; }));
  EXPECT_LE(recorder_->cached, 20);
  recorder_->each_ms = 0;
  EXPECT_TRUE(eventually([&] { return recorder_->cached == 60; }));
}

TEST_F(Orchestration, DirectoriesOfEndedAttemptsAreSwept) {
  const std::string orphan = options_.jobs_dir + "/" + JobId::generate().str() + ".3";
  const std::string foreign = options_.jobs_dir + "/lost+found";
  ASSERT_TRUE(make_dirs(orphan + "/out"));
  ASSERT_TRUE(make_dirs(foreign));
  options_.sweep = milliseconds(20);
  const testing::WorkSeen seen;
  start();
  const JobId job = schedule();
  const json::Value message = take();
  EXPECT_TRUE(eventually([&] { return ::access(orphan.c_str(), F_OK) != 0; }));
  EXPECT_TRUE(eventually([&] { return seen.spans("orchestrator.sweep").size() == 1; })) << seen.spans("orchestrator.sweep").size();
  EXPECT_EQ(::access(foreign.c_str(), F_OK), 0);
  EXPECT_EQ(::access(std::string(message.str("dir")).c_str(), F_OK), 0);
  tell("result", finished(message));
  EXPECT_TRUE(eventually([&] { return state(job) == "finished"; }));
}

TEST_F(Orchestration, ADeletedStoreOfTheBusHeals) {
  options_.dispatch_timeout = milliseconds(1000);
  const testing::WorkSeen seen;
  start();
  const JobId before = schedule("before");
  tell("result", finished(take()));
  ASSERT_TRUE(eventually([&] { return state(before) == "finished"; }));
  server_.delete_store();
  const JobId job = schedule("after");
  // A runner binds anew after silence; what it got from before the rebuild may be stale.
  const bool done = eventually([&] {
    if (auto fetched = queue_->fetch(1, milliseconds(500)); fetched && !fetched->empty()) {
      (void)fetched->front().ack().has_value();
      const json::Value message = json::parse(fetched->front().message().payload).value();
      if (::access((std::string(message.str("dir")) + "/out").c_str(), F_OK) == 0)
        (void)runner_->publish(subject::result("result", acme_), json::dump(finished(message)), {}, "", Deadline::after(seconds(2))).has_value();
    } else {
      (void)queue_->rebind().has_value();
    }
    return state(job) == "finished";
  });
  EXPECT_TRUE(done) << state(job);
  EXPECT_GE(bus::rebuilt_total(), 1u);
  EXPECT_FALSE(seen.spans("orchestrator.rebuild").empty());
  EXPECT_EQ(events("job.finished", job), 1);
}

}  // namespace
}  // namespace stella::orchestrator
