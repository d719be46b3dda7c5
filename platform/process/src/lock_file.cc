// One process per data directory: flock, with the holder's pid as content for the error message.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "stella/contracts/errors.h"
#include "stella/platform/process.h"

namespace stella::process {
namespace {

constexpr std::chrono::milliseconds kLookTime{200};

// Whoever only looks who holds it takes the lock for an instant, too: tried again for a moment.
bool take_lock(int fd) {
  const Deadline deadline = Deadline::after(kLookTime);
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || deadline.passed()) return false;
    ::usleep(10'000);
  }
  return true;
}

}  // namespace

Result<Fd> lock_file(const std::string& path) {
  // For its owner alone, also where an earlier version made it: a lock needs no more than a descriptor to read, so anybody who may read could hold it.
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd || ::fchmod(fd.get(), 0600) != 0) return io_error("cannot open the lock file", path);
  if (!take_lock(fd.get())) {
    if (errno != EWOULDBLOCK) return io_error("cannot lock the file", path);
    char text[32] = {};
    const auto n = ::pread(fd.get(), text, sizeof text - 1, 0);
    std::string holder(text, n > 0 ? static_cast<std::size_t>(n) : 0);
    holder = holder.substr(0, holder.find_first_not_of("0123456789"));
    return Error(contracts::errors::kConflict, "another process holds the lock").with("path", path).with("holder", holder.empty() ? "?" : holder);
  }
  // The file is never removed: whoever opened it before would hold a lock that nobody else sees.
  if (::ftruncate(fd.get(), 0) != 0) return io_error("cannot write the lock file", path);
  STELLA_TRY_VOID(write_all(fd.get(), std::to_string(::getpid()) + "\n"));
  return fd;
}

}  // namespace stella::process
