// The server's interceptor: a span per call, and the look-up that finds it from a handler.
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <array>
#include <unordered_map>

#include "carrier.h"
#include "stella/base/sync.h"
#include "stella/telemetry/grpc.h"

namespace stella::telemetry::rpc {
namespace {

using ::grpc::experimental::InterceptionHookPoints;

// gRPC's context of a call has no place for data of ours: so the calls that are open, by the address of theirs.
class OpenCalls {
 public:
  void put(const void* call, const Context& context) {
    Part& part = part_of(call);
    const Lock lock(part.mutex);
    part.calls.insert_or_assign(call, context);
  }
  void drop(const void* call) {
    Part& part = part_of(call);
    const Lock lock(part.mutex);
    part.calls.erase(call);
  }
  void keep(const void* call, const TraceId& trace) {
    Part& part = part_of(call);
    const Lock lock(part.mutex);
    const auto it = part.calls.find(call);
    // The address may have become another call's.
    if (it != part.calls.end() && it->second.trace_id == trace) it->second.keep = true;
  }
  std::optional<Context> find(const void* call) {
    Part& part = part_of(call);
    const Lock lock(part.mutex);
    const auto it = part.calls.find(call);
    return it == part.calls.end() ? std::nullopt : std::optional<Context>(it->second);
  }

 private:
  struct Part {
    Mutex mutex;
    std::unordered_map<const void*, Context> calls STELLA_GUARDED_BY(mutex);
  };
  Part& part_of(const void* call) { return parts_[(reinterpret_cast<std::uintptr_t>(call) >> 6) % parts_.size()]; }
  std::array<Part, 16> parts_;
};

OpenCalls& open_calls() {
  static OpenCalls* calls = new OpenCalls;  // calls may end while the process does
  return *calls;
}

thread_local const void* t_call = nullptr;

class ServerInterceptor final : public ::grpc::experimental::Interceptor {
 public:
  ServerInterceptor(const ServerOptions& options, ::grpc::experimental::ServerRpcInfo* info) : options_(options), call_(info->server_context()), method_(info->method()) {}
  // Also where a call was cut off before it had a status.
  ~ServerInterceptor() override { end(); }

  void Intercept(::grpc::experimental::InterceptorBatchMethods* call) override {
    if (call->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) begin(*call);
    if (call->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) finish(*call);
    call->Proceed();
  }

 private:
  void begin(::grpc::experimental::InterceptorBatchMethods& call) {
    if (span_) return;
    const auto* metadata = call.GetRecvInitialMetadata();
    Extractor sent;
    if (metadata != nullptr) extract_from(*metadata, sent);
    const auto caller = options_.identify ? options_.identify(*call_) : std::nullopt;
    auto admission = admit(sent, caller && !caller->foreign);
    Context& context = admission.context;
    if (caller) {
      context.tenant_id = caller->tenant;
      context.actor = caller->actor;
    }
    context.request_id = RequestId::generate();
    span_.emplace(options_.span, SpanKind::kServer, context);
    set_method(*span_, method_);
    admission.mark(*span_);
    open_calls().put(call_, span_->context());
  }

  void finish(::grpc::experimental::InterceptorBatchMethods& call) {
    if (!span_) return;
    const ::grpc::Status status = call.GetSendStatus();
    set_status(*span_, status, true);
    const auto open = open_calls().find(call_);
    const bool asked = open && open->keep;
    if (asked) span_->keep();
    if (asked || is_server_fault(status.error_code())) {
      if (auto* trailing = call.GetSendTrailingMetadata()) trailing->emplace(kKeep, "1");
    }
    end();
  }

  void end() {
    if (!span_) return;
    open_calls().drop(call_);
    span_->end();
    span_.reset();
  }

  const ServerOptions& options_;  // of the factory, which outlives the server
  const ::grpc::ServerContextBase* call_;
  const std::string method_;
  std::optional<ManualSpan> span_;
};

class ServerFactory final : public ::grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ServerFactory(ServerOptions options) : options_(std::move(options)) {}
  ::grpc::experimental::Interceptor* CreateServerInterceptor(::grpc::experimental::ServerRpcInfo* info) override { return new ServerInterceptor(options_, info); }

 private:
  const ServerOptions options_;
};

}  // namespace

std::unique_ptr<::grpc::experimental::ServerInterceptorFactoryInterface> server_interceptor(ServerOptions options) { return std::make_unique<ServerFactory>(std::move(options)); }

const void* current_call() { return t_call; }

void keep_call(const void* call, const TraceId& trace) {
  if (call != nullptr) open_calls().keep(call, trace);
}

CallScope::CallScope(const ::grpc::ServerContextBase& call) : outer_(t_call) {
  auto context = open_calls().find(&call);
  if (!context) return;
  scope_.emplace(std::move(*context));
  t_call = call_ = &call;
}

CallScope::~CallScope() {
  if (call_ == nullptr) return;
  const Context& context = Context::current();
  if (context.keep) keep_call(call_, context.trace_id);
  t_call = outer_;
}

}  // namespace stella::telemetry::rpc
