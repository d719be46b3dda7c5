// stella down: stops exactly what `stella up` started, newest first, and waits.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

constexpr std::chrono::seconds kPatience{150};
Result<int> down(Session& session, const std::string& data_dir) {
  const Layout layout = STELLA_TRY(locate(data_dir));
  const auto state = STELLA_TRY(holding(layout, std::chrono::seconds(3)));
  const auto shown = [&](bool was_running, int ended) {
    session.show(json::Value::object({{"data_dir", layout.data}, {"was_running", was_running}, {"ended", ended}}), [&] {
      return was_running ? "stopped; the data stays in " + layout.data + "\n" : ended > 0 ? "ended what had been left behind; the data stays in " + layout.data + "\n" : "it does not run (" + layout.data + ")\n";
    });
  };
  if (!state) {
    const int ended = end_orphans(layout);
    if (ended > 0) ::unlink(layout.state().c_str());
    shown(false, ended);
    return kExitDone;
  }
  const int holder = state->self.pid;
  const int parts = static_cast<int>(state->parts.size());
  if (::kill(holder, SIGTERM) != 0) return Error(base_errors::kIo, "the running `stella up` cannot be told to stop").with("pid", std::to_string(holder)).with("errno", ::strerror(errno)).with("remedy", "Run as the user who started it.");
  session.console().note("stopping (pid " + std::to_string(holder) + ")\n");
  const Deadline deadline = Deadline::after(kPatience);
  while (holder_of(layout) != 0) {
    if (deadline.passed()) return Error(contracts::errors::kTimeout, "it does not stop").with("pid", std::to_string(holder)).with("path", layout.log("up"));
    ::usleep(50'000);
  }
  shown(true, parts);
  return kExitDone;
}

}  // namespace

void register_stop(App& app) {
  auto data_dir = std::make_shared<std::string>();
  app.command("down", "Stop what `stella up` started, newest first; the data stays.")
      .option("--data-dir", data_dir.get(), kDataDirHelp, {.value = "DIR"})
      .run([data_dir](Session& s) { return down(s, *data_dir); });
}

}  // namespace stella::cli::up
