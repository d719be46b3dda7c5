// Request and Response without any socket: targets, query parameters, body access, response heads.
#include "messages.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "stella/base/encoding.h"

namespace stella::http {
namespace {

bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto segment = path.substr(0, slash);
    if (segment == ".." || segment == ".") return true;
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return false;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
         });
}

bool clean_text(std::string_view text) { return text.find('\0') == std::string_view::npos && is_utf8(text); }

// Calls fn(name, value), both decoded, until it returns false.
template <class Fn>
void each_param(std::string_view query, Fn&& fn) {
  while (!query.empty()) {
    const auto amp = query.find('&');
    const auto pair = query.substr(0, amp);
    const auto eq = pair.find('=');
    auto name = percent_decode(pair.substr(0, eq), true);
    auto value = percent_decode(eq == std::string_view::npos ? std::string_view() : pair.substr(eq + 1), true);
    if (name && value && !fn(*name, *value)) return;
    if (amp == std::string_view::npos) return;
    query.remove_prefix(amp + 1);
  }
}

void append_safe(std::string& out, std::string_view text) {
  out.append(text.substr(0, text.find_first_of(std::string_view("\r\n\0", 3))));
}

bool set_by_server(std::string_view name) {
  return name == "content-length" || name == "date" || name == "connection" || name == "transfer-encoding" || name == "content-type";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : char(c); });
  return out;
}

}  // namespace

Coding content_coding(std::string_view value) {
  if (value.empty() || equals_ignoring_case(value, "identity")) return Coding::kIdentity;
  for (const std::string_view known : {"gzip", "x-gzip", "deflate"}) {
    if (equals_ignoring_case(value, known)) return Coding::kCompressed;
  }
  return Coding::kUnknown;
}

std::size_t count_headers(const Request& request, std::string_view lower_name) {
  return static_cast<std::size_t>(std::count_if(request.headers.begin(), request.headers.end(), [&](const auto& h) { return h.first == lower_name; }));
}

std::optional<HeadFault> framing_fault(const Request& request, bool http11) {
  const auto hosts = count_headers(request, "host");
  if (hosts > 1 || (hosts == 0 && http11)) return HeadFault{400, "exactly one Host header is needed"};
  const auto transfer = request.header("transfer-encoding");
  const auto lengths = count_headers(request, "content-length");
  if (count_headers(request, "transfer-encoding") > 1 || lengths > 1 || (!transfer.empty() && (!equals_ignoring_case(transfer, "chunked") || lengths > 0))) {
    return HeadFault{400, "the length of the body is ambiguous"};
  }
  const auto expect = request.header("expect");
  if (!expect.empty() && !equals_ignoring_case(expect, "100-continue")) return HeadFault{417, "the expectation is not supported"};
  return std::nullopt;
}

Result<void> parse_target(Request& request) {
  std::string_view target = request.target;
  if (target == "*") {
    request.path = "*";
    return {};
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    const auto slash = target.find_first_of("/?");
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  target = target.substr(0, target.find('#'));
  const auto question = target.find('?');
  const auto raw_path = target.substr(0, question);
  if (raw_path.empty() || raw_path.front() != '/') {
    return Error(base_errors::kMalformed, "the request target has no path").with("expected", "a path that starts with '/'");
  }
  auto path = percent_decode(raw_path);
  if (!path || !clean_text(*path)) {
    return Error(base_errors::kMalformed, "the path is not percent-encoded UTF-8").with("expected", "UTF-8 without NUL");
  }
  if (has_dot_segment(*path)) return Error(base_errors::kMalformed, "the path holds '.' or '..' segments");
  request.path = std::move(*path);
  if (question != std::string_view::npos) {
    const auto query = target.substr(question + 1);
    const auto decoded = percent_decode(query, true);
    if (!decoded || !clean_text(*decoded)) return Error(base_errors::kMalformed, "the query is not percent-encoded UTF-8");
    request.query = query;
  }
  return {};
}

std::string_view Request::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_name) return value;
  }
  return {};
}

std::string Request::query_param(std::string_view name) const {
  std::string found;
  each_param(query, [&](std::string& n, std::string& v) {
    if (n != name) return true;
    found = std::move(v);
    return false;
  });
  return found;
}

std::vector<std::string> Request::query_params(std::string_view name) const {
  std::vector<std::string> found;
  each_param(query, [&](std::string& n, std::string& v) {
    if (n == name) found.push_back(std::move(v));
    return true;
  });
  return found;
}

Result<std::string> Request::body_text(std::uint64_t max_bytes) {
  if (body_size > max_bytes) return Error(base_errors::kLimit, "the body is too large").with("limit", max_bytes).with("actual", body_size);
  if (!body_file) return body;
  std::string text(body_size, '\0');
  std::uint64_t done = 0;
  while (done < body_size) {
    const auto n = ::pread(body_file.get(), text.data() + done, body_size - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_error("cannot read the request body", "");
    done += static_cast<std::uint64_t>(n);
  }
  return text;
}

Response Response::json(int status, std::string body) {
  Response response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

Response& Response::header(std::string name, std::string value) {
  headers.emplace_back(lower(name), std::move(value));
  return *this;
}

std::string_view status_class(int status) {
  static constexpr std::string_view kClasses[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
  return kClasses[std::clamp(status / 100, 1, 5) - 1];
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 507: return "Insufficient Storage";
    default: return "Status";
  }
}

std::string response_head(const Response& response, std::uint64_t body_bytes, bool keep_alive, std::string_view date) {
  std::string out;
  out.reserve(256);
  out.append("HTTP/1.1 ").append(std::to_string(response.status)).append(" ").append(reason_phrase(response.status)).append("\r\n");
  out.append("date: ").append(date).append("\r\n");
  const bool bodyless = response.status < 200 || response.status == 204 || response.status == 304;
  if (!bodyless) {
    if (!response.content_type.empty()) {
      out.append("content-type: ");
      append_safe(out, response.content_type);
      out.append("\r\n");
    }
    if (response.on_stream) out.append("transfer-encoding: chunked\r\n");
    else out.append("content-length: ").append(std::to_string(body_bytes)).append("\r\n");
  }
  out.append(keep_alive ? "connection: keep-alive\r\n" : "connection: close\r\n");
  for (const auto& [name, value] : response.headers) {
    if (name.empty() || name.find_first_of(std::string_view("\r\n\0: ", 5)) != std::string::npos || set_by_server(lower(name))) continue;
    out.append(name).append(": ");
    append_safe(out, value);
    out.append("\r\n");
  }
  out.append("\r\n");
  return out;
}

std::string_view http_date() {
  thread_local std::time_t last = 0;
  thread_local char text[40];
  const std::time_t now = ::time(nullptr);
  if (now != last) {
    struct tm utc;
    ::gmtime_r(&now, &utc);
    ::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    last = now;
  }
  return text;
}

}  // namespace stella::http
