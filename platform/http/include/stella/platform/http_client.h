// HTTP client on libcurl. One easy handle per thread, connection reuse. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"

namespace stella::http {

struct ClientRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string body_path;                           // sends this file instead of `body`
  std::string save_to;                             // writes the body of a 2xx answer to this file (whole and durable, or not at all) instead of memory
  std::uint64_t max_response_bytes = 64u << 20;    // kLimit beyond; applies to save_to, too
  std::chrono::milliseconds connect_timeout{3000};
  std::chrono::milliseconds timeout{60000};        // for the whole exchange
  int max_redirects = 0;                           // followed for GET and HEAD only, http and https only
  std::string ca_file;                             // PEM; "" is the system's trust store
  bool foreign = false;                            // somebody else's service: it learns the trace's id and nothing that callers said, and does not decide what we keep
  std::function<void(std::uint64_t sent, std::uint64_t total)> on_upload;
  // Gets the body of a 2xx answer piece by piece as it arrives, of any length; false ends the exchange, which counts as its proper end. It
  // must not fetch itself. For event streams: with timeout 0 it may last, but kUnavailable where nothing came for a minute.
  std::function<bool(std::string_view bytes)> on_body = {};
};

struct ClientResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names lower case
  std::string body;
  std::string_view header(std::string_view lower_name) const;
};

// Any HTTP status is a response. kUnavailable with part=<host:port> and cause where nothing answers, the answer breaks off or the timeout
// passes; kLimit for an answer over max_response_bytes; kInvalid for a URL or method that cannot be sent; kIo for the local files.
// The URL never stands in an error: it may hold a signature.
// Inside of a span it is a client span of its own, `http.request`, whose context goes out with the request (W3C Trace Context, telemetry/propagation.h)
// unless the request brings a traceparent; a callee that failed says so in Server-Timing, and the caller's trace is kept.
Result<ClientResponse> fetch(const ClientRequest& request);

}  // namespace stella::http
