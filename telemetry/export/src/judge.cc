// What an answer means: taken, later, or never.
#include <curl/curl.h>

#include <algorithm>
#include <charconv>

#include "client.h"
#include "stella/telemetry/otlp_response.h"

namespace stella::telemetry {
namespace {

using Kind = Answer::Kind;

Answer taken(std::string_view body) {
  Answer answer;
  answer.kind = Kind::kTaken;
  if (const auto response = decode_response(body)) answer.rejected = static_cast<std::uint64_t>(std::max<std::int64_t>(0, response->rejected));
  return answer;
}

// Retry-After: seconds or an HTTP date.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::int64_t now_seconds) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size()) return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, 86'400));
  const std::time_t at = curl_getdate(std::string(text).c_str(), nullptr);
  if (at < 0) return std::nullopt;
  return std::chrono::seconds(std::clamp<std::int64_t>(static_cast<std::int64_t>(at) - now_seconds, 0, 86'400));
}

}  // namespace

Answer judge_http(long status, std::string_view retry_after, std::string_view content_type, std::string_view body, bool renewable, std::int64_t now_seconds) {
  if (status == 200) {
    // Something that is no OTLP receiver may answer 200, too: its word is not taken for it.
    if (!content_type.starts_with("application/x-protobuf") && !body.empty()) return {Kind::kRetry, 0, std::nullopt, "an answer that is not OTLP", true};
    if (!decode_response(body)) return {Kind::kRetry, 0, std::nullopt, "an answer that cannot be read", true};
    return taken(body);
  }
  Answer answer;
  answer.why = "HTTP " + std::to_string(status);
  if (status >= 300 && status < 400) answer.why += ": a redirect, which is not followed; name the endpoint that it leads to";
  const bool later = status == 429 || status == 502 || status == 503 || status == 504;
  answer.kind = later || ((status == 401 || status == 403) && renewable) ? Kind::kRetry : Kind::kRefused;
  answer.about_batch = later && status != 429;
  if (later) answer.retry_after = parse_retry_after(retry_after, now_seconds);
  return answer;
}

Answer judge_grpc(int code, std::string_view response, std::string_view status_details, bool renewable) {
  constexpr int kOk = 0, kCancelled = 1, kDeadlineExceeded = 4, kPermissionDenied = 7, kResourceExhausted = 8, kAborted = 10, kOutOfRange = 11, kUnavailable = 14,
                kDataLoss = 15, kUnauthenticated = 16;
  if (code == kOk) {
    if (!decode_response(response)) return {Kind::kRetry, 0, std::nullopt, "an answer that cannot be read", true};
    return taken(response);
  }
  Answer answer;
  answer.why = "gRPC status " + std::to_string(code);
  if (const auto status = decode_status(status_details); status && status->retry_delay) answer.retry_after = std::chrono::duration_cast<std::chrono::milliseconds>(*status->retry_delay);
  switch (code) {
    case kCancelled:
    case kDeadlineExceeded:
    case kAborted:
    case kOutOfRange:
    case kUnavailable:
    case kDataLoss:
      answer.kind = Kind::kRetry;
      answer.about_batch = true;
      break;
    case kResourceExhausted: answer.kind = answer.retry_after ? Kind::kRetry : Kind::kRefused; break;
    case kPermissionDenied:
    case kUnauthenticated: answer.kind = renewable ? Kind::kRetry : Kind::kRefused; break;
    default: answer.kind = Kind::kRefused;
  }
  return answer;
}

bool is_header_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace stella::telemetry
