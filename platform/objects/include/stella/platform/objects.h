// The object store: immutable objects under keys that tenancy/paths.h computes. Create-only everywhere. Thread-safe.
#pragma once

#include <chrono>
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
#include "stella/base/time.h"

namespace stella::objects {

struct Info {
  std::uint64_t size = 0;
};

struct Entry {
  std::string key;
  std::uint64_t size = 0;
};

enum class Created : std::uint8_t { kNew, kExisted };

// As S3 Object Lock has them. Governance: administrators of the store with a permission of their own may lift it. Compliance: nobody may.
enum class LockMode : std::uint8_t { kNone, kGovernance, kCompliance };

// What keeps an object from being removed.
struct ObjectLock {
  LockMode mode = LockMode::kNone;
  Timestamp retain_until{};  // with a mode; kept in whole seconds, rounded up
  bool legal_hold = false;   // has no end and does not depend on the mode
  bool holds(Timestamp now) const { return legal_hold || (mode != LockMode::kNone && retain_until > now); }
  friend bool operator==(const ObjectLock&, const ObjectLock&) = default;
};

// How well the store keeps what is locked, as seen and not as promised.
enum class WormLevel : std::uint8_t {
  kPlain,       // W0: a locked object could be removed, shortened or replaced
  kProcess,     // W1: our own process refuses; whoever reaches the files can do it
  kGovernance,  // W2: the store refuses, but its administrators may lift the lock
  kCompliance,  // W3: the store refuses everybody
  kTwoDomains,  // W4: W3, and a setting names a second administrative domain that holds a copy
};
std::string_view to_string(WormLevel level);  // "W0" … "W4"

struct WormReport {
  WormLevel level = WormLevel::kPlain;
  bool create_only = false;  // the store itself refuses to create a key twice
  std::string transcript;    // one line per trial: what was tried, what the store answered; no credentials
  Sha256 digest;             // SHA-256 of the transcript
};

// A driver. Every successful create is durable before it returns.
// Keys are segments of [A-Za-z0-9._-] joined by '/', none with a leading dot, without '..', at most 512 bytes; else kInvalid.
// Every call: kUnavailable with part=objects where the store cannot do it now (reason=disk_full: no room), kIo where the system refuses.
class Store {
 public:
  virtual ~Store() = default;
  // Creates the object; where the key exists already nothing is written and kExisted is returned (content-addressed keys
  // make that the same bytes). The lock holds from the first moment that the object is visible; on an object that existed it is raised to at
  // least `lock`. kInvalid for a retain_until that is not in the future or more than 100 years away.
  virtual Result<Created> put(const std::string& key, std::string_view bytes, const ObjectLock& lock = {}) = 0;
  // Many small objects, all durable or an error (then some may exist, which is harmless). Of a key that stands there twice the first counts.
  virtual Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& lock = {}) = 0;
  // Copies from a descriptor, from its position to its end, while hashing; the object becomes visible only afterwards.
  // kLimit over max_bytes.
  struct Copied {
    Sha256 sha256;
    std::uint64_t size = 0;
  };
  // `key_of` computes the key from the digest once all bytes are known (content-addressed outputs of a runner); it returns
  // "" where the digest is not the expected one: kInvalid, nothing is stored.
  virtual Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& lock = {}) = 0;
  // kMalformed where the store returns other bytes than were stored (S3, which says so).
  virtual Result<std::string> get(const std::string& key, std::uint64_t max_bytes) = 0;
  // Open for reading at the beginning (POSIX: the file itself; S3: a whole, checked copy without a name).
  virtual Result<Fd> open(const std::string& key) = 0;
  virtual Result<Info> stat(const std::string& key) = 0;  // kNotFound
  // At most `limit` (up to 1000) objects whose key begins with `prefix` and comes after `after`, in byte order of the keys.
  virtual Result<std::vector<Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) = 0;

  // Retention of every version of the object. It only grows: an earlier `until` changes nothing. An object without a mode gets the driver's own
  // (governance where none is configured).
  virtual Result<void> extend_retention(const std::string& key, Timestamp until) = 0;
  virtual Result<void> set_legal_hold(const std::string& key, bool on) = 0;
  // The strongest of all versions: what remove() goes by.
  virtual Result<ObjectLock> lock_state(const std::string& key) = 0;
  // Removes every version. kConflict with reason=locked, retain_until and legal_hold while a lock holds; kNotFound.
  virtual Result<void> remove(const std::string& key) = 0;

  // Writes a canary and reads it back; for /readyz and doctor.
  virtual Result<void> probe() = 0;
  // Locks a canary and really tries to break the lock. Seconds long; once a day. The canary stays until its lock ends.
  virtual Result<WormReport> worm_probe() = 0;
};

// What a new object gets where put() names no mode.
struct LockDefault {
  LockMode mode = LockMode::kNone;
  std::chrono::seconds keep{0};
};
// "none", "governance", "compliance"; kInvalid.
Result<LockMode> parse_lock_mode(std::string_view text);
std::string_view to_string(LockMode mode);

struct PosixOptions {
  LockDefault lock;
  // Locked objects get the immutable flag of the file system where the process may set it, so that a stray `rm` of root fails, too.
  bool immutable = false;
};
// POSIX driver: temp file, fsync, link-if-absent, fsync of the directory, mode 0440. Locks are an extended attribute of the file.
Result<std::unique_ptr<Store>> open_posix_store(const std::string& root, const PosixOptions& options = {});

struct S3Options {
  std::string endpoint;  // http(s)://host[:port]
  std::string region = "us-east-1";
  std::string bucket;
  bool path_style = true;         // else https://<bucket>.<host>/<key>
  std::string ca_file;            // PEM; "" is the system's trust store
  std::string credentials_file;   // profile [default] of an AWS credentials file, read again when it changes; "": AWS_ACCESS_KEY_ID and its kin
  std::string spool_dir = "/tmp";  // files without a name, as large as the largest object
  std::chrono::milliseconds connect_timeout{3000};
  std::chrono::milliseconds timeout{30000};  // of a call with its retries; one second more for each 256 KiB that are carried
  int attempts = 5;                          // per request, where a repetition is safe
  std::chrono::milliseconds backoff{100};    // doubles, with full jitter, up to 5 s
  std::uint64_t part_bytes = 16u << 20;      // larger objects go in parts of this size; 5 MiB at least
  int concurrency = 8;                       // requests of one put_many at once
  LockDefault lock;
  std::string second_domain;  // who else keeps a copy that our administrators cannot reach; makes W3 W4
};
// S3 driver. Does not connect yet: a store that is away is kUnavailable in the call that needs it. kInvalid for options that cannot be used.
Result<std::unique_ptr<Store>> open_s3_store(const S3Options& options);

}  // namespace stella::objects
