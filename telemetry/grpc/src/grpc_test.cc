// A real server with a generic service and a real channel to it, in this process.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "stella/base/json.h"
#include "stella/telemetry/grpc.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry::rpc {
namespace {

constexpr Logger kLog{"grpc_test"};

class Kept final : public Sink {
 public:
  void log(LogRecord&& record) noexcept override {
    const std::lock_guard lock(mutex_);
    logs.push_back(std::move(record));
  }
  void span(SpanRecord&& record) noexcept override {
    const std::lock_guard lock(mutex_);
    spans.push_back(std::move(record));
    more_.notify_all();
  }
  // The span of that name; waits for it: the server ends its own after the client has its answer.
  SpanRecord wait(const std::string& name) {
    std::unique_lock lock(mutex_);
    for (;;) {
      for (const SpanRecord& s : spans)
        if (s.name == name) return s;
      if (more_.wait_for(lock, std::chrono::seconds(20)) == std::cv_status::timeout) return {};
    }
  }
  std::vector<SpanRecord> spans;
  std::vector<LogRecord> logs;

 private:
  std::mutex mutex_;
  std::condition_variable more_;
};

std::multimap<std::string, std::string> metadata_of(const ::grpc::ServerContextBase& call) {
  std::multimap<std::string, std::string> out;
  for (const auto& [name, value] : call.client_metadata()) out.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  return out;
}

// Answers every method with its request; "/test.Echo/Fail" with INTERNAL, "/test.Echo/Refuse" with INVALID_ARGUMENT; "/test.Echo/Relay" after
// `relay`.
class Echo final : public ::grpc::CallbackGenericService {
 public:
  std::multimap<std::string, std::string> seen;
  Context ambient;
  std::function<void()> relay;

  ::grpc::ServerGenericBidiReactor* CreateReactor(::grpc::GenericCallbackServerContext* call) override {
    const CallScope scope(*call);
    if (call->method().ends_with("Relay")) relay();
    const std::lock_guard lock(mutex_);
    seen = metadata_of(*call);
    ambient = Context::current();
    kLog.info("call handled");
    struct Reactor final : ::grpc::ServerGenericBidiReactor {
      explicit Reactor(std::string method) : method(std::move(method)) { StartRead(&buffer); }
      void OnReadDone(bool ok) override {
        if (method.ends_with("Fail")) return Finish({::grpc::StatusCode::INTERNAL, "it broke"});
        if (method.ends_with("Refuse")) return Finish({::grpc::StatusCode::INVALID_ARGUMENT, "no"});
        if (!ok) return Finish(::grpc::Status::OK);
        StartWriteAndFinish(&buffer, {}, ::grpc::Status::OK);
      }
      void OnDone() override { delete this; }
      std::string method;
      ::grpc::ByteBuffer buffer;
    };
    return new Reactor(call->method());
  }

 private:
  std::mutex mutex_;
};

template <class T>
std::vector<std::unique_ptr<T>> one(std::unique_ptr<T> item) {
  std::vector<std::unique_ptr<T>> out;
  out.push_back(std::move(item));
  return out;
}

class Grpc : public ::testing::Test {
 protected:
  std::shared_ptr<Kept> kept = std::make_shared<Kept>();
  std::shared_ptr<Sink> before;
  Echo echo;
  std::unique_ptr<::grpc::Server> server;
  std::optional<Caller> known;

  void SetUp() override {
    before = install_sink(kept);
    ::grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&echo);
    builder.experimental().SetInterceptorCreators(one(server_interceptor({.identify = [this](const ::grpc::ServerContextBase&) { return known; }})));
    server = builder.BuildAndStart();
  }
  void TearDown() override {
    server->Shutdown();
    install_sink(before);
  }

  struct Answer {
    ::grpc::Status status;
    bool keep = false;
  };
  Answer call(const std::string& method, bool intercepted = true, const std::multimap<std::string, std::string>& metadata = {}) {
    auto channel = intercepted ? server->experimental().InProcessChannelWithInterceptors({}, one(client_interceptor())) : server->InProcessChannel({});
    ::grpc::GenericStub stub(channel);
    ::grpc::ClientContext context;
    for (const auto& [name, value] : metadata) context.AddMetadata(name, value);
    ::grpc::ByteBuffer request, response;
    const ::grpc::Slice slice("hello");
    request = ::grpc::ByteBuffer(&slice, 1);
    std::mutex mutex;
    std::condition_variable ended;
    std::optional<::grpc::Status> status;
    stub.UnaryCall(&context, method, {}, &request, &response, [&](::grpc::Status s) {
      const std::lock_guard lock(mutex);
      status = std::move(s);
      ended.notify_all();
    });
    std::unique_lock lock(mutex);
    ended.wait(lock, [&] { return status.has_value(); });
    return {*status, context.GetServerTrailingMetadata().count("stella-keep") > 0};
  }
};

json::Value attributes(const SpanRecord& span) { return *json::parse(span.attributes); }

TEST_F(Grpc, AKnownCallersTraceIsContinued) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  TraceId trace;
  {
    const ContextScope scope(Context::continue_from({*parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "vendor=value"}));
    const Span root("test.root");
    trace = Context::current().trace_id;
    EXPECT_TRUE(call("/test.Echo/Say").status.ok());
  }
  const SpanRecord server_span = kept->wait("rpc.server"), client_span = kept->wait("rpc.client"), root = kept->wait("test.root");
  EXPECT_EQ(server_span.trace_id, trace.hex());
  EXPECT_EQ(client_span.trace_id, trace.hex());
  EXPECT_EQ(client_span.parent_span_id, root.span_id);
  EXPECT_EQ(server_span.parent_span_id, client_span.span_id);
  EXPECT_EQ(client_span.kind, "client");
  EXPECT_EQ(server_span.kind, "server");
  EXPECT_EQ(server_span.tenant_id, "acme");
  EXPECT_EQ(attributes(server_span).str("rpc.service"), "test.Echo");
  EXPECT_EQ(attributes(server_span).str("rpc.method"), "Say");
  EXPECT_EQ(attributes(client_span).integer("rpc.grpc.status_code", -1), 0);
  EXPECT_EQ(echo.seen.count("traceparent"), 1u);
  ASSERT_EQ(echo.seen.count("tracestate"), 1u);
  EXPECT_NE(echo.seen.find("tracestate")->second.find("vendor=value"), std::string::npos);
  // The handler's context is the call's: its lines stand in the trace.
  EXPECT_EQ(echo.ambient.trace_id, trace);
  ASSERT_EQ(kept->logs.size(), 1u);
  EXPECT_EQ(kept->logs[0].trace_id, trace.hex());
  EXPECT_EQ(kept->logs[0].span_id, server_span.span_id);
}

TEST_F(Grpc, AStrangersTraceIsLinked) {
  const std::string foreign = "4bf92f3577b34da6a3ce929d0e0e4736";
  EXPECT_TRUE(call("/test.Echo/Say", false, {{"traceparent", "00-" + foreign + "-00f067aa0ba902b7-01"}, {"tracestate", "a=1"}}).status.ok());
  const SpanRecord span = kept->wait("rpc.server");
  EXPECT_NE(span.trace_id, foreign);
  EXPECT_EQ(span.parent_span_id, "");
  EXPECT_NE(span.links.find(foreign), std::string::npos) << span.links;
  EXPECT_EQ(attributes(span).str("linked_trace_id"), foreign);
  EXPECT_EQ(std::string(echo.ambient.tracestate).find("a=1"), std::string::npos);
}

TEST_F(Grpc, WhoAsksForAnotherTenantsIsAStrangerThere) {
  known = Caller{*TenantId::parse("beta"), "service:2", true};
  const std::string foreign = "4bf92f3577b34da6a3ce929d0e0e4736";
  EXPECT_TRUE(call("/test.Echo/Say", false, {{"traceparent", "00-" + foreign + "-00f067aa0ba902b7-00"}}).status.ok());
  const SpanRecord span = kept->wait("rpc.server");
  EXPECT_NE(span.trace_id, foreign);
  EXPECT_EQ(attributes(span).str("linked_trace_id"), foreign);
  EXPECT_NE(span.links.find(foreign), std::string::npos) << span.links;
  EXPECT_EQ(span.tenant_id, "beta");  // who asked is known all the same
}

// Baggage in, and out again with a call that the handler's context makes.
TEST_F(Grpc, AllowedBaggageOfTheSameTenantGoesOn) {
  ASSERT_TRUE(allow_baggage(std::vector<std::string>{"case"}).has_value());
  const std::multimap<std::string, std::string> sent{{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {"baggage", "user=ann, case = 7"}};
  known = Caller{*TenantId::parse("acme"), "service:1"};
  EXPECT_TRUE(call("/test.Echo/Say", false, sent).status.ok());
  EXPECT_EQ(echo.ambient.baggage, "case=7");
  {
    const ContextScope scope(echo.ambient);
    // What the application put there is not doubled.
    EXPECT_TRUE(call("/test.Echo/Say", true, {{"baggage", "user=ann"}}).status.ok());
  }
  ASSERT_EQ(echo.seen.count("baggage"), 1u);
  EXPECT_EQ(echo.seen.find("baggage")->second, "case=7");
  known = std::nullopt;
  EXPECT_TRUE(call("/test.Echo/Say", false, sent).status.ok());
  EXPECT_EQ(echo.ambient.baggage, "");
  ASSERT_TRUE(allow_baggage({}).has_value());
}

TEST_F(Grpc, TwoTraceparentsAreNone) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  const std::string one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", other = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_TRUE(call("/test.Echo/Say", false, {{"traceparent", one}, {"traceparent", other}}).status.ok());
  const SpanRecord span = kept->wait("rpc.server");
  EXPECT_EQ(span.parent_span_id, "");
  EXPECT_EQ(span.links, "[]");
  EXPECT_EQ(attributes(span).find("linked_trace_id"), nullptr);
}

TEST_F(Grpc, AFailingCalleeAsksToKeepTheTrace) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  const Answer answer = call("/test.Echo/Fail");
  EXPECT_EQ(answer.status.error_code(), ::grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(answer.keep);
  const SpanRecord server_span = kept->wait("rpc.server"), client_span = kept->wait("rpc.client");
  EXPECT_EQ(server_span.status, "error");
  EXPECT_EQ(client_span.status, "error");
  EXPECT_EQ(attributes(server_span).integer("rpc.grpc.status_code"), 13);
  EXPECT_EQ(attributes(client_span).integer("rpc.grpc.status_code"), 13);
}

TEST_F(Grpc, AFailureTwoCallsAwayIsKeptByAllThree) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  echo.relay = [this] { EXPECT_FALSE(call("/test.Echo/Fail").status.ok()); };
  const Answer answer = call("/test.Echo/Relay");
  EXPECT_TRUE(answer.status.ok());
  EXPECT_TRUE(answer.keep);
  echo.relay = [this] { EXPECT_TRUE(call("/test.Echo/Say").status.ok()); };
  EXPECT_FALSE(call("/test.Echo/Relay").keep);
}

TEST_F(Grpc, ACalleeReachedByOtherMeansAsksToo) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  echo.relay = [] { Span("test.callee").keep(); };  // as the HTTP client does
  EXPECT_TRUE(call("/test.Echo/Relay").keep);
}

TEST_F(Grpc, TheCallersMistakeIsNotTheServersFailure) {
  const Answer answer = call("/test.Echo/Refuse");
  EXPECT_FALSE(answer.keep);
  const SpanRecord server_span = kept->wait("rpc.server"), client_span = kept->wait("rpc.client");
  EXPECT_EQ(server_span.status, "unset");
  EXPECT_EQ(attributes(server_span).str("error.type"), "invalid");
  EXPECT_EQ(client_span.status, "error");
}

TEST_F(Grpc, ManyCallsAtOnceEachHaveTheirOwn) {
  known = Caller{*TenantId::parse("acme"), "service:1"};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([this] {
      for (int i = 0; i < 25; ++i) EXPECT_TRUE(call("/test.Echo/Say").status.ok());
    });
  for (auto& t : threads) t.join();
  server->Shutdown();
  std::map<std::string, std::string> clients;
  int servers = 0;
  for (const SpanRecord& s : kept->spans)
    if (s.name == "rpc.client") clients.emplace(s.span_id, s.trace_id);
  for (const SpanRecord& s : kept->spans) {
    if (s.name != "rpc.server") continue;
    ++servers;
    ASSERT_TRUE(clients.contains(s.parent_span_id));
    EXPECT_EQ(clients[s.parent_span_id], s.trace_id);
  }
  EXPECT_EQ(servers, 100);
}

}  // namespace
}  // namespace stella::telemetry::rpc
