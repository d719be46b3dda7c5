// Declaring commands, and their help.
#include <algorithm>
#include <functional>

#include "stella/cli/app.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

constexpr std::size_t kWidth = 80;
constexpr std::size_t kIndent = 2;
constexpr std::size_t kMost = 28;  // a longer left column puts its text on the next line

struct Entry {
  std::string left;
  std::string right;
};

std::string listing(std::string_view title, const std::vector<Entry>& entries) {
  if (entries.empty()) return "";
  std::size_t left = 0;
  for (const Entry& e : entries)
    if (display_width(e.left) <= kMost) left = std::max(left, display_width(e.left));
  std::string out = "\n" + std::string(title) + "\n";
  const std::string hang(kIndent + left + 2, ' ');
  for (const Entry& e : entries) {
    const auto lines = wrapped(e.right, kWidth - hang.size());
    const bool fits = display_width(e.left) <= left;
    out += std::string(kIndent, ' ') + e.left + (fits ? std::string(left - display_width(e.left) + 2, ' ') + lines[0] : "\n" + hang + lines[0]) + "\n";
    for (std::size_t i = 1; i < lines.size(); ++i) out += hang + lines[i] + "\n";
  }
  return out;
}

// Lines as they are; only those that are too long are wrapped.
std::string paragraph(std::string_view note) {
  std::string out;
  while (!note.empty()) {
    const std::size_t end = std::min(note.find('\n'), note.size());
    const std::string_view line = note.substr(0, end);
    if (display_width(line) <= kWidth) out.append(line).append("\n");
    else for (const std::string& part : wrapped(line, kWidth)) out += part + "\n";
    note.remove_prefix(std::min(end + 1, note.size()));
  }
  return out;
}

std::string value_name(const OptionSpec& o) {
  if (std::holds_alternative<bool*>(o.target)) return "";
  if (o.traits.choices.empty()) return o.traits.value;
  std::string out;
  for (const std::string& c : o.traits.choices) out += (out.empty() ? "" : "|") + c;
  return out;
}

std::string comma_spaced(std::string_view names) {
  std::string out;
  for (const char c : names) out += c == ',' ? std::string(", ") : std::string(1, c);
  return out;
}

Entry option_entry(const OptionSpec& o) {
  const std::string value = value_name(o);
  return {comma_spaced(o.names) + (value.empty() ? "" : " " + value), o.help + (o.traits.required ? " (required)" : "")};
}

std::string usage(const Command& c) {
  std::string out = "stella" + (c.path.empty() ? "" : " " + c.path);
  if (!c.children.empty()) return out + " COMMAND";
  for (const OptionSpec& o : c.options)
    if (!o.positional() && o.traits.required) out += " " + o.names.substr(o.names.rfind(',') == std::string::npos ? 0 : o.names.rfind(',') + 1) + " " + value_name(o);
  if (std::any_of(c.options.begin(), c.options.end(), [](const OptionSpec& o) { return !o.positional() && !o.traits.required; })) out += " [OPTIONS]";
  for (const OptionSpec& o : c.options)
    if (o.positional()) {
      const std::string many = std::holds_alternative<std::vector<std::string>*>(o.target) ? "…" : "";
      out += o.traits.required ? " " + o.names + many : " [" + o.names + many + "]";
    }
  return out;
}

}  // namespace

Command& Command::option(std::string names, OptionTarget target, std::string text, OptionTraits traits) {
  options.push_back({std::move(names), target, std::move(text), std::move(traits)});
  return *this;
}
Command& Command::argument(std::string names, OptionTarget target, std::string text, OptionTraits traits) { return option(std::move(names), target, std::move(text), std::move(traits)); }
Command& Command::note(std::string text) {
  notes.push_back(std::move(text));
  return *this;
}
Command& Command::run(Action a) {
  action = std::move(a);
  return *this;
}
Command& Command::hidden() {
  is_hidden = true;
  return *this;
}

App::App() {
  root_.help = "StellaOps: supply-chain decisions that can be observed, traced and defended.";
  root_.option("--url", &globals_.url, "The server (default: STELLA_URL, then what `stella up` or `stella login` wrote).", {.value = "URL"})
      .option("--tenant", &globals_.tenant, "Ask for this tenant (default: the token's own).", {.value = "TENANT"})
      .option("-o,--output", &globals_.output, "How results are printed.", {.choices = {"table", "json", "ndjson"}})
      .option("--ca-file", &globals_.ca_file, "PEM file with the authorities of the server's certificate.", {.value = "FILE"})
      .option("--no-color", &globals_.no_color, "No colours (also: NO_COLOR).")
      .option("-q,--quiet", &globals_.quiet, "Results only: no progress, no hints, no trace id.");
  root_.note("Exit codes\n  0   done; the verdict is good\n  1   failed, refused, or a document was rejected; verification: FAIL\n"
             "  2   verification: something required was not checked\n  3   evaluate --fail-on: the decision is that bad; verification: malformed\n"
             "  4   not logged in, or a scope is missing\n  5   the server, or a part of it, does not answer\n  64  the command line cannot be understood");
}

Command& App::command(std::string_view path, std::string help) {
  Command* node = &root_;
  for (std::string_view rest = path; !rest.empty();) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    const std::string name(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto found = std::find_if(node->children.begin(), node->children.end(), [&](const auto& c) { return c->name == name; });
    if (found != node->children.end()) {
      node = found->get();
      continue;
    }
    auto made = std::make_unique<Command>();
    made->name = name;
    made->path = node->path.empty() ? name : node->path + " " + name;
    node->children.push_back(std::move(made));
    node = node->children.back().get();
  }
  node->help = std::move(help);
  return *node;
}

std::string App::help_text(const Command& command) const {
  std::string out;
  for (const std::string& line : wrapped(command.help, kWidth)) out += line + "\n";
  out += "\nUsage\n  " + usage(command) + "\n";
  std::vector<Entry> commands, arguments, options, globals;
  for (const auto& child : command.children)
    if (!child->is_hidden) commands.push_back({child->name, child->help});
  for (const OptionSpec& o : command.options) {
    if (o.positional()) arguments.push_back({o.names, o.help});
    else if (&command != &root_) options.push_back(option_entry(o));
  }
  for (const OptionSpec& o : root_.options) globals.push_back(option_entry(o));
  globals.push_back({"-h, --help", "This text."});
  out += listing("Commands", commands) + listing("Arguments", arguments) + listing("Options", options) + listing("Options of every command", globals);
  for (const std::string& note : command.notes) out += "\n" + paragraph(note);
  if (&command == &root_) out += "\n`stella COMMAND --help` says more about a command.\n";
  return out;
}

std::string App::reference() const {
  std::string out =
      "> **Imposed rule:** Work of this type or tasks of this type on this component must also be applied everywhere else it should be applied.\n\n"
      "# Command line\n\nWritten by `stella reference`; do not edit. The options of every command and the exit codes stand in the first section.\n";
  const std::function<void(const Command&)> visit = [&](const Command& c) {
    if (c.is_hidden) return;
    if (c.action || &c == &root_) {
      std::string text = help_text(c);
      // What every command has is said once.
      const std::size_t at = &c == &root_ ? std::string::npos : text.find("\nOptions of every command\n");
      if (at != std::string::npos) text.erase(at, text.find("  -h, --help", at) == std::string::npos ? std::string::npos : text.find('\n', text.find("  -h, --help", at)) + 1 - at);
      out += "\n## stella" + (c.path.empty() ? "" : " " + c.path) + "\n\n```text\n" + text + "```\n";
    }
    for (const auto& child : c.children) visit(*child);
  };
  visit(root_);
  return out;
}

}  // namespace stella::cli
