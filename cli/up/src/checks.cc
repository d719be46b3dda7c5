// The checks.
#include "checks.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cluster.h"
#include "ports.h"
#include "state.h"
#include "stella/base/json.h"
#include "stella/cli/format.h"
#include "stella/platform/http_client.h"

namespace stella::cli::up {
namespace {

constexpr std::uint64_t kLeastDisk = 1ull << 30;
constexpr std::uint64_t kComfortableDisk = 5ull << 30;
constexpr std::int64_t kYear2026 = 1'767'225'600;

Check ok(std::string_view name, std::string detail) { return {std::string(name), Verdict::kOk, std::move(detail), ""}; }
Check warn(std::string_view name, std::string detail, std::string remedy) { return {std::string(name), Verdict::kWarn, std::move(detail), std::move(remedy)}; }
Check fail(std::string_view name, std::string detail, std::string remedy) { return {std::string(name), Verdict::kFail, std::move(detail), std::move(remedy)}; }

std::string existing_parent(std::string path) {
  while (path.size() > 1 && !exists(path)) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  return path;
}

Check check_postgres() {
  const std::string bin = postgres_bin();
  if (!bin.empty()) return ok("postgresql", bin);
  return fail("postgresql", "no PostgreSQL 15 or newer in /usr/lib/postgresql",
              "mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf && apt-get install -y postgresql-15");
}

Check check_nats() {
  const std::string program = nats_program();
  return program.empty() ? fail("nats-server", "the program is not in PATH", "apt-get install -y nats-server") : ok("nats-server", program);
}

Check check_programs(const Layout& layout) {
  for (const char* name : {"stellad", "stella-runner"})
    if (::access((layout.programs + "/" + name).c_str(), X_OK) != 0)
      return fail("programs", std::string(name) + " is not beside stella in " + layout.programs, "Build it: make up (or: ninja -C build/release stellad stella-runner)");
  return ok("programs", layout.programs);
}

Check disk_of(const Layout& layout) {
  const std::string where = existing_parent(layout.data);
  struct statvfs info {};
  if (::statvfs(where.c_str(), &info) != 0) return fail("disk", where + ": " + ::strerror(errno), "Give another directory with --data-dir.");
  return check_disk(where, static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize);
}

Check check_writable(const Layout& layout) {
  const std::string where = existing_parent(layout.data);
  if (::access(where.c_str(), W_OK) == 0) return ok("data directory", layout.data);
  return fail("data directory", where + " cannot be written by this user: " + ::strerror(errno), "Run as its owner, or give another directory with --data-dir.");
}

Check clock_of(const Layout& layout) {
  // The newest thing that we wrote ourselves must not lie in the future.
  struct stat info {};
  const std::int64_t seen = ::stat(layout.state().c_str(), &info) == 0 ? info.st_mtime : 0;
  return check_clock(::time(nullptr), seen);
}

Check check_socket(const Layout& layout, const Ports& ports) {
  const std::size_t size = (layout.sockets + "/.s.PGSQL." + std::to_string(ports.pg)).size();
  if (size <= kSocketPathLimit) return ok("sockets", layout.sockets);
  return fail("sockets", layout.sockets + " is too long for a socket (" + std::to_string(size) + " of 107 bytes)", "Give a shorter --data-dir.");
}

Check check_settings(const Layout& layout) {
  if (!exists(layout.config())) return ok("settings", "will be written at the first start");
  const auto settings = load_settings(layout);
  if (settings) return ok("settings", layout.config());
  return fail("settings", settings.error().describe(), "Mend " + layout.config() + ", or move it away: the next start writes a new one.");
}

Check check_secrets(const Layout& layout) {
  const std::string lost = lost_secret(layout);
  if (lost.empty()) return ok("secrets", exists(layout.path("secrets")) ? layout.path("secrets") : "will be made at the first start");
  return fail("secrets", lost + " is lost, and the data beside it needs that very one", "Restore it from the backup that holds it.");
}

bool landlock_not_needed(const Layout& layout) {
  const auto settings = load_settings(layout);
  return settings && settings->boolean("runner.allow_without_landlock");
}

}  // namespace

Check check_disk(const std::string& path, std::uint64_t free_bytes) {
  const std::string detail = human_bytes(free_bytes) + " free at " + path;
  if (free_bytes < kLeastDisk) return fail("disk", detail + ", at least 1 GiB is needed", "Make room, or give a directory on another disk with --data-dir.");
  if (free_bytes < kComfortableDisk) return warn("disk", detail, "Make room soon: below 1 GiB the platform does not start.");
  return ok("disk", detail);
}

Check check_clock(std::int64_t now_seconds, std::int64_t last_seen_seconds) {
  const std::string now = long_time(Timestamp::from_micros(now_seconds * 1'000'000).rfc3339());
  if (now_seconds < kYear2026) return fail("clock", "it says " + now, "Set it (timedatectl set-ntp true): tokens, signatures and the timeline carry this time.");
  if (last_seen_seconds > now_seconds + 60)
    return fail("clock", "it says " + now + ", but this platform already wrote files " + human_duration((last_seen_seconds - now_seconds) * 1'000'000) + " later",
                "Set it (timedatectl set-ntp true): the timeline must not go back.");
  return ok("clock", now);
}

Check check_port(std::string_view part, int port, bool ours) {
  const std::string name = "port " + std::to_string(port);
  if (ours) return ok(name, std::string(part) + " of this platform");
  if (port_free(port)) return ok(name, "free, for " + std::string(part));
  const Listener who = listener_of(port);
  const bool moves = part != "web";
  return (moves ? warn : fail)(name, "taken by " + (who.pid == 0 ? std::string("a program of another user") : "pid " + std::to_string(who.pid) + " (" + who.program + ")") + ", needed for " + std::string(part),
              moves ? "Nothing: the next start takes another port." : "Stop that program, or: stella up --port N");
}

Check check_shm(std::uint64_t bytes) {
  if (bytes == 0) return warn("/dev/shm", "not there; PostgreSQL uses files instead", "mount -t tmpfs tmpfs /dev/shm");
  if (bytes < (256u << 20)) return warn("/dev/shm", human_bytes(bytes) + " only; PostgreSQL uses files instead", "Give the container more: --shm-size=1g");
  return ok("/dev/shm", human_bytes(bytes));
}

Check check_landlock(long abi, bool allowed_without) {
  if (abi >= 1) return ok("landlock", "ABI " + std::to_string(abi));
  if (allowed_without) return warn("landlock", "this kernel has none; jobs run without it, and every capsule says so", "Boot a kernel with lsm=landlock,… for the full sandbox.");
  return fail("landlock", "this kernel has none, and the runner takes no job without it", "Boot with lsm=landlock,… or set `runner.allow_without_landlock: true` in stella.yaml (recorded in every job capsule).");
}

Check check_reach(const Layout& layout) {
  if (!layout.root) return ok("users", "everything runs as this user");
  // PostgreSQL, server and runner are other users: every directory above the data and the programs must let them pass.
  for (const auto& [start, remedy] : {std::pair{existing_parent(layout.data), "Use the default /var/lib/stella, or: chmod o+x "}, std::pair{layout.programs, "Install the programs elsewhere (make up does), or: chmod o+x "}})
    for (std::string path = start; path.size() > 1; path.resize(std::max<std::size_t>(1, path.rfind('/')))) {
      struct stat info {};
      if (::stat(path.c_str(), &info) == 0 && (info.st_mode & S_IXOTH) == 0) return fail("users", path + " lets no other user pass, and the parts run as their own users", remedy + path);
    }
  return ok("users", "stella, stella-runner, " + std::string(layout.database ? "and PostgreSQL's" : "and stella-pg"));
}

Check check_crashes(const Layout& layout) {
  std::vector<std::pair<std::int64_t, std::string>> reports;
  for (const char* part : {"stellad", "stella-runner"}) {
    const std::string below = "crash/" + std::string(part);
    DIR* const entries = ::opendir(layout.path(below).c_str());
    if (entries == nullptr) continue;
    while (const dirent* entry = ::readdir(entries)) {
      const std::string name = below + "/" + entry->d_name;
      struct stat info {};
      if (name.ends_with(".ndjson") && ::stat(layout.path(name).c_str(), &info) == 0) reports.emplace_back(info.st_mtim.tv_sec, name);
    }
    ::closedir(entries);
  }
  if (reports.empty()) return ok("crashes", "no report below " + layout.path("crash"));
  std::sort(reports.rbegin(), reports.rend());
  constexpr std::size_t kShown = 5;
  std::string detail = std::to_string(reports.size()) + (reports.size() == 1 ? " report" : " reports") + " below " + layout.data + ": ";
  for (std::size_t i = 0; i < std::min(kShown, reports.size()); ++i)
    detail += (i == 0 ? "" : ", ") + printable(reports[i].second) + " of " + long_time(Timestamp::from_micros(reports[i].first * 1'000'000).rfc3339());
  if (reports.size() > kShown) detail += " and older ones";
  return warn("crashes", detail, "Read it: line 1 says signal and time, then come the last records of every thread and the open spans. Report it with the version; remove the file when it is dealt with.");
}

std::vector<Check> check_machine(const Layout& layout, int holder, int http_port) {
  Ports ports = read_ports(layout).value_or(Ports{});
  const bool fresh = ports.pg == 0;
  if (http_port != 0) ports.http = http_port;
  std::vector<Check> out = {check_postgres(), check_nats(), check_programs(layout), check_writable(layout), check_reach(layout), disk_of(layout), clock_of(layout),
                            check_shm(shm_bytes()), check_landlock(::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1), landlock_not_needed(layout)), check_settings(layout), check_secrets(layout),
                            check_socket(layout, ports), check_crashes(layout)};
  const auto state = state_of(layout, holder);
  const auto ours = [&](int port) { return holder != 0 && state && (port == state->ports.http || port == state->ports.pg || port == state->ports.nats); };
  if (ports.http != 0) out.push_back(check_port("web", ports.http, ours(ports.http)));
  if (!fresh) {
    out.push_back(check_port("postgresql", ports.pg, ours(ports.pg)));
    out.push_back(check_port("nats", ports.nats, ours(ports.nats)));
  }
  return out;
}

std::vector<Check> check_running(const Layout& layout, int holder) {
  std::vector<Check> out;
  const auto state = state_of(layout, holder);
  if (holder == 0 || !state) return out;
  for (const Process& p : state->parts)
    out.push_back(alive(p) ? ok(p.name, "pid " + std::to_string(p.pid)) : fail(p.name, "it does not run", "It is started again by itself; if not: " + layout.log(p.name)));
  http::ClientRequest request;
  request.url = state->url + "/readyz";
  request.timeout = std::chrono::milliseconds(5000);
  const auto response = http::fetch(request);
  if (!response) {
    out.push_back(fail("ready", state->url + " does not answer", "Look into " + layout.log("stellad")));
    return out;
  }
  const auto body = json::parse(response->body);
  const json::Value* parts = body ? body->find("parts") : nullptr;
  if (parts != nullptr && parts->is_object())
    for (const auto& [name, value] : parts->as_object()) {
      const std::string text = value.is_string() ? value.as_string() : "";
      out.push_back(text == "ok" ? ok("ready: " + name, "ok") : fail("ready: " + name, printable(text), "It mends itself within seconds; if not: " + layout.log("stellad")));
    }
  return out;
}

}  // namespace stella::cli::up
