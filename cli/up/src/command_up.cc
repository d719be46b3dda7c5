// stella up: in the foreground until Ctrl-C, or --detach.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "checks.h"
#include "cluster.h"
#include "commands.h"
#include "platform.h"
#include "services.h"
#include "stella/base/file.h"
#include "stella/cli/up.h"
#include "stella/contracts/errors.h"
#include "telemetry.h"

namespace stella::cli {
namespace up {
namespace {

struct Args {
  bool detach = false;
  bool collector = false;
  std::string data_dir;
  std::int64_t port = 0;
};

constexpr const char* kDetachedMark = "STELLA_UP_DETACHED";
constexpr std::chrono::minutes kStartPatience{10};

// "[  1.4s] postgresql: ready"
Tell progress(Console& console) {
  const auto begin = Deadline::Clock::now();
  return [&console, begin](std::string_view step) {
    const double seconds = std::chrono::duration<double>(Deadline::Clock::now() - begin).count();
    char prefix[32];
    std::snprintf(prefix, sizeof prefix, "[%5.1fs] ", seconds);
    console.err(prefix + std::string(step) + "\n");  // one write: several threads tell
  };
}

json::Value running_json(const Layout& layout, const State& state) {
  return json::Value::object({{"state", state.state}, {"url", state.url}, {"tenant", kFirstTenant}, {"data_dir", layout.data}, {"pid", state.self.pid}, {"operators_file", operators_path(layout)}});
}

std::string running_text(const Layout& layout, const State& state, bool show_secrets, const Palette& paint) {
  std::string out = paint(Style::kGreen, "StellaOps is running") + "\n";
  Facts facts;
  facts.add("API", state.url).add("health", state.url + "/readyz").add("tenant", kFirstTenant);
  const auto operators = read_operators(layout);
  if (operators)
    for (const Operator& o : *operators) facts.add(&o == &operators->front() ? "logins" : "      ", o.login + (show_secrets ? "  password " + o.secret : "") + (o.platform ? "  (operator of tenant and platform)" : "  (operator of the tenant)"));
  if (state.ports.otlp_http != 0) facts.add("OTLP", "http://127.0.0.1:" + std::to_string(state.ports.otlp_http) + "  gRPC 127.0.0.1:" + std::to_string(state.ports.otlp_grpc));
  facts.add("passwords", (show_secrets ? "shown this once; kept in " : "in ") + operators_path(layout));
  facts.add("data", layout.data).add("logs", layout.path("log"));
  out += facts.render(paint, 2);
  if (show_secrets) out += paint(Style::kDim, "  next: stella login -u ada · stella status · stella doctor · stella down") + "\n";
  return out;
}

std::string first_operator(const Layout& layout) {
  const auto operators = read_operators(layout);
  return operators && !operators->empty() ? operators->front().login : "";
}

void announce(Session& session, const Layout& layout, const State& state) {
  session.show(running_json(layout, state), [&] { return running_text(layout, state, state.new_operators, session.console().out_palette()); });
}

Result<int> already(Session& session, const Layout& layout, int holder, bool wants_collector) {
  const auto state = state_of(layout, holder);
  if (!state || state->state != "running") {
    session.console().err("another `stella up` is at work on " + layout.data + (holder > 0 ? " (pid " + std::to_string(holder) + ")" : "") + (state && state->state == "stopping" ? ": it is stopping" : ": it is starting") + "\n");
    return kExitBusy;
  }
  if (wants_collector && state->ports.otlp_http == 0) session.console().err("it runs without the Collector: stella down, then stella up --collector\n");
  write_profiles(*state, first_operator(layout), [&](std::string_view text) { session.console().note(std::string(text) + "\n"); });
  session.console().note("already running (pid " + std::to_string(state->self.pid) + ", since " + short_time(state->since, Timestamp::now()) + ")\n");
  session.show(running_json(layout, *state), [&] { return running_text(layout, *state, false, session.console().out_palette()); });
  return kExitDone;
}

// False where something is wrong that the start would stumble over later. Warnings are for the first who looks: `told` where that was another.
bool sound(Session& session, const Layout& layout, int port, bool told) {
  const auto checks = check_machine(layout, 0, port);
  const Palette& paint = session.console().err_palette();
  const bool good = std::none_of(checks.begin(), checks.end(), [](const Check& c) { return c.verdict == Verdict::kFail; });
  // A port may be taken by another `stella up` that began meanwhile: then that is what there is to say.
  if (!good && holder_of(layout) != 0) return false;
  if (const std::string text = good && told ? "" : checks_text(checks, good ? Verdict::kWarn : Verdict::kFail, paint, 0); !text.empty()) session.console().err(text);
  return good;
}

// What failed, the last lines it wrote, and where the rest is.
int failed(Session& session, const Layout& layout, const Error& error) {
  const std::string part(error.field("part"));
  const std::string log = error.field("path").empty() && !part.empty() ? layout.log(part) : std::string(error.field("path"));
  std::string text = session.console().err_palette()(Style::kRed, "error:") + " " + std::string(error.message()) + (part.empty() ? "" : ": " + part) + "\n";
  for (const ErrorField& f : error.fields())
    if (f.name != "part" && f.name != "path" && f.name != "log" && f.name != "remedy") text += "  " + std::string(f.name) + "  " + printable(f.value) + "\n";
  std::istringstream lines{error.field("log").empty() ? last_lines(layout, part) : std::string(error.field("log"))};
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) text += "  | " + ellipsized(printable(line), 160) + "\n";
  if (!log.empty()) text += "  where  " + log + "\n";
  text += "  to do  " + (error.field("remedy").empty() ? std::string("stella doctor") : std::string(error.field("remedy"))) + "\n";
  session.console().err(text);
  return kExitFailed;
}

Result<int> foreground(Session& session, const Layout& layout, const Args& args, const CollectorChoice& collector) {
  process::install_stop_signals();
  process::stop_on_hangup();  // the terminal is gone: the parts are stopped one after the other all the same
  const bool detached = !environment(kDetachedMark).empty();
  const Tell tell = progress(session.console());
  Platform platform(layout, collector, tell);
  auto started = platform.start(static_cast<int>(args.port));
  if (!started && started.error().code() == contracts::errors::kConflict && !started.error().field("holder").empty()) return detached ? Result<int>(kExitBusy) : already(session, layout, holder_of(layout), args.collector);
  if (!started) return failed(session, layout, started.error());
  tell("ready");
  if (!detached) {
    write_profiles(platform.state(), first_operator(layout), tell);
    announce(session, layout, platform.state());
    session.console().note("Ctrl-C stops it\n");
  }
  platform.wait();
  tell("stopping");
  platform.stop();
  return kExitDone;
}

// Shows what the detached process writes, until it is ready or gone.
class Follower {
 public:
  Follower(Console& console, std::string log) : console_(console), log_(std::move(log)), fd_(::open(log_.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_) at_ = ::lseek(fd_.get(), 0, SEEK_END);
  }
  void show() {
    if (!fd_) fd_ = Fd(::open(log_.c_str(), O_RDONLY | O_CLOEXEC));
    char buffer[4096];
    for (ssize_t n = 0; fd_ && (n = ::pread(fd_.get(), buffer, sizeof buffer, at_)) > 0; at_ += n) console_.err(std::string_view(buffer, static_cast<std::size_t>(n)));
  }

 private:
  Console& console_;
  std::string log_;
  Fd fd_;
  off_t at_ = 0;
};

Result<process::Child> spawn_detached(const Layout& layout, const Args& args, const CollectorChoice& collector) {
  process::SpawnOptions options;
  options.argv = {layout.programs + "/stella", "--no-color", "up", "--data-dir", layout.data};
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  if (n > 0) options.argv[0] = std::string(self, static_cast<std::size_t>(n));
  if (args.port != 0) options.argv.insert(options.argv.end(), {"--port", std::to_string(args.port)});
  options.environment = {{kDetachedMark, "1"}};
  for (const char* name : {"PATH", "HOME", "XDG_DATA_HOME", "LANG"})
    if (const std::string value = environment(name); !value.empty()) options.environment.emplace_back(name, value);
  for (auto& variable : otel_environment(false)) options.environment.push_back(std::move(variable));
  for (auto& variable : collector_environment(collector)) options.environment.push_back(std::move(variable));
  options.stdout_path = layout.log("up");
  options.stderr_path = layout.log("up");
  options.die_with_parent = false;
  options.new_session = true;
  return process::Child::spawn(options);
}

Result<int> detach(Session& session, const Layout& layout, const Args& args, const CollectorChoice& collector) {
  STELLA_TRY_VOID(make_dirs(layout.path("log"), 0755));
  Follower follower(session.console(), layout.log("up"));
  process::Child child = STELLA_TRY(spawn_detached(layout, args, collector));
  const Deadline deadline = Deadline::after(kStartPatience);
  while (!deadline.passed()) {
    follower.show();
    if (const auto status = child.try_wait()) {
      follower.show();
      if (*status == kExitBusy) return already(session, layout, holder_of(layout), args.collector);  // somebody was faster
      return *status == 0 ? kExitFailed : *status;
    }
    const auto state = read_state(layout);
    if (state && state->state == "running" && state->self.pid == child.pid()) {
      follower.show();
      write_profiles(*state, first_operator(layout), [&](std::string_view text) { session.console().note(std::string(text) + "\n"); });
      announce(session, layout, *state);
      return kExitDone;
    }
    ::usleep(50'000);
  }
  child.stop(Deadline::after(std::chrono::seconds(60)));
  return Error(contracts::errors::kUnavailable, "the platform did not become ready in time").with("path", layout.log("up")).with("remedy", "stella doctor");
}

Result<int> run(Session& session, const Args& args) {
  // The parts are other users: what they pass through must not be closed by a strict mask of the caller's. Secrets are given their modes by name.
  ::umask(022);
  if (args.port < 0 || args.port > 65535) return Error(base_errors::kInvalid, "that is no port").with("field", "--port").with("expected", "1 to 65535");
  const Layout layout = STELLA_TRY(locate(args.data_dir));
  if (const int holder = holder_of(layout); holder != 0) return already(session, layout, holder, args.collector);
  const bool handed_on = !environment(kDetachedMark).empty();
  if (!sound(session, layout, static_cast<int>(args.port), handed_on)) {
    const int holder = holder_of(layout);
    return holder != 0 ? already(session, layout, holder, args.collector) : Result<int>(kExitFailed);
  }
  CollectorChoice collector = handed_on ? collector_from_environment() : CollectorChoice();
  if (args.collector && !handed_on) {
    auto found = find_or_build_collector(layout);
    if (!found) return failed(session, layout, found.error());
    collector = std::move(*found);
  }
  return args.detach ? detach(session, layout, args, collector) : foreground(session, layout, args, collector);
}

}  // namespace

void register_start(App& app) {
  auto args = std::make_shared<Args>();
  app.command("up", "Start the whole platform on this machine: database, bus, server, runner.")
      .option("--detach", &args->detach, "Return once it is ready and leave it running (default: until Ctrl-C).")
      .option("--collector", &args->collector, "Run the OpenTelemetry Collector too and send all telemetry through it (the first time it is built: minutes).")
      .option("--data-dir", &args->data_dir, kDataDirHelp, {.value = "DIR"})
      .option("--port", &args->port, "Port of the API (default: 18080 or the next free one); kept in stella.yaml.", {.value = "N"})
      .note("STELLA_COLLECTOR_TARGET names the OTLP/HTTP backend that the Collector sends to; more of its variables: docs/install/telemetry-stack.md")
      .note("Exit codes\n  0  it runs (also where it ran before)\n  1  it could not be started\n  3  another `stella up` is starting or stopping it")
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace up

void register_up(App& app) {
  up::register_start(app);
  up::register_stop(app);
  up::register_look(app);
  up::register_demo(app);
  up::register_witness(app);
}

}  // namespace stella::cli
