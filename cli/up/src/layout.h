// Where the platform of this machine lies and whom its parts run as.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/platform/process.h"

namespace stella::cli::up {

inline constexpr std::string_view kServerUser = "stella";
inline constexpr std::string_view kRunnerUser = "stella-runner";
inline constexpr std::string_view kCollectorUser = "stella-collector";
inline constexpr std::size_t kSocketPathLimit = 107;

struct Layout {
  std::string data;          // absolute
  std::string sockets;       // directory of PostgreSQL's socket
  std::string programs;      // directory of stella, stellad, stella-runner
  bool root = false;
  // Set under root only; otherwise everything runs as the caller.
  std::optional<process::User> server, database, runner, collector;

  std::string path(std::string_view below) const { return data + "/" + std::string(below); }
  std::string config() const { return path("stella.yaml"); }
  std::string runner_config() const { return path("run/runner.yaml"); }
  std::string state() const { return path("run/state.json"); }
  std::string lock() const { return path("run/up.lock"); }
  // What a part writes: the file of its standard error, or of stellad and the runner a link to their lines.
  std::string log(std::string_view part) const { return path("log/" + std::string(part) + ".log"); }
  // stellad and the runner write their lines themselves, and rotate them: each into a directory of its own.
  std::string lines(std::string_view program) const { return path("log/" + std::string(program) + "/" + std::string(program) + ".log"); }
  // Their standard error: what is said before there are lines, or where the disk takes none.
  std::string errors(std::string_view program) const { return path("log/" + std::string(program) + ".err"); }
};

// `data_dir` "" is STELLA_DATA_DIR, else /var/lib/stella for root, else $XDG_DATA_HOME/stella. Makes nothing. kInvalid for a home that is unknown.
Result<Layout> locate(const std::string& data_dir);
// Fills in the users that exist; under root makes the missing ones where `create`. kUnavailable with remedy where that fails.
Result<void> find_users(Layout& layout, bool create);
// The Collector's own user, made where it is missing: it reads what strangers send and needs no secret of ours.
Result<void> find_collector_user(Layout& layout);
// Where PostgreSQL's socket of this data directory lies: below it, where the kernel takes a path that long; never in $XDG_RUNTIME_DIR, which goes with
// the user's last session while the platform runs on.
std::string socket_dir(const std::string& data, bool root, unsigned uid);
// The directories with owners and modes; a socket directory that was cleared away comes back.
Result<void> make_layout(const Layout& layout);

// mkdir -p, then owner and mode of the last directory. Root does these two inside directories of other users: kUntrusted for a link, for a file with a
// second name that is not that user's already and for anything but a file or directory, and nothing is changed then.
Result<void> own_dir(const std::string& path, const std::optional<process::User>& user, unsigned mode);
Result<void> own_file(const std::string& path, const std::optional<process::User>& user, unsigned mode);
// Does `work` with the rights that `user` has to files: what it makes is that user's, and what that user may not touch it cannot. Of this thread alone.
// kIo where the rights cannot be changed: root can.
Result<void> as_user(const process::User& user, const std::function<void()>& work);
bool exists(const std::string& path);
std::string environment(const char* name);

}  // namespace stella::cli::up
