// Signed requests to one bucket: addressing, credentials, checksums, retries, and S3's errors in our words. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "s3_http.h"
#include "s3_xml.h"
#include "sigv4.h"
#include "stella/platform/objects.h"

namespace stella::objects {

// Where credentials come from. A changed file is read again by the next request, so that they can be rotated.
class S3Credentials {
 public:
  explicit S3Credentials(std::string file) : file_(std::move(file)) {}
  // kInvalid where there are none or the file may be read by others, kIo; after the first success kUnavailable, with the same fields.
  Result<sigv4::Credentials> current();

 private:
  Result<sigv4::Credentials> refreshed();
  Result<sigv4::Credentials> load() const;
  const std::string file_;
  Mutex mutex_;
  std::string stamp_ STELLA_GUARDED_BY(mutex_);
  std::atomic<bool> ever_{false};  // loaded
  sigv4::Credentials loaded_ STELLA_GUARDED_BY(mutex_);
};

struct S3Call {
  std::string method = "GET";
  std::string key;  // "" is the bucket
  sigv4::Pairs query;
  sigv4::Pairs headers;
  std::string_view body;
  int body_fd = -1;  // sends [offset, offset + length) of this file instead; then `payload` is its digest
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Sha256 payload{};
  bool checksum = false;                                // sends x-amz-checksum-sha256
  std::uint64_t max_response_bytes = 8u << 20;
  std::function<Result<void>(std::string_view)> sink;   // of a 2xx answer
  std::function<Result<void>()> restart;                // called before each attempt: the sink begins anew
};

struct S3Reply : HttpResponse {
  int attempts = 1;
  bool repeated = false;  // an earlier attempt may have done it already
  std::string code;       // of S3's error document, letters and digits only; "" where there is none
  bool ok() const { return status >= 200 && status < 300; }
};

class S3Client {
 public:
  static Result<std::unique_ptr<S3Client>> create(const S3Options& options);
  // Repeats on connection errors, 5xx, 429 and S3's own "again later", until the attempts or the time are used up; every call of ours may be
  // repeated (see S3Reply::repeated). Any other answer is returned. Inside of a span it is a client span of its own, `objects.request`; its
  // context does not go out: the store is nobody of ours.
  Result<S3Reply> call(const S3Call& call);
  // The answer as an error: kNotFound, or kUnavailable with part=objects, reason, status, code and request_id. Never the server's own text,
  // which may hold an access key.
  Error failure(const S3Reply& reply, const std::string& key) const;
  // For tests.
  std::string url_of(const S3Call& call) const;

 private:
  explicit S3Client(const S3Options& options) : options_(options), credentials_(options.credentials_file), http_(options.ca_file, options.connect_timeout) {}
  Result<S3Reply> repeat(const S3Call& call);
  Result<S3Reply> attempt(const S3Call& call, std::chrono::milliseconds timeout);
  std::string path_of(const S3Call& call) const;

  const S3Options options_;
  S3Credentials credentials_;
  S3Http http_;
  std::string base_;  // scheme://host[:port]
  std::string host_;
};

}  // namespace stella::objects
