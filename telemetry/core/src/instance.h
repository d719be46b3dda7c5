// The directory of ring files of one process.
//
//   <dir>/<pid>-<start time>-<n>/  lock (held while the process lives) | about.json (its Resource) | keys (its field catalogue)
//                                  ring-0000 … | spill | written-0 … (log_mark.h) | orphaned (remains.h)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// `dir`, or where it is "" a directory of this user in /dev/shm. Made with mode 0700; kInvalid where it belongs to somebody else.
// Without `dir`, processes of different installations stay apart.
Result<std::string> telemetry_dir(std::string dir, std::string_view installation = {});

class Instance {
 public:
  // Makes and locks the directory. `installation`: see BackendOptions.
  static Result<Instance> create(const std::string& dir, const Resource& resource, std::string_view installation = {});
  Instance() = default;
  Instance(Instance&&) = default;
  Instance& operator=(Instance&&) = default;

  const std::string& path() const { return path_; }
  // `<pid>-<start time>`
  const std::string& name() const { return name_; }
  std::string ring_path(std::size_t number) const;
  std::string spill_path() const { return path_ + "/spill"; }
  // The process ends well and everything is written: nothing to find.
  void remove();
  // In a forked child: the lock stays with the parent alone.
  void forget_lock() { lock_.reset(); }

 private:
  std::string path_, name_;
  Fd lock_;
};

// What `<pid>-<start time>-<n>` says.
struct InstanceName {
  std::int64_t pid = 0;
  std::uint64_t start = 0;
  static std::optional<InstanceName> parse(std::string_view name);
  // The process itself, not another one that has its number now.
  bool alive() const;
};

// Names that a directory goes by while it is made, and while it is removed.
inline constexpr std::string_view kUnfinished = ".new-", kGone = ".gone-";
// Sorted, without "." and ".."; none where it cannot be read.
std::vector<std::string> names_in(const std::string& dir);
// "" where the working directory has no name.
std::string absolute_path(std::string_view path);
// Under another name first: to others all of it goes at once.
void remove_instance(const std::string& path);

// Field 22 of /proc/<pid>/stat; 0 where there is no such process.
std::uint64_t process_start(std::int64_t pid);

}  // namespace stella::telemetry
