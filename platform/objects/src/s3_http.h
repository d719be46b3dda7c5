// One HTTP exchange with the S3 server, over libcurl: bodies from memory or from a part of a file, answers to memory or to a sink. Thread-safe.
//
// Not platform/http: that is of the same rank, sends whole files by name, and keeps a handle per thread, whereas put_many's threads come and go.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/sync.h"

namespace stella::objects {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;  // exactly these, and Host
  std::string_view body;
  int body_fd = -1;  // sends [offset, offset + length) of this file instead of `body`
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t max_response_bytes = 8u << 20;             // kLimit beyond
  std::function<Result<void>(std::string_view)> sink;      // gets the body of a 2xx answer instead of memory
  std::chrono::milliseconds timeout{30000};  // of the whole exchange
  std::chrono::milliseconds stall{30000};    // at less than 4 KiB a second in either direction; whole seconds
};

struct HttpResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names lower case
  std::string body;
  std::string_view header(std::string_view lower_name) const;
};

class S3Http {
 public:
  S3Http(std::string ca_file, std::chrono::milliseconds connect_timeout);
  ~S3Http();
  S3Http(const S3Http&) = delete;
  S3Http& operator=(const S3Http&) = delete;
  // Any status is a response. kUnavailable with part=objects and cause where nothing answers, the exchange breaks off or the time is over;
  // kLimit for an answer that is too large; the sink's own error.
  Result<HttpResponse> exchange(const HttpRequest& request);

 private:
  void* take();
  void give(void* handle);

  const std::string ca_file_;
  const std::chrono::milliseconds connect_timeout_;
  Mutex mutex_;
  std::vector<void*> idle_ STELLA_GUARDED_BY(mutex_);  // each with its open connections
};

}  // namespace stella::objects
