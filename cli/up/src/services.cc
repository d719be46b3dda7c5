// The parts and the two one-time programs.
#include "services.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"
#include "collector.h"
#include "ports.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/platform/http_client.h"
#include "telemetry.h"

namespace stella::cli::up {
namespace {

constexpr off_t kLogBytes = 64 << 20;

// One older log is kept; the parts themselves only append.
void rotate(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > kLogBytes) ::rename(path.c_str(), (path + ".1").c_str());
}

std::string nats_config_path(const Layout& l) { return l.path("secrets/nats-server.conf"); }

// A program of ours. It writes its lines itself: standard error has what is said before. Where the Collector runs it sends its telemetry through it, else where OTEL_* says.
process::Service sending(process::Service s, const Layout& l, const Ports& ports, const config::Settings& settings) {
  s.options.stdout_path = s.options.stderr_path = l.errors(s.name);
  rotate(l.errors(s.name));
  for (const auto& variables : {own_environment(l, settings, s.name), otel_environment(ports.otlp_http != 0), sender_environment(l, ports)})
    s.options.environment.insert(s.options.environment.end(), variables.begin(), variables.end());
  return s;
}

}  // namespace

void shorten_log(const std::string& path, off_t limit) {
  const Fd log(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!log || ::fstat(log.get(), &info) != 0 || info.st_size <= limit) return;
  const Fd older(::open((path + ".1").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!older) return;
  ssize_t n = 0;
  while ((n = ::sendfile(older.get(), log.get(), nullptr, 1 << 20)) > 0) {
  }
  if (n == 0) (void)!::ftruncate(log.get(), 0);
}

process::Service service(const Layout& l, const std::string& name, std::vector<std::string> argv, const std::optional<process::User>& user) {
  process::Service out;
  out.name = name;
  out.options.argv = std::move(argv);
  out.options.environment = clean_environment();
  out.options.user = user;
  // Ctrl-C in the terminal is meant for `stella up`, which stops the parts in their order; without this all of them would get it at once.
  out.options.new_session = true;
  out.options.stdout_path = l.log(name);
  out.options.stderr_path = l.log(name);
  rotate(l.log(name));
  return out;
}

std::string last_lines(const Layout& l, std::string_view part) {
  std::string out;
  if (part != "stellad" && part != "stella-runner") return out;
  const auto read = [&] { out = tail_of(l.log(part)); };
  if (const auto& user = part == "stellad" ? l.server : l.runner; user) (void)as_user(*user, read);
  else read();
  return out;
}

process::Service postgres_service(const Layout& l) {
  std::string version = read_file(l.path("pg/PG_VERSION"), 64).value_or("");
  while (version.ends_with('\n')) version.pop_back();
  process::Service s = service(l, "postgresql", {"/usr/lib/postgresql/" + version + "/bin/postgres", "-D", l.path("pg")}, l.database);
  s.ready = [l] { return cluster_ready(l); };
  s.ready_timeout = std::chrono::minutes(5);  // after a power cut it replays its log first
  s.stop_timeout = std::chrono::seconds(60);
  s.stop_signal = SIGINT;
  return s;
}

process::Service nats_service(const Layout& l, const Ports& ports) {
  process::Service s = service(l, "nats", {nats_program(), "-c", nats_config_path(l)}, l.server);
  s.ready = [port = ports.nats] { return port_answers(port); };
  return s;
}

process::Service stellad_service(const Layout& l, const Ports& ports, const config::Settings& settings, const std::string& url) {
  process::Service s = sending(service(l, "stellad", {l.programs + "/stellad", "--config", l.config()}, l.server), l, ports, settings);
  s.ready = [url] { return web_ready(url); };
  s.ready_timeout = std::chrono::seconds(60);
  s.stop_timeout = std::chrono::seconds(30);
  return s;
}

process::Service runner_service(const Layout& l, const Ports& ports, const config::Settings& settings) {
  const std::string ready = l.path("run/runner/ready");
  ::unlink(ready.c_str());
  process::Service s = sending(service(l, "stella-runner", {l.programs + "/stella-runner", "--config", l.runner_config(), "--ready-file", ready}, l.runner), l, ports, settings);
  s.ready = [ready] { return exists(ready); };
  s.stop_timeout = std::chrono::seconds(20);
  return s;
}

Result<void> write_nats_config(const Layout& l) {
  STELLA_TRY_VOID(run_program(l, {l.programs + "/stellad", "--config", l.config(), "--nats-config", nats_config_path(l), "--nats-store", l.path("nats")}, std::nullopt, l.log("init"), std::chrono::seconds(30)));
  return own_file(nats_config_path(l), l.server, 0600);
}

Result<bool> init_platform(const Layout& l) {
  // Its own file: the result is the last line.
  const std::string out = l.log("init");
  STELLA_TRY_VOID(run_program(l,
                              {l.programs + "/stellad", "--config", l.config(), "--init", "--superuser", std::string(kSuperuser), "--superuser-password-file", l.path("secrets/pg_superuser"), "--tenant",
                               std::string(kFirstTenant), "--tenant-name", std::string(kFirstTenantName), "--operators", operators_path(l)},
                              std::nullopt, out, std::chrono::seconds(300)));
  // It ran as root: the server must be able to read the keys, and nobody else.
  if (DIR* dir = ::opendir(l.path("keys").c_str()); dir != nullptr) {
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name == "." || name == ".." || entry->d_type == DT_DIR) continue;
      if (auto owned = own_file(l.path("keys/" + name), l.server, name.ends_with(".pub") ? 0644 : 0600); !owned) {
        ::closedir(dir);
        return std::move(owned.error());
      }
    }
    ::closedir(dir);
  }
  const std::string text = tail_of(out, 8192);
  const std::size_t open = text.rfind("\n{");
  const auto result = json::parse(text.substr(open == std::string::npos ? text.find('{') == std::string::npos ? text.size() : text.find('{') : open + 1));
  return result && result->integer("operators_created") > 0;
}

bool web_ready(const std::string& url) {
  http::ClientRequest request;
  request.url = url + "/readyz";
  request.connect_timeout = std::chrono::milliseconds(1000);
  request.timeout = std::chrono::milliseconds(3000);
  const auto response = http::fetch(request);
  return response && response->status == 200;
}

}  // namespace stella::cli::up
