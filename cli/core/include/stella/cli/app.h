// The command tree: commands declare their options and action here; parsing, help, completion and errors are the same for all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stella/base/result.h"
#include "stella/cli/session.h"

namespace stella::cli {

// What a command does: the exit code (errors.h), or the error that the frame shows.
using Action = std::function<Result<int>(Session&)>;

struct OptionTraits {
  bool required = false;
  std::string value = "TEXT";        // what help calls the value; FILE and DIR complete paths
  std::vector<std::string> choices = {};  // nothing else is accepted
};

using OptionTarget = std::variant<bool*, std::string*, std::int64_t*, std::vector<std::string>*>;

struct OptionSpec {
  std::string names;  // "--sbom", "-o,--output"; a positional has no dashes: "FILE"
  OptionTarget target;
  std::string help;
  OptionTraits traits;
  bool positional() const { return names.empty() || names.front() != '-'; }
};

// One node of the tree. Targets must live as long as the App: keep them in a shared_ptr that the action captures.
class Command {
 public:
  Command& option(std::string names, OptionTarget target, std::string help, OptionTraits traits = {});
  Command& argument(std::string name, OptionTarget target, std::string help, OptionTraits traits = {.required = true});
  // A paragraph below the options: examples, exit codes.
  Command& note(std::string text);
  Command& run(Action action);
  // Not in help and completion.
  Command& hidden();

  std::string name;
  std::string path;  // "sbom ingest"
  std::string help;
  std::vector<OptionSpec> options;
  std::vector<std::string> notes;
  std::vector<std::unique_ptr<Command>> children;
  Action action;
  bool is_hidden = false;
};

class App {
 public:
  App();
  // "sbom", "sbom ingest", "forensic snapshot create": parents are made where they are missing.
  Command& command(std::string_view path, std::string help);
  // Runs the program; returns its exit code.
  int main(int argc, const char* const* argv);

  const Command& root() const { return root_; }
  // The text of --help of one command.
  std::string help_text(const Command& command) const;
  // A completion script; shell is bash, zsh or fish.
  std::string completion(std::string_view shell) const;
  // Every command's help as one page of Markdown.
  std::string reference() const;

 private:
  Command root_;
  Globals globals_;
};

}  // namespace stella::cli
