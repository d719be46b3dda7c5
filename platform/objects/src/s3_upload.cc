// PUT for what fits into one part, CreateMultipartUpload … CompleteMultipartUpload for the rest.
#include "s3_upload.h"

#include <unistd.h>

#include <cerrno>

#include "driver.h"
#include "s3_versions.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/telemetry/log.h"

namespace stella::objects {
namespace {

constexpr telemetry::Logger kLog{"objects"};
constexpr std::uint64_t kMostParts = 10'000;
constexpr std::string_view kCanary = ".canary/create-only";

std::string base64_of(const Sha256& digest) { return base64_encode(hex_decode(digest.hex()).value()); }

Result<Sha256> digest_of(int fd, std::uint64_t offset, std::uint64_t length) {
  crypto::Hasher hasher;
  std::string buffer(256 * 1024, '\0');
  while (length > 0) {
    const auto n = ::pread(fd, buffer.data(), std::min<std::uint64_t>(buffer.size(), length), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", "");
    if (n == 0) return Error(base_errors::kIo, "a file became shorter while it was read");
    hasher.update({buffer.data(), static_cast<std::size_t>(n)});
    offset += static_cast<std::uint64_t>(n);
    length -= static_cast<std::uint64_t>(n);
  }
  return hasher.finish();
}

std::string_view value_of(const sigv4::Pairs& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

// Where the store says which checksum it has seen, it must be ours.
Result<void> check_sum(const S3Reply& reply, const std::string& expected, const std::string& key) {
  const auto seen = reply.header("x-amz-checksum-sha256");
  if (seen.empty() || seen == expected) return {};
  return Error(contracts::errors::kUnavailable, "the object store received other bytes than were sent").with("part", std::string("objects")).with("path", key);
}

}  // namespace

Result<bool> S3Uploader::exists(const std::string& key) {
  S3Call call;
  call.method = "HEAD";
  call.key = key;
  const auto reply = STELLA_TRY(client_.call(call));
  if (reply.ok()) return true;
  if (reply.status == 404) return false;
  return client_.failure(reply, key);
}

Result<bool> S3Uploader::try_create_only() {
  S3Call call;
  call.method = "PUT";
  call.key = kCanary;
  call.headers = {{"If-None-Match", "*"}};
  call.checksum = true;
  // The first PUT creates the canary where it is not there yet; the second must be refused.
  for (int i = 0; i < 2; ++i) {
    const auto reply = STELLA_TRY(client_.call(call));
    if (reply.status == 412) return true;
    if (reply.status == 501 || reply.code == "NotImplemented") return false;
    if (!reply.ok()) return client_.failure(reply, "");
  }
  return false;
}

Result<bool> S3Uploader::create_only() {
  const Known known = known_.load();
  if (known != Known::kNothing) return known == Known::kCreateOnly;
  const bool refused = STELLA_TRY(try_create_only());
  Known nothing = Known::kNothing;
  const bool first = known_.compare_exchange_strong(nothing, refused ? Known::kCreateOnly : Known::kOverwrites);
  if (first && !refused) kLog.warn("the object store ignores If-None-Match: a look before each upload stands in, which two writers at once can pass", {});
  return refused;
}

Result<Created> S3Uploader::settled(const std::string& key, const sigv4::Pairs& headers, bool repeated) {
  if (!repeated) return Created::kExisted;
  S3Call call;
  call.method = "HEAD";
  call.key = key;
  const auto reply = STELLA_TRY(client_.call(call));
  if (!reply.ok()) return client_.failure(reply, key);
  return reply.header(kWriterHeader) == value_of(headers, kWriterHeader) ? Created::kNew : Created::kExisted;
}

// Stores exist that answer 200 to a lock and keep none, and others that refuse and keep the object. The first lock is therefore looked at; from
// then on the WORM probe watches.
Result<void> S3Uploader::check_lock(const Upload& upload) {
  if (upload.lock == ObjectLock{} || locks_.load()) return {};
  const ObjectLock kept = STELLA_TRY(lock_of(client_, upload.key, ""));
  if (stronger(kept, upload.lock) == kept) {
    locks_ = true;
    return {};
  }
  return Error(contracts::errors::kUnavailable, "the object store does not keep locks").with("part", std::string("objects")).with("reason", std::string("no Object Lock: create the bucket with it, see objects.s3.bucket")).with("path", upload.key);
}

// What was to be locked and is not must not stay: removes the object where it is our own upload. Best effort, after an error.
void S3Uploader::withdraw(const std::string& key, const sigv4::Pairs& headers) {
  S3Call call;
  call.method = "HEAD";
  call.key = key;
  const auto reply = client_.call(call);
  if (!reply || !reply->ok() || reply->header(kWriterHeader) != value_of(headers, kWriterHeader)) return;
  (void)delete_version(client_, key, std::string(reply->header("x-amz-version-id")));
}

Result<Created> S3Uploader::upload(const Upload& upload) {
  const bool guarded = STELLA_TRY(create_only());
  const bool large = upload.fd >= 0 && upload.size > part_bytes_;
  // Nobody uploads gigabytes to hear that they were there.
  if (!guarded || large) {
    if (STELLA_TRY(exists(upload.key))) return Created::kExisted;
  }
  sigv4::Pairs headers = lock_headers(upload.lock);
  headers.emplace_back(kWriterHeader, Uuid::v7().str());
  headers.emplace_back(kDigestHeader, upload.sha256.hex());
  headers.emplace_back("Content-Type", "application/octet-stream");
  auto created = large ? parts(upload, headers) : whole(upload, headers);
  if (created && *created == Created::kExisted) return created;
  if (created) {
    kBytes.add(static_cast<double>(upload.size), "write");
    auto kept = check_lock(upload);
    if (kept) return created;
    created = std::move(kept.error());
  }
  if (upload.lock != ObjectLock{}) withdraw(upload.key, headers);
  return created;
}

Result<Created> S3Uploader::whole(const Upload& upload, const sigv4::Pairs& headers) {
  S3Call call;
  call.method = "PUT";
  call.key = upload.key;
  call.headers = headers;
  if (known_.load() == Known::kCreateOnly) call.headers.emplace_back("If-None-Match", "*");
  call.body = upload.bytes;
  call.body_fd = upload.fd;
  call.length = upload.size;
  call.payload = upload.sha256;
  call.checksum = true;
  const auto reply = STELLA_TRY(client_.call(call));
  if (reply.status == 412) return settled(upload.key, headers, reply.repeated);
  if (!reply.ok()) return client_.failure(reply, upload.key);
  STELLA_TRY_VOID(check_sum(reply, base64_of(upload.sha256), upload.key));
  return Created::kNew;
}

Result<std::string> S3Uploader::part(const Upload& upload, const std::string& id, std::uint64_t number, std::uint64_t offset, std::uint64_t length) {
  S3Call call;
  call.method = "PUT";
  call.key = upload.key;
  call.query = {{"partNumber", std::to_string(number)}, {"uploadId", id}};
  call.body_fd = upload.fd;
  call.offset = offset;
  call.length = length;
  call.payload = STELLA_TRY(digest_of(upload.fd, offset, length));
  call.checksum = true;
  const auto reply = STELLA_TRY(client_.call(call));
  if (!reply.ok()) return client_.failure(reply, upload.key);
  const std::string sum = base64_of(call.payload);
  STELLA_TRY_VOID(check_sum(reply, sum, upload.key));
  return "<Part><ChecksumSHA256>" + sum + "</ChecksumSHA256><ETag>" + xml_escape(reply.header("etag")) + "</ETag><PartNumber>" + std::to_string(number) + "</PartNumber></Part>";
}

Result<Created> S3Uploader::complete(const Upload& upload, const sigv4::Pairs& headers, const std::string& id, const std::string& list) {
  const std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + list + "</CompleteMultipartUpload>";
  S3Call call;
  call.method = "POST";
  call.key = upload.key;
  call.query = {{"uploadId", id}};
  if (known_.load() == Known::kCreateOnly) call.headers.emplace_back("If-None-Match", "*");
  call.body = body;
  const auto reply = STELLA_TRY(client_.call(call));
  if (reply.status == 412) return settled(upload.key, headers, reply.repeated);
  if (reply.repeated && reply.code == "NoSuchUpload") return settled(upload.key, headers, true);
  if (!reply.ok() || !reply.code.empty()) return client_.failure(reply, upload.key);
  return Created::kNew;
}

Result<Created> S3Uploader::parts(const Upload& upload, const sigv4::Pairs& headers) {
  S3Call begin;
  begin.method = "POST";
  begin.key = upload.key;
  begin.query = {{"uploads", ""}};
  begin.headers = headers;
  begin.headers.emplace_back("x-amz-checksum-algorithm", "SHA256");
  const auto begun = STELLA_TRY(client_.call(begin));
  if (!begun.ok()) return client_.failure(begun, upload.key);
  const std::string id(STELLA_TRY(parse_xml(begun.body)).str("UploadId"));
  if (id.empty()) return Error(base_errors::kMalformed, "the object store names no upload").with("path", upload.key);
  const auto carry = [&]() -> Result<Created> {
    const std::uint64_t size = std::max(part_bytes_, (upload.size + kMostParts - 1) / kMostParts);
    std::string list;
    std::uint64_t number = 0;
    for (std::uint64_t offset = 0; offset < upload.size; offset += size) list += STELLA_TRY(part(upload, id, ++number, offset, std::min(size, upload.size - offset)));
    return complete(upload, headers, id, list);
  };
  auto created = carry();
  if (!created || *created == Created::kExisted) {
    // Parts cost room until somebody aborts. Best effort: the bucket's lifecycle rule does it otherwise.
    S3Call abort;
    abort.method = "DELETE";
    abort.key = upload.key;
    abort.query = {{"uploadId", id}};
    (void)client_.call(abort);
  }
  return created;
}

}  // namespace stella::objects
