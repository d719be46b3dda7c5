// Starts and stops the private cluster: initdb and postgres as an unprivileged user, one directory under /tmp.
#include "stella/testing/postgres.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "stella/base/encoding.h"
#include "stella/base/file.h"

namespace stella::testing {
namespace {

const char* const kBin = "/usr/lib/postgresql/15/bin";

[[noreturn]] void die(const std::string& what, const std::string& log) {
  std::fprintf(stderr, "test cluster: %s\n", what.c_str());
  if (auto text = read_file(log, 1 << 20)) std::fprintf(stderr, "%s\n", text->c_str());
  std::abort();
}

// Whom the server runs as: ourselves, or under root a user that exists for it.
struct Account {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  Account() {
    if (uid != 0) return;
    const passwd* entry = getpwnam("postgres");
    if (entry == nullptr) entry = getpwnam("nobody");
    if (entry == nullptr) std::abort();
    uid = entry->pw_uid;
    gid = entry->pw_gid;
  }
};

pid_t spawn(const std::vector<std::string>& command, const std::string& log) {
  const Account account;
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(126);
  if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(account.gid) != 0 || setuid(account.uid) != 0)) _exit(126);
  if (chdir("/") != 0) _exit(126);
  // A killed test takes its server with it.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent) _exit(126);
  setpgid(0, 0);
  unsetenv("LC_ALL");
  execv(argv[0], argv.data());
  _exit(127);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

int free_port() {
  const Fd fd(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  return ntohs(address.sin_port);
}

// Parent and state letter; 0 where the process is gone.
std::pair<pid_t, char> process_state(pid_t pid) {
  auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat) return {0, 0};
  const auto after_name = stat->rfind(')');
  if (after_name == std::string::npos || after_name + 4 >= stat->size()) return {0, 0};
  return {static_cast<pid_t>(std::strtol(stat->c_str() + after_name + 4, nullptr, 10)), (*stat)[after_name + 2]};
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (pid > 0 && process_state(pid).first == parent) out.push_back(pid);
  }
  return out;
}

std::string random_secret() {
  char bytes[16];
  fill_random(bytes, sizeof bytes);
  return hex_encode({bytes, sizeof bytes});
}

}  // namespace

Postgres& Postgres::shared() {
  // A static object, not a leaked one: its destructor stops the server.
  static const std::unique_ptr<Postgres> cluster = start();
  return *cluster;
}

std::unique_ptr<Postgres> Postgres::start(const Options& options) {
  std::unique_ptr<Postgres> cluster(new Postgres());
  cluster->init(options);
  return cluster;
}

void Postgres::init(const Options& options) {
  options_ = options;
  secret_ = random_secret();
  char name[] = "/tmp/stella-pg-XXXXXX";
  if (mkdtemp(name) == nullptr) std::abort();
  dir_ = name;
  socket_dir_ = dir_;
  const Account account;
  if (chmod(name, 0755) != 0 || (geteuid() == 0 && chown(name, account.uid, account.gid) != 0)) std::abort();

  const std::string pwfile = dir_ + "/pw";
  if (!write_file_durable(pwfile, password(superuser()) + "\n", 0600)) std::abort();
  if (geteuid() == 0 && chown(pwfile.c_str(), account.uid, account.gid) != 0) std::abort();
  const pid_t initdb = spawn({std::string(kBin) + "/initdb", "-D", dir_ + "/data", "-U", std::string(superuser()), "-A", "scram-sha-256",
                              "--pwfile=" + pwfile, "--no-locale", "-E", "UTF8", "-N", "--no-instructions"},
                             dir_ + "/initdb.log");
  if (wait_for(initdb) != 0) die("initdb failed", dir_ + "/initdb.log");
  unlink(pwfile.c_str());
  launch();

  std::vector<std::pair<std::string, std::string>> passwords;
  for (auto login : pg::logins()) passwords.emplace_back(login, password(login));
  if (auto made = pg::bootstrap(this->options(superuser(), "postgres"), passwords); !made) die(made.error().describe(), dir_ + "/log");
  if (!options.migrate) return;
  if (auto done = pg::migrate(this->options("stella_owner")); !done) die(done.error().describe(), dir_ + "/log");
  template_ = "stella";
}

void Postgres::launch() {
  if (options_.tcp && port_ == 5432) port_ = free_port();
  std::vector<std::string> command = {std::string(kBin) + "/postgres", "-D", dir_ + "/data", "-k", socket_dir_,
                                      "-p", std::to_string(port_), "-h", options_.tcp ? "127.0.0.1" : ""};
  auto set = [&](std::string_view name, std::string_view value) {
    command.emplace_back("-c");
    command.push_back(std::string(name) + "=" + std::string(value));
  };
  set("max_connections", "100");
  set("shared_buffers", "64MB");
  set("log_min_messages", "warning");
  set("log_statement", "none");
  if (!options_.durable) {
    set("fsync", "off");
    set("full_page_writes", "off");
    set("synchronous_commit", "off");
  }
  for (const auto& [name, value] : options_.settings) set(name, value);
  pid_ = spawn(command, dir_ + "/log");
  pg::PoolOptions probe = options(superuser(), "postgres");
  probe.max_connections = 1;
  const Deadline deadline = Deadline::after(std::chrono::seconds(60));
  for (;;) {
    pg::Pool pool(probe);
    if (pool.ping()) return;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_ || deadline.passed()) die("the server does not start", dir_ + "/log");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // a poll of a starting server, not a wait for time
  }
}

void Postgres::stop(int signal) {
  if (pid_ <= 0) return;
  kill(pid_, signal);
  wait_for(pid_);
  pid_ = -1;
}

void Postgres::kill9() {
  if (pid_ <= 0) return;
  kill(pid_, SIGSTOP);  // no new backends while we collect them; each is in a session of its own
  const auto backends = children_of(pid_);
  for (const pid_t backend : backends) kill(backend, SIGKILL);
  kill(pid_, SIGKILL);
  wait_for(pid_);
  pid_ = -1;
  for (const pid_t backend : backends)
    while (process_state(backend).first > 0 && process_state(backend).second != 'Z') std::this_thread::yield();
}

void Postgres::restart() {
  stop(SIGINT);
  launch();
}

Postgres::~Postgres() {
  stop(SIGQUIT);  // nothing here outlives the test
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string Postgres::password(std::string_view login) const { return secret_ + "-" + std::string(login); }

pg::PoolOptions Postgres::options(std::string_view login, std::string_view database) const {
  pg::PoolOptions o;
  o.conninfo = "host=" + socket_dir_ + " port=" + std::to_string(port_) + " user=" + std::string(login) +
               " dbname=" + (database.empty() ? "stella" : std::string(database));
  o.password = password(login);
  o.application_name = "stella-test";
  return o;
}

std::string Postgres::create_database() {
  const std::string name = "t" + std::to_string(getpid()) + "_" + std::to_string(++databases_);
  sql("CREATE DATABASE " + name + " TEMPLATE " + template_ + " OWNER stella_owner", "postgres");
  std::string grants = "REVOKE ALL ON DATABASE " + name + " FROM PUBLIC;";
  for (auto login : pg::logins()) grants += "GRANT CONNECT ON DATABASE " + name + " TO " + std::string(login) + ";";
  sql(grants, "postgres");
  return name;
}

std::string Postgres::sql(std::string_view text, std::string_view database) {
  pg::PoolOptions o = options(superuser(), database);
  o.max_connections = 1;
  auto answer = pg::run_script(o, text);
  EXPECT_TRUE(answer.has_value()) << answer.error().describe();
  return answer ? *answer : std::string();
}

TestDatabase::TestDatabase() : name(Postgres::shared().create_database()) {}

TenantId TestDatabase::tenant(std::string_view id) {
  auto parsed = TenantId::parse(id);
  EXPECT_TRUE(parsed.has_value());
  sql("INSERT INTO tenants (tenant_id, display_name) VALUES ('" + std::string(id) + "', 'Test') ON CONFLICT DO NOTHING");
  return *parsed;
}

TenantScope TestScope::make(std::string_view tenant, std::string actor) {
  auto id = TenantId::parse(tenant);
  EXPECT_TRUE(id.has_value()) << tenant;
  return TenantScope(*id, std::move(actor), DecisionId::generate());
}

}  // namespace stella::testing
