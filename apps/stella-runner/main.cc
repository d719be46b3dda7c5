// stella-runner: takes jobs from the bus and runs each in a sandboxed child, which is this program again with --child.
//
//   stella-runner [--config FILE] [--ready-file FILE]
//
// The ready file appears once the runner takes jobs and goes when it ends. Exit: 0 after SIGTERM or SIGINT, 1 where it could not start.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/file.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/platform/bus_topology.h"
#include "stella/platform/config.h"
#include "stella/platform/process.h"
#include "stella/services/runner.h"
#include "stella/telemetry/log.h"
#include "telemetry.h"

namespace stella {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr telemetry::Logger kLog{"runner"};
constexpr auto kGrace = seconds(10);

struct Arguments {
  std::string config;
  std::string ready_file;
};

int usage() {
  std::fputs("usage: stella-runner [--config FILE] [--ready-file FILE]\n", stderr);
  return 2;
}

Result<std::string> read_password(const config::Settings& settings) {
  std::string dir = settings.text("nats.password_dir");
  if (dir.empty()) {
    const std::string& secrets = settings.text("secrets.dir");
    dir = (secrets.empty() ? settings.text("data_dir") + "/secrets" : secrets) + "/nats";
  }
  auto password = STELLA_TRY(read_file(dir + "/" + std::string(bus::user::kRunner), 4096));
  while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) password.pop_back();
  return password;
}

// Until the bus is there or a stop was asked for (then null).
std::unique_ptr<bus::Connection> connect(const bus::ConnectOptions& options) {
  bool told = false;
  for (;;) {
    auto connection = bus::Connection::connect(options);
    if (connection) return std::move(*connection);
    if (!told) kLog.warn("bus cannot be reached, trying again", {f::error(connection.error())});
    told = true;
    if (process::wait_for_stop(Deadline::after(milliseconds(500)))) return nullptr;
  }
}

// Started as root, a job still never runs as root.
std::optional<runner::ChildUser> child_user() {
  if (::geteuid() != 0) return std::nullopt;
  const auto own = process::find_user("stella-runner");
  if (own) return runner::ChildUser{own->uid, own->gid};
  kLog.warn("no user stella-runner on this machine, jobs run as nobody");
  return runner::ChildUser{65534, 65534};
}

Result<void> serve(const Arguments& arguments) {
  const auto settings = STELLA_TRY(config::Settings::load_with_process_environment(arguments.config));
  const auto backend = STELLA_TRY(apps::Telemetry::start(settings, "stella-runner"));
  const auto password = STELLA_TRY(read_password(settings));
  auto login = bus::login(settings.text("nats.url"), bus::user::kRunner, password);
  login.name = "stella-runner";
  const auto connection = connect(login);
  if (connection == nullptr) return {};
  runner::Options options;
  options.runner_id = settings.text("instance_id");
  options.concurrency = static_cast<int>(settings.integer("runner.concurrency"));
  options.heartbeat = milliseconds(settings.integer("runner.heartbeat"));
  options.allow_without_landlock = settings.boolean("runner.allow_without_landlock");
  options.child_user = child_user();
  options.child_telemetry = [&backend](telemetry::Records records) { (*backend)->accept(std::move(records), false); };
  const auto runner = STELLA_TRY(runner::Runner::create(*connection, std::move(options)));
  STELLA_TRY_VOID(runner->start());
  if (!arguments.ready_file.empty()) STELLA_TRY_VOID(write_file_durable(arguments.ready_file, std::to_string(::getpid()) + "\n"));
  while (!process::wait_for_stop(Deadline::after(seconds(3600)))) {
  }
  if (!arguments.ready_file.empty()) ::unlink(arguments.ready_file.c_str());
  runner->stop(kGrace);
  return {};
}

}  // namespace
}  // namespace stella

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--child") return stella::runner::child_main(stella::pipeline::find_job_kind);
  stella::process::keep_freed_memory();
  stella::process::install_stop_signals();
  stella::Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return stella::usage();
    if (name == "--config") arguments.config = argv[i + 1];
    else if (name == "--ready-file") arguments.ready_file = argv[i + 1];
    else return stella::usage();
  }
  // Outputs are read by the orchestrator, another user; who may come near them is decided by the mode of the jobs directory.
  ::umask(0022);
  if (auto served = stella::serve(arguments); !served) {
    std::fprintf(stderr, "stella-runner: %s\n", served.error().describe().c_str());
    return 1;
  }
  return 0;
}
