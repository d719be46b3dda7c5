// The product's system calls and its calls of libpq, as the linker hands them over.
#pragma once

#include <string>

namespace stella::chaos {

// System calls on files below `path` are counted and may fail; "" for none.
void watch_files_below(const std::string& path);

}  // namespace stella::chaos
