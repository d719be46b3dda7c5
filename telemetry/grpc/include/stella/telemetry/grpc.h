// Interceptors that give every gRPC call its span and carry the trace context in its metadata (W3C names: traceparent, tracestate, baggage).
//
//   builder.experimental().SetInterceptorCreators(one(rpc::server_interceptor({.identify = who})));
//   auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(address, credentials, {}, one(rpc::client_interceptor()));
//
// Names of spans are literals: `rpc.server` and `rpc.client` unless the application gives its own; service, method and status are attributes.
// Thread-safe; each call costs one span and one locked look-up.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "stella/telemetry/context.h"
#include "stella/telemetry/span.h"

namespace grpc {
class ServerContextBase;
namespace experimental {
class ClientInterceptorFactoryInterface;
class ServerInterceptorFactoryInterface;
}  // namespace experimental
}  // namespace grpc

namespace stella::telemetry::rpc {

// Who calls, as far as telemetry cares.
struct Caller {
  TenantId tenant;
  std::string actor;  // opaque id
  bool foreign = false;  // it is known, but asks for what is another tenant's: its trace is linked, not continued
};

struct ServerOptions {
  // The authenticated caller of a call, from its metadata or its peer; nullopt: nobody we know, whose trace is linked and not continued (admit).
  // Called once per call when its metadata have arrived, on a thread of gRPC: must not block.
  std::function<std::optional<Caller>(const ::grpc::ServerContextBase& call)> identify;
  SpanName span = "rpc.server";
};
std::unique_ptr<::grpc::experimental::ServerInterceptorFactoryInterface> server_interceptor(ServerOptions options = {});

struct ClientOptions {
  SpanName span = "rpc.client";
};
// The span is a child of what is ambient where the call is started. Calls without a span around them begin a trace of their own.
std::unique_ptr<::grpc::experimental::ClientInterceptorFactoryInterface> client_interceptor(ClientOptions options = {});

// In a handler: makes the call's context (its span, the caller's tenant) ambient on this thread until the end of the scope. Without the
// interceptor the thread's own context stays. Where a callee of the handler asked to keep the trace, by gRPC or by HTTP, the caller is asked,
// too.
class CallScope {
 public:
  explicit CallScope(const ::grpc::ServerContextBase& call);
  ~CallScope();
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

 private:
  const void* outer_;
  const void* call_ = nullptr;
  std::optional<ContextScope> scope_;
};

}  // namespace stella::telemetry::rpc
