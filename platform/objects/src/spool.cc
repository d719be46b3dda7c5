// Spool files.
#include "spool.h"

#include <cerrno>

#include "driver.h"
#include "stella/base/unnamed_file.h"

namespace stella::objects {
namespace {

Error no_room_or(Literal message, const std::string& path) { return errno == ENOSPC || errno == EDQUOT ? disk_full() : io_error(message, path); }

}  // namespace

Result<Fd> spool_file(const std::string& dir) {
  auto fd = unnamed_file(dir);
  if (!fd) return no_room_or("cannot create a spool file", dir);
  return fd;
}

Result<void> spool(int fd, std::string_view bytes) {
  if (auto written = write_all(fd, bytes); !written) return no_room_or("cannot write the spool file", "");
  return {};
}

}  // namespace stella::objects
