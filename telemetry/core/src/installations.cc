// Whose directory it is, and removing those of platforms that are no more.
#include "installations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <vector>

#include "stella/base/json.h"

namespace stella::telemetry {
namespace {

constexpr std::string_view kWhose = "/installation.json", kMissing = "/missing", kPlatform = "of-";

// Paths mean the same only to processes that see the same mounts.
std::string mounts() {
  char name[64];
  const ssize_t n = readlink("/proc/self/ns/mnt", name, sizeof name);
  return n > 0 ? std::string(name, static_cast<std::size_t>(n)) : std::string();
}

// True where the platform's data directory is certainly not there.
bool is_missing(const std::string& dir) {
  const auto text = read_file(dir + std::string(kWhose), 64 * 1024);
  const auto value = text ? json::parse(*text) : Result<json::Value>(text.error());
  if (!value) return false;
  const std::string data(value->str("data_dir")), ns(value->str("mounts"));
  if (!data.starts_with('/') || ns.empty() || ns != mounts()) return false;
  struct stat status {};
  return stat(data.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

// Locks of all processes that have something here; nothing where one of them lives.
std::optional<std::vector<Fd>> locks_of_dead(const std::string& dir) {
  std::vector<Fd> locks;
  for (const std::string& name : names_in(dir)) {
    const bool unfinished = name.starts_with(kUnfinished);
    const auto parsed = InstanceName::parse(std::string_view(name).substr(unfinished ? kUnfinished.size() : 0));
    if (!parsed || !is_own_directory(dir + "/" + name)) continue;
    if (parsed->alive()) return std::nullopt;
    auto lock = lock_of_dead(dir + "/" + name, *parsed);
    if (!lock) return std::nullopt;
    if (!unfinished) locks.push_back(std::move(*lock));
  }
  return locks;
}

// Two levels and no links followed: that is all there is.
std::uint64_t remove_all(const std::string& dir) {
  std::uint64_t bytes = 0;
  const auto remove_file = [&bytes](const std::string& path) {
    struct stat status {};
    if (lstat(path.c_str(), &status) == 0 && unlink(path.c_str()) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  };
  for (const std::string& name : names_in(dir)) {
    const std::string path = dir + "/" + name;
    if (!is_own_directory(path)) {
      remove_file(path);
      continue;
    }
    for (const std::string& file : names_in(path)) remove_file(path + "/" + file);
    rmdir(path.c_str());
  }
  rmdir(dir.c_str());
  return bytes;
}

}  // namespace

bool is_own_directory(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid();
}

bool seen_for(const std::string& mark, std::chrono::seconds grace) {
  const Fd made(::open(mark.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat status {};
  timespec now{};
  if (!made || fstat(made.get(), &status) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) return false;
  if (status.st_mtim.tv_sec > now.tv_sec + 1) {  // the clock was set back
    futimens(made.get(), nullptr);
    return false;
  }
  return now.tv_sec - status.st_mtim.tv_sec >= grace.count();
}

void note_installation(const std::string& dir, std::string_view installation) {
  const std::string path = dir + std::string(kWhose);
  const std::string data = absolute_path(installation);
  if (data.empty()) return;
  const std::string text = json::dump(json::Value::object({{"data_dir", data}, {"mounts", mounts()}}));
  if (const auto now = read_file(path, 64 * 1024); now && *now == text) return;
  // Readers see the whole of it or nothing. Where it cannot be written nobody will ever remove the directory.
  const std::string part = path + "." + std::to_string(getpid());
  const Fd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || !write_all(file.get(), text) || ::rename(part.c_str(), path.c_str()) != 0) unlink(part.c_str());
}

GoneInstallations remove_gone_installations(const std::string& own, std::chrono::seconds grace) {
  GoneInstallations gone;
  const std::size_t slash = own.rfind('/');
  const std::string parent = own.substr(0, slash);
  for (const std::string& name : names_in(parent)) {
    const std::string dir = parent + "/" + name;
    if (dir == own || !is_own_directory(dir)) continue;
    if (name.starts_with(kGone)) {  // whoever removed it was killed, or still does
      gone.bytes += remove_all(dir);
      continue;
    }
    if (!name.starts_with(kPlatform)) continue;
    const std::string mark = dir + std::string(kMissing);
    if (!is_missing(dir)) {
      unlink(mark.c_str());
      continue;
    }
    if (!locks_of_dead(dir) || !seen_for(mark, grace)) continue;
    // From here on nobody finds it by its name; a process that started just before it was renamed has it back.
    const std::string away = parent + "/" + std::string(kGone) + name;
    if (::rename(dir.c_str(), away.c_str()) != 0) continue;
    const auto locks = locks_of_dead(away);
    if (!locks || !is_missing(away)) {
      [[maybe_unused]] const int back = ::rename(away.c_str(), dir.c_str());
      continue;
    }
    ++gone.platforms;
    gone.processes += locks->size();
    gone.bytes += remove_all(away);
  }
  return gone;
}

}  // namespace stella::telemetry
