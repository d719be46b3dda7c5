// Checks, ports, settings, secrets and process records on real files, sockets and processes.
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "checks.h"
#include "cluster.h"
#include "files.h"
#include "ports.h"
#include "services.h"
#include "state.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/settings.h"
#include "telemetry.h"

namespace stella::cli::up {
namespace {

// A layout in a directory of its own where everything belongs to this user.
struct Home {
  Home() {
    char name[] = "/tmp/stella-up-test-XXXXXX";
    dir = ::mkdtemp(name);
    layout.data = dir + "/data";
    layout.sockets = dir + "/sockets";
    layout.programs = dir;
  }
  ~Home() { (void)!::system(("rm -rf '" + dir + "'").c_str()); }
  std::string dir;
  Layout layout;
};

struct TakenPort {
  TakenPort() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd.get(), 1) != 0) ::abort();
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    number = ntohs(address.sin_port);
  }
  Fd fd;
  int number = 0;
};

unsigned mode_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777u : 0u;
}

TEST(Ports, SaysWhoHoldsATakenPort) {
  const TakenPort port;
  EXPECT_FALSE(port_free(port.number));
  EXPECT_EQ(listener_of(port.number).pid, ::getpid());
  const Check check = check_port("web", port.number, false);
  EXPECT_EQ(check.verdict, Verdict::kFail);
  EXPECT_NE(check.detail.find("pid " + std::to_string(::getpid())), std::string::npos) << check.detail;
  EXPECT_NE(check.remedy.find("--port"), std::string::npos);
  EXPECT_EQ(check_port("web", port.number, true).verdict, Verdict::kOk);
}

TEST(Ports, AFreedPortIsFree) {
  int number = 0;
  {
    const TakenPort port;
    number = port.number;
  }
  EXPECT_TRUE(port_free(number));
  EXPECT_EQ(listener_of(number).pid, 0);
}

// Two starts look at once.
TEST(Ports, LookingTakesNoPort) {
  int number = 0;
  {
    const TakenPort port;
    number = port.number;
  }
  std::atomic<int> taken{0};
  const auto look = [&] {
    for (int i = 0; i < 20'000; ++i) taken += port_free(number) ? 0 : 1;
  };
  std::thread other(look);
  look();
  other.join();
  EXPECT_EQ(taken, 0);
}

// Two starts at once: neither listens yet.
TEST(Ports, OneThatAnotherStartHasChosenIsNotChosen) {
  int number = 0;
  {
    const TakenPort port;
    number = port.number;
  }
  int said[2];
  ASSERT_EQ(::pipe(said), 0);
  const int other = ::fork();
  if (other == 0) {
    const char claimed = claim_port(number) ? 'y' : 'n';
    (void)!::write(said[1], &claimed, 1);
    ::pause();
  }
  char claimed = 0;
  ASSERT_EQ(::read(said[0], &claimed, 1), 1);
  EXPECT_EQ(claimed, 'y');
  EXPECT_TRUE(port_free(number)) << "nobody listens";
  const Home home;
  ASSERT_TRUE(make_dirs(home.layout.data, 0755));
  ASSERT_TRUE(write_file_durable(home.layout.config(), "pg.port: " + std::to_string(number) + "\n", 0644));
  const auto ports = make_settings(home.layout, 0);
  ASSERT_TRUE(ports);
  EXPECT_NE(ports->pg, number);
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  EXPECT_TRUE(claim_port(number)) << "its claim went with it";
  ::close(said[0]);
  ::close(said[1]);
}

TEST(Checks, DiskAtAndBelowTheLimit) {
  EXPECT_EQ(check_disk("/x", (1ull << 30) - 1).verdict, Verdict::kFail);
  EXPECT_EQ(check_disk("/x", 1ull << 30).verdict, Verdict::kWarn);
  EXPECT_EQ(check_disk("/x", 5ull << 30).verdict, Verdict::kOk);
}

TEST(Checks, ClockInThePastAndBehindOurOwnFiles) {
  EXPECT_EQ(check_clock(946'684'800, 0).verdict, Verdict::kFail);  // 2000
  const std::int64_t now = 1'795'000'000;
  EXPECT_EQ(check_clock(now, 0).verdict, Verdict::kOk);
  EXPECT_EQ(check_clock(now, now + 60).verdict, Verdict::kOk);
  EXPECT_EQ(check_clock(now, now + 61).verdict, Verdict::kFail);
}

TEST(Checks, LandlockIsNeededUnlessTheSettingSaysOtherwise) {
  EXPECT_EQ(check_landlock(2, false).verdict, Verdict::kOk);
  EXPECT_EQ(check_landlock(-1, false).verdict, Verdict::kFail);
  EXPECT_NE(check_landlock(-1, false).remedy.find("runner.allow_without_landlock"), std::string::npos);
  EXPECT_EQ(check_landlock(-1, true).verdict, Verdict::kWarn);
}

TEST(Checks, ReportsOfCrashesAreListedTheNewestFirst) {
  const Home home;
  EXPECT_EQ(check_crashes(home.layout).verdict, Verdict::kOk);
  for (const char* part : {"stellad", "stella-runner"}) {
    ASSERT_TRUE(make_dirs(home.layout.path("crash/" + std::string(part)), 0700));
    const std::string path = home.layout.path("crash/" + std::string(part) + "/crash-x-1-2.ndjson");
    ASSERT_TRUE(write_file_durable(path, "{}"));
    const std::int64_t second = 1'800'000'000 + (part == std::string_view("stellad") ? 86'400 : 0);
    const timespec times[] = {{.tv_sec = second, .tv_nsec = 0}, {.tv_sec = second, .tv_nsec = 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  ASSERT_TRUE(write_file_durable(home.layout.path("crash/stellad/crash-x-1-3.ndjson.part"), "half"));
  const Check c = check_crashes(home.layout);
  EXPECT_EQ(c.verdict, Verdict::kWarn);
  EXPECT_FALSE(c.remedy.empty());
  EXPECT_NE(c.detail.find("2 reports"), std::string::npos) << c.detail;
  EXPECT_LT(c.detail.find("crash/stellad/crash-x-1-2.ndjson of "), c.detail.find("crash/stella-runner/crash-x-1-2.ndjson of ")) << c.detail;
}

TEST(Checks, ARemedyStandsWhereverSomethingIsWrong) {
  const Home home;
  for (const Check& c : check_machine(home.layout, 0, 0)) EXPECT_EQ(c.verdict != Verdict::kOk, !c.remedy.empty()) << c.name;
}

TEST(Files, SettingsAreWrittenOnceAndLoad) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  const auto first = make_settings(home.layout, 0);
  ASSERT_TRUE(first) << first.error().describe();
  EXPECT_NE(first->http, first->pg);
  const auto settings = load_settings(home.layout);
  ASSERT_TRUE(settings) << settings.error().describe();
  EXPECT_EQ(settings->text("data_dir"), home.layout.data);
  EXPECT_EQ(settings->text("pg.host"), home.layout.sockets);
  // What a person adds stays, another port replaces one line.
  const std::string mine = read_file(home.layout.config(), 1 << 20).value() + "log.level: debug\n";
  ASSERT_TRUE(write_file_durable(home.layout.config(), mine));
  const auto second = make_settings(home.layout, 28080);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->http, 28080);
  EXPECT_EQ(second->pg, first->pg);
  EXPECT_EQ(load_settings(home.layout)->text("log.level"), "debug");
  ASSERT_TRUE(make_settings(home.layout, 0));
  EXPECT_EQ(read_ports(home.layout)->http, 28080);
}

TEST(Files, ATakenPortIsNotChosen) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  const auto ports = make_settings(home.layout, 0);
  ASSERT_TRUE(ports);
  for (const int port : {ports->http, ports->pg, ports->nats}) EXPECT_TRUE(port_free(port)) << port;
}

TEST(Files, AnInnerPortThatWasTakenMoves) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  ASSERT_TRUE(make_settings(home.layout, 0));
  const TakenPort taken;
  std::string text = read_file(home.layout.config(), 1 << 20).value();
  const std::size_t at = text.find("pg.port: ") + 9;
  text.replace(at, text.find('\n', at) - at, std::to_string(taken.number));
  ASSERT_TRUE(write_file_durable(home.layout.config(), text));
  const auto ports = make_settings(home.layout, 0);
  ASSERT_TRUE(ports);
  EXPECT_NE(ports->pg, taken.number);
  EXPECT_EQ(read_ports(home.layout)->pg, ports->pg);
  EXPECT_EQ(check_port("postgresql", taken.number, false).verdict, Verdict::kWarn);
}

TEST(Files, SecretsAreMadeOnceForOneReader) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  ASSERT_TRUE(make_secrets(home.layout));
  EXPECT_EQ(mode_of(home.layout.path("secrets")), 0700u);
  for (const char* name : {"secrets/pg_superuser", "secrets/pg/stella_web", "secrets/nats/runner", "secrets/key_passphrase", "secrets/operators.json", "secrets-runner/runner"}) {
    EXPECT_EQ(mode_of(home.layout.path(name)), 0600u) << name;
  }
  const std::string before = read_file(home.layout.path("secrets/operators.json"), 1 << 20).value();
  const std::string phrase = read_file(home.layout.path("secrets/key_passphrase"), 4096).value();
  ASSERT_TRUE(make_secrets(home.layout));
  EXPECT_EQ(read_file(home.layout.path("secrets/operators.json"), 1 << 20).value(), before);
  EXPECT_EQ(read_file(home.layout.path("secrets/key_passphrase"), 4096).value(), phrase);
  const auto operators = read_operators(home.layout);
  ASSERT_TRUE(operators);
  ASSERT_EQ(operators->size(), 2u);
  EXPECT_NE(operators->at(0).secret, operators->at(1).secret);
  EXPECT_TRUE(operators->at(0).platform);
  EXPECT_FALSE(operators->at(1).platform);
}

// From a backup that leaves the secrets out: a random one in its place would not be missed until much later.
TEST(Files, ALostSecretBesideDataIsNotReplaced) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  ASSERT_TRUE(make_secrets(home.layout));
  ASSERT_TRUE(make_dirs(home.layout.path("pg"), 0700));
  ASSERT_TRUE(write_file_durable(home.layout.path("pg/PG_VERSION"), "15\n"));
  ASSERT_TRUE(make_secrets(home.layout));
  for (const std::string name : {"pg_superuser", "key_passphrase", "salt_secret"}) {
    const std::string path = home.layout.path("secrets/" + name);
    ASSERT_EQ(::rename(path.c_str(), (path + ".away").c_str()), 0);
    const auto made = make_secrets(home.layout);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code(), base_errors::kNotFound);
    EXPECT_EQ(made.error().field("path"), path);
    EXPECT_FALSE(exists(path));
    bool told = false;
    for (const Check& c : check_machine(home.layout, 0, 0)) told = told || (c.verdict == Verdict::kFail && c.name == "secrets" && c.detail.find(path) != std::string::npos);
    EXPECT_TRUE(told) << name;
    ASSERT_EQ(::rename((path + ".away").c_str(), path.c_str()), 0);
  }
  // A login that a new version brings is made.
  ASSERT_EQ(::unlink(home.layout.path("secrets/pg/stella_web").c_str()), 0);
  ASSERT_TRUE(make_secrets(home.layout));
  EXPECT_TRUE(exists(home.layout.path("secrets/pg/stella_web")));
}

TEST(Files, ASettingIsReplacedInTheShapeThatItsWriterChose) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  const TakenPort taken;
  const std::string port = std::to_string(taken.number), rest = "\ndata_dir: \"" + home.layout.data + "\"\nnats.url: nats://127.0.0.1:14222\nroles: all";
  // Nested, with a comment; and a last line without an end.
  ASSERT_TRUE(write_file_durable(home.layout.config(), "pg:\n  port: " + port + "  # ours\n  host: '/x'\n" + rest));
  const auto ports = make_settings(home.layout, 28081);
  ASSERT_TRUE(ports) << ports.error().describe();
  const std::string text = read_file(home.layout.config(), 1 << 20).value();
  EXPECT_NE(text.find("\n  port: " + std::to_string(ports->pg) + "  # ours\n  host: \"" + home.layout.sockets + "\"\n"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("\nroles: all\nhttp.port: 28081\n")) << text;
  EXPECT_EQ(read_ports(home.layout)->pg, ports->pg);
  EXPECT_EQ(read_ports(home.layout)->http, 28081);
  // A shape that is not changed by machine: said, and the file stays as it was.
  const std::string flow = "pg: {port: " + port + "}\n" + rest + "\n";
  ASSERT_TRUE(write_file_durable(home.layout.config(), flow));
  const auto refused = make_settings(home.layout, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field("field"), "pg.port");
  EXPECT_EQ(read_file(home.layout.config(), 1 << 20).value(), flow);
  EXPECT_FALSE(exists(home.layout.config() + ".new"));
}

// Links that a part taken over put where root will write.
// A setting of telemetry that is added later is followed by the runner without anybody remembering it.
TEST(RunnerSettings, HoldWhatStellaYamlSaysOfTelemetryAndLog) {
  const Home home;
  const std::set<std::string_view> own = {"log.path", "telemetry.dir"};  // of each program its own
  ASSERT_TRUE(make_dirs(home.layout.path("run"), 0755));
  std::string text;
  std::vector<std::pair<std::string_view, std::string>> said;
  for (const contracts::SettingRow& row : contracts::kSettings) {
    if (!row.name.starts_with("telemetry.") && !row.name.starts_with("log.")) continue;
    std::string value(row.example);
    if (value == row.default_text || value.empty()) value = row.type == "bool" ? row.default_text == "true" ? "false" : "true" : row.type == "int" ? std::to_string(row.min + 1) : "other";
    text += std::string(row.name) + ": " + value + "\n";
    said.emplace_back(row.name, value);
  }
  ASSERT_GT(said.size(), 15u);
  ASSERT_TRUE(write_file_durable(home.layout.config(), text, 0644));
  const auto written = write_runner_settings(home.layout);
  ASSERT_TRUE(written) << written.error().describe();
  const auto runner = config::Settings::load(home.layout.runner_config(), {});
  ASSERT_TRUE(runner) << runner.error().describe();
  for (const auto& [name, value] : said) EXPECT_EQ(runner->text(name), own.contains(name) ? "" : value) << name;
}

TEST(OwnEnvironment, RingsOfTwoUsersLieApart) {
  const Home home;
  ASSERT_TRUE(make_dirs(home.layout.data, 0755));
  ASSERT_TRUE(write_file_durable(home.layout.config(), "telemetry.dir: " + home.dir + "/rings\ntelemetry.spool_dir: " + home.dir + "/spool\n", 0644));
  const auto settings = load_settings(home.layout);
  ASSERT_TRUE(settings);
  ASSERT_TRUE(make_telemetry_dirs(home.layout, *settings));
  for (const std::string program : {"stellad", "stella-runner"}) {
    const auto own = own_environment(home.layout, *settings, program);
    const auto dir = std::find_if(own.begin(), own.end(), [](const auto& e) { return e.first == "STELLA_TELEMETRY_DIR"; });
    ASSERT_NE(dir, own.end());
    EXPECT_EQ(dir->second, home.dir + "/rings/" + program);
    EXPECT_EQ(mode_of(dir->second), 0700u);
    EXPECT_EQ(mode_of(home.dir + "/spool/" + program), 0700u);
  }
}

TEST(OtelVariables, GoThroughToOurProgramsAloneAndTheExportersNotBesideTheCollector) {
  const Home home;
  ASSERT_TRUE(make_dirs(home.layout.data, 0755));
  ASSERT_TRUE(write_file_durable(home.layout.config(), "env: test\n", 0644));
  const auto settings = load_settings(home.layout);
  ASSERT_TRUE(settings);
  ::setenv("OTEL_SERVICE_NAME", "shop", 1);
  ::setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret", 1);
  const auto has = [](const process::Service& s, const std::string& name) { return std::any_of(s.options.environment.begin(), s.options.environment.end(), [&](const auto& e) { return e.first == name; }); };
  Ports ports;
  for (const process::Service& s : {stellad_service(home.layout, ports, *settings, ""), runner_service(home.layout, ports, *settings)}) {
    EXPECT_TRUE(has(s, "OTEL_SERVICE_NAME")) << s.name;
    EXPECT_TRUE(has(s, "OTEL_EXPORTER_OTLP_HEADERS")) << s.name;
  }
  EXPECT_FALSE(has(nats_service(home.layout, ports), "OTEL_EXPORTER_OTLP_HEADERS"));
  ports.otlp_http = 4318;
  const auto beside = stellad_service(home.layout, ports, *settings, "");
  EXPECT_TRUE(has(beside, "OTEL_SERVICE_NAME"));
  EXPECT_FALSE(has(beside, "OTEL_EXPORTER_OTLP_HEADERS"));
  EXPECT_TRUE(has(beside, "OTEL_EXPORTER_OTLP_ENDPOINT")) << "the Collector's";
  ::unsetenv("OTEL_SERVICE_NAME");
  ::unsetenv("OTEL_EXPORTER_OTLP_HEADERS");
}

TEST(Layout, WhatIsNoFileOfOursIsLeftAlone) {
  const Home home;
  const std::string secret = home.dir + "/secret", link = home.dir + "/link", dir_link = home.dir + "/dirlink", twin = home.dir + "/twin";
  ASSERT_TRUE(write_file_durable(secret, "x", 0600));
  ASSERT_TRUE(make_dirs(home.dir + "/dir", 0700));
  ASSERT_EQ(::symlink(secret.c_str(), link.c_str()), 0);
  ASSERT_EQ(::symlink((home.dir + "/dir").c_str(), dir_link.c_str()), 0);
  const std::optional<process::User> self;
  EXPECT_EQ(own_file(link, self, 0644).error().code(), contracts::errors::kUntrusted);
  EXPECT_EQ(own_dir(dir_link, self, 0755).error().code(), contracts::errors::kUntrusted);
  EXPECT_EQ(own_file(home.dir + "/dir", self, 0755).error().code(), contracts::errors::kUntrusted);
  ASSERT_EQ(::link(secret.c_str(), twin.c_str()), 0);
  const process::User other{65534, 65534};
  EXPECT_EQ(own_file(twin, other, 0644).error().code(), contracts::errors::kUntrusted);
  EXPECT_TRUE(own_file(twin, self, 0600)) << "a key in the middle of its rotation";
  EXPECT_EQ(mode_of(secret), 0600u);
  EXPECT_EQ(mode_of(home.dir + "/dir"), 0700u);
  ASSERT_EQ(::unlink(twin.c_str()), 0);
  EXPECT_TRUE(own_file(secret, self, 0640));
  EXPECT_EQ(mode_of(secret), 0640u);
  // The same where it is found among the secrets.
  ASSERT_TRUE(make_layout(home.layout));
  ASSERT_EQ(::symlink(secret.c_str(), home.layout.path("secrets/nats/runner").c_str()), 0);
  EXPECT_FALSE(make_secrets(home.layout));
  EXPECT_FALSE(exists(home.layout.path("secrets-runner/runner")));
}

TEST(Layout, UnderRootTheServerReadsSecretsAndWritesNoneOfTheirDirectories) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: not root";
  Home home;
  home.layout.server = process::User{65534, 65533};
  ASSERT_TRUE(make_layout(home.layout));
  for (const char* name : {"secrets", "secrets/pg", "secrets/nats"}) {
    struct stat info {};
    ASSERT_EQ(::stat(home.layout.path(name).c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 0u) << name;
    EXPECT_EQ(info.st_gid, 65533u) << name;
    EXPECT_EQ(info.st_mode & 07777u, 0750u) << name;
  }
  ASSERT_TRUE(make_secrets(home.layout));
  ASSERT_EQ(::chmod(home.dir.c_str(), 0755), 0);
  std::string phrase;
  bool wrote = true;
  ASSERT_TRUE(as_user(*home.layout.server, [&] {
    phrase = read_file(home.layout.path("secrets/key_passphrase"), 4096).value_or("");
    wrote = write_file_durable(home.layout.path("secrets/nats/x"), "").has_value();
  }));
  EXPECT_FALSE(phrase.empty());
  EXPECT_FALSE(wrote);
}

TEST(Layout, WorkAsAUserMakesThatUsersFilesAndReachesNoOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: not root";
  const Home home;
  const process::User user{65534, 65533};
  ASSERT_EQ(::chmod(home.dir.c_str(), 0755), 0);
  ASSERT_TRUE(make_dirs(home.dir + "/theirs", 0700));
  ASSERT_EQ(::chown((home.dir + "/theirs").c_str(), user.uid, user.gid), 0);
  ASSERT_TRUE(write_file_durable(home.dir + "/ours", "secret", 0600));
  bool made = false, read = true, made_here = true;
  ASSERT_TRUE(as_user(user, [&] {
    made = write_file_durable(home.dir + "/theirs/x", "", 0600).has_value();
    read = read_file(home.dir + "/ours", 100).has_value();
    made_here = write_file_durable(home.dir + "/x", "").has_value();
  }));
  EXPECT_TRUE(made);
  EXPECT_FALSE(read);
  EXPECT_FALSE(made_here);
  struct stat info {};
  ASSERT_EQ(::stat((home.dir + "/theirs/x").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, user.uid);
  EXPECT_EQ(info.st_gid, user.gid);
  EXPECT_TRUE(read_file(home.dir + "/ours", 100)) << "and afterwards it is root again";
}

// $XDG_RUNTIME_DIR goes with the user's last session; the platform stays.
TEST(Layout, TheSocketLiesWithTheData) {
  ::setenv("XDG_RUNTIME_DIR", "/tmp", 1);
  EXPECT_EQ(socket_dir("/home/ada/.local/share/stella", false, 1000), "/home/ada/.local/share/stella/run/sock");
  ::unsetenv("XDG_RUNTIME_DIR");
  const std::string longest = "/" + std::string(kSocketPathLimit - 25, 'd');
  EXPECT_EQ((socket_dir(longest, false, 1000) + "/.s.PGSQL.65535").size(), kSocketPathLimit);
  EXPECT_EQ(socket_dir(longest + "d", false, 1000), "/tmp/stella-1000");
  EXPECT_EQ(socket_dir("/var/lib/stella", true, 0), "/run/stella/pg");
}

TEST(Cluster, SettingsKeepStatementsOutOfTheLogAndListenOnLoopbackOnly) {
  const Home home;
  const std::string text = cluster_settings(home.layout, {1, 2, 3}, 1u << 30);
  EXPECT_NE(text.find("listen_addresses = '127.0.0.1'"), std::string::npos);
  EXPECT_NE(text.find("log_min_error_statement = panic"), std::string::npos);
  EXPECT_NE(text.find("port = 2\n"), std::string::npos);
  EXPECT_NE(text.find("dynamic_shared_memory_type = posix"), std::string::npos);
  EXPECT_NE(cluster_settings(home.layout, {1, 2, 3}, 64u << 20).find("dynamic_shared_memory_type = mmap"), std::string::npos);
}

TEST(State, ComesBackAsWritten) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  State out;
  out.state = "running";
  out.self = process_of("up", ::getpid());
  out.since = Timestamp::now();
  out.url = "http://127.0.0.1:1";
  out.ports = {1, 2, 3};
  out.new_operators = true;
  out.parts = {{"postgresql", 4711, 99}};
  ASSERT_TRUE(write_state(home.layout, out));
  const auto in = read_state(home.layout);
  ASSERT_TRUE(in);
  EXPECT_EQ(in->state, "running");
  EXPECT_TRUE(alive(in->self));
  EXPECT_EQ(in->ports.nats, 3);
  EXPECT_TRUE(in->new_operators);
  ASSERT_EQ(in->parts.size(), 1u);
  EXPECT_EQ(in->parts[0].start, 99u);
}

TEST(State, AForeignProcessWithAnOldPidIsLeftAlone) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  process::SpawnOptions options;
  options.argv = {"/bin/sleep", "600"};
  auto child = process::Child::spawn(options);
  ASSERT_TRUE(child);
  State out;
  out.self = {"up", 1, 1};
  out.parts = {{"nats", child->pid(), start_of(child->pid()) + 1}};  // the pid of before the power cut, now somebody else's
  ASSERT_TRUE(write_state(home.layout, out));
  EXPECT_EQ(end_orphans(home.layout), 0);
  EXPECT_FALSE(child->try_wait());
  out.parts[0].start = start_of(child->pid());
  ASSERT_TRUE(write_state(home.layout, out));
  EXPECT_EQ(end_orphans(home.layout), 1);
  EXPECT_TRUE(child->wait(Deadline::after(std::chrono::seconds(10))));
}

TEST(State, TheHolderOfTheLockIsKnown) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  EXPECT_EQ(holder_of(home.layout), 0);
  auto lock = process::lock_file(home.layout.lock());
  ASSERT_TRUE(lock);
  EXPECT_EQ(holder_of(home.layout), ::getpid());
  lock->reset();
  EXPECT_EQ(holder_of(home.layout), 0);
}

// Whoever holds the lock and writes a number into it makes nobody's `stella down` end that process.
TEST(State, TheNumberInTheLockAloneNamesNobody) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  const std::chrono::milliseconds moment(1);
  EXPECT_FALSE(holding(home.layout, moment).value());
  process::SpawnOptions options;
  options.argv = {"/bin/sleep", "600"};
  auto stranger = process::Child::spawn(options);
  ASSERT_TRUE(stranger);
  auto lock = process::lock_file(home.layout.lock());
  ASSERT_TRUE(lock);
  ASSERT_EQ(::ftruncate(lock->get(), 0), 0);
  ASSERT_EQ(::pwrite(lock->get(), (std::to_string(stranger->pid()) + "\n").c_str(), std::to_string(stranger->pid()).size() + 1, 0) > 0, true);
  ASSERT_EQ(holder_of(home.layout), stranger->pid());
  const auto none = holding(home.layout, moment);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().field("path"), home.layout.lock());
  // The record of a supervisor that had this number before a crash, and of another one.
  State out;
  out.state = "running";
  for (const Process& self : {Process{"up", stranger->pid(), start_of(stranger->pid()) + 1}, process_of("up", ::getpid())}) {
    out.self = self;
    ASSERT_TRUE(write_state(home.layout, out));
    EXPECT_FALSE(holding(home.layout, moment)) << self.pid;
    EXPECT_FALSE(state_of(home.layout, stranger->pid()));
  }
  out.self = process_of("up", stranger->pid());
  ASSERT_TRUE(write_state(home.layout, out));
  const auto own = holding(home.layout, moment);
  ASSERT_TRUE(own);
  EXPECT_EQ(own->value().self.pid, stranger->pid());
  stranger->stop(Deadline::after(std::chrono::seconds(10)));
}

TEST(Services, TheLogOfAPartThatRunsIsShortened) {
  const Home home;
  const std::string path = home.dir + "/log";
  const Fd part(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  ASSERT_TRUE(write_all(part.get(), "12345"));
  shorten_log(path, 5);
  EXPECT_FALSE(exists(path + ".1"));
  ASSERT_TRUE(write_all(part.get(), "6"));
  shorten_log(path, 5);
  ASSERT_TRUE(write_all(part.get(), "after"));
  EXPECT_EQ(read_file(path + ".1", 100).value(), "123456");
  EXPECT_EQ(read_file(path, 100).value(), "after");
}

TEST(State, APartIsInASessionOfItsOwn) { EXPECT_TRUE(service(Home().layout, "nats", {"/bin/true"}, std::nullopt).options.new_session); }

TEST(State, ATornStateFileIsNoState) {
  const Home home;
  ASSERT_TRUE(make_layout(home.layout));
  ASSERT_TRUE(write_file_durable(home.layout.state(), "{\"state\":\"runn"));
  EXPECT_FALSE(read_state(home.layout));
  EXPECT_EQ(end_orphans(home.layout), 0);
}

}  // namespace
}  // namespace stella::cli::up
