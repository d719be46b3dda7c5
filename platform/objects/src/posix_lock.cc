// The lock as text, "governance 2027-01-01T00:00:00Z hold": people read it with getfattr.
#include "posix_lock.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>

#include "driver.h"

namespace stella::objects {
namespace {

constexpr const char* kAttribute = "user.stella.lock";

std::string text_of(const ObjectLock& lock) {
  std::string text(to_string(lock.mode));
  text += " " + (lock.mode == LockMode::kNone ? std::string("-") : lock.retain_until.rfc3339_seconds());
  return text + (lock.legal_hold ? " hold" : " free");
}

Error malformed(const std::string& key) { return Error(base_errors::kMalformed, "the lock of an object cannot be read").with("path", key).with("expected", std::string("<mode> <instant> hold|free")); }

Result<ObjectLock> parse(std::string_view text, const std::string& key) {
  const auto first = text.find(' ');
  const auto last = text.rfind(' ');
  if (first == std::string_view::npos || first == last) return malformed(key);
  const auto mode = parse_lock_mode(text.substr(0, first));
  const auto hold = text.substr(last + 1);
  if (!mode || (hold != "hold" && hold != "free")) return malformed(key);
  ObjectLock lock{*mode, {}, hold == "hold"};
  if (*mode == LockMode::kNone) return lock;
  const auto until = Timestamp::parse(text.substr(first + 1, last - first - 1));
  if (!until) return malformed(key);
  lock.retain_until = *until;
  return lock;
}

}  // namespace

Result<ObjectLock> read_lock(int fd, const std::string& key) {
  char buffer[128];
  const ssize_t n = ::fgetxattr(fd, kAttribute, buffer, sizeof buffer);
  if (n >= 0) return parse({buffer, static_cast<std::size_t>(n)}, key);
  if (errno == ENODATA || errno == ENOTSUP) return ObjectLock{};
  if (errno == ERANGE) return malformed(key);
  return io_error("cannot read the lock of an object", key);
}

Result<void> write_lock(int fd, const ObjectLock& lock, const std::string& key) {
  if (lock == ObjectLock{} && STELLA_TRY(read_lock(fd, key)) == ObjectLock{}) return {};
  // The attribute needs write permission on the file, which an object has for nobody.
  if (::fchmod(fd, 0640) != 0) return io_error("cannot set the lock of an object", key);
  const std::string text = text_of(lock);
  const bool written = ::fsetxattr(fd, kAttribute, text.data(), text.size(), 0) == 0;
  const int problem = errno;
  if (::fchmod(fd, 0440) != 0) return io_error("cannot set mode of object", key);
  if (written) return {};
  if (problem == ENOSPC || problem == EDQUOT) return disk_full();
  if (problem == ENOTSUP) {
    return Error(contracts::errors::kUnavailable, "the object store cannot lock").with("part", std::string("objects")).with("reason", std::string(kNoAttributes));
  }
  errno = problem;
  return io_error("cannot set the lock of an object", key);
}

bool set_immutable(int fd, bool on) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return !on;
  if (((flags & FS_IMMUTABLE_FL) != 0) == on) return true;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

}  // namespace stella::objects
