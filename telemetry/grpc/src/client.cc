// The client's interceptor: a span per call, its context as metadata.
#include <grpcpp/support/client_interceptor.h>

#include "carrier.h"
#include "stella/telemetry/grpc.h"

namespace stella::telemetry::rpc {
namespace {

using ::grpc::experimental::InterceptionHookPoints;

class ClientInterceptor final : public ::grpc::experimental::Interceptor {
 public:
  ClientInterceptor(const ClientOptions& options, std::string_view method) : call_(current_call()), span_(options.span, SpanKind::kClient, Context::current()) { set_method(span_, method); }

  void Intercept(::grpc::experimental::InterceptorBatchMethods* call) override {
    if (call->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) inject_into(*call->GetSendInitialMetadata(), span_.context());
    if (call->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) finish(*call);
    call->Proceed();
  }

 private:
  void finish(::grpc::experimental::InterceptorBatchMethods& call) {
    const ::grpc::Status* status = call.GetRecvStatus();
    if (status != nullptr) set_status(span_, *status, false);
    if (const auto* trailing = call.GetRecvTrailingMetadata(); trailing != nullptr && trailing->count(kKeep) > 0) {
      span_.keep();
      keep_call(call_, span_.context().trace_id);  // this may be another thread than the handler's
    }
    span_.end();
  }

  const void* const call_;  // that this one is made for
  ManualSpan span_;
};

class ClientFactory final : public ::grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ClientFactory(ClientOptions options) : options_(options) {}
  ::grpc::experimental::Interceptor* CreateClientInterceptor(::grpc::experimental::ClientRpcInfo* info) override { return new ClientInterceptor(options_, info->method()); }

 private:
  const ClientOptions options_;
};

}  // namespace

std::unique_ptr<::grpc::experimental::ClientInterceptorFactoryInterface> client_interceptor(ClientOptions options) { return std::make_unique<ClientFactory>(options); }

}  // namespace stella::telemetry::rpc
