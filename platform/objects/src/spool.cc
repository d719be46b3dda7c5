// Spool files.
#include "spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

#include "driver.h"

namespace stella::objects {
namespace {

Error no_room_or(Literal message, const std::string& path) { return errno == ENOSPC || errno == EDQUOT ? disk_full() : io_error(message, path); }

}  // namespace

Result<Fd> spool_file(const std::string& dir) {
  Fd fd(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  std::string name = dir + "/stella-spool-XXXXXX";
  fd = Fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return no_room_or("cannot create a spool file", dir);
  ::unlink(name.c_str());
  return fd;
}

Result<void> spool(int fd, std::string_view bytes) {
  if (auto written = write_all(fd, bytes); !written) return no_room_or("cannot write the spool file", "");
  return {};
}

}  // namespace stella::objects
