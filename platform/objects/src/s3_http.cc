// libcurl behind S3Http.
#include "s3_http.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "stella/contracts/errors.h"

namespace stella::objects {
namespace {

constexpr std::uint64_t kErrorBytes = 64 * 1024;
constexpr long kCrawl = 4096;  // bytes a second below which an exchange counts as stalled

struct SlistFree {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistFree>;

// Both directions of one exchange.
struct Exchange {
  const HttpRequest& request;
  CURL* handle;
  HttpResponse response;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool over_limit = false;
  std::optional<Error> error;

  bool accept(std::string_view bytes) {
    long status = 0;
    ::curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    const bool success = status >= 200 && status < 300;
    received += bytes.size();
    // An error document is read whatever the caller's limit for the object is.
    if (received > (success ? request.max_response_bytes : kErrorBytes)) {
      over_limit = true;
      return false;
    }
    if (!request.sink || !success) {
      response.body.append(bytes);
      return true;
    }
    if (auto stored = request.sink(bytes); !stored) {
      error = std::move(stored.error());
      return false;
    }
    return true;
  }
};

std::size_t on_data(char* data, std::size_t, std::size_t n, void* user) { return static_cast<Exchange*>(user)->accept({data, n}) ? n : CURL_WRITEFUNC_ERROR; }

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::size_t on_header(char* data, std::size_t, std::size_t n, void* user) {
  auto& headers = static_cast<Exchange*>(user)->response.headers;
  const std::string_view line(data, n);
  if (line.starts_with("HTTP/")) headers.clear();  // 100 Continue came before the answer
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || line.starts_with("HTTP/")) return n;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  auto value = line.substr(colon + 1);
  while (!value.empty() && is_blank(value.front())) value.remove_prefix(1);
  while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
  headers.emplace_back(std::move(name), std::string(value));
  return n;
}

std::size_t on_read(char* out, std::size_t, std::size_t n, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const auto& request = exchange.request;
  const std::size_t want = std::min<std::uint64_t>(n, request.length - exchange.sent);
  for (;;) {
    const auto got = ::pread(request.body_fd, out, want, static_cast<off_t>(request.offset + exchange.sent));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CURL_READFUNC_ABORT;
    exchange.sent += static_cast<std::uint64_t>(got);
    return static_cast<std::size_t>(got);
  }
}

int on_seek(void* user, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Exchange*>(user)->sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

Error failure(CURLcode code, Exchange& exchange) {
  if (exchange.error) return std::move(*exchange.error);
  if (exchange.over_limit) return Error(base_errors::kLimit, "object is too large").with("limit", exchange.request.max_response_bytes);
  return Error(contracts::errors::kUnavailable, "the object store does not answer").with("part", std::string("objects")).with("cause", std::string(::curl_easy_strerror(code)));
}

Result<Slist> header_list(const HttpRequest& request) {
  Slist list;
  const auto append = [&](const std::string& line) {
    curl_slist* grown = ::curl_slist_append(list.get(), line.c_str());
    if (grown == nullptr) return false;
    list.release();
    list.reset(grown);
    return true;
  };
  bool typed = false;
  for (const auto& [name, value] : request.headers) {
    if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return Error(base_errors::kInvalid, "a header holds control characters").with("field", std::string("headers"));
    typed = typed || name == "Content-Type";
    if (!append(value.empty() ? name + ";" : name + ": " + value)) return Error(base_errors::kInternal, "out of memory");
  }
  // Not curl's own: its guess of a type, and a round trip of waiting for permission.
  if ((!typed && !append("Content-Type:")) || !append("Expect:")) return Error(base_errors::kInternal, "out of memory");
  return list;
}

void set_body(CURL* h, Exchange& exchange) {
  const auto& request = exchange.request;
  if (request.body_fd >= 0) {
    ::curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    ::curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.length));
    ::curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
    ::curl_easy_setopt(h, CURLOPT_READDATA, &exchange);
    ::curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek);
    ::curl_easy_setopt(h, CURLOPT_SEEKDATA, &exchange);
  } else if (request.method == "PUT" || request.method == "POST") {
    ::curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    ::curl_easy_setopt(h, CURLOPT_POSTFIELDS, request.body.data() != nullptr ? request.body.data() : "");
  }
  if (request.method == "HEAD") {
    ::curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
  } else {
    ::curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

}  // namespace

std::string_view HttpResponse::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_name) return value;
  }
  return {};
}

S3Http::S3Http(std::string ca_file, std::chrono::milliseconds connect_timeout) : ca_file_(std::move(ca_file)), connect_timeout_(connect_timeout) {}

S3Http::~S3Http() {
  for (void* handle : idle_) ::curl_easy_cleanup(handle);
}

void* S3Http::take() {
  static const bool global = ::curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  const Lock lock(mutex_);
  if (idle_.empty()) return global ? ::curl_easy_init() : nullptr;
  void* handle = idle_.back();
  idle_.pop_back();
  return handle;
}

void S3Http::give(void* handle) {
  ::curl_easy_reset(handle);  // keeps the connections
  const Lock lock(mutex_);
  idle_.push_back(handle);
}

Result<HttpResponse> S3Http::exchange(const HttpRequest& request) {
  const auto headers = STELLA_TRY(header_list(request));
  CURL* h = take();
  if (h == nullptr) return Error(base_errors::kInternal, "cannot set up the HTTP client");
  Exchange exchange{request, h, {}, 0, 0, false, {}};
  ::curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);  // a redirected request would need another signature
  ::curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);      // what was signed is what is sent
  ::curl_easy_setopt(h, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  ::curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(connect_timeout_, request.timeout).count()));
  ::curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(request.timeout.count(), 1)));
  ::curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, kCrawl);
  ::curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, static_cast<long>(std::max<std::int64_t>(request.stall.count() / 1000, 1)));
  ::curl_easy_setopt(h, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  ::curl_easy_setopt(h, CURLOPT_USERAGENT, "stella/" STELLA_VERSION);
  ::curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
  if (!ca_file_.empty()) ::curl_easy_setopt(h, CURLOPT_CAINFO, ca_file_.c_str());
  set_body(h, exchange);
  ::curl_easy_setopt(h, CURLOPT_URL, request.url.c_str());
  ::curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  ::curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
  ::curl_easy_setopt(h, CURLOPT_WRITEDATA, &exchange);
  ::curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
  ::curl_easy_setopt(h, CURLOPT_HEADERDATA, &exchange);
  const CURLcode code = ::curl_easy_perform(h);
  long status = 0;
  ::curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
  give(h);
  if (code != CURLE_OK) return failure(code, exchange);
  exchange.response.status = static_cast<int>(status);
  return std::move(exchange.response);
}

}  // namespace stella::objects
