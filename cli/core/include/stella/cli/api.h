// Calls to the server: trace context, token, retries, idempotency, problem documents. One object per command, one thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/platform/http_client.h"

namespace stella::cli {

using Query = std::vector<std::pair<std::string, std::string>>;

struct Call {
  std::string method = "GET";
  std::string path;  // "/sboms"
  Query query = {};
  std::string body = {};
  std::string body_path = {};
  std::string content_type = {};
  std::string content_encoding = {};
  std::string save_to = {};
  std::chrono::milliseconds timeout{60'000};
  std::function<void(std::uint64_t, std::uint64_t)> on_upload = {};
  std::function<bool(std::string_view)> on_body = {};  // http::ClientRequest
};

struct ApiOptions {
  std::string url;
  std::string token;   // "" for public routes
  std::string tenant;  // X-Stella-Tenant; "" leaves it to the token
  std::string ca_file;
  TraceId trace;
  std::chrono::milliseconds retry_budget{30'000};
  std::function<void(std::string_view)> on_retry;                // told before each pause
  std::function<void(std::chrono::milliseconds)> sleep;          // null: really sleep
};

class Api {
 public:
  explicit Api(ApiOptions options) : options_(std::move(options)) {}

  // Any answer below 400; else the problem as an Error. 503, 429 and no answer are tried again within the budget (POSTs carry one
  // Idempotency-Key for all tries, so a try that did arrive is not done twice).
  Result<http::ClientResponse> send(const Call& call);
  // The answer's body as JSON.
  Result<json::Value> json(const Call& call);
  Result<json::Value> get(std::string path, Query query = {});
  Result<json::Value> post(std::string path, const json::Value& body, Query query = {});
  // Items of a list, page after page, at most `limit` (0: all). {"items":[…],"next_cursor":…}
  Result<json::Value> list(std::string path, Query query, int limit);
  // The part that /readyz says is away; "" where all is well or nobody answers.
  std::string part_down() const;
  // GETs `path` until `done`, up to `patience`; returns the last row. Errors that `pending` accepts count as not yet. Gives up with
  // kUnavailable and `part` where one has been away for 20 s.
  Result<json::Value> poll(const std::string& path, Query query, std::chrono::milliseconds patience, const std::function<bool(const json::Value&)>& done,
                           const std::function<bool(const Error&)>& pending = {});

  const ApiOptions& options() const { return options_; }

 private:
  Result<http::ClientResponse> try_once(const Call& call, const std::string& idempotency_key, bool& again, std::string& retry_after);
  void pause(std::chrono::milliseconds time) const;
  ApiOptions options_;
};

// Pause before the next try: Retry-After where the server gave one (seconds), else growing from 200 ms to 4 s. nullopt: the budget is spent.
std::optional<std::chrono::milliseconds> retry_pause(int tries, std::string_view retry_after, std::chrono::milliseconds spent, std::chrono::milliseconds budget);
// An id as one path segment; "@" and ":" stay readable.
std::string path_segment(std::string_view text);

}  // namespace stella::cli
