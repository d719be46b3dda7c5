// stella witness: the program stella-witness, which is its own because a witness belongs to somebody else than the platform's operator.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <vector>

#include "commands.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

struct Args {
  bool init = false;
  std::string config;
  std::string ready_file;
};

// Takes the place of this program, so that signals and the exit status are the witness's.
Result<int> run(const Args& args) {
  const Layout layout = STELLA_TRY(locate(""));
  std::vector<std::string> words{layout.programs + "/stella-witness"};
  if (args.init) words.emplace_back("--init");
  if (!args.config.empty()) words.insert(words.end(), {"--config", args.config});
  if (!args.ready_file.empty()) words.insert(words.end(), {"--ready-file", args.ready_file});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  return Error(contracts::errors::kUnavailable, "stella-witness cannot be run").with("path", words[0]).with("errno", ::strerror(errno)).with("remedy", "Put it beside stella (ninja stella-witness), or run it where it lies.");
}

}  // namespace

void register_witness(App& app) {
  auto args = std::make_shared<Args>();
  app.command("witness", "Run a witness (stella-witness): it cosigns checkpoints of the logs that its policy names.")
      .option("--config", &args->config, "Its settings, witness.*: docs/reference/settings.md.", {.value = "FILE"})
      .option("--init", &args->init, "Make its key and the state of every log that has none, print its verifier key, and end.")
      .option("--ready-file", &args->ready_file, "Written with its port once it listens.", {.value = "FILE"})
      .note("Exit codes\n  0  it was asked to end\n  1  it could not start\n  2  wrong arguments")
      .run([args](Session&) { return run(*args); });
}

}  // namespace stella::cli::up
