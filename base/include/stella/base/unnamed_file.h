// Files without a name, for what is too large for memory: gone with their descriptor, also after a crash.
#pragma once

#include <string>

#include "stella/base/file.h"
#include "stella/base/result.h"

namespace stella {

// In `dir`, mode 0600, empty, for reading and writing. kIo; errno says why.
Result<Fd> unnamed_file(const std::string& dir);

}  // namespace stella
