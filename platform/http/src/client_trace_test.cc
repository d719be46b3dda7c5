// The client in a trace: its span, the headers that go out, and a callee that asks to keep the trace.
#include "client_trace.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/sampler.h"
#include "test_support.h"

namespace stella::http::testing {
namespace {

using telemetry::Span;
using telemetry::SpanRecord;

class MemoryRows final : public telemetry::RowSink {
 public:
  Result<void> write(std::span<const SpanRecord> spans, std::span<const telemetry::LogRecord>) override {
    const std::lock_guard lock(mutex_);
    spans_.insert(spans_.end(), spans.begin(), spans.end());
    return {};
  }
  std::vector<SpanRecord> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(spans_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<SpanRecord> spans_;
};

// A caller with the real backend, and a callee that is no part of its telemetry: it answers with the given status and Server-Timing, and
// tells which trace headers it got.
class ClientTrace : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-http-trace-XXXXXX";
    directory_ = ::mkdtemp(name);
    telemetry::BackendOptions options;
    options.log_path = directory_ + "/log";
    options.dir = directory_ + "/rings";
    options.row_sink = rows;
    options.crash_handler = false;
    options.latency_threshold = [](std::string_view) { return std::int64_t{-1}; };
    auto backend = telemetry::Backend::install(std::move(options));
    ASSERT_TRUE(backend) << backend.error().describe();
    backend_ = std::move(*backend);
    server = serve([this](Request& request) {
      auto response = Response();
      response.status = status;
      response.body = std::string(request.header("traceparent")) + "|" + std::string(request.header("tracestate"));
      if (!timing.empty()) response.header("Server-Timing", timing);
      return response;
    });
  }
  void TearDown() override {
    server.reset();
    backend_.reset();
    telemetry::set_sampling({});
    std::filesystem::remove_all(directory_);
  }
  // One call inside of a span; what the callee got.
  std::string call() {
    Span span("caller", telemetry::SpanKind::kServer);
    caller = telemetry::Context::current();
    ClientRequest request;
    request.url = url(*server, "/");
    request.foreign = foreign;
    const auto response = fetch(request);
    EXPECT_TRUE(response);
    return response ? response->body : "";
  }
  // "name:reason" of the spans that were kept.
  std::vector<std::string> kept() {
    EXPECT_TRUE(backend_->flush(Deadline::after(std::chrono::seconds(60))));
    std::vector<std::string> out;
    for (const SpanRecord& span : rows->take()) out.push_back(span.name + ":" + std::string(json::parse(span.attributes)->str("sampling.reason")));
    std::sort(out.begin(), out.end());
    return out;
  }

  std::shared_ptr<MemoryRows> rows = std::make_shared<MemoryRows>();
  std::unique_ptr<Server> server;
  int status = 200;
  std::string timing;
  bool foreign = false;
  telemetry::Context caller;

 private:
  std::string directory_;
  std::unique_ptr<telemetry::Backend> backend_;
};
using Kept = std::vector<std::string>;

TEST_F(ClientTrace, TheCalleeIsAChildOfTheClientsSpan) {
  telemetry::set_sampling_rate(1);
  const auto parent = telemetry::parse_traceparent(call().substr(0, 55));
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->trace_id, caller.trace_id);
  EXPECT_NE(parent->span_id, caller.span_id);
  ASSERT_TRUE(parent->flags & telemetry::TraceParent::kSampled);
  EXPECT_EQ(kept(), (Kept{"caller:head", "http.request:head"}));
}

TEST_F(ClientTrace, TheSamplingDecisionGoesOutWithIt) {
  telemetry::set_sampling_rate(0.5);
  int sampled = 0;
  for (int i = 0; i < 64; ++i) {
    const std::string got = call();
    const auto parent = telemetry::parse_traceparent(got.substr(0, 55));
    ASSERT_TRUE(parent) << got;
    const bool chosen = (parent->flags & telemetry::TraceParent::kSampled) != 0;
    EXPECT_EQ(got.substr(56), chosen ? "ot=th:8" : "");
    sampled += chosen ? 1 : 0;
  }
  EXPECT_GT(sampled, 8);
  EXPECT_LT(sampled, 56);
}

TEST_F(ClientTrace, AFailingCalleeMakesTheCallersTraceKept) {
  telemetry::set_sampling_rate(0);
  call();
  EXPECT_EQ(kept(), Kept{});  // nothing speaks for it
  timing = "trace;desc=\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\", total;dur=1.5, keep;desc=\"1\"";
  call();
  EXPECT_EQ(kept(), (Kept{"caller:incident", "http.request:incident"}));
  timing = "";
  status = 503;  // also where it says nothing
  call();
  EXPECT_EQ(kept(), (Kept{"caller:error", "http.request:error"}));
}

TEST_F(ClientTrace, SomebodyElseLearnsTheTraceAndDecidesNothing) {
  telemetry::set_sampling_rate(0);
  timing = "trace;desc=\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\", total;dur=1.5, keep;desc=\"1\"";
  foreign = true;
  EXPECT_TRUE(telemetry::parse_traceparent(call().substr(0, 55)));
  EXPECT_EQ(kept(), Kept{});
  telemetry::set_sampling_rate(0.999);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(call().substr(56), "");  // no tracestate
}

TEST_F(ClientTrace, WhereNobodyAnswersTheSpanFails) {
  telemetry::set_sampling_rate(0);
  ClientRequest request;
  request.url = url(*server, "/");
  server.reset();
  {
    Span span("caller");
    const auto response = fetch(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code(), contracts::errors::kUnavailable);
  }
  EXPECT_EQ(kept(), (Kept{"caller:error", "http.request:error"}));
}

TEST_F(ClientTrace, OutsideOfASpanAndWithATraceparentOfItsOwnItIsNoSpan) {
  ClientRequest request;
  request.url = url(*server, "/");
  EXPECT_EQ(fetch(request)->body, "|");
  Span span("caller");
  const std::string own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  request.headers = {{"TraceParent", own}};
  EXPECT_EQ(fetch(request)->body, own + "|");
  EXPECT_EQ(kept(), Kept{});
}

TEST(ServerTiming, AsksToKeepInEveryFormOfTheStandard) {
  for (const char* yes : {"keep;desc=\"1\"", "keep;desc=1", "keep ; desc = \"1\"", "a;dur=1,keep;desc=1", "keep;dur=2;DESC=1", "a;desc=\"x, y;\\\" z\", keep;desc=\"1\""}) EXPECT_TRUE(asks_to_keep(yes)) << yes;
  for (const char* no : {"", "keep", "keep;desc=\"0\"", "keep;desc", "Keep;desc=1", "keeper;desc=1", "a;desc=\"keep;desc=1\"", "a;desc=\", keep;desc=1", "keep;dur=1", ";desc=1", ",,,"}) EXPECT_FALSE(asks_to_keep(no)) << no;
}

}  // namespace
}  // namespace stella::http::testing
