// How a call becomes a signed request, when it is repeated, and what its failure is called.
#include "s3_client.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "driver.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/telemetry/span.h"

namespace stella::objects {
namespace {

constexpr std::uint64_t kSlowest = 256 * 1024;  // bytes a second that an exchange must reach in the long run
constexpr std::chrono::milliseconds kLongestPause{5000};
constexpr std::uint64_t kCredentialBytes = 64 * 1024;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Error no_credentials(std::string expected) { return Error(base_errors::kInvalid, "no credentials for the object store").with("field", std::string("objects.s3.credentials_file")).with("expected", std::move(expected)); }

// The profile [default] of an AWS credentials file.
sigv4::Credentials parse_profile(std::string_view text) {
  sigv4::Credentials out;
  bool ours = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('[')) ours = line == "[default]";
    const auto equals = line.find('=');
    if (!ours || line.starts_with('#') || line.starts_with(';') || equals == std::string_view::npos) continue;
    const auto name = trimmed(line.substr(0, equals));
    std::string value(trimmed(line.substr(equals + 1)));
    if (name == "aws_access_key_id") out.access_key_id = std::move(value);
    else if (name == "aws_secret_access_key") out.secret_access_key = Secret<std::string>(std::move(value));
    else if (name == "aws_session_token") out.session_token = Secret<std::string>(std::move(value));
  }
  return out;
}

// Letters, digits and a few signs of what a server says about itself; nothing that could carry a secret of ours in full.
std::string harmless(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 64)) {
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.') out += c;
  }
  return out;
}

bool is_again_later(const S3Reply& reply) {
  if (reply.status == 429 || reply.status == 500 || reply.status == 502 || reply.status == 503 || reply.status == 504) return true;
  return reply.code == "RequestTimeout" || reply.code == "ConditionalRequestConflict" || reply.code == "OperationAborted" || reply.code == "SlowDown" || reply.code == "InternalError" || reply.code == "ServiceUnavailable";
}

// Full jitter: waiters that were turned away together do not come back together.
std::chrono::milliseconds pause_of(std::chrono::milliseconds first, int attempt) {
  const auto most = std::min(first * (1 << std::min(attempt, 10)), kLongestPause);
  std::uint32_t random = 0;
  fill_random(&random, sizeof random);
  return std::chrono::milliseconds(random % (static_cast<std::uint64_t>(most.count()) + 1));
}

Error invalid_option(std::string field, std::string expected) { return Error(base_errors::kInvalid, "the object store cannot be used like that").with("field", std::move(field)).with("expected", std::move(expected)); }

bool is_bucket(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 && name.find("..") == std::string_view::npos &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; });
}

}  // namespace

Result<sigv4::Credentials> S3Credentials::load() const {
  if (file_.empty()) {
    sigv4::Credentials out{environment("AWS_ACCESS_KEY_ID"), Secret<std::string>(environment("AWS_SECRET_ACCESS_KEY")), Secret<std::string>(environment("AWS_SESSION_TOKEN"))};
    if (out.access_key_id.empty() || out.secret_access_key.expose().empty()) return no_credentials("the setting, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    return out;
  }
  auto out = parse_profile(STELLA_TRY(read_file(file_, kCredentialBytes)));
  if (out.access_key_id.empty() || out.secret_access_key.expose().empty()) return no_credentials("a file with [default], aws_access_key_id and aws_secret_access_key");
  return out;
}

// A file is rotated while calls run, and may be half written or readable by others for a moment: unlike at the start, that passes.
Result<sigv4::Credentials> S3Credentials::current() {
  auto found = refreshed();
  if (found || !ever_) return found;
  Error later(contracts::errors::kUnavailable, "the credentials of the object store cannot be read now");
  later.add("part", "objects");
  later.add("field", "objects.s3.credentials_file");
  later.add("cause", found.error().describe());
  return later;
}

Result<sigv4::Credentials> S3Credentials::refreshed() {
  std::string stamp = "environment";
  if (!file_.empty()) {
    struct stat st {};
    if (::stat(file_.c_str(), &st) != 0) return io_error("cannot read the credentials of the object store", file_);
    if ((st.st_mode & 077) != 0) return no_credentials("a file that only its owner may read (chmod 600)");
    stamp = std::to_string(st.st_ino) + "/" + std::to_string(st.st_size) + "/" + std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
  }
  const Lock lock(mutex_);
  if (stamp != stamp_) {
    loaded_ = STELLA_TRY(load());
    stamp_ = std::move(stamp);
    ever_ = true;
  }
  return loaded_;
}

Result<std::unique_ptr<S3Client>> S3Client::create(const S3Options& options) {
  if (!is_bucket(options.bucket)) return invalid_option("objects.s3.bucket", "the name of a bucket: 3 to 63 of a-z, 0-9, - and .");
  if (options.region.empty() || harmless(options.region) != options.region) return invalid_option("objects.s3.region", "the name of a region, like eu-central-1");
  if (options.part_bytes < (5u << 20)) return invalid_option("part_bytes", "5 MiB at least");
  if (options.attempts < 1 || options.concurrency < 1) return invalid_option("attempts, concurrency", "1 at least");
  const std::string_view endpoint = options.endpoint;
  const auto scheme = endpoint.starts_with("https://") ? std::string_view("https://") : endpoint.starts_with("http://") ? std::string_view("http://") : std::string_view();
  auto host = endpoint.substr(scheme.size());
  if (host.ends_with('/')) host.remove_suffix(1);
  const bool good = !scheme.empty() && !host.empty() && std::all_of(host.begin(), host.end(), [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':' || c == '[' || c == ']'; });
  if (!good) return invalid_option("objects.s3.endpoint", "https://host or https://host:port");
  // The port that goes without saying must not stand in Host: the server signs what it reads.
  const std::string_view usual = scheme == "https://" ? ":443" : ":80";
  if (host.ends_with(usual)) host.remove_suffix(usual.size());
  std::unique_ptr<S3Client> client(new S3Client(options));
  client->host_ = (options.path_style ? "" : options.bucket + ".") + std::string(host);
  client->base_ = std::string(scheme) + client->host_;
  return client;
}

std::string S3Client::path_of(const S3Call& call) const {
  if (!options_.path_style) return "/" + call.key;
  return "/" + options_.bucket + (call.key.empty() ? "" : "/" + call.key);
}

std::string S3Client::url_of(const S3Call& call) const {
  const std::string query = sigv4::encode_query(call.query);
  return base_ + sigv4::encode_path(path_of(call)) + (query.empty() ? "" : "?" + query);
}

Result<S3Reply> S3Client::attempt(const S3Call& call, std::chrono::milliseconds timeout) {
  const auto credentials = STELLA_TRY(credentials_.current());
  const Sha256 digest = call.body_fd >= 0 ? call.payload : crypto::sha256(call.body);
  sigv4::Request signing;
  signing.method = call.method;
  signing.path = path_of(call);
  signing.query = call.query;
  signing.headers = call.headers;
  signing.headers.emplace_back("Host", host_);
  signing.payload_hash = digest.hex();
  signing.https = base_.starts_with("https://");
  signing.headers.emplace_back("x-amz-content-sha256", signing.payload_hash);
  if (call.checksum) signing.headers.emplace_back("x-amz-checksum-sha256", base64_encode(hex_decode(digest.hex()).value()));
  const auto signature = STELLA_TRY(sigv4::sign(signing, credentials, {options_.region, "s3"}, Timestamp::now()));
  HttpRequest request;
  request.method = call.method;
  request.url = url_of(call);
  request.headers = std::move(signing.headers);
  request.headers.insert(request.headers.end(), signature.added.begin(), signature.added.end());
  request.body = call.body;
  request.body_fd = call.body_fd;
  request.offset = call.offset;
  request.length = call.length;
  request.max_response_bytes = call.max_response_bytes;
  request.sink = call.sink;
  request.timeout = timeout;
  request.stall = options_.timeout;
  auto response = STELLA_TRY(http_.exchange(request));
  S3Reply reply;
  static_cast<HttpResponse&>(reply) = std::move(response);
  // An error document also comes with 200, where the server learnt of the failure after it had begun to answer.
  if (!reply.body.empty() && reply.body.find("<Error") != std::string::npos) {
    const auto document = parse_xml(reply.body);
    if (document && document->name == "Error") reply.code = harmless(document->str("Code"));
  }
  return reply;
}

Result<S3Reply> S3Client::call(const S3Call& call) {
  if (telemetry::Context::current().span_id.empty()) return repeat(call);
  telemetry::Span span("objects.request", telemetry::SpanKind::kClient);
  span.set(f::operation(call.method));
  span.set(f::url_host(host_));
  auto reply = repeat(call);
  if (!reply) {
    span.fail(reply.error());
    return reply;
  }
  span.set(f::http_status(reply->status));
  span.set(f::attempt(reply->attempts));
  if (reply->status >= 500) span.fail(Error(contracts::errors::kUnavailable, "the object store failed"));
  return reply;
}

Result<S3Reply> S3Client::repeat(const S3Call& call) {
  const std::uint64_t carried = std::max<std::uint64_t>(call.length, call.body.size());
  // An answer may be as long as it is: while bytes come in, an exchange goes on (a slow one is ended by `stall`), but none begins anew.
  const auto most = [&](std::uint64_t bytes) { return Deadline::after(options_.timeout + std::min<std::chrono::seconds>(std::chrono::seconds(bytes / kSlowest), std::chrono::hours(24))); };
  const Deadline deadline = most(carried + (call.sink ? call.max_response_bytes : 0)), anew = most(carried);
  for (int number = 1;; ++number) {
    if (call.restart) STELLA_TRY_VOID(call.restart());
    auto reply = attempt(call, deadline.left());
    const bool failed = reply ? is_again_later(*reply) : reply.error().code() == contracts::errors::kUnavailable && reply.error().field("reason").empty();
    const auto pause = pause_of(options_.backoff, number - 1);
    if (!failed || number >= options_.attempts || anew.left() <= pause) {
      if (reply) {
        reply->attempts = number;
        reply->repeated = number > 1;
      }
      return reply;
    }
    std::this_thread::sleep_for(pause);
  }
}

Error S3Client::failure(const S3Reply& reply, const std::string& key) const {
  if (reply.code == "NoSuchKey" || reply.code == "NoSuchVersion" || (reply.status == 404 && reply.code.empty())) return not_found(key);
  if (reply.status == 507 || reply.code == "InsufficientStorage" || reply.code == "QuotaExceeded" || reply.code == "XMinioStorageFull") return disk_full();
  std::string reason = "refused";
  if (reply.code == "NoSuchBucket") reason = "no such bucket: create it with Object Lock, see objects.s3.bucket";
  else if (reply.code == "RequestTimeTooSkewed") reason = "the clocks differ: set this machine's by NTP";
  else if (reply.code == "PermanentRedirect" || reply.code == "AuthorizationHeaderMalformed" || reply.status == 301 || reply.status == 307) reason = "another region or endpoint: see objects.s3.region and objects.s3.endpoint";
  else if (reply.code == "InvalidAccessKeyId" || reply.code == "SignatureDoesNotMatch" || reply.code == "ExpiredToken" || reply.code == "InvalidToken") reason = "the credentials are not accepted: see objects.s3.credentials_file";
  else if (reply.status == 403) reason = "the credentials do not allow this operation";
  else if (reply.status >= 500 || reply.status == 429) reason = "overloaded or out of order";
  Error error = Error(contracts::errors::kUnavailable, "the object store refuses").with("part", std::string("objects")).with("reason", std::move(reason));
  error.add("status", std::to_string(reply.status));
  if (!reply.code.empty()) error.add("code", reply.code);
  if (const auto id = harmless(reply.header("x-amz-request-id")); !id.empty()) error.add("request_id", id);
  if (!key.empty()) error.add("path", key);
  return error;
}

}  // namespace stella::objects
