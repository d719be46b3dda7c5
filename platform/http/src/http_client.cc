// libcurl behind fetch(). The only file that includes curl.
#include "stella/platform/http_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "client_trace.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/span.h"

namespace stella::http {
namespace {

// One handle a thread: its connections, its DNS cache and its TLS sessions are used again.
CURL* thread_handle() {
  static const bool global = ::curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  thread_local const std::unique_ptr<CURL, void (*)(CURL*)> handle(global ? ::curl_easy_init() : nullptr, [](CURL* h) { ::curl_easy_cleanup(h); });
  if (handle) ::curl_easy_reset(handle.get());
  return handle.get();
}

struct SlistFree {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistFree>;

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// The download side of one exchange.
struct Sink {
  const ClientRequest* request = nullptr;
  CURL* handle = nullptr;
  ClientResponse response;
  std::uint64_t received = 0;
  bool over_limit = false;
  bool ended = false;  // by on_body
  Fd file;
  std::string temp_path;
  std::optional<Error> error;

  ~Sink() {
    if (!temp_path.empty()) ::unlink(temp_path.c_str());
  }

  bool accept(std::string_view bytes) {
    if (request->on_body && is_success()) {
      try {
        ended = !request->on_body(bytes);
      } catch (...) {  // not through curl's frames
        error = Error(base_errors::kInternal, "the reader of the answer failed");
      }
      return !ended && !error;
    }
    received += bytes.size();
    if (received > request->max_response_bytes) {
      over_limit = true;
      return false;
    }
    if (request->save_to.empty() || !is_success()) {
      response.body.append(bytes);
      return true;
    }
    if (auto written = store(bytes); !written) {
      error = std::move(written.error());
      return false;
    }
    return true;
  }

  bool is_success() {
    long status = 0;
    ::curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
  }

  Result<void> open() {
    temp_path = request->save_to + ".part-XXXXXX";
    file = Fd(::mkostemp(temp_path.data(), O_CLOEXEC));
    if (file) return {};
    auto failed = io_error("cannot create the file", request->save_to);
    temp_path.clear();
    return failed;
  }

  Result<void> store(std::string_view bytes) {
    if (!file) STELLA_TRY_VOID(open());
    return write_all(file.get(), bytes);
  }

  // The file appears under its name only whole and synced.
  Result<void> commit() {
    if (request->save_to.empty() || !is_success()) return {};
    if (!file) STELLA_TRY_VOID(open());  // an empty answer is an empty file
    ::fchmod(file.get(), 0644);
    if (::fsync(file.get()) != 0 || ::rename(temp_path.c_str(), request->save_to.c_str()) != 0) {
      return io_error("cannot keep the file", request->save_to);
    }
    temp_path.clear();
    return sync_parent_dir(request->save_to);
  }
};

std::size_t on_data(char* data, std::size_t, std::size_t n, void* user) {
  return static_cast<Sink*>(user)->accept({data, n}) ? n : CURL_WRITEFUNC_ERROR;
}

std::size_t on_header(char* data, std::size_t, std::size_t n, void* user) {
  auto& headers = static_cast<Sink*>(user)->response.headers;
  std::string_view line(data, n);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // 100 Continue and redirects come before the answer
    headers.clear();
    return n;
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return n;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  auto value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  headers.emplace_back(std::move(name), std::string(value));
  return n;
}

std::size_t on_read_file(char* out, std::size_t, std::size_t n, void* user) {
  for (;;) {
    const auto got = ::read(*static_cast<int*>(user), out, n);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return CURL_READFUNC_ABORT;
  }
}

int on_seek_file(void* user, curl_off_t offset, int origin) {
  return ::lseek(*static_cast<int*>(user), offset, origin) >= 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t up_total, curl_off_t up) {
  const auto& request = *static_cast<const ClientRequest*>(user);
  try {
    if (up_total > 0) request.on_upload(static_cast<std::uint64_t>(up), static_cast<std::uint64_t>(up_total));
    return 0;
  } catch (...) {
    return 1;
  }
}

// "host:port" of the URL: no path, no user, nothing that could be secret.
std::string host_and_port(const std::string& url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parts(::curl_url(), ::curl_url_cleanup);
  if (!parts || ::curl_url_set(parts.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  const auto get = [&](CURLUPart part) {
    char* text = nullptr;
    std::string out;
    if (::curl_url_get(parts.get(), part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK) out = text;
    ::curl_free(text);
    return out;
  };
  return get(CURLUPART_HOST) + ":" + get(CURLUPART_PORT);
}

Error failure(CURLcode code, const ClientRequest& request, Sink& sink) {
  if (sink.error) return std::move(*sink.error);
  if (sink.over_limit || code == CURLE_FILESIZE_EXCEEDED) {
    return Error(base_errors::kLimit, "the answer is too large").with("limit", request.max_response_bytes);
  }
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
    return Error(base_errors::kInvalid, "the URL cannot be used").with("field", "url").with("expected", "http:// or https://");
  }
  return Error(contracts::errors::kUnavailable, "the server does not answer")
      .with("part", host_and_port(request.url))
      .with("cause", ::curl_easy_strerror(code));
}

void set_limits(CURL* h, const ClientRequest& request) {
  ::curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  ::curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  const bool follow = request.max_redirects > 0 && (request.method == "GET" || request.method == "HEAD");
  ::curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
  ::curl_easy_setopt(h, CURLOPT_MAXREDIRS, static_cast<long>(request.max_redirects));
  ::curl_easy_setopt(h, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  ::curl_easy_setopt(h, CURLOPT_USERAGENT, "stella/" STELLA_VERSION);
  if (!request.ca_file.empty()) ::curl_easy_setopt(h, CURLOPT_CAINFO, request.ca_file.c_str());
}

Result<void> set_body(CURL* h, const ClientRequest& request, Fd& file, int& file_number) {
  if (!request.body_path.empty()) {
    file = Fd(::open(request.body_path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0) return io_error("cannot read the file to send", request.body_path);
    if (!S_ISREG(info.st_mode)) return Error(base_errors::kInvalid, "only regular files can be sent").with("path", request.body_path);
    file_number = file.get();
    ::curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    ::curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(info.st_size));
    ::curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read_file);
    ::curl_easy_setopt(h, CURLOPT_READDATA, &file_number);
    ::curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek_file);
    ::curl_easy_setopt(h, CURLOPT_SEEKDATA, &file_number);
    ::curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method == "HEAD") {
    ::curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
  } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT" || request.method == "PATCH") {
    ::curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    ::curl_easy_setopt(h, CURLOPT_POSTFIELDS, request.body.data());
    ::curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    ::curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  return {};
}

// `more`: headers beside the request's own.
Result<Slist> header_list(const ClientRequest& request, const Headers& more) {
  Slist list;
  bool has_type = false;
  const auto append = [&](const std::string& line) {
    curl_slist* grown = ::curl_slist_append(list.get(), line.c_str());
    if (grown == nullptr) return false;
    list.release();
    list.reset(grown);
    return true;
  };
  for (const auto& [name, value] : request.headers) {
    if (name.empty() || has_control(name) || has_control(value) || name.find(':') != std::string::npos) {
      return Error(base_errors::kInvalid, "a header holds control characters").with("field", "headers");
    }
    if (::strcasecmp(name.c_str(), "content-type") == 0) has_type = true;
    // "name;" is curl's spelling of a header with an empty value
    if (!append(value.empty() ? name + ";" : name + ": " + value)) return Error(base_errors::kInternal, "out of memory");
  }
  for (const auto& [name, value] : more) {
    if (!append(name + ": " + value)) return Error(base_errors::kInternal, "out of memory");
  }
  if (!has_type && !append("Content-Type:")) return Error(base_errors::kInternal, "out of memory");  // not curl's form default
  return list;
}

Result<ClientResponse> perform(const ClientRequest& request, const Headers& more) {
  if (request.method.empty() || has_control(request.method) || request.method.find(' ') != std::string::npos || has_control(request.url)) {
    return Error(base_errors::kInvalid, "the method or URL cannot be sent").with("field", "method, url");
  }
  CURL* h = thread_handle();
  if (h == nullptr) return Error(base_errors::kInternal, "cannot set up the HTTP client");
  Fd file;
  int file_number = -1;
  Sink sink;
  sink.request = &request;
  sink.handle = h;
  set_limits(h, request);
  const auto headers = STELLA_TRY(header_list(request, more));
  STELLA_TRY_VOID(set_body(h, request, file, file_number));
  ::curl_easy_setopt(h, CURLOPT_URL, request.url.c_str());
  ::curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  ::curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
  ::curl_easy_setopt(h, CURLOPT_WRITEDATA, &sink);
  ::curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
  ::curl_easy_setopt(h, CURLOPT_HEADERDATA, &sink);
  if (request.on_upload) {
    ::curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    ::curl_easy_setopt(h, CURLOPT_XFERINFODATA, const_cast<ClientRequest*>(&request));
    ::curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  }
  if (request.on_body) {
    ::curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    ::curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 60L);
  } else {
    ::curl_easy_setopt(h, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(request.max_response_bytes));
  }
  const CURLcode code = ::curl_easy_perform(h);
  if (code != CURLE_OK && !sink.ended) return failure(code, request, sink);
  STELLA_TRY_VOID(sink.commit());
  long status = 0;
  ::curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
  sink.response.status = static_cast<int>(status);
  return std::move(sink.response);
}

}  // namespace

std::string_view ClientResponse::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_name) return value;
  }
  return {};
}

Result<ClientResponse> fetch(const ClientRequest& request) {
  const bool has_parent = std::any_of(request.headers.begin(), request.headers.end(), [](const auto& h) { return ::strcasecmp(h.first.c_str(), "traceparent") == 0; });
  if (has_parent || telemetry::Context::current().span_id.empty()) return perform(request, {});
  telemetry::Span span("http.request", telemetry::SpanKind::kClient);
  auto headers = trace_headers(telemetry::Context::current());
  if (request.foreign) std::erase_if(headers, [](const auto& h) { return h.first != "traceparent"; });
  auto response = perform(request, headers);
  tell(span, request.method, host_and_port(request.url), response, request.foreign);
  return response;
}

}  // namespace stella::http
