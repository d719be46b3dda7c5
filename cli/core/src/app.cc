// The command tree on CLI11: the only file that includes it.
#include "stella/cli/app.h"

#include <CLI/CLI.hpp>
#include <map>

#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

// Help comes from our own tree, whatever node it is asked of.
class TreeFormatter final : public CLI::Formatter {
 public:
  explicit TreeFormatter(const App& app) : app_(app) {}
  std::string make_help(const CLI::App* node, std::string, CLI::AppFormatMode) const override { return app_.help_text(*commands.at(node)); }
  std::map<const CLI::App*, const Command*> commands;

 private:
  const App& app_;
};

void add_option(CLI::App& node, const OptionSpec& spec) {
  const std::string& name = spec.names;
  CLI::Option* option = std::visit(
      [&](auto* target) -> CLI::Option* {
        if constexpr (std::is_same_v<decltype(target), bool*>) return node.add_flag(name, *target, spec.help);
        else return node.add_option(name, *target, spec.help);
      },
      spec.target);
  if (spec.traits.required) option->required();
  if (!spec.traits.choices.empty()) option->check(CLI::IsMember(spec.traits.choices));
  if (std::holds_alternative<std::vector<std::string>*>(spec.target)) {
    if (spec.positional()) option->expected(spec.traits.required ? 1 : 0, 1'000'000);
    else option->expected(1)->take_all();
  }
}

void build(CLI::App& node, const Command& command, TreeFormatter& formatter) {
  formatter.commands[&node] = &command;
  for (const OptionSpec& spec : command.options) add_option(node, spec);
  for (const auto& child : command.children) {
    CLI::App* sub = node.add_subcommand(child->name, child->help);
    sub->fallthrough();
    build(*sub, *child, formatter);
  }
}

// The deepest command that the words name, and the first word that is none although one is due.
struct Walked {
  const Command* command;
  std::string unknown;
};
Walked walk(const Command& root, int argc, const char* const* argv) {
  Walked out{&root, ""};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("-")) {
      // A global option's value is no command.
      for (const OptionSpec& spec : root.options)
        for (const std::string& name : CLI::detail::split(spec.names, ','))
          if (name == word && !std::holds_alternative<bool*>(spec.target)) ++i;
      continue;
    }
    if (out.command->children.empty()) break;
    const auto next = std::find_if(out.command->children.begin(), out.command->children.end(), [&](const auto& c) { return c->name == word; });
    if (next == out.command->children.end()) {
      out.unknown = word;
      break;
    }
    out.command = next->get();
  }
  return out;
}

std::string full_name(const Command& command) { return command.path.empty() ? "stella" : "stella " + command.path; }

int usage_error(Console& console, const Command& command, std::string_view what, std::string_view remedy) {
  console.err(console.err_palette()(Style::kRed, "error:") + " " + console.err_palette()(Style::kBold, printable(what)) + "\n  to do  " +
              (remedy.empty() ? full_name(command) + " --help" : std::string(remedy)) + "\n");
  return kExitUsage;
}

}  // namespace

int App::main(int argc, const char* const* argv) {
  CLI::App parser("", "stella");
  auto formatter = std::make_shared<TreeFormatter>(*this);
  parser.formatter(formatter);
  build(parser, root_, *formatter);
  const Walked walked = walk(root_, argc, argv);
  // Before parsing, only the environment speaks about colours.
  Console early(false, false);
  if (!walked.unknown.empty() && !walked.command->action) {
    std::vector<std::string> known;
    for (const auto& child : walked.command->children) known.push_back(child->name);
    const std::string near = nearest(walked.unknown, known);
    return usage_error(early, *walked.command, full_name(*walked.command) + " has no command '" + walked.unknown + "'", near.empty() ? "" : "Did you mean `" + full_name(*walked.command) + " " + near + "`?");
  }
  try {
    parser.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    early.out(help_text(*walked.command));
    return kExitDone;
  } catch (const CLI::ParseError& e) {
    return usage_error(early, *walked.command, e.what(), "");
  }
  if (!walked.command->action) {
    (walked.command == &root_ && argc == 1 ? early.out(help_text(root_)) : early.err(help_text(*walked.command)));
    return argc == 1 ? kExitDone : kExitUsage;
  }
  Console console(globals_.no_color, globals_.quiet);
  auto store = ProfileStore::of_user();
  if (!store) {
    console.err(render_error(store.error(), console.err_palette()));
    return exit_code(store.error());
  }
  Session session(globals_, console, std::move(*store));
  const auto result = walked.command->action(session);
  if (!result) console.err(render_error(result.error(), console.err_palette()));
  session.finish();
  return result ? *result : exit_code(result.error());
}

}  // namespace stella::cli
