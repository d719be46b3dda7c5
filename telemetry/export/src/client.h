// One attempt to deliver one request, and what its answer means for the batch (OTLP 1.11: which codes may be retried, throttling).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

struct Answer {
  enum class Kind : std::uint8_t { kTaken, kRetry, kRefused };
  Kind kind = Kind::kRetry;
  std::uint64_t rejected = 0;                           // kTaken: items of a partial success
  std::optional<std::chrono::milliseconds> retry_after;  // kRetry: what the target asks for
  std::string why;                                       // for people: a status, never content
  // kRetry: the target had the request and failed over it, which may be because of this batch alone. Not where it asks all to slow down.
  bool about_batch = false;
};

// Not thread-safe: one thread has it.
class Client {
 public:
  virtual ~Client() = default;
  // Gives up within a moment once `stop` is set (kRetry).
  virtual Answer send(std::string_view payload, const std::atomic<bool>& stop) = 0;
};

// kInvalid where endpoint or certificate files cannot be used.
struct TlsFiles {
  std::string ca, cert, key;  // PEM; "" where none is named
};
// kInvalid where a file cannot be read or is no PEM: a target that no attempt can reach is found at the start.
Result<TlsFiles> read_tls_files(const TargetOptions& target);

// What either wire carries unharmed: printable ASCII. A value of something else ends a header early, or the process (grpc++ aborts over it).
bool is_header_value(std::string_view value);

Result<std::unique_ptr<Client>> make_http_client(const ExporterOptions& options, Signal signal, std::function<std::int64_t()> unix_seconds);
// kInvalid also where a header is none that gRPC carries (names of [0-9a-z_.-], values of printable ASCII).
Result<std::unique_ptr<Client>> make_grpc_client(const ExporterOptions& options, Signal signal);

// `body` is an ExportResponse after success, a google.rpc.Status else. `renewable`: the credentials are a token that is renewed, so 401 and
// 403 pass.
Answer judge_http(long status, std::string_view retry_after, std::string_view content_type, std::string_view body, bool renewable, std::int64_t now_seconds);
Answer judge_grpc(int code, std::string_view response, std::string_view status_details, bool renewable);

}  // namespace stella::telemetry
