// Paths, users, directories.
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// Absolute without symbolic links, also where the last parts do not exist yet.
std::string absolute(const std::string& path) {
  char buffer[PATH_MAX];
  if (::realpath(path.c_str(), buffer) != nullptr) return buffer;
  if (path.find('/') == std::string::npos) return absolute(".") + "/" + path;
  const std::string parent = parent_of(path);
  if (parent == path) return path;
  const std::string above = absolute(parent);
  return (above == "/" ? "" : above) + path.substr(path.rfind('/'));
}

Result<std::string> default_data_dir(bool root) {
  if (root) return std::string("/var/lib/stella");
  if (const std::string xdg = environment("XDG_DATA_HOME"); xdg.starts_with("/")) return xdg + "/stella";
  std::string home = environment("HOME");
  if (home.empty()) {
    const passwd* user = ::getpwuid(::getuid());
    if (user != nullptr && user->pw_dir != nullptr) home = user->pw_dir;
  }
  if (home.empty()) return Error(base_errors::kInvalid, "no home directory is known").with("remedy", "Set HOME, or give --data-dir.");
  return home + "/.local/share/stella";
}

Result<process::User> make_user(const std::string& name) {
  auto found = process::find_user(name);
  if (found) return found;
  process::SpawnOptions options;
  options.argv = {"/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name};
  options.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}};
  auto child = process::Child::spawn(options);
  const auto status = child ? child->wait(Deadline::after(std::chrono::seconds(30))) : std::nullopt;
  found = process::find_user(name);
  if (found) return found;
  return Error(contracts::errors::kUnavailable, "the system user could not be made")
      .with("user", name)
      .with("status", status ? std::to_string(*status) : "none")
      .with("remedy", "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin " + name);
}

Result<void> fill_user(std::optional<process::User>& out, const std::string& name, bool create) {
  auto user = create ? make_user(name) : process::find_user(name);
  if (user) out = *user;
  else if (create) return std::move(user.error());
  return {};
}

// A directory under /tmp that somebody else made first is no place for a socket.
Result<void> check_own(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return {};
  if (S_ISDIR(info.st_mode) && info.st_uid == ::getuid()) return {};
  return Error(contracts::errors::kUntrusted, "the socket directory belongs to somebody else").with("path", path).with("remedy", "Remove it, or give a shorter --data-dir: then the socket lies below it.");
}

}  // namespace

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

std::string socket_dir(const std::string& data, bool root, unsigned uid) {
  if (root) return "/run/stella/pg";
  constexpr std::string_view kLongestName = "/.s.PGSQL.65535";
  const std::string below = data + "/run/sock";
  return below.size() + kLongestName.size() <= kSocketPathLimit ? below : "/tmp/stella-" + std::to_string(uid);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Result<Layout> locate(const std::string& data_dir) {
  Layout out;
  out.root = ::geteuid() == 0;
  std::string data = data_dir.empty() ? environment("STELLA_DATA_DIR") : data_dir;
  if (data.empty()) data = STELLA_TRY(default_data_dir(out.root));
  while (data.size() > 1 && data.ends_with('/')) data.pop_back();
  out.data = absolute(data);
  out.sockets = socket_dir(out.data, out.root, ::getuid());
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return io_error("cannot find this program", "/proc/self/exe");
  out.programs = parent_of(std::string(self, static_cast<std::size_t>(n)));
  STELLA_TRY_VOID(find_users(out, false));
  return out;
}

Result<void> find_users(Layout& layout, bool create) {
  if (!layout.root) return {};
  STELLA_TRY_VOID(fill_user(layout.server, std::string(kServerUser), create));
  STELLA_TRY_VOID(fill_user(layout.runner, std::string(kRunnerUser), create));
  // PostgreSQL's packages bring their own user.
  STELLA_TRY_VOID(fill_user(layout.database, "postgres", false));
  if (!layout.database) STELLA_TRY_VOID(fill_user(layout.database, "stella-pg", create));
  return {};
}

Result<void> find_collector_user(Layout& layout) { return layout.root ? fill_user(layout.collector, std::string(kCollectorUser), true) : Result<void>(); }

namespace {

// By descriptor, of the very thing that was looked at: whoever owns the directory could put a link to somebody else's file into its place.
Result<void> own(const std::string& path, const std::optional<process::User>& user, unsigned mode, bool directory) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (directory ? O_DIRECTORY : 0)));
  const auto foreign = [&] { return Error(contracts::errors::kUntrusted, "this is no file of ours: it is a link, or has a second name").with("path", path).with("remedy", "Look who put it there, and remove it."); };
  if (!fd && (errno == ELOOP || errno == ENOTDIR || errno == ENXIO)) return foreign();
  if (!fd) return io_error("cannot open what is given to its user", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error("cannot look at what is given to its user", path);
  // A key that is being rotated has two names for an instant, and after a crash until the next rotation; it is its user's already.
  const bool theirs = info.st_uid == (user ? user->uid : ::geteuid());
  if (directory ? !S_ISDIR(info.st_mode) : !S_ISREG(info.st_mode) || (info.st_nlink != 1 && !theirs)) return foreign();
  if (user && ::fchown(fd.get(), user->uid, user->gid) != 0) return io_error("cannot give the file to its user", path);
  if (::fchmod(fd.get(), mode) != 0) return io_error("cannot set the mode", path);  // after chown, which clears setgid
  return {};
}

}  // namespace

Result<void> own_file(const std::string& path, const std::optional<process::User>& user, unsigned mode) { return own(path, user, mode, false); }

Result<void> own_dir(const std::string& path, const std::optional<process::User>& user, unsigned mode) {
  STELLA_TRY_VOID(make_dirs(path, 0755));
  return own(path, user, mode, true);
}

namespace {

// Rights to files of the calling thread alone: the kernel keeps them for each thread, and glibc's setgroups would change those of all.
bool take_file_rights(unsigned uid, unsigned gid, const std::vector<gid_t>& groups) {
  if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return false;
  ::setfsgid(gid);
  ::setfsuid(uid);
  // Both say what was before, whether they changed it or not: asked again, they say what is.
  return static_cast<unsigned>(::setfsgid(gid)) == gid && static_cast<unsigned>(::setfsuid(uid)) == uid;
}

}  // namespace

Result<void> as_user(const process::User& user, const std::function<void()>& work) {
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, ::getgroups(0, nullptr))));
  if (::getgroups(static_cast<int>(groups.size()), groups.data()) < 0) return io_error("cannot see the groups of this process", "");
  const bool taken = take_file_rights(user.uid, user.gid, {user.gid});
  const int reason = errno;
  if (taken) work();
  if (!take_file_rights(::geteuid(), ::getegid(), groups)) ::abort();  // with somebody else's rights nothing here may go on
  errno = reason;
  return taken ? Result<void>() : Result<void>(io_error("cannot take the rights of the user", std::to_string(user.uid)));
}

Result<void> make_layout(const Layout& l) {
  const std::optional<process::User> self;
  STELLA_TRY_VOID(own_dir(l.data, self, 0755));
  for (const char* dir : {"run", "log"}) STELLA_TRY_VOID(own_dir(l.path(dir), self, 0755));
  for (const char* dir : {"nats", "objects", "tmp"}) STELLA_TRY_VOID(own_dir(l.path(dir), l.server, 0700));
  // Root writes here, the server only reads: it could otherwise have root read or change for it whatever it puts a link to.
  std::optional<process::User> readers = l.server;
  if (readers) readers->uid = 0;
  for (const char* dir : {"secrets", "secrets/pg", "secrets/nats"}) STELLA_TRY_VOID(own_dir(l.path(dir), readers, readers ? 0750 : 0700));
  STELLA_TRY_VOID(own_dir(l.path("keys"), l.server, 0750));
  STELLA_TRY_VOID(own_dir(l.path("secrets-runner"), l.runner, 0700));
  STELLA_TRY_VOID(own_dir(l.path("run/runner"), l.runner, 0755));
  // What waits for the OTLP receiver, of each program its own.
  STELLA_TRY_VOID(own_dir(l.path("telemetry"), self, 0755));
  STELLA_TRY_VOID(own_dir(l.path("telemetry/stellad"), l.server, 0700));
  STELLA_TRY_VOID(own_dir(l.path("telemetry/stella-runner"), l.runner, 0700));
  // Reports of crashes, likewise.
  STELLA_TRY_VOID(own_dir(l.path("crash"), self, 0755));
  STELLA_TRY_VOID(own_dir(l.path("crash/stellad"), l.server, 0700));
  STELLA_TRY_VOID(own_dir(l.path("crash/stella-runner"), l.runner, 0700));
  // The orchestrator makes a job's directory, the runner's group may enter it.
  std::optional<process::User> jobs = l.server;
  if (jobs && l.runner) jobs->gid = l.runner->gid;
  STELLA_TRY_VOID(own_dir(l.path("jobs"), jobs, l.root ? 02750 : 0700));
  if (l.root) {
    STELLA_TRY_VOID(own_dir("/run/stella", self, 0755));
    return own_dir(l.sockets, l.database, 0755);
  }
  STELLA_TRY_VOID(check_own(l.sockets));
  return own_dir(l.sockets, self, 0700);
}

}  // namespace stella::cli::up
