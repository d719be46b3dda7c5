// stella completion, stella version.
#include "common.h"
#include "stella/cli/commands.h"

namespace stella::cli {

void register_general(App& app) {
  auto shell = std::make_shared<std::string>();
  app.command("completion", "A completion script: source <(stella completion bash).")
      .argument("SHELL", shell.get(), "bash, zsh or fish.", {.required = true, .choices = {"bash", "zsh", "fish"}})
      .run([&app, shell](Session& session) -> Result<int> {
        session.console().out(app.completion(*shell));
        return kExitDone;
      });
  // docs/reference/cli.md: a test compares it.
  app.command("reference", "All commands as a page of the documentation.")
      .hidden()
      .run([&app](Session& session) -> Result<int> {
        session.console().out(app.reference());
        return kExitDone;
      });
  app.command("version", "The version of this program.").run([](Session& session) -> Result<int> {
    session.show(json::Value::object({{"name", "stella"}, {"version", STELLA_VERSION}}), [] { return std::string("stella " STELLA_VERSION "\n"); });
    return kExitDone;
  });
}

}  // namespace stella::cli
