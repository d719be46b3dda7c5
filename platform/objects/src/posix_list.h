// Objects of a directory tree in the byte order of their keys.
#pragma once

#include <string>
#include <vector>

#include "stella/platform/objects.h"

namespace stella::objects {

// At most `limit` regular files below `root` whose path begins with `prefix` and comes after `after`. Names with a leading dot are ours and left out.
// One directory at a time is in memory.
Result<std::vector<Entry>> posix_list(int root, const std::string& prefix, const std::string& after, std::size_t limit);

}  // namespace stella::objects
