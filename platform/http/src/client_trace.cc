// Headers out, Server-Timing in.
#include "client_trace.h"

#include <algorithm>

#include "stella/contracts/errors.h"
#include "stella/telemetry/propagation.h"

namespace stella::http {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The part before `separator`, not counting those in quoted strings; takes both off `text`.
std::string_view next_part(std::string_view& text, char separator) {
  std::size_t end = 0;
  for (bool quoted = false; end < text.size() && (quoted || text[end] != separator); ++end) {
    if (text[end] == '"') quoted = !quoted;
    else if (quoted && text[end] == '\\' && end + 1 < text.size()) ++end;
  }
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return trim(part);
}

bool same_token(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) { return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y; });
}

}  // namespace

Headers trace_headers(const telemetry::Context& context) {
  Headers out;
  telemetry::inject(context, [&out](std::string_view name, std::string_view value) { out.emplace_back(name, value); });
  return out;
}

bool asks_to_keep(std::string_view server_timing) {
  while (!server_timing.empty()) {
    std::string_view metric = next_part(server_timing, ',');
    if (next_part(metric, ';') != "keep") continue;
    while (!metric.empty()) {
      std::string_view parameter = next_part(metric, ';');
      if (!same_token(next_part(parameter, '='), "desc")) continue;
      const std::string_view value = trim(parameter);
      return value == "1" || value == "\"1\"";
    }
  }
  return false;
}

void tell(telemetry::Span& span, std::string_view method, std::string_view host, const Result<ClientResponse>& response, bool foreign) {
  span.set(f::operation(method));
  span.set(f::url_host(host));
  if (!response) return span.fail(response.error());
  span.set(f::http_status(response->status));
  if (foreign) return;
  for (const auto& [name, value] : response->headers) {
    if (name == "server-timing" && asks_to_keep(value)) span.keep();
  }
  if (response->status >= 500) span.fail(Error(contracts::errors::kUnavailable, "the server failed"));
  else if (response->status >= 400) span.fail(Error(base_errors::kInvalid, "the server refused the request"));
}

}  // namespace stella::http
