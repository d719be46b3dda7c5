// Small file helpers with the durability rules of the platform in one place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "stella/base/result.h"

namespace stella {

// A file descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// kIo with path and errno text, from the current errno.
Error io_error(Literal message, std::string_view path);

// The whole file; kLimit where it holds more than `max_bytes`, kNotFound where it does not exist.
Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes);
// Reads `fd` to its end; kLimit over `max_bytes`.
Result<std::string> read_fd(int fd, std::uint64_t max_bytes);
// Writes all of `bytes`, whatever the kernel splits.
Result<void> write_all(int fd, std::string_view bytes);

// Replaces `path` so that after a power cut either the old or the new content is there: temp file, fsync, rename, fsync of the directory.
Result<void> write_file_durable(const std::string& path, std::string_view bytes, unsigned mode = 0644);
// fsync of the directory that holds `path`.
Result<void> sync_parent_dir(const std::string& path);
// mkdir -p with the given mode for what is created.
Result<void> make_dirs(const std::string& path, unsigned mode = 0755);

}  // namespace stella
