// The runner on a real bus: a message goes in; started, heartbeats and one result come out.
#include "stella/services/runner.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
#include <thread>

#include "protocol.h"
#include "sandbox.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/sampler.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/nats_server.h"
#include "stella/testing/shared_data.h"

namespace stella::runner {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RunnerOnBus : public ::testing::Test {
 protected:
  void SetUp() override {
    if (landlock_abi() == 0) GTEST_SKIP() << "skipped: this kernel has no Landlock";
    char name[] = "/tmp/stella-runner-XXXXXX";
    root_ = ::mkdtemp(name);
    owner_ = server_.connect(bus::user::kOrchestrator);
    for (const auto& topology : {bus::jobs_topology(), bus::results_topology()}) {
      ASSERT_TRUE(owner_->ensure_stream(topology.stream));
      for (const auto& consumer : topology.consumers) ASSERT_TRUE(owner_->ensure_consumer(consumer));
    }
    results_ = bus::PullConsumer::bind(*owner_, std::string(bus::kResultsStream), std::string(bus::kOrchestratorConsumer)).value();
    connection_ = server_.connect(bus::user::kRunner);
    options_.runner_id = "runner-1";
    options_.program = STELLA_TEST_CHILD;
    options_.heartbeat = milliseconds(100);
    if (::geteuid() == 0) options_.child_user = ChildUser{65534, 65534};
  }
  void TearDown() override {
    runner_.reset();
    if (!root_.empty()) [[maybe_unused]] const int status = std::system(("rm -rf " + root_).c_str());
  }
  void start() {
    auto runner = Runner::create(*connection_, options_);
    ASSERT_TRUE(runner) << runner.error().describe();
    runner_ = std::move(*runner);
    ASSERT_TRUE(runner_->start());
  }
  // Makes the job's directory and sends its message; returns the job id.
  std::string send(const std::string& kind, json::Value params, const std::string& input = "", std::int64_t wall_s = 20) {
    const auto id = JobId::generate().str();
    dir_ = root_ + "/" + id + ".1";
    EXPECT_TRUE(make_dirs(dir_ + "/in"));
    EXPECT_TRUE(make_dirs(dir_ + "/out"));
    json::Value inputs = json::Value::array();
    if (!input.empty()) {
      EXPECT_TRUE(write_file_durable(dir_ + "/in/0", input));
      inputs.push(json::Value::object({{"name", "sbom"}, {"file", "in/0"}, {"sha256", crypto::sha256(input).hex()}, {"size", input.size()}}));
    }
    trace_ = TraceId::generate();
    parent_ = SpanId::generate();
    const auto message = json::Value::object({{"job_id", id},
                                              {"attempt", 1},
                                              {"kind", kind},
                                              {"tenant", "acme"},
                                              {"params", std::move(params)},
                                              {"dir", dir_},
                                              {"inputs", std::move(inputs)},
                                              {"limits", json::Value::object({{"cpu_s", 20}, {"memory_mb", 512}, {"wall_s", wall_s}, {"output_mb", 64}})},
                                              {"traceparent", telemetry::format_traceparent({trace_, parent_, flags_})},
                                              {"tracestate", "vendor=1"},
                                              {"telemetry", json::Value::object({{"levels", json::Value::object({{"runner", "debug"}})}})},
                                              {"engine_version", "0.1.0"}});
    EXPECT_TRUE(owner_->publish(subject::job(kind, TenantId::parse("acme").value()), json::dump(message), {}, id + ".1", Deadline::after(seconds(5))));
    return id;
  }
  // Messages until the result of `id` came; that one is the last.
  std::vector<std::pair<std::string, json::Value>> until_result(const std::string& id) {
    std::vector<std::pair<std::string, json::Value>> out;
    const auto deadline = Deadline::after(seconds(40));
    auto silence = Deadline::after(seconds(10));
    while (!deadline.passed()) {
      auto fetched = results_->fetch(1, milliseconds(200));
      if (!fetched || fetched->empty()) {
        if (!silence.passed()) continue;
        EXPECT_TRUE(results_->rebind());  // as every consumer of ours does
        silence = Deadline::after(seconds(10));
        continue;
      }
      auto& delivery = fetched->front();
      EXPECT_TRUE(delivery.ack());
      auto body = json::parse(delivery.message().payload).value();
      if (body.str("job_id") != id) continue;
      const auto subject = delivery.message().subject;
      headers_ = delivery.message().headers;
      out.emplace_back(subject, std::move(body));
      if (subject.starts_with("stellaresults.result.")) return out;
    }
    ADD_FAILURE() << "no result within 40 s after " << out.size() << " messages";
    return out;
  }

  bool wait_for_start() {
    const auto deadline = Deadline::after(seconds(10));
    while (!deadline.passed()) {
      auto fetched = results_->fetch(1, milliseconds(200));
      if (!fetched || fetched->empty()) continue;
      EXPECT_TRUE(fetched->front().ack());
      if (fetched->front().message().subject == "stellaresults.started.acme") return true;
    }
    return false;
  }

  testing::NatsServer server_;
  std::unique_ptr<bus::Connection> owner_, connection_;
  std::unique_ptr<bus::PullConsumer> results_;
  Options options_;
  std::unique_ptr<Runner> runner_;
  std::string root_, dir_;
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers_)
      if (key == name) return value;
    return {};
  }

  TraceId trace_;
  SpanId parent_;
  std::uint8_t flags_ = telemetry::TraceParent::kSampled;
  bus::Headers headers_;  // of the last message
};

TEST_F(RunnerOnBus, AJobFromMessageToResult) {
  start();
  const auto id = send("sbom.compute", json::Value::object(),
                       R"({"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1"}]})");
  const auto messages = until_result(id);
  ASSERT_GE(messages.size(), 2u);
  const auto& [first_subject, first] = messages.front();
  EXPECT_EQ(first_subject, "stellaresults.started.acme");
  EXPECT_EQ(first.str("image_sha256"), runner_->image_sha256());
  EXPECT_EQ(first.str("image_sha256"), crypto::sha256_file(STELLA_TEST_CHILD)->sha256.hex());
  EXPECT_GE(first.find("sandbox")->integer("landlock_abi"), 1);
  EXPECT_TRUE(first.find("sandbox")->boolean("seccomp"));
  const auto& [subject, result] = messages.back();
  EXPECT_EQ(subject, "stellaresults.result.acme");
  EXPECT_EQ(result.str("status"), "finished") << json::dump(result);
  EXPECT_EQ(result.str("run_id"), first.str("run_id"));
  EXPECT_EQ(result.integer("attempt"), 1);
  EXPECT_EQ(result.str("runner_id"), "runner-1");
  ASSERT_EQ(result.items("outputs").size(), 1u);
  const auto& output = result.items("outputs")[0];
  EXPECT_EQ(output.str("name"), "components.ndjson");
  const auto file = testing::slurp(dir_ + "/" + std::string(output.str("file")));
  EXPECT_EQ(output.str("sha256"), crypto::sha256(file).hex());
  EXPECT_EQ(output.integer("size"), static_cast<std::int64_t>(file.size()));
  EXPECT_TRUE(Timestamp::parse(result.str("started_at")));
  EXPECT_TRUE(Timestamp::parse(result.str("finished_at")));
  EXPECT_GT(result.find("usage")->integer("max_rss_kb"), 0);
  // The trace goes on through the bus.
  ASSERT_FALSE(result.items("spans").empty());
  const auto& span = result.items("spans")[0];
  EXPECT_EQ(span.str("name"), "runner.execute");
  EXPECT_EQ(span.str("trace_id"), trace_.hex());
  EXPECT_EQ(span.str("parent_span_id"), parent_.hex());
  EXPECT_EQ(result.str("traceparent").substr(0, 52), "00-" + trace_.hex() + "-" + std::string(span.str("span_id")));
  EXPECT_EQ(header("traceparent"), result.str("traceparent"));
  EXPECT_NE(header("tracestate").find("vendor=1"), std::string::npos) << header("tracestate");
  EXPECT_FALSE(result.boolean("keep"));
  ASSERT_FALSE(result.items("logs").empty());
  EXPECT_EQ(result.items("logs")[0].str("trace_id"), trace_.hex());
  EXPECT_EQ(result.items("logs")[0].str("job_id"), id);
}

TEST_F(RunnerOnBus, WorkSpansOfTheChildHangBelowTheRunners) {
  start();
  const auto id = send("advisory.link", json::Value::object());  // lacks its inputs
  const auto result = until_result(id).back().second;
  EXPECT_EQ(result.str("status"), "failed");
  EXPECT_EQ(result.find("error")->str("code"), "invalid");
  std::string runner_span, child_parent, child_trace;
  for (const auto& span : result.items("spans")) {
    if (span.str("name") == "runner.execute") runner_span = span.str("span_id");
    if (span.str("name") == "excitor.link") child_parent = span.str("parent_span_id"), child_trace = span.str("trace_id");
  }
  EXPECT_FALSE(runner_span.empty());
  EXPECT_EQ(child_parent, runner_span) << json::dump(*result.find("spans"));
  EXPECT_EQ(child_trace, trace_.hex());
}

// Of an unsampled trace: the child's spans go to the backend undecided, and callers are asked to keep the trace where the job was slow.
TEST_F(RunnerOnBus, ASlowJobOfATraceThatWasNotChosenIsKeptWithItsCallers) {
  std::mutex mutex;
  std::vector<telemetry::SpanRecord> exported;
  options_.child_telemetry = [&](telemetry::Records records) {
    const std::lock_guard lock(mutex);
    for (auto& span : records.spans) exported.push_back(std::move(span));
  };
  start();
  flags_ = 0;
  const telemetry::SamplingPolicy before = telemetry::sampling();
  for (const bool slow : {true, false}) {
    telemetry::SamplingPolicy policy = before;
    policy.slow = slow ? std::chrono::nanoseconds(0) : std::chrono::nanoseconds(std::chrono::hours(1));
    telemetry::set_sampling(policy);
    const auto result = until_result(send("selftest.span", json::Value::object())).back().second;
    EXPECT_EQ(result.str("status"), "finished") << json::dump(result);
    EXPECT_EQ(result.boolean("keep"), slow);
    const std::lock_guard lock(mutex);
    ASSERT_EQ(exported.size(), 1u);
    EXPECT_EQ(exported[0].name, "selftest.span");
    EXPECT_EQ(json::parse(exported[0].attributes)->find("sampling.reason"), nullptr);
    exported.clear();
  }
  telemetry::set_sampling(before);
}

TEST_F(RunnerOnBus, SpansOfTheChildAreExportedWhereTheTraceIsChosenOrTheJobFailed) {
  std::mutex mutex;
  std::vector<telemetry::SpanRecord> exported;
  options_.child_telemetry = [&](telemetry::Records records) {
    const std::lock_guard lock(mutex);
    for (auto& span : records.spans) exported.push_back(std::move(span));
  };
  start();
  for (const std::uint8_t flags : {telemetry::TraceParent::kSampled, std::uint8_t{0}}) {
    flags_ = flags;
    const auto result = until_result(send("advisory.link", json::Value::object())).back().second;  // lacks its inputs
    EXPECT_EQ(result.str("status"), "failed");
    const std::lock_guard lock(mutex);
    ASSERT_EQ(exported.size(), 1u) << static_cast<int>(flags);
    EXPECT_EQ(exported[0].name, "excitor.link");
    EXPECT_EQ(exported[0].trace_id, trace_.hex());
    EXPECT_EQ(exported[0].tenant_id, "acme");
    EXPECT_EQ(json::parse(exported[0].attributes)->str("sampling.reason"), flags != 0 ? "head" : "error");
    exported.clear();
  }
}

TEST_F(RunnerOnBus, WhatMattersOfAChattyChildArrivesAndTheRestIsCounted) {
  const auto dropped = [](std::string_view signal) -> std::int64_t {
    const telemetry::MetricSnapshot now = telemetry::snapshot();
    for (const auto& family : now.families)
      if (family.spec->name == "stella_telemetry_dropped")
        for (const auto& point : family.points)
          if (!point.overflow && (*point.labels)[0] == signal && (*point.labels)[1] == "queue_full") return point.whole;
    return 0;
  };
  const auto logs = dropped("logs"), spans = dropped("spans");
  start();
  const auto pointer = until_result(send("selftest.chatter", json::Value::object())).back().second;
  const auto result = json::parse(testing::slurp(dir_ + "/out/result.json")).value();
  EXPECT_EQ(result.str("status"), "finished") << json::dump(pointer);
  const auto& lines = result.items("logs");
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](const auto& l) { return l.str("message") == "it matters"; }), 1);
  const auto& all = result.items("spans");
  const auto named = [&](std::string_view name) { return std::count_if(all.begin(), all.end(), [&](const auto& s) { return s.str("name") == name; }); };
  EXPECT_EQ(named("selftest.outer"), 1);
  EXPECT_EQ(named("runner.execute"), 1);
  const auto kept = std::count_if(lines.begin(), lines.end(), [](const auto& l) { return l.str("message") == "again"; });
  EXPECT_EQ(dropped("logs") - logs, 2000 - kept);
  EXPECT_EQ(dropped("spans") - spans, 2000 - named("selftest.inner"));
  EXPECT_GT(kept, 500);
  EXPECT_LT(kept, 2000);
}

TEST_F(RunnerOnBus, WhatAChildReportedIsScrubbedForBothWays) {
  std::mutex mutex;
  telemetry::Records exported;
  options_.child_telemetry = [&](telemetry::Records records) {
    const std::lock_guard lock(mutex);
    exported = std::move(records);
  };
  start();
  const auto result = until_result(send("selftest.rogue", json::Value::object())).back().second;
  EXPECT_EQ(result.str("status"), "finished") << json::dump(result);
  EXPECT_EQ(json::dump(result).find("ann@"), std::string::npos) << json::dump(result);
  const auto& spans = result.items("spans");
  EXPECT_EQ(std::count_if(spans.begin(), spans.end(), [](const auto& s) { return s.str("name").starts_with("mail ["); }), 1) << json::dump(result);
  const auto& lines = result.items("logs");
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](const auto& l) { return l.str("message").starts_with("mail ["); }), 1);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(exported.spans.size(), 1u);
  for (const std::string& text : {exported.spans[0].name, exported.spans[0].attributes, exported.logs.at(0).line, exported.logs.at(0).service}) EXPECT_EQ(text.find("ann@"), text.npos) << text;
}

TEST_F(RunnerOnBus, HeartbeatsWhileWorking) {
  start();
  const auto id = send("selftest.sleep", json::Value::object(), "", 1);
  const auto messages = until_result(id);
  EXPECT_EQ(messages.back().second.str("cause"), "wall clock limit");
  const auto beats = std::count_if(messages.begin(), messages.end(), [](const auto& m) { return m.first == "stellaresults.heartbeat.acme"; });
  EXPECT_GE(beats, 2);
}

TEST_F(RunnerOnBus, LargeResultsLieInAFile) {
  start();
  const auto id = send("selftest.long_report", json::Value::object({{"bytes", 600'000}}));
  const auto pointer = until_result(id).back().second;
  EXPECT_EQ(pointer.str("status"), "failed");
  ASSERT_EQ(pointer.str("result_file"), "out/result.json");
  const auto whole = json::parse(testing::slurp(dir_ + "/out/result.json")).value();
  EXPECT_EQ(whole.str("job_id"), id);
  EXPECT_EQ(whole.find("error")->find("fields")->str("detail").size(), 600'000u);
}

TEST_F(RunnerOnBus, HostileJobsDoNotDisturbTheNext) {
  start();
  for (const auto* kind : {"selftest.crash", "selftest.allocate", "selftest.flood"}) {
    const auto id = send(kind, json::Value::object());
    EXPECT_EQ(until_result(id).back().second.str("status"), "failed") << kind;
  }
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "not json", {}, "", Deadline::after(seconds(5))));
  const auto id = send("selftest.copy", json::Value::object());
  EXPECT_EQ(until_result(id).back().second.str("status"), "finished");
}

TEST_F(RunnerOnBus, StoppingReportsWhatWasCutShort) {
  start();
  const auto id = send("selftest.sleep", json::Value::object());
  ASSERT_TRUE(wait_for_start());
  runner_->stop(milliseconds(0));
  const auto result = until_result(id).back().second;
  EXPECT_EQ(result.str("status"), "errored");
  EXPECT_EQ(result.str("cause"), "the runner is shutting down");
}

TEST_F(RunnerOnBus, ResultsSurviveARestartOfTheBus) {
  options_.heartbeat = seconds(5);
  start();
  const auto id = send("selftest.sleep", json::Value::object(), "", 2);
  ASSERT_TRUE(wait_for_start());
  server_.kill();
  server_.start();
  const auto up = Deadline::after(seconds(20));
  while (!owner_->connected() && !up.passed()) std::this_thread::yield();
  ASSERT_TRUE(results_->rebind());
  EXPECT_EQ(until_result(id).back().second.str("cause"), "wall clock limit");
}

}  // namespace
}  // namespace stella::runner
