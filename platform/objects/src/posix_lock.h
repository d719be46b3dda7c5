// An object's lock on a POSIX file system: the extended attribute `user.stella.lock` of its file, and the immutable flag.
#pragma once

#include <string>

#include "stella/platform/objects.h"

namespace stella::objects {

inline constexpr std::string_view kNoAttributes = "its file system keeps no extended attributes (user_xattr)";

// No attribute is no lock. kMalformed for one that we did not write: what cannot be read is not removed.
Result<ObjectLock> read_lock(int fd, const std::string& key);
// Writes the attribute of a file that is not immutable; nothing for no lock where there was none. Not yet synced.
// kUnavailable with reason kNoAttributes where the file system keeps none.
Result<void> write_lock(int fd, const ObjectLock& lock, const std::string& key);
// True where the flag is as asked for afterwards; needs CAP_LINUX_IMMUTABLE to change it and a file system that has it.
bool set_immutable(int fd, bool on);

}  // namespace stella::objects
