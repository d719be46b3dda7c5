// A walk that enters only directories which can hold a wanted key.
#include "posix_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace stella::objects {
namespace {

struct Walk {
  int root;
  const std::string& prefix;
  const std::string& after;
  std::size_t limit;
  std::vector<Entry> out;

  // Directories with their '/', so that sorting the names is sorting the keys.
  Result<std::vector<std::string>> names(const std::string& path) const {
    Fd opened(::openat(root, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    DIR* dir = opened ? ::fdopendir(opened.get()) : nullptr;
    std::vector<std::string> found;
    if (dir == nullptr) {
      if (errno == ENOENT || errno == ENOTDIR) return found;
      return io_error("cannot list objects", path);
    }
    const int fd = opened.release();
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name.starts_with('.')) continue;
      struct stat st {};
      if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // removed meanwhile
      if (S_ISDIR(st.st_mode)) found.push_back(name + "/");
      if (S_ISREG(st.st_mode)) found.push_back(name);
    }
    ::closedir(dir);
    std::sort(found.begin(), found.end());
    return found;
  }

  // Whether keys that begin with `path` can be wanted.
  bool enters(const std::string& path) const {
    const bool matches = path.starts_with(prefix) || prefix.starts_with(path);
    return matches && (path > after || after.starts_with(path));
  }

  Result<void> visit(const std::string& path) {
    const auto found = STELLA_TRY(names(path));
    for (const auto& name : found) {
      if (out.size() >= limit) return {};
      const std::string key = path + name;
      if (name.back() == '/') {
        if (enters(key)) STELLA_TRY_VOID(visit(key));
        continue;
      }
      if (!key.starts_with(prefix) || key <= after) continue;
      struct stat st {};
      if (::fstatat(root, key.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) out.push_back({key, static_cast<std::uint64_t>(st.st_size)});
    }
    return {};
  }
};

}  // namespace

Result<std::vector<Entry>> posix_list(int root, const std::string& prefix, const std::string& after, std::size_t limit) {
  Walk walk{root, prefix, after, limit, {}};
  STELLA_TRY_VOID(walk.visit(""));
  return std::move(walk.out);
}

}  // namespace stella::objects
