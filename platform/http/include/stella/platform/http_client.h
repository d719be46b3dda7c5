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
  std::string save_to;                             // writes the response body to this file (durable on success) instead of memory
  std::uint64_t max_response_bytes = 64u << 20;    // kLimit beyond
  std::chrono::milliseconds connect_timeout{3000};
  std::chrono::milliseconds timeout{60000};
  std::function<void(std::uint64_t sent, std::uint64_t total)> on_upload;
};

struct ClientResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names lower case
  std::string body;
  std::string_view header(std::string_view lower_name) const;
};

// kUnavailable with part=<host:port> where nothing answers; any HTTP status is a response.
Result<ClientResponse> fetch(const ClientRequest& request);

}  // namespace stella::http
