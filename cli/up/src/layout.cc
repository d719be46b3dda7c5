// Paths, users, directories.
#include "layout.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

// Short and known in advance, so that stella.yaml can name it: the kernel takes no socket path over 107 bytes.
std::string socket_dir(bool root) {
  if (root) return "/run/stella/pg";
  const std::string runtime = environment("XDG_RUNTIME_DIR");
  if (runtime.starts_with("/") && runtime.size() < 60 && ::access(runtime.c_str(), W_OK) == 0) return runtime + "/stella";
  return "/tmp/stella-" + std::to_string(::getuid());
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
  return Error(contracts::errors::kUntrusted, "the socket directory belongs to somebody else").with("path", path).with("remedy", "Remove it, or set XDG_RUNTIME_DIR to a directory of your own.");
}

}  // namespace

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Result<Layout> locate(const std::string& data_dir) {
  Layout out;
  out.root = ::geteuid() == 0;
  std::string data = data_dir.empty() ? environment("STELLA_DATA_DIR") : data_dir;
  if (data.empty()) data = STELLA_TRY(default_data_dir(out.root));
  while (data.size() > 1 && data.ends_with('/')) data.pop_back();
  out.data = absolute(data);
  out.sockets = socket_dir(out.root);
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

Result<void> own_file(const std::string& path, const std::optional<process::User>& user, unsigned mode) {
  if (user && ::lchown(path.c_str(), user->uid, user->gid) != 0) return io_error("cannot give the file to its user", path);
  if (::chmod(path.c_str(), mode) != 0) return io_error("cannot set the mode", path);  // after chown, which clears setgid
  return {};
}

Result<void> own_dir(const std::string& path, const std::optional<process::User>& user, unsigned mode) {
  STELLA_TRY_VOID(make_dirs(path, 0755));
  return own_file(path, user, mode);
}

Result<void> make_layout(const Layout& l) {
  const std::optional<process::User> self;
  STELLA_TRY_VOID(own_dir(l.data, self, 0755));
  for (const char* dir : {"run", "log"}) STELLA_TRY_VOID(own_dir(l.path(dir), self, 0755));
  for (const char* dir : {"nats", "objects", "tmp", "secrets", "secrets/pg", "secrets/nats"}) STELLA_TRY_VOID(own_dir(l.path(dir), l.server, 0700));
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
