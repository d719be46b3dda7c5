// Sources and sinks over file descriptors and strings.
#include "stella/evidence/format/stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "stella/base/file.h"

namespace stella::evidence {

Result<std::size_t> FdSource::read(char* out, std::size_t size) {
  for (;;) {
    const ssize_t n = ::read(fd_, out, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return io_error("cannot read", "");
  }
}

Result<std::size_t> FileSource::read(char* out, std::size_t size) {
  for (;;) {
    const ssize_t n = ::pread(fd_, out, size, static_cast<off_t>(offset_));
    if (n >= 0) {
      offset_ += static_cast<std::uint64_t>(n);
      return static_cast<std::size_t>(n);
    }
    if (errno != EINTR) return io_error("cannot read", "");
  }
}

Result<std::size_t> StringSource::read(char* out, std::size_t size) {
  const std::size_t n = std::min(size, bytes_.size());
  std::memcpy(out, bytes_.data(), n);
  bytes_.remove_prefix(n);
  return n;
}

Result<void> FdSink::write(std::string_view bytes) { return write_all(fd_, bytes); }

}  // namespace stella::evidence
