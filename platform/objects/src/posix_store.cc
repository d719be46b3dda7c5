// The POSIX driver of the object store: how an object becomes visible, whole and durable at once.
//
// Crash safety, step by step. An object is written to `.tmp/<random>`, set to 0440 and synced; only then it is linked to its
// key, and the directory of the key is synced before the call returns.
// - Cut before the link: the key does not exist; a leftover in `.tmp` is removed by a later open_posix_store().
// - Cut after the link, before the directory sync: the key exists or not, but never with other bytes, because the inode's data
//   were on disk before its name. The caller was told nothing.
// - link(2) fails where the name exists, so two writers of one key cannot replace each other's object; the loser still syncs the
//   directory before it reports kExisted, because the winner may not have done so yet.
// - A directory that this process sees for the first time is synced into its parent, up to the root, whoever made it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <set>

#include "stella/base/encoding.h"
#include "stella/base/sync.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/platform/objects.h"
#include "stella/telemetry/metrics.h"

namespace stella::objects {
namespace {

constexpr telemetry::Counter kBytes{contracts::metrics::kObjectsBytes};
constexpr telemetry::Counter kErrors{contracts::metrics::kObjectsErrors};
constexpr std::size_t kKeyBytes = 512;
constexpr std::size_t kCopyBytes = 256 * 1024;
constexpr std::size_t kGroup = 16;          // from here on one syncfs is cheaper than a sync per file
constexpr std::time_t kLeftoverSeconds = 24 * 3600;
constexpr std::string_view kTemp = ".tmp";

bool full(int code) { return code == ENOSPC || code == EDQUOT; }

// From the current errno.
Error refused(Literal message, std::string_view key) {
  if (full(errno)) {
    return Error(contracts::errors::kUnavailable, "the object store is full").with("part", std::string("objects")).with("reason", std::string("disk_full"));
  }
  return io_error(message, key);
}

// write_all() reports through its error; errno is still the one of its last system call.
Result<void> write_bytes(int fd, std::string_view bytes, std::string_view key) {
  if (auto written = write_all(fd, bytes); !written) return refused("cannot write object", key);
  kBytes.add(static_cast<double>(bytes.size()), "write");
  return {};
}

// Segments of [A-Za-z0-9._-], none empty, none with a leading dot (that is our own space), no '..' anywhere.
Result<void> check_key(std::string_view key) {
  bool good = !key.empty() && key.size() <= kKeyBytes && key.find("..") == std::string_view::npos && key.back() != '/';
  char before = '/';
  for (const char c : key) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!plain && !(before != '/' && (c == '.' || c == '/'))) good = false;
    before = c;
  }
  if (good) return {};
  return Error(base_errors::kInvalid, "not an object key").with("field", std::string("key")).with("expected", std::string("segments of [A-Za-z0-9._-]"));
}

std::string parent_of(const std::string& key) {
  const auto slash = key.rfind('/');
  return slash == std::string::npos ? "." : key.substr(0, slash);
}

// A file in `.tmp` that removes its name when it goes.
class Temp {
 public:
  static Result<Temp> create(int root) {
    std::uint64_t nonce[2] = {};
    fill_random(nonce, sizeof nonce);
    Temp temp;
    temp.root_ = root;
    temp.name_ = std::string(kTemp) + "/" + hex_encode({reinterpret_cast<const char*>(nonce), sizeof nonce});
    temp.fd_ = Fd(::openat(root, temp.name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0440));
    if (!temp.fd_) return refused("cannot create object", temp.name_);
    temp.linked_ = true;
    if (::fchmod(temp.fd_.get(), 0440) != 0) return refused("cannot set mode of object", temp.name_);
    return temp;
  }
  Temp(Temp&& other) noexcept
      : root_(other.root_), name_(std::move(other.name_)), fd_(std::move(other.fd_)), linked_(std::exchange(other.linked_, false)) {}
  Temp& operator=(Temp&&) = delete;
  ~Temp() {
    if (linked_) ::unlinkat(root_, name_.c_str(), 0);
  }
  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  void close() { fd_.reset(); }

 private:
  Temp() = default;
  int root_ = -1;
  std::string name_;
  Fd fd_;
  bool linked_ = false;
};

class PosixStore final : public Store {
 public:
  PosixStore(Fd root, std::string path) : root_(std::move(root)), path_(std::move(path)) {}

  Result<Created> put(const std::string& key, std::string_view bytes) override { return counted("put", do_put(key, bytes)); }
  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects) override { return counted("put", do_put_many(objects)); }
  Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of) override { return counted("put", do_put_fd(fd, max_bytes, key_of)); }
  Result<std::string> get(const std::string& key, std::uint64_t max_bytes) override {
    auto bytes = counted("get", do_get(key, max_bytes));
    if (bytes) kBytes.add(static_cast<double>(bytes->size()), "read");
    return bytes;
  }
  Result<Fd> open(const std::string& key) override { return counted("get", do_open(key)); }

 private:
  // What callers may have meant (no such object, a bad key, too large) is no failure of the store.
  template <class T>
  static Result<T> counted(std::string_view operation, Result<T> done) {
    if (!done && done.error().code() != base_errors::kNotFound && done.error().code() != base_errors::kInvalid && done.error().code() != base_errors::kLimit) kErrors.add(1, operation);
    return done;
  }

  Result<Created> do_put(const std::string& key, std::string_view bytes) {
    STELLA_TRY_VOID(check_key(key));
    if (exists(key)) return existed(key);
    auto temp = STELLA_TRY(Temp::create(root_.get()));
    STELLA_TRY_VOID(write_bytes(temp.fd(), bytes, key));
    if (::fsync(temp.fd()) != 0) return refused("cannot sync object", key);
    return publish(temp, key);
  }

  Result<void> do_put_many(std::span<const std::pair<std::string, std::string_view>> objects) {
    for (const auto& [key, bytes] : objects) STELLA_TRY_VOID(check_key(key));
    std::vector<std::pair<const std::string*, Temp>> written;
    std::set<std::string> directories;
    const bool grouped = objects.size() >= kGroup;
    for (const auto& [key, bytes] : objects) {
      directories.insert(parent_of(key));
      if (exists(key)) continue;
      auto temp = STELLA_TRY(Temp::create(root_.get()));
      STELLA_TRY_VOID(write_bytes(temp.fd(), bytes, key));
      if (!grouped && ::fsync(temp.fd()) != 0) return refused("cannot sync object", key);
      temp.close();
      written.emplace_back(&key, std::move(temp));
    }
    // Linux >= 5.8 reports a failed write-back of any file of this file system here: strict, never lax.
    if (grouped && !written.empty() && ::syncfs(root_.get()) != 0) return refused("cannot sync objects", path_);
    for (const auto& directory : directories) STELLA_TRY_VOID(ensure_directory(directory));
    for (const auto& [key, temp] : written) {
      if (auto linked = link(temp, *key); !linked) return std::move(linked.error());
    }
    for (const auto& directory : directories) STELLA_TRY_VOID(sync_directory(directory));
    return {};
  }

  Result<Copied> do_put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of) {
    auto temp = STELLA_TRY(Temp::create(root_.get()));
    auto copied = STELLA_TRY(copy(fd, temp.fd(), max_bytes));
    const std::string key = key_of(copied.sha256);
    if (key.empty()) return Error(base_errors::kInvalid, "bytes are not what was expected").with("field", std::string("sha256")).with("actual", copied.sha256.hex());
    STELLA_TRY_VOID(check_key(key));
    if (exists(key)) {
      STELLA_TRY_VOID(existed(key));
      return copied;
    }
    if (::fsync(temp.fd()) != 0) return refused("cannot sync object", key);
    STELLA_TRY_VOID(publish(temp, key));
    return copied;
  }

  Result<std::string> do_get(const std::string& key, std::uint64_t max_bytes) {
    const Fd fd = STELLA_TRY(do_open(key));
    auto bytes = read_fd(fd.get(), max_bytes);
    if (!bytes) bytes.error().add("path", key);
    return bytes;
  }

  Result<Fd> do_open(const std::string& key) {
    STELLA_TRY_VOID(check_key(key));
    Fd fd(::openat(root_.get(), key.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return absent_or(key);
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return refused("cannot read object", key);
    if (!S_ISREG(st.st_mode)) return not_found(key);
    return fd;
  }

 public:
  Result<Info> stat(const std::string& key) override {
    STELLA_TRY_VOID(check_key(key));
    struct stat st {};
    if (::fstatat(root_.get(), key.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return absent_or(key);
    if (!S_ISREG(st.st_mode)) return not_found(key);
    return Info{static_cast<std::uint64_t>(st.st_size)};
  }

  Result<void> probe() override {
    const std::string canary = Uuid::v7().str();
    auto temp = STELLA_TRY(Temp::create(root_.get()));
    STELLA_TRY_VOID(write_bytes(temp.fd(), canary, temp.name()));
    if (::fsync(temp.fd()) != 0) return refused("cannot sync probe", temp.name());
    if (::lseek(temp.fd(), 0, SEEK_SET) != 0) return refused("cannot read probe", temp.name());
    const auto back = STELLA_TRY(read_fd(temp.fd(), 64));
    if (back != canary) return Error(contracts::errors::kUnavailable, "the object store does not return what was written").with("part", std::string("objects"));
    // The root may have been replaced or unmounted under us: the same name must lead to the same place.
    struct stat now {}, ours {};
    if (::stat(path_.c_str(), &now) != 0 || ::fstat(root_.get(), &ours) != 0 || now.st_ino != ours.st_ino || now.st_dev != ours.st_dev) {
      return Error(contracts::errors::kUnavailable, "the object store's directory was moved").with("part", std::string("objects"));
    }
    return {};
  }

  void remove_leftovers() {
    Fd fd(::openat(root_.get(), std::string(kTemp).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* dir = fd ? ::fdopendir(fd.get()) : nullptr;
    if (dir == nullptr) return;
    const int number = fd.release();
    while (const dirent* entry = ::readdir(dir)) {
      struct stat st {};
      if (::fstatat(number, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
      if (st.st_mtime < std::time(nullptr) - kLeftoverSeconds) ::unlinkat(number, entry->d_name, 0);
    }
    ::closedir(dir);
  }

 private:
  static Error not_found(const std::string& key) { return Error(base_errors::kNotFound, "no such object").with("path", key); }
  // From the current errno. A path that runs through an object or a link is no object either.
  static Error absent_or(const std::string& key) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG) return not_found(key);
    return refused("cannot read object", key);
  }

  bool exists(const std::string& key) const { return ::faccessat(root_.get(), key.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

  Result<Created> existed(const std::string& key) {
    STELLA_TRY_VOID(ensure_directory(parent_of(key)));
    STELLA_TRY_VOID(sync_directory(parent_of(key)));
    return Created::kExisted;
  }

  Result<Created> link(const Temp& temp, const std::string& key) {
    if (::linkat(root_.get(), temp.name().c_str(), root_.get(), key.c_str(), 0) == 0) return Created::kNew;
    if (errno == EEXIST) return Created::kExisted;
    return refused("cannot link object", key);
  }

  Result<Created> publish(const Temp& temp, const std::string& key) {
    const std::string directory = parent_of(key);
    STELLA_TRY_VOID(ensure_directory(directory));
    const Created created = STELLA_TRY(link(temp, key));
    STELLA_TRY_VOID(sync_directory(directory));
    return created;
  }

  static Result<Copied> copy(int from, int to, std::uint64_t max_bytes) {
    crypto::Hasher hasher;
    Copied copied;
    std::string buffer(kCopyBytes, '\0');
    for (;;) {
      const ssize_t n = ::read(from, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return io_error("cannot read", "");
      if (n == 0) break;
      copied.size += static_cast<std::uint64_t>(n);
      if (copied.size > max_bytes) return Error(base_errors::kLimit, "object is too large").with("limit", max_bytes);
      const std::string_view chunk(buffer.data(), static_cast<std::size_t>(n));
      hasher.update(chunk);
      STELLA_TRY_VOID(write_bytes(to, chunk, ""));
    }
    copied.sha256 = hasher.finish();
    return copied;
  }

  Result<void> sync_directory(const std::string& directory) {
    const Fd fd(::openat(root_.get(), directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return refused("cannot open directory", directory);
    if (::fsync(fd.get()) != 0) return refused("cannot sync directory", directory);
    return {};
  }

  // The directory and all above it exist durably.
  Result<void> ensure_directory(const std::string& directory) {
    if (directory == ".") return {};
    {
      const Lock lock(mutex_);
      if (durable_.contains(directory)) return {};
    }
    STELLA_TRY_VOID(ensure_directory(parent_of(directory)));
    if (::mkdirat(root_.get(), directory.c_str(), 0750) != 0 && errno != EEXIST) return refused("cannot create directory", directory);
    STELLA_TRY_VOID(sync_directory(parent_of(directory)));
    const Lock lock(mutex_);
    durable_.insert(directory);
    return {};
  }

  const Fd root_;
  const std::string path_;
  Mutex mutex_;
  std::set<std::string> durable_ STELLA_GUARDED_BY(mutex_);  // bounded by tenants and cases, not by objects
};

}  // namespace

Result<std::unique_ptr<Store>> open_posix_store(const std::string& root) {
  STELLA_TRY_VOID(make_dirs(root, 0750));
  STELLA_TRY_VOID(make_dirs(root + "/" + std::string(kTemp), 0750));
  Fd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return io_error("cannot open object store", root);
  if (::fsync(fd.get()) != 0) return refused("cannot sync object store", root);
  STELLA_TRY_VOID(sync_parent_dir(root));
  auto store = std::make_unique<PosixStore>(std::move(fd), root);
  store->remove_leftovers();
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace stella::objects
