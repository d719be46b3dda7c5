// Start: directories, secrets, settings, cluster, NATS, init, stellad, Collector (where asked for), runner. Stop: the same backwards.
#include "platform.h"

#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"
#include "services.h"
#include "telemetry.h"
#include "stella/cli/profile.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

constexpr int kClusterTries = 20;

// "" for an end with 0.
std::string how_it_ended(int status) {
  if (status == 0) return "";
  if (status <= 128) return "with status " + std::to_string(status);
  const char* name = ::sigabbrev_np(status - 128);
  return "of signal " + std::to_string(status - 128) + (name == nullptr ? "" : std::string(" (SIG") + name + ")");
}

void write_profile(const ProfileStore& store, const State& state, std::string_view username, const Tell& tell) {
  auto profile = store.load();
  if (!profile) {
    tell("the profile could not be read: " + profile.error().describe());
    return;
  }
  if (!profile->url.empty() && profile->url != state.url && profile->url.find("//127.0.0.1:") == std::string::npos && profile->url.find("//localhost") == std::string::npos) {
    tell("your profile points to " + profile->url + " and stays so; stella --url " + state.url + " …");
    return;
  }
  if (profile->url == state.url && !profile->username.empty()) return;
  profile->url = state.url;
  profile->username = std::string(username);
  profile->tenant = std::string(kFirstTenant);
  if (auto saved = store.save(*profile); !saved) tell("the profile could not be written: " + saved.error().describe());
}

}  // namespace

void write_profiles(const State& state, std::string_view username, const Tell& tell) {
  const auto own = ProfileStore::of_user();
  const std::string sudo = environment("SUDO_USER");
  const passwd* user = ::geteuid() == 0 && !sudo.empty() && sudo != "root" ? ::getpwnam(sudo.c_str()) : nullptr;
  const std::string home = user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
  // A sudo that keeps HOME, or the variable that names the directory: what root makes there the person cannot read.
  const bool theirs = own && !home.empty() && own->directory().starts_with(home + "/");
  if (own && !theirs) write_profile(*own, state, username, tell);
  if (home.empty() || !exists(home)) return;
  // In somebody's home with that person's rights only: a link there leads root nowhere, and what is made is theirs.
  const auto write = [&] { write_profile(theirs ? *own : ProfileStore(home + "/.config/stella"), state, username, tell); };
  if (auto done = as_user({user->pw_uid, user->pw_gid}, write); !done) tell("the profile of " + sudo + " was not written: " + done.error().describe());
}

Result<void> Platform::start(int http_port) {
  STELLA_TRY_VOID(make_dirs(layout_.path("run"), 0755));
  lock_ = STELLA_TRY(process::lock_file(layout_.lock()));
  if (auto prepared = prepare(http_port); !prepared) return std::move(prepared.error());
  supervisor_ = std::make_unique<process::Supervisor>();
  auto started = start_parts();
  if (!started) {
    supervisor_->stop_all();
    ::unlink(layout_.state().c_str());
    return std::move(started.error());
  }
  state_.state = "running";
  note_parts();
  return write_state(layout_, state_);
}

Result<void> Platform::prepare(int http_port) {
  if (const int ended = end_orphans(layout_); ended > 0) tell_("ended " + std::to_string(ended) + " part(s) that had outlived their supervisor");
  if (layout_.root) STELLA_TRY_VOID(find_users(layout_, true));
  STELLA_TRY_VOID(make_layout(layout_));
  STELLA_TRY_VOID(make_secrets(layout_));
  state_.ports = STELLA_TRY(make_settings(layout_, http_port));
  STELLA_TRY_VOID(write_runner_settings(layout_));
  const auto settings = load_settings(layout_);
  if (!settings) return settings.error();
  STELLA_TRY_VOID(make_telemetry_dirs(layout_, *settings));
  if (!collector_.program.empty()) STELLA_TRY_VOID(prepare_collector(layout_, collector_, state_.ports));
  state_.state = "starting";
  state_.self = process_of("up", ::getpid());
  state_.since = Timestamp::now();
  state_.url = "http://127.0.0.1:" + std::to_string(state_.ports.http);
  STELLA_TRY_VOID(write_state(layout_, state_));
  if (!exists(layout_.path("pg/PG_VERSION"))) tell_("database: making the cluster");
  return prepare_cluster(layout_, state_.ports);
}

Result<void> Platform::start_part(process::Service service) {
  const std::string name = service.name;
  // The parts have sessions of their own, so what ends this program in the terminal must be looked for.
  if (process::stop_requested()) return Error(contracts::errors::kUnavailable, "a service was not started").with("part", name).with("cause", "a stop was asked for");
  service.give_up = process::stop_requested;
  service.on_exit = [tell = tell_, name, also = std::move(service.on_exit)](int status) {
    if (also) also(status);
    const std::string how = how_it_ended(status);
    tell(name + ": ended " + (how.empty() ? "by itself" : how) + " at " + Timestamp::now().rfc3339() + ", starting it again");
  };
  STELLA_TRY_VOID(supervisor_->start(std::move(service)));
  note_parts();
  STELLA_TRY_VOID(write_state(layout_, state_));
  tell_(name + ": ready");
  return {};
}

Result<void> Platform::start_parts() {
  for (int tries = 1;; ++tries) {
    auto started = start_part(postgres_service(layout_));
    if (started) break;
    // Killed a moment ago: its last children still hold the shared memory.
    if (tries == kClusterTries || started.error().field("log").find("shared memory") == std::string_view::npos) return std::move(started.error());
    ::usleep(250'000);
  }
  STELLA_TRY_VOID(write_nats_config(layout_));
  STELLA_TRY_VOID(start_part(nats_service(layout_, state_.ports)));
  state_.new_operators = STELLA_TRY(init_platform(layout_));
  tell_("database: migrated");
  const auto settings = load_settings(layout_);
  if (!settings) return settings.error();
  STELLA_TRY_VOID(start_part(stellad_service(layout_, state_.ports, *settings, state_.url)));
  if (!collector_.program.empty()) STELLA_TRY_VOID(start_collector());  // after stellad: it asks it for the keys of our tokens
  return start_part(runner_service(layout_, state_.ports, *settings));
}

Result<void> Platform::start_collector() {
  const std::string issuer = STELLA_TRY(token_issuer(layout_, state_.url));
  auto started = start_part(collector_service(layout_, collector_, state_.ports, issuer));
  if (!started && mend_collector(layout_, started.error())) {
    tell_("collector: its queue on disk is damaged; set aside as " + layout_.path("collector") + ".torn-…, starting with an empty one");
    started = start_part(collector_service(layout_, collector_, state_.ports, issuer));
  }
  if (!started) return started;
  tell_("collector: telemetry goes to " + collector_target());
  if (otel_environment(true).size() != otel_environment(false).size()) tell_("collector: OTEL_EXPORTER_OTLP_* is not followed beside it; STELLA_COLLECTOR_TARGET names its target");
  return {};
}

void Platform::note_parts() {
  std::vector<Process> parts;
  for (const auto& s : supervisor_->status()) parts.push_back(process_of(s.name, s.pid));
  state_.parts = std::move(parts);
}

void Platform::tell_restarts(const std::vector<Process>& before) {
  for (const Process& now : state_.parts) {
    const auto then = std::find_if(before.begin(), before.end(), [&](const Process& p) { return p.name == now.name; });
    if (then != before.end() && now.pid != 0 && now.pid != then->pid) tell_(now.name + ": started again (pid " + std::to_string(now.pid) + ")");
  }
}

void Platform::wait() {
  while (!process::wait_for_stop(Deadline::after(std::chrono::seconds(5)))) {
    const auto before = state_.parts;
    note_parts();
    tell_restarts(before);
    for (const Process& part : state_.parts)
      for (const std::string& file : {layout_.log(part.name), layout_.errors(part.name)}) shorten_log(file);
    const bool same = std::equal(before.begin(), before.end(), state_.parts.begin(), state_.parts.end(), [](const Process& a, const Process& b) { return a.pid == b.pid && a.start == b.start; });
    if (!same) (void)write_state(layout_, state_);
  }
}

void Platform::stop() {
  state_.state = "stopping";
  (void)write_state(layout_, state_);
  supervisor_->stop_all([this](const std::string& name, int status) {
    const std::string how = how_it_ended(status);
    // nats-server calls a stop that was asked for a failure: only a death is worth telling.
    tell_(name + (status <= 128 || status == 128 + SIGTERM ? ": stopped" : ": stopped, and ended " + how));
  });
  ::unlink(layout_.state().c_str());
  let_go();
}

// Our number does not stay in the file: some day it is another program's.
void Platform::let_go() {
  if (lock_ && ::ftruncate(lock_.get(), 0) == 0) lock_.reset();
}

}  // namespace stella::cli::up
