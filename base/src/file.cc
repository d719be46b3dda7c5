// File helpers: every durable write of the platform goes through write_file_durable or the object store.
#include "stella/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "stella/base/encoding.h"
#include "stella/base/file_owner.h"
#include "stella/base/ids.h"

namespace stella {

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Error io_error(Literal message, std::string_view path) {
  const int code = errno;
  return Error(base_errors::kIo, message).with("path", std::string(path)).with("errno", std::string(std::strerror(code)));
}

Result<std::string> read_fd(int fd, std::uint64_t max_bytes) {
  std::string out;
  struct stat st {};
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) out.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(static_cast<std::uint64_t>(st.st_size), max_bytes)) + 1);
  char buf[65536];
  for (;;) {
    const ssize_t n = ::read(fd, buf, sizeof buf);
    if (n < 0) {
      if (errno == EINTR) continue;
      return io_error("cannot read", "");
    }
    if (n == 0) return out;
    if (out.size() + static_cast<std::size_t>(n) > max_bytes) return Error(base_errors::kLimit, "file is too large").with("limit", max_bytes);
    out.append(buf, static_cast<std::size_t>(n));
  }
}

Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return Error(base_errors::kNotFound, "no such file").with("path", path);
    return io_error("cannot open", path);
  }
  auto bytes = read_fd(fd.get(), max_bytes);
  if (!bytes && bytes.error().field("path").empty()) bytes.error().add("path", path);
  return bytes;
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return io_error("cannot write", "");
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

namespace {

std::string parent_dir(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<void> sync_parent_dir(const std::string& path) {
  const std::string dir = parent_dir(path);
  const Fd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return io_error("cannot open directory", dir);
  if (::fsync(fd.get()) != 0) return io_error("cannot sync directory", dir);
  return {};
}

Result<void> keep_owner(int fd, const std::string& path) {
  if (::geteuid() != 0) return {};
  struct stat owner {};
  struct stat now {};
  if (::lstat(path.c_str(), &owner) != 0 && ::stat(parent_dir(path).c_str(), &owner) != 0) return io_error("cannot see whose the file is", path);
  if (::fstat(fd, &now) != 0) return io_error("cannot see whose the file is", path);
  if (now.st_uid == owner.st_uid && now.st_gid == owner.st_gid) return {};
  if (::fchown(fd, owner.st_uid, owner.st_gid) != 0) return io_error("cannot give the file to its owner", path);
  return {};
}

namespace {

enum class Owner { kCaller, kKept };

Result<void> replace(const std::string& path, std::string_view bytes, unsigned mode, Owner owner) {
  std::uint64_t nonce = 0;
  fill_random(&nonce, sizeof nonce);
  const std::string temp = path + ".tmp-" + hex_encode({reinterpret_cast<const char*>(&nonce), sizeof nonce});
  const Fd fd(::open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return io_error("cannot create", temp);
  auto written = write_all(fd.get(), bytes);
  if (written && owner == Owner::kKept) written = keep_owner(fd.get(), path);  // before the mode: a change of owner clears parts of it
  if (written && ::fchmod(fd.get(), mode) != 0) written = io_error("cannot set mode", temp);
  if (written && ::fsync(fd.get()) != 0) written = io_error("cannot sync", temp);
  if (written && ::rename(temp.c_str(), path.c_str()) != 0) written = io_error("cannot rename", path);
  if (!written) {
    ::unlink(temp.c_str());
    return written;
  }
  return sync_parent_dir(path);
}

}  // namespace

Result<void> write_file_durable(const std::string& path, std::string_view bytes, unsigned mode) { return replace(path, bytes, mode, Owner::kCaller); }
Result<void> replace_file(const std::string& path, std::string_view bytes, unsigned mode) { return replace(path, bytes, mode, Owner::kKept); }

Result<void> make_dirs(const std::string& path, unsigned mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      struct stat st {};
      if (errno == EROFS || errno == EACCES) {
        const int saved = errno;
        if (::stat(part.c_str(), &st) == 0) continue;
        errno = saved;
      }
      return io_error("cannot create directory", part);
    }
  }
  return {};
}

}  // namespace stella
