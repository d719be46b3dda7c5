// The directory of ring files of one process, and what is found in those of processes that are gone.
//
//   <dir>/<pid>-<start time>-<n>/  lock (held while the process lives) | about.json (its Resource) | keys (its field catalogue)
//                                  ring-0000 … | spill
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ring.h"
#include "spill.h"
#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// `dir`, or where it is "" a directory of this user in /dev/shm. Made with mode 0700; kInvalid where it belongs to somebody else.
// Without `dir`, processes of different installations stay apart.
Result<std::string> telemetry_dir(std::string dir, std::string_view installation = {});

class Instance {
 public:
  // Makes and locks the directory.
  static Result<Instance> create(const std::string& dir, const Resource& resource);
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

// What a dead process left behind; locked against everybody else who starts now.
struct Remains {
  std::string path;
  Resource resource;
  Fd lock;
  std::int64_t pid = 0;
};
// Of processes of `service` alone: lines of another service belong into another file.
std::vector<Remains> find_remains(const std::string& dir, std::string_view service);

struct RecoveredCounts {
  std::uint64_t records = 0;
  std::uint64_t torn = 0;  // no records at all, or broken frames of the spill
  std::uint64_t lost = 0;  // numbers that are missing, beyond what the process itself had counted as dropped
  std::uint64_t dropped_logs = 0, dropped_spans = 0;  // counted by the process, in no metric yet
  bool unread = false;  // the operating system could not read all of it now, which says nothing of what is in it
};
// Calls `take` for every record, logs ordered by time; `written` says that its line is in the log already and only its export is not
// certain. Records of another build's catalogue are rewritten by the names of their fields.
RecoveredCounts read_remains(const Remains& remains, const std::function<void(const RecordView&, bool written)>& take);
void remove_remains(Remains& remains);

// `record` as this build would have written it, where `keys` ("key\n" …) is the catalogue of its writer. "" where it is malformed.
std::string translate_record(std::string_view record, const std::vector<std::string>& keys);

// Field 22 of /proc/<pid>/stat; 0 where there is no such process.
std::uint64_t process_start(std::int64_t pid);

}  // namespace stella::telemetry
