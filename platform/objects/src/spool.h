// Files without a name for what is too large for memory, gone with their descriptor.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/file.h"
#include "stella/base/result.h"

namespace stella::objects {

// In `dir`, mode 0600, open for reading and writing. A full disk is disk_full() of driver.h, here and below.
Result<Fd> spool_file(const std::string& dir);
Result<void> spool(int fd, std::string_view bytes);

}  // namespace stella::objects
