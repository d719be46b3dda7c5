// What an OTLP receiver answers (opentelemetry-proto 1.11): ExportTrace/Metrics/LogsServiceResponse, which are one message with three
// names, and google.rpc.Status, the body of a refused OTLP/HTTP request and the `grpc-status-details-bin` of a gRPC one.
// Pure functions. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/telemetry/signal.h"

namespace stella::telemetry {

// Full success: rejected 0 and no message (then partial_success is not set). A warning: rejected 0 and a message. The client must not
// send again what was rejected.
struct ExportResponse {
  std::int64_t rejected = 0;  // spans, data points or log records
  std::string error_message;
};
std::string encode_response(const ExportResponse& response);
// For OTLP/JSON, whose member names differ by signal.
std::string encode_response_json(Signal signal, const ExportResponse& response);
// kMalformed where the bytes are no such message; unknown fields are skipped; a negative count becomes 0. Messages are cut at 4 KiB.
Result<ExportResponse> decode_response(std::string_view bytes);
Result<ExportResponse> decode_response_json(Signal signal, std::string_view text);

struct RpcStatus {
  std::int32_t code = 0;  // google.rpc.Code
  std::string message;
  std::optional<std::chrono::nanoseconds> retry_delay;  // google.rpc.RetryInfo; never negative, at most a day
};
std::string encode_status(const RpcStatus& status);
std::string encode_status_json(const RpcStatus& status);
// kMalformed where the bytes are no Status; details of other types are skipped.
Result<RpcStatus> decode_status(std::string_view bytes);
Result<RpcStatus> decode_status_json(std::string_view text);

}  // namespace stella::telemetry
