// Creating objects on S3: only where the key does not exist, each byte under a checksum, large ones in parts.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "s3_client.h"

namespace stella::objects {

// Besides the bytes: whose upload it was (so that a repeated request knows its own work) and the digest of the whole.
inline constexpr std::string_view kWriterHeader = "x-amz-meta-stella-writer";
inline constexpr std::string_view kDigestHeader = "x-amz-meta-stella-sha256";

struct Upload {
  std::string key;
  std::string_view bytes;  // or
  int fd = -1;             // a regular file, from its beginning
  std::uint64_t size = 0;
  Sha256 sha256{};
  ObjectLock lock;         // checked and rounded
};

class S3Uploader {
 public:
  S3Uploader(S3Client& client, const S3Options& options) : client_(client), part_bytes_(options.part_bytes) {}
  // Durable when it returns, or nothing is visible.
  Result<Created> upload(const Upload& upload);
  // Whether the store refuses to create a key twice (`If-None-Match: *`). Tried once on a canary, then remembered. Where it does not, a look
  // before each upload stands in, and two writers at the same instant may both create.
  Result<bool> create_only();

 private:
  Result<bool> try_create_only();
  Result<bool> exists(const std::string& key);
  Result<void> check_lock(const Upload& upload);
  void withdraw(const std::string& key, const sigv4::Pairs& headers);
  Result<Created> whole(const Upload& upload, const sigv4::Pairs& headers);
  Result<Created> parts(const Upload& upload, const sigv4::Pairs& headers);
  Result<std::string> part(const Upload& upload, const std::string& id, std::uint64_t number, std::uint64_t offset, std::uint64_t length);
  Result<Created> complete(const Upload& upload, const sigv4::Pairs& headers, const std::string& id, const std::string& list);
  // After 412 or a vanished upload: was it our own earlier attempt?
  Result<Created> settled(const std::string& key, const sigv4::Pairs& headers, bool repeated);

  enum class Known : std::uint8_t { kNothing, kCreateOnly, kOverwrites };
  S3Client& client_;
  const std::uint64_t part_bytes_;
  std::atomic<Known> known_{Known::kNothing};
  std::atomic<bool> locks_{false};  // a lock of ours was seen on an object of ours
};

}  // namespace stella::objects
