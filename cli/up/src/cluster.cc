// initdb, stella.conf, stale files.
#include "cluster.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "state.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

int remove_entry(const char* path, const struct stat*, int, FTW*) { return ::remove(path); }
void remove_tree(const std::string& path) { ::nftw(path.c_str(), remove_entry, 32, FTW_DEPTH | FTW_PHYS); }

std::string first_line(const std::string& path) {
  const std::string text = read_file(path, 1 << 16).value_or("");
  return text.substr(0, text.find('\n'));
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

Result<void> append_line(const std::string& path, std::string_view line) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return io_error("cannot open the file", path);
  STELLA_TRY_VOID(write_all(fd.get(), line));
  return ::fsync(fd.get()) == 0 ? Result<void>() : Result<void>(io_error("cannot write the file", path));
}

// Into a directory of another name: an interrupted initdb is never taken for a cluster.
Result<void> make_cluster(const Layout& l, const std::string& bin) {
  const std::string fresh = l.path("pg.new");
  remove_tree(fresh);
  STELLA_TRY_VOID(own_dir(fresh, l.database, 0700));
  STELLA_TRY_VOID(own_dir(l.path("run/pg"), l.database, 0700));
  const std::string pwfile = l.path("run/pg/pw");
  const std::string password = STELLA_TRY(read_file(l.path("secrets/pg_superuser"), 4096));
  STELLA_TRY_VOID(write_file_durable(pwfile, password, 0600));
  STELLA_TRY_VOID(own_file(pwfile, l.database, 0600));
  auto made = run_program(l, {bin + "/initdb", "-D", fresh, "-U", std::string(kSuperuser), "-A", "scram-sha-256", "--pwfile=" + pwfile, "--no-locale", "-E", "UTF8", "-k", "--no-instructions"},
                          l.database, l.log("initdb"), std::chrono::seconds(300));
  ::unlink(pwfile.c_str());
  STELLA_TRY_VOID(std::move(made));
  STELLA_TRY_VOID(append_line(fresh + "/postgresql.conf", "\ninclude 'stella.conf'  # written by `stella up` at every start; put your own settings below this line\n"));
  if (::rename(fresh.c_str(), l.path("pg").c_str()) != 0) return io_error("cannot put the new cluster into place", l.path("pg"));
  return sync_parent_dir(l.path("pg"));
}

// A zombie is dead, although PostgreSQL's own test (kill with signal 0) finds it: where process 1 reaps nobody, they stay.
bool is_postgres(int pid) {
  const std::string name = first_line("/proc/" + std::to_string(pid) + "/comm");
  return start_of(pid) != 0 && (name == "postgres" || name == "postmaster");
}

// "postgres -D <data>/pg": ours, and it outlived its supervisor without being in the record.
bool serves(int pid, const std::string& cluster) {
  const std::string line = read_file("/proc/" + std::to_string(pid) + "/cmdline", 1 << 16).value_or("");
  return line.find(std::string("-D") + '\0' + cluster + '\0') != std::string::npos;
}

void end_server(int pid) {
  const Process server = process_of("postgresql", pid);
  ::kill(pid, SIGINT);
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(60)); alive(server) && !deadline.passed();) ::usleep(20'000);
}

// After a power cut the pid in these files may belong to anybody, and PostgreSQL then refuses to start. We hold the directory's lock, so
// what they name is either a server of ours that nobody minds any more, or not of this cluster at all.
void remove_stale(const Layout& l, const Ports& ports) {
  const std::string pid_file = l.path("pg/postmaster.pid");
  const int pid = std::atoi(first_line(pid_file).c_str());
  if (pid > 0 && is_postgres(pid) && serves(pid, l.path("pg"))) end_server(pid);
  ::unlink(pid_file.c_str());
  const std::string lock = l.sockets + "/.s.PGSQL." + std::to_string(ports.pg) + ".lock";
  if (!is_postgres(std::atoi(first_line(lock).c_str()))) ::unlink(lock.c_str());
}

}  // namespace

std::string postgres_bin() {
  int best = 0;
  if (DIR* dir = ::opendir("/usr/lib/postgresql"); dir != nullptr) {
    while (const dirent* entry = ::readdir(dir)) {
      const int version = std::atoi(entry->d_name);
      if (version >= kLeastPostgres && version > best && exists("/usr/lib/postgresql/" + std::string(entry->d_name) + "/bin/initdb")) best = version;
    }
    ::closedir(dir);
  }
  return best == 0 ? "" : "/usr/lib/postgresql/" + std::to_string(best) + "/bin";
}

std::string nats_program() {
  std::istringstream path(environment("PATH") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
  std::string dir;
  while (std::getline(path, dir, ':'))
    if (!dir.empty() && ::access((dir + "/nats-server").c_str(), X_OK) == 0) return dir + "/nats-server";
  return "";
}

std::uint64_t shm_bytes() {
  struct statvfs info {};
  return ::statvfs("/dev/shm", &info) == 0 ? static_cast<std::uint64_t>(info.f_frsize) * info.f_blocks : 0;
}

std::string cluster_settings(const Layout& l, const Ports& ports, std::uint64_t shm) {
  const std::uint64_t memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t buffers_mb = std::clamp<std::uint64_t>((memory >> 20) / 8, 64, 1024);
  std::string out = "# Written by `stella up` at every start: settings below the include line in postgresql.conf win.\n";
  const auto set = [&](std::string_view name, const std::string& value) { out += std::string(name) + " = " + value + "\n"; };
  set("listen_addresses", "'127.0.0.1'");
  set("port", std::to_string(ports.pg));
  set("unix_socket_directories", quoted(l.sockets));
  set("password_encryption", "'scram-sha-256'");
  set("max_connections", "200");
  set("shared_buffers", std::to_string(buffers_mb) + "MB");
  // Docker gives 64 MiB of /dev/shm, bare containers sometimes none: files in the data directory always work.
  set("dynamic_shared_memory_type", shm >= (256u << 20) ? "posix" : "mmap");
  set("wal_compression", "on");
  set("max_wal_size", "2GB");
  set("checkpoint_timeout", "10min");
  set("random_page_cost", "1.1");
  set("jit", "off");  // short statements only
  // The outbox is a queue: rows live for milliseconds, and dead ones slow every poll.
  set("autovacuum_naptime", "10s");
  set("autovacuum_vacuum_scale_factor", "0.05");
  set("idle_in_transaction_session_timeout", "'60s'");
  set("timezone", "'UTC'");
  set("log_timezone", "'UTC'");
  set("log_min_messages", "warning");
  // Statements and their values may hold what no log may hold.
  set("log_min_error_statement", "panic");
  set("log_parameter_max_length", "0");
  set("log_parameter_max_length_on_error", "0");
  return out;
}

Result<void> prepare_cluster(const Layout& l, const Ports& ports) {
  const std::string bin = postgres_bin();
  if (!exists(l.path("pg/PG_VERSION"))) STELLA_TRY_VOID(make_cluster(l, bin));
  const std::string version = first_line(l.path("pg/PG_VERSION"));
  if (!bin.ends_with("/" + version + "/bin"))
    if (!exists("/usr/lib/postgresql/" + version + "/bin/postgres"))
      return Error(base_errors::kInvalid, "the database was made by another PostgreSQL").with("actual", version).with("expected", bin).with("remedy", "apt-get install -y postgresql-" + version);
  remove_stale(l, ports);
  STELLA_TRY_VOID(write_file_durable(l.path("pg/stella.conf"), cluster_settings(l, ports, shm_bytes()), 0600));
  return own_file(l.path("pg/stella.conf"), l.database, 0600);
}

bool cluster_ready(const Layout& layout) {
  // Line 8 of postmaster.pid is the server's own word about itself; pg_ctl waits for the same.
  const std::string text = read_file(layout.path("pg/postmaster.pid"), 4096).value_or("");
  std::istringstream lines(text);
  std::string line;
  for (int i = 0; i < 8; ++i)
    if (!std::getline(lines, line)) return false;
  return line.starts_with("ready");
}

std::vector<std::pair<std::string, std::string>> clean_environment() {
  return {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"LANG", "C.UTF-8"}, {"LC_ALL", "C.UTF-8"}, {"TZ", "UTC"}, {"HOME", "/nonexistent"}};
}

std::string tail_of(const std::string& path, std::size_t bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return "";
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  std::string text(bytes, '\0');
  const ssize_t n = ::pread(fd.get(), text.data(), bytes, std::max<off_t>(0, end - static_cast<off_t>(bytes)));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

Result<void> run_program(const Layout&, std::vector<std::string> argv, const std::optional<process::User>& user, std::string_view log, std::chrono::seconds patience) {
  const std::string program = argv.front().substr(argv.front().rfind('/') + 1);
  process::SpawnOptions options;
  options.argv = std::move(argv);
  options.environment = clean_environment();
  options.user = user;
  options.stdout_path = std::string(log);
  options.stderr_path = std::string(log);
  process::Child child = STELLA_TRY(process::Child::spawn(options));
  const auto status = child.wait(Deadline::after(patience));
  if (!status) child.stop(Deadline::after(std::chrono::seconds(2)));
  if (status && *status == 0) return {};
  return Error(contracts::errors::kUnavailable, "a step of the start failed")
      .with("part", program)
      .with("status", status ? std::to_string(*status) : "timeout")
      .with("path", std::string(log))
      .with("log", tail_of(std::string(log)));
}

}  // namespace stella::cli::up
