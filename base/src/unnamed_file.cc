// O_TMPFILE, or a name that is unlinked at once where the file system has no O_TMPFILE.
#include "stella/base/unnamed_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

namespace stella {

Result<Fd> unnamed_file(const std::string& dir) {
  Fd fd(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  std::string name = dir + "/stella-unnamed-XXXXXX";
  fd = Fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return io_error("cannot create a temporary file", dir);
  ::unlink(name.c_str());
  return fd;
}

}  // namespace stella
