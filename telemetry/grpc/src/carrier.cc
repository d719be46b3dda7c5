// Metadata in and out, attributes of a call.
#include "carrier.h"

#include "stella/contracts/errors.h"

namespace stella::telemetry::rpc {
namespace {

constexpr std::string_view kNames[] = {"traceparent", "tracestate", "baggage"};

std::string_view view(::grpc::string_ref text) { return {text.data(), text.size()}; }

ErrorCode code_of(::grpc::StatusCode code) {
  namespace errors = contracts::errors;
  switch (code) {
    case ::grpc::StatusCode::UNAUTHENTICATED: return errors::kUnauthenticated;
    case ::grpc::StatusCode::PERMISSION_DENIED: return errors::kForbidden;
    case ::grpc::StatusCode::NOT_FOUND: return base_errors::kNotFound;
    case ::grpc::StatusCode::INVALID_ARGUMENT: return base_errors::kInvalid;
    case ::grpc::StatusCode::DEADLINE_EXCEEDED: return errors::kTimeout;
    case ::grpc::StatusCode::CANCELLED: return errors::kCancelled;
    case ::grpc::StatusCode::RESOURCE_EXHAUSTED: return errors::kRateLimited;
    case ::grpc::StatusCode::UNAVAILABLE: return errors::kUnavailable;
    default: return base_errors::kInternal;
  }
}

}  // namespace

void extract_from(const std::multimap<::grpc::string_ref, ::grpc::string_ref>& metadata, Extractor& out) {
  for (const auto& [name, value] : metadata) out.header(view(name), view(value));
}

void inject_into(std::multimap<std::string, std::string>& metadata, const Context& context) {
  for (const std::string_view name : kNames) metadata.erase(std::string(name));
  inject(context, [&metadata](std::string_view name, std::string_view value) { metadata.emplace(name, value); });
}

void set_method(ManualSpan& span, std::string_view full_method) {
  span.set(f::rpc_system("grpc"));
  if (full_method.starts_with('/')) full_method.remove_prefix(1);
  const std::size_t slash = full_method.rfind('/');
  if (slash == std::string_view::npos) return span.set(f::rpc_method(full_method));
  span.set(f::rpc_service(full_method.substr(0, slash)));
  span.set(f::rpc_method(full_method.substr(slash + 1)));
}

bool is_server_fault(::grpc::StatusCode code) {
  switch (code) {
    case ::grpc::StatusCode::UNKNOWN:
    case ::grpc::StatusCode::DEADLINE_EXCEEDED:
    case ::grpc::StatusCode::UNIMPLEMENTED:
    case ::grpc::StatusCode::INTERNAL:
    case ::grpc::StatusCode::UNAVAILABLE:
    case ::grpc::StatusCode::DATA_LOSS: return true;
    default: return false;
  }
}

void set_status(ManualSpan& span, const ::grpc::Status& status, bool server) {
  span.set(f::rpc_status(static_cast<std::int64_t>(status.error_code())));
  if (status.ok()) return span.ok();
  // The message may come from anywhere: what it says is the log's business, scrubbed there.
  const Error error(code_of(status.error_code()), "the call ended with an error");
  span.set(f::error_type(contracts::error_info(error.code()).wire));
  if (!server || is_server_fault(status.error_code())) span.fail(error);
}

}  // namespace stella::telemetry::rpc
