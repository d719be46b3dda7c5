// The object store: immutable objects under keys that tenancy/paths.h computes. Create-only everywhere. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::objects {

struct Info {
  std::uint64_t size = 0;
};

enum class Created : std::uint8_t { kNew, kExisted };

// A driver. Every successful create is durable (file and directory synced) before it returns.
// Keys are segments of [A-Za-z0-9._-] joined by '/', none with a leading dot, without '..', at most 512 bytes; else kInvalid.
class Store {
 public:
  virtual ~Store() = default;
  // Creates the object; where the key exists already nothing is written and kExisted is returned (content-addressed keys
  // make that the same bytes). Errors: kIo, kUnavailable with part=objects and reason=disk_full.
  virtual Result<Created> put(const std::string& key, std::string_view bytes) = 0;
  // Many small objects with one group of syncs: all durable or an error (then some may exist, which is harmless).
  virtual Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects) = 0;
  // Copies from a descriptor, from its position to its end, while hashing; the object becomes visible only afterwards.
  // kLimit over max_bytes.
  struct Copied {
    Sha256 sha256;
    std::uint64_t size = 0;
  };
  // `key_of` computes the key from the digest once all bytes are known (content-addressed outputs of a runner); it returns
  // "" where the digest is not the expected one: kInvalid, nothing is stored.
  virtual Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of) = 0;
  virtual Result<std::string> get(const std::string& key, std::uint64_t max_bytes) = 0;
  // Open for reading (POSIX: the file itself).
  virtual Result<Fd> open(const std::string& key) = 0;
  virtual Result<Info> stat(const std::string& key) = 0;  // kNotFound
  // Writes a canary and reads it back; for /readyz and doctor.
  virtual Result<void> probe() = 0;
};

// POSIX driver: temp file, fsync, link-if-absent, fsync of the directory, mode 0440.
Result<std::unique_ptr<Store>> open_posix_store(const std::string& root);

}  // namespace stella::objects
