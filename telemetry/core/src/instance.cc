// Making, locking, naming and removing the directories.
#include "instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "installations.h"
#include "ring.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

std::string about_json(const Resource& r, std::string_view installation) {
  return json::dump(json::Value::object({{"installation", std::string(installation)}, {"service", r.service}, {"version", r.version}, {"env", r.env}, {"region", r.region}, {"instance_id", r.instance_id}}));
}

Result<void> write_small(const std::string& path, std::string_view text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return io_error("cannot write beside the telemetry rings", path);
  return write_all(fd.get(), text);
}

}  // namespace

std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  DIR* const entries = opendir(dir.c_str());
  if (entries == nullptr) return names;
  while (const dirent* entry = readdir(entries)) {
    if (std::string_view name = entry->d_name; name != "." && name != "..") names.emplace_back(name);
  }
  closedir(entries);
  std::sort(names.begin(), names.end());
  return names;
}

std::string absolute_path(std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  char here[4096];
  return getcwd(here, sizeof here) == nullptr ? std::string() : std::string(here) + "/" + std::string(path);
}

// Whoever is killed in the middle leaves nothing that looks like rings which lost their lock, their resource or their catalogue.
void remove_instance(const std::string& path) {
  const std::size_t slash = path.rfind('/') + 1;
  const std::string gone = path.substr(0, slash) + std::string(kGone) + path.substr(slash);
  const std::string& now = ::rename(path.c_str(), gone.c_str()) == 0 ? gone : path;
  for (const std::string& name : names_in(now)) unlink((now + "/" + name).c_str());
  rmdir(now.c_str());
}

std::optional<InstanceName> InstanceName::parse(std::string_view name) {
  InstanceName out;
  const char* const end = name.data() + name.size();
  auto r = std::from_chars(name.data(), end, out.pid);
  if (r.ec != std::errc() || r.ptr == end || *r.ptr != '-' || out.pid <= 0) return std::nullopt;
  r = std::from_chars(r.ptr + 1, end, out.start);
  if (r.ec != std::errc() || r.ptr == end || *r.ptr != '-') return std::nullopt;
  return out;
}

bool InstanceName::alive() const { return (kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM) && process_start(pid) == start; }

std::uint64_t process_start(std::int64_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return 0;
  // The name in parentheses may hold anything; fields are counted from behind it: the next one is the third.
  std::size_t at = text->rfind(')');
  for (int field = 2; field < 22 && at != text->npos; ++field) at = text->find(' ', at + 1);
  std::uint64_t start = 0;
  if (at != text->npos) std::from_chars(text->data() + at + 1, text->data() + text->size(), start);
  return start;
}

Result<std::string> telemetry_dir(std::string dir, std::string_view installation) {
  const bool shared = dir.empty();
  if (shared) dir = "/dev/shm/stella-telemetry-" + std::to_string(geteuid());
  if (shared) {
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make the telemetry directory", dir);
  } else {
    STELLA_TRY_VOID(make_dirs(dir, 0700));
  }
  struct stat status {};
  if (lstat(dir.c_str(), &status) != 0) return io_error("cannot read the telemetry directory", dir);
  // In a directory that everybody may write, the name proves nothing.
  if (shared && (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)) {
    return Error(contracts::errors::kInvalid, "the telemetry directory belongs to somebody else").with("path", dir);
  }
  if (!shared || installation.empty()) return dir;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: the same in every process and version
  for (const char c : installation) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  dir += "/of-" + std::to_string(hash);
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make the telemetry directory", dir);
  note_installation(dir, installation);
  return dir;
}

Result<Instance> Instance::create(const std::string& dir, const Resource& resource, std::string_view installation) {
  static std::atomic<int> count{0};
  Instance instance;
  instance.name_ = std::to_string(getpid()) + "-" + std::to_string(process_start(getpid()));
  // A number behind the name: several backends of one process, or a process of an earlier boot with the same pid and start.
  for (int tries = 0; tries < 1000; ++tries) {
    const std::string name = instance.name_ + "-" + std::to_string(count.fetch_add(1));
    const std::string unfinished = dir + "/" + std::string(kUnfinished) + name;
    instance.path_ = dir + "/" + name;
    if (access(instance.path_.c_str(), F_OK) == 0) continue;
    if (mkdir(unfinished.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;
      return io_error("cannot make the telemetry directory", unfinished);
    }
    instance.lock_ = Fd(::open((unfinished + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!instance.lock_ || flock(instance.lock_.get(), LOCK_EX | LOCK_NB) != 0) return io_error("cannot lock the telemetry directory", unfinished);
    STELLA_TRY_VOID(write_small(unfinished + "/about.json", about_json(resource, installation)));
    STELLA_TRY_VOID(write_small(unfinished + "/keys", catalogue_text()));
    // Under its name only once it is locked: whoever starts at the same time must not take it for remains.
    if (rename(unfinished.c_str(), instance.path_.c_str()) == 0) return instance;
    return io_error("cannot name the telemetry directory", instance.path_);
  }
  return Error(contracts::errors::kIo, "cannot find a name for the telemetry directory").with("path", dir);
}

std::string Instance::ring_path(std::size_t number) const {
  const std::string digits = std::to_string(number);
  return path_ + "/ring-" + std::string(digits.size() < 4 ? 4 - digits.size() : 0, '0') + digits;
}

void Instance::remove() {
  if (path_.empty()) return;
  remove_instance(path_);
  lock_.reset();
}

}  // namespace stella::telemetry
