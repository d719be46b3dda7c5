// The POSIX driver of the object store: how an object becomes visible, whole and durable at once.
//
// Crash safety, step by step. An object is written to `.tmp/<random>`, set to 0440 and synced; only then it is linked to its
// key, and the directory of the key is synced before the call returns.
// - Cut before the link: the key does not exist; a leftover in `.tmp` is removed by a later open_posix_store().
// - Cut after the link, before the directory sync: the key exists or not, but never with other bytes, because the inode's data
//   were on disk before its name. The caller was told nothing.
// - link(2) fails where the name exists, so two writers of one key cannot replace each other's object; the loser still syncs the
//   directory before it reports kExisted, because the winner may not have done so yet.
// - Cut while a lock is changed: the object may have been left writable for its owner, or without its flag; the next look at its lock puts that right.
// - A lock is on the file before it has its name, so no moment exists in which the object could be removed. Changes of a lock are made
//   under flock(2) on the object, read, raised and written back, so that two processes cannot undo each other's.
// - A directory that this process sees for the first time is synced into its parent, up to the root, whoever made it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <set>

#include "driver.h"
#include "posix_list.h"
#include "posix_lock.h"
#include "stella/base/encoding.h"
#include "stella/base/sync.h"

namespace stella::objects {
namespace {

constexpr std::size_t kGroup = 16;          // from here on one syncfs is cheaper than a sync per file
constexpr std::time_t kLeftoverSeconds = 24 * 3600;
constexpr std::size_t kDurable = 4096;      // directories that are remembered; of others the parent is synced once more
constexpr std::string_view kTemp = ".tmp";
constexpr mode_t kMode = 0440;              // of an object

// From the current errno.
Error refused(Literal message, std::string_view key) { return errno == ENOSPC || errno == EDQUOT ? disk_full() : io_error(message, key); }

// write_all() reports through its error; errno is still the one of its last system call.
Result<void> write_bytes(int fd, std::string_view bytes, std::string_view key) {
  if (auto written = write_all(fd, bytes); !written) return refused("cannot write object", key);
  kBytes.add(static_cast<double>(bytes.size()), "write");
  return {};
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
  ~Temp() { unlink(); }
  // Before the object becomes immutable: its other names could not be removed then.
  void unlink() {
    if (std::exchange(linked_, false)) ::unlinkat(root_, name_.c_str(), 0);
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
  PosixStore(Fd root, std::string path, const PosixOptions& options) : root_(std::move(root)), path_(std::move(path)), options_(options) {}

  Result<Created> put(const std::string& key, std::string_view bytes, const ObjectLock& lock) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("put", do_put(key, bytes, lock));
  }
  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& lock) override { return counted("put", do_put_many(objects, lock)); }
  Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& lock) override {
    return counted("put", do_put_fd(fd, max_bytes, key_of, lock));
  }
  Result<std::string> get(const std::string& key, std::uint64_t max_bytes) override {
    STELLA_TRY_VOID(check_key(key));
    auto bytes = counted("get", do_get(key, max_bytes));
    if (bytes) kBytes.add(static_cast<double>(bytes->size()), "read");
    return bytes;
  }
  Result<Fd> open(const std::string& key) override { return counted("get", do_open(key)); }
  Result<std::vector<Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) override {
    STELLA_TRY_VOID(check_prefix(prefix));
    STELLA_TRY_VOID(check_prefix(after));
    return counted("list", posix_list(root_.get(), prefix, after, std::min(limit, kListLimit)));
  }
  Result<void> extend_retention(const std::string& key, Timestamp until) override {
    STELLA_TRY_VOID(check_key(key));
    STELLA_TRY_VOID(check_until(until, Timestamp::now()));
    const LockMode mode = options_.lock.mode == LockMode::kNone ? LockMode::kGovernance : options_.lock.mode;
    return counted("put", change_lock(key, [&](const ObjectLock& now) { return stronger(now, {mode, whole_seconds(until), false}); }));
  }
  Result<void> set_legal_hold(const std::string& key, bool on) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("put", change_lock(key, [&](const ObjectLock& now) { return ObjectLock{now.mode, now.retain_until, on}; }));
  }
  Result<ObjectLock> lock_state(const std::string& key) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("get", do_lock_state(key));
  }
  Result<void> remove(const std::string& key) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("delete", do_remove(key));
  }
  Result<WormReport> worm_probe() override { return counted("put", do_worm_probe()); }

 private:
  Result<Created> do_put(const std::string& key, std::string_view bytes, const ObjectLock& asked) {
    const ObjectLock lock = STELLA_TRY(lock_of_new(asked, options_.lock, Timestamp::now()));
    if (STELLA_TRY(exists(key))) return existed(key, asked);
    auto temp = STELLA_TRY(Temp::create(root_.get()));
    STELLA_TRY_VOID(write_bytes(temp.fd(), bytes, key));
    return publish(temp, key, lock, asked);
  }

  Result<void> do_put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& asked) {
    const ObjectLock lock = STELLA_TRY(lock_of_new(asked, options_.lock, Timestamp::now()));
    for (const auto& [key, bytes] : objects) STELLA_TRY_VOID(check_key(key));
    std::vector<std::pair<const std::string*, Temp>> written;
    std::vector<const std::string*> existing;
    std::set<std::string> directories;
    const bool grouped = objects.size() >= kGroup;
    // Of this call alone, and opened before it writes: the kernel tells each open description once of a write-back that failed, so one that
    // calls share would tell the wrong one.
    const Fd file_system(grouped ? ::openat(root_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1);
    if (grouped && !file_system) return refused("cannot open the object store", path_);
    for (const auto& [key, bytes] : objects) {
      directories.insert(parent_of(key));
      if (STELLA_TRY(exists(key))) {
        existing.push_back(&key);
        continue;
      }
      auto temp = STELLA_TRY(Temp::create(root_.get()));
      STELLA_TRY_VOID(write_bytes(temp.fd(), bytes, key));
      STELLA_TRY_VOID(write_lock(temp.fd(), lock, key));
      if (!grouped && ::fsync(temp.fd()) != 0) return refused("cannot sync object", key);
      temp.close();
      written.emplace_back(&key, std::move(temp));
    }
    // Linux >= 5.8 reports a failed write-back of any file of this file system here: strict, never lax.
    if (grouped && !written.empty() && ::syncfs(file_system.get()) != 0) return refused("cannot sync objects", path_);
    for (const auto& directory : directories) STELLA_TRY_VOID(ensure_directory(directory));
    for (auto& [key, temp] : written) {
      auto linked = link(temp, *key);
      if (!linked) return std::move(linked.error());
      if (*linked == Created::kExisted) existing.push_back(key);
      temp.unlink();
    }
    for (const auto& directory : directories) STELLA_TRY_VOID(sync_directory(directory));
    if (asked != ObjectLock{}) {
      for (const auto* key : existing) STELLA_TRY_VOID(raise(*key, asked));
    }
    if (lock != ObjectLock{}) {
      for (const auto& [key, temp] : written) STELLA_TRY_VOID(freeze(*key));
    }
    return {};
  }

  Result<Copied> do_put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& asked) {
    const ObjectLock lock = STELLA_TRY(lock_of_new(asked, options_.lock, Timestamp::now()));
    auto temp = STELLA_TRY(Temp::create(root_.get()));
    auto copied = STELLA_TRY(copy_hashed(fd, max_bytes, [&](std::string_view chunk) { return write_bytes(temp.fd(), chunk, ""); }));
    const std::string key = key_of(copied.sha256);
    if (key.empty()) return unexpected_bytes(copied.sha256);
    STELLA_TRY_VOID(check_key(key));
    if (STELLA_TRY(exists(key))) {
      STELLA_TRY_VOID(existed(key, asked));
      return copied;
    }
    STELLA_TRY_VOID(publish(temp, key, lock, asked));
    return copied;
  }

  Result<std::string> do_get(const std::string& key, std::uint64_t max_bytes) {
    const Fd fd = STELLA_TRY(open_object(key));
    auto bytes = read_fd(fd.get(), max_bytes);
    if (!bytes) bytes.error().add("path", key);
    return bytes;
  }

  Result<Fd> do_open(const std::string& key) {
    STELLA_TRY_VOID(check_key(key));
    return open_object(key);
  }

  Result<Fd> open_object(const std::string& key) {
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
      // One with a second name was published before its writer died: removing the object would leave its bytes here.
      if (st.st_nlink > 1 || st.st_mtime < std::time(nullptr) - kLeftoverSeconds) ::unlinkat(number, entry->d_name, 0);
    }
    ::closedir(dir);
  }

 private:
  // From the current errno. A path that runs through an object or a link is no object either.
  static Error absent_or(const std::string& key) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG) return not_found(key);
    return refused("cannot read object", key);
  }

  // A directory is no object: "a" cannot be stored where "a/b" is, and that must not look as if it were.
  Result<bool> exists(const std::string& key) const {
    struct stat st {};
    if (::fstatat(root_.get(), key.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (S_ISREG(st.st_mode)) return true;
    return Error(contracts::errors::kConflict, "the key is taken by what is no object").with("path", key).with("expected", std::string("a key that no other key begins with, followed by a slash"));
  }

  Result<Created> existed(const std::string& key, const ObjectLock& asked) {
    STELLA_TRY_VOID(ensure_directory(parent_of(key)));
    STELLA_TRY_VOID(sync_directory(parent_of(key)));
    if (asked != ObjectLock{}) STELLA_TRY_VOID(raise(key, asked));
    return Created::kExisted;
  }

  Result<Created> link(const Temp& temp, const std::string& key) {
    if (::linkat(root_.get(), temp.name().c_str(), root_.get(), key.c_str(), 0) == 0) return Created::kNew;
    if (errno != EEXIST) return refused("cannot link object", key);
    STELLA_TRY_VOID(exists(key));  // a directory is an error
    return Created::kExisted;
  }

  // Lock, sync, name, sync: in this order.
  Result<Created> publish(Temp& temp, const std::string& key, const ObjectLock& lock, const ObjectLock& asked) {
    STELLA_TRY_VOID(write_lock(temp.fd(), lock, key));
    if (::fsync(temp.fd()) != 0) return refused("cannot sync object", key);
    const std::string directory = parent_of(key);
    STELLA_TRY_VOID(ensure_directory(directory));
    const Created created = STELLA_TRY(link(temp, key));
    STELLA_TRY_VOID(sync_directory(directory));
    temp.unlink();
    if (created == Created::kExisted) return existed(key, asked);
    if (lock != ObjectLock{}) STELLA_TRY_VOID(freeze(key));
    return created;
  }

  // What root's own `rm` shall not remove either; where the process may not set the flag, the lock holds without it.
  Result<void> freeze(const std::string& key) {
    if (!options_.immutable) return {};
    const Fd fd = STELLA_TRY(open_object(key));
    (void)set_immutable(fd.get(), true);
    return {};
  }

  Result<void> raise(const std::string& key, const ObjectLock& asked) {
    const ObjectLock wanted = STELLA_TRY(lock_of_new(asked, {}, Timestamp::now()));
    return change_lock(key, [&](const ObjectLock& now) { return stronger(now, wanted); });
  }

  // The object, held against every other change of its lock and against its removal.
  Result<Fd> open_held(const std::string& key) {
    Fd fd = STELLA_TRY(open_object(key));
    while (::flock(fd.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return refused("cannot lock object", key);
    }
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return refused("cannot read object", key);
    if (st.st_nlink == 0) return not_found(key);  // removed while we waited
    return fd;
  }

  Result<void> change_lock(const std::string& key, const std::function<ObjectLock(const ObjectLock&)>& change) {
    const Fd fd = STELLA_TRY(open_held(key));
    const ObjectLock now = STELLA_TRY(read_lock(fd.get(), key));
    const ObjectLock next = change(now);
    if (next == now) return {};
    if (!set_immutable(fd.get(), false)) return refused("cannot change the lock of an immutable object", key);
    STELLA_TRY_VOID(write_lock(fd.get(), next, key));
    if (::fsync(fd.get()) != 0) return refused("cannot sync object", key);
    if (options_.immutable && next.holds(Timestamp::now())) (void)set_immutable(fd.get(), true);
    return {};
  }

  Result<ObjectLock> do_lock_state(const std::string& key) {
    const Fd fd = STELLA_TRY(open_object(key));
    const ObjectLock lock = STELLA_TRY(read_lock(fd.get(), key));
    mend(fd.get(), lock);
    return lock;
  }

  // A process that died while it changed a lock left the object writable, or without its flag. One that changes it at this moment holds it.
  void mend(int fd, const ObjectLock& lock) const {
    struct stat st {};
    const bool writable = ::fstat(fd, &st) == 0 && (st.st_mode & 07777) != kMode;
    const bool frozen = options_.immutable && lock.holds(Timestamp::now());
    if ((!writable && !frozen) || ::flock(fd, LOCK_EX | LOCK_NB) != 0) return;
    if (writable) (void)::fchmod(fd, kMode);
    if (frozen) (void)set_immutable(fd, true);
  }

  Result<void> do_remove(const std::string& key) {
    const Fd fd = STELLA_TRY(open_held(key));
    const ObjectLock lock = STELLA_TRY(read_lock(fd.get(), key));
    if (lock.holds(Timestamp::now())) return locked(key, lock);
    if (!set_immutable(fd.get(), false)) return refused("cannot remove an immutable object", key);
    if (::unlinkat(root_.get(), key.c_str(), 0) != 0) return absent_or(key);
    return sync_directory(parent_of(key));
  }

  // First what our own process refuses, then what the file system does to somebody who goes around it.
  Result<WormReport> do_worm_probe() {
    remove_leftovers();  // here, because a server runs for months
    const std::string key = std::string(kTemp) + "/worm-" + Uuid::v7().str();
    const ObjectLock lock{LockMode::kGovernance, whole_seconds(Timestamp::now() + std::chrono::minutes(10)), false};
    Transcript transcript;
    transcript.line("probe of a POSIX store", Timestamp::now().rfc3339_seconds());
    if (auto created = do_put(key, "canary", lock); !created) {
      // Which is an answer where the file system keeps no attributes, and a failure of the probe otherwise.
      if (created.error().field("reason") != kNoAttributes) return std::move(created.error());
      transcript.line("locked canary", "refused: " + std::string(kNoAttributes));
      return std::move(transcript).finish(WormLevel::kPlain, true);
    }
    const auto removed = do_remove(key);
    const bool refused_removal = !removed && removed.error().code() == contracts::errors::kConflict;
    transcript.line("remove by our process", refused_removal ? "refused" : "NOT refused");
    STELLA_TRY_VOID(change_lock(key, [&](const ObjectLock& now) { return stronger(now, {lock.mode, lock.retain_until - std::chrono::minutes(5), false}); }));
    const auto after = do_lock_state(key);
    const bool kept = after && *after == lock;
    transcript.line("retention shortened by our process", kept ? "refused" : "NOT refused");
    const auto again = do_put(key, "overwritten", {});
    const auto bytes = do_get(key, 64);
    const bool same = again && *again == Created::kExisted && bytes && *bytes == "canary";
    transcript.line("overwrite by our process", same ? "refused" : "NOT refused");
    around(key, transcript);
    return std::move(transcript).finish(refused_removal && kept && same ? WormLevel::kProcess : WormLevel::kPlain, again && *again == Created::kExisted);
  }

  void around(const std::string& key, Transcript& transcript) {
    const Fd writable(::openat(root_.get(), key.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    transcript.line("open for writing around our process", writable ? "possible" : "refused by the file system");
    const bool gone = ::unlinkat(root_.get(), key.c_str(), 0) == 0;
    transcript.line("unlink around our process", gone ? "possible" : "refused by the file system");
    if (gone) return;
    const auto fd = open_object(key);
    const bool cleared = fd && set_immutable(fd->get(), false) && ::unlinkat(root_.get(), key.c_str(), 0) == 0;
    transcript.line("unlink after clearing the immutable flag", cleared ? "possible for this process" : "refused by the file system");
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
    if (durable_.size() >= kDurable) durable_.clear();
    durable_.insert(directory);
    return {};
  }

  const Fd root_;
  const std::string path_;
  const PosixOptions options_;
  Mutex mutex_;
  std::set<std::string> durable_ STELLA_GUARDED_BY(mutex_);  // at most kDurable; a bundle has a directory of its own
};

}  // namespace

Result<std::unique_ptr<Store>> open_posix_store(const std::string& root, const PosixOptions& options) {
  STELLA_TRY_VOID(make_dirs(root, 0750));
  STELLA_TRY_VOID(make_dirs(root + "/" + std::string(kTemp), 0750));
  Fd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return io_error("cannot open object store", root);
  if (::fsync(fd.get()) != 0) return refused("cannot sync object store", root);
  STELLA_TRY_VOID(sync_parent_dir(root));
  auto store = std::make_unique<PosixStore>(std::move(fd), root, options);
  store->remove_leftovers();
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace stella::objects
