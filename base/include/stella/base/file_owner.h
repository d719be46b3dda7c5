// Files that root changes for somebody else: who reads them today still reads them afterwards.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella {

// Under root: gives the open file to owner and group of the file `path`, or, where there is none, of the directory that would hold it. For any other
// caller nothing happens. kIo with path.
Result<void> keep_owner(int fd, const std::string& path);
// write_file_durable, where the new file belongs to whom the old one did (keep_owner) before it takes its place.
Result<void> replace_file(const std::string& path, std::string_view bytes, unsigned mode);

}  // namespace stella
