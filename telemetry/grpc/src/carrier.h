// What both interceptors share: metadata in and out, attributes of a call.
#pragma once

#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <map>
#include <string>
#include <string_view>

#include "stella/telemetry/propagation.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry::rpc {

// Trailing metadata of a call that failed, or whose own callee did: its callers keep the trace, too.
inline constexpr const char* kKeep = "stella-keep";

// The metadata must outlive `out`.
void extract_from(const std::multimap<::grpc::string_ref, ::grpc::string_ref>& metadata, Extractor& out);
// Replaces what is there: a context is the innermost span's or nobody's.
void inject_into(std::multimap<std::string, std::string>& metadata, const Context& context);

// "/package.Service/Method" as attributes.
void set_method(ManualSpan& span, std::string_view full_method);
// Codes and the span's status after the semantic conventions: a server's span fails where the server is at fault, a client's at any failure.
void set_status(ManualSpan& span, const ::grpc::Status& status, bool server);
bool is_server_fault(::grpc::StatusCode code);

// The open call whose handler runs on this thread (CallScope); nullptr where none does.
const void* current_call();
// A callee of this call asked to keep its trace. Without effect where the call has ended. Thread-safe.
void keep_call(const void* call, const TraceId& trace);

}  // namespace stella::telemetry::rpc
