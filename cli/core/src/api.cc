// Calls to the server.
#include "stella/cli/api.h"

#include <algorithm>
#include <charconv>
#include <thread>

#include "stella/base/encoding.h"
#include "stella/base/limits.h"
#include "stella/base/time.h"
#include "stella/cli/errors.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/context.h"

namespace stella::cli {
namespace {

namespace errors = contracts::errors;

std::string target(const ApiOptions& options, const Call& call) {
  std::string url = options.url + call.path;
  char separator = '?';
  for (const auto& [name, value] : call.query) {
    url.append(1, separator).append(percent_encode(name)).append("=").append(percent_encode(value));
    separator = '&';
  }
  return url;
}

std::uint64_t response_limit(const Call& call) { return call.save_to.empty() ? 256u << 20 : limits::kBundleBytes; }

}  // namespace

std::string path_segment(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '@' || c == ':' ? std::string(1, c) : percent_encode(std::string_view(&c, 1));
  return out;
}

std::optional<std::chrono::milliseconds> retry_pause(int tries, std::string_view retry_after, std::chrono::milliseconds spent, std::chrono::milliseconds budget) {
  using std::chrono::milliseconds;
  milliseconds pause = std::min(milliseconds(200) * (1 << std::min(tries, 10)), milliseconds(4000));
  int seconds = 0;
  const auto parsed = std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
  if (!retry_after.empty() && parsed.ec == std::errc() && parsed.ptr == retry_after.data() + retry_after.size() && seconds >= 0) pause = std::chrono::seconds(seconds);
  if (spent + pause > budget) return std::nullopt;
  return pause;
}

void Api::pause(std::chrono::milliseconds time) const {
  if (options_.sleep) options_.sleep(time);
  else std::this_thread::sleep_for(time);
}

Result<http::ClientResponse> Api::try_once(const Call& call, const std::string& idempotency_key, bool& again, std::string& retry_after) {
  http::ClientRequest request;
  request.method = call.method;
  request.url = target(options_, call);
  request.body = call.body;
  request.body_path = call.body_path;
  request.save_to = call.save_to;
  request.max_response_bytes = response_limit(call);
  request.timeout = call.timeout;
  request.ca_file = options_.ca_file;
  request.on_upload = call.on_upload;
  request.on_body = call.on_body;
  request.headers = {{"traceparent", telemetry::format_traceparent({options_.trace, SpanId::generate()})}, {"accept", "application/json"}};
  if (!options_.token.empty()) request.headers.emplace_back("authorization", "Bearer " + options_.token);
  if (!options_.tenant.empty()) request.headers.emplace_back("x-stella-tenant", options_.tenant);
  if (!call.content_type.empty()) request.headers.emplace_back("content-type", call.content_type);
  if (!call.content_encoding.empty()) request.headers.emplace_back("content-encoding", call.content_encoding);
  if (!idempotency_key.empty()) request.headers.emplace_back("idempotency-key", idempotency_key);
  auto response = http::fetch(request);
  if (!response) {
    again = response.error().code() == errors::kUnavailable;
    if (again) response.error().add("remedy", "Is " + options_.url + " the right server? `stella status` says what runs on this machine, `stella up --detach` starts it.");
    return response;
  }
  again = response->status == 503 || response->status == 429 || response->status == 502 || response->status == 504;
  retry_after = std::string(response->header("retry-after"));
  again = again || (response->status == 409 && !retry_after.empty());  // the try before is still being answered
  if (response->status >= 400) return problem_error(response->status, response->body);
  return response;
}

Result<http::ClientResponse> Api::send(const Call& call) {
  // One key for all tries of one call: what a lost answer had done is not done again.
  const std::string key = call.method == "POST" && !options_.token.empty() ? "cli-" + Uuid::v7().str() : "";
  const auto begun = std::chrono::steady_clock::now();
  for (int tries = 0;; ++tries) {
    bool again = false;
    std::string retry_after;
    auto response = try_once(call, key, again, retry_after);
    if (response || !again) return response;
    const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
    const auto wait = retry_pause(tries, retry_after, spent, options_.retry_budget);
    if (!wait) return response;
    if (options_.on_retry) options_.on_retry(response.error().field("part").empty() ? std::string_view("the server") : response.error().field("part"));
    pause(*wait);
  }
}

Result<json::Value> Api::json(const Call& call) {
  const auto response = STELLA_TRY(send(call));
  auto value = json::parse(response.body, {.max_bytes = 256u << 20, .max_depth = 64});
  if (!value) return Error(base_errors::kInternal, "the answer is no JSON: is this a stella server?").with("cause", "HTTP " + std::to_string(response.status) + " from " + options_.url);
  return value;
}

Result<json::Value> Api::get(std::string path, Query query) { return json({.path = std::move(path), .query = std::move(query)}); }

Result<json::Value> Api::post(std::string path, const json::Value& body, Query query) {
  return json({.method = "POST", .path = std::move(path), .query = std::move(query), .body = json::dump(body), .content_type = "application/json"});
}

Result<json::Value> Api::list(std::string path, Query query, int limit) {
  json::Array items;
  json::Value next, searched_from;
  std::string cursor;
  for (;;) {
    const int left = limit == 0 ? 500 : std::min(500, limit - static_cast<int>(items.size()));
    Query page = query;
    page.emplace_back("limit", std::to_string(left));
    if (!cursor.empty()) page.emplace_back("cursor", cursor);
    const json::Value got = STELLA_TRY(get(path, std::move(page)));
    for (const json::Value& item : got.items("items")) items.push_back(item);
    if (const json::Value* from = got.find("searched_from"); from != nullptr) searched_from = *from;
    cursor = std::string(got.str("next_cursor"));
    if (cursor.empty()) break;
    if (limit != 0 && static_cast<int>(items.size()) >= limit) {
      next = cursor;
      break;
    }
  }
  json::Value whole = json::Value::object({{"items", std::move(items)}, {"next_cursor", std::move(next)}});
  if (!searched_from.is_null()) whole.set("searched_from", std::move(searched_from));
  return whole;
}

std::string Api::part_down() const {
  http::ClientRequest request;
  request.url = options_.url + "/readyz";
  request.ca_file = options_.ca_file;
  request.timeout = std::chrono::seconds(5);
  const auto response = http::fetch(request);
  if (!response || response->status != 503) return "";
  const auto body = json::parse(response->body);
  const json::Value* parts = body ? body->find("parts") : nullptr;
  if (parts != nullptr && parts->is_object())
    for (const auto& [name, state] : parts->as_object())
      if (!state.is_string() || state.as_string() != "ok") return name;
  return "";
}

Result<json::Value> Api::poll(const std::string& path, Query query, std::chrono::milliseconds patience, const std::function<bool(const json::Value&)>& done,
                              const std::function<bool(const Error&)>& pending) {
  const Deadline deadline = Deadline::after(patience);
  std::chrono::milliseconds wait(100);
  // Work that was accepted waits for a part that is away; after two looks people want to know which.
  constexpr std::chrono::seconds kLook(10);
  Deadline look = Deadline::after(kLook);
  int looks_down = 0;
  for (;;) {
    auto row = get(path, query);
    if (!row && !(pending && pending(row.error()))) return row;
    if (row && done(*row)) return row;
    if (deadline.passed()) {
      if (!row) return row;
      return Error(errors::kTimeout, "it has not ended yet").with("state", std::string(row->str("state"))).with("remedy", "It goes on without you: ask again later with the id above, or look at `stella job list`.");
    }
    if (look.passed()) {
      look = Deadline::after(kLook);
      const std::string part = part_down();
      looks_down = part.empty() ? 0 : looks_down + 1;
      if (looks_down == 2)
        return Error(errors::kUnavailable, "a part of the platform is away, so the work waits").with("part", part).with("remedy", "Nothing accepted is lost: the work goes on when the part is back. `stella doctor` says more.");
    }
    pause(std::min(wait, std::max(deadline.left(), std::chrono::milliseconds(1))));
    wait = std::min(wait * 2, std::chrono::milliseconds(1000));
  }
}

}  // namespace stella::cli
