// Completion scripts, made from the command tree. They need nothing but the shell.
#include <algorithm>

#include "stella/cli/app.h"

namespace stella::cli {
namespace {

void every(const Command& command, const std::function<void(const Command&)>& visit) {
  if (command.is_hidden) return;
  visit(command);
  for (const auto& child : command.children) every(*child, visit);
}

std::vector<std::string> split(std::string_view names) {
  std::vector<std::string> out;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(','), names.size());
    out.emplace_back(names.substr(0, end));
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return out;
}

std::string joined(const std::vector<std::string>& words, std::string_view with = " ") {
  std::string out;
  for (const std::string& w : words) out.append(out.empty() ? "" : with).append(w);
  return out;
}

std::vector<std::string> words_of(const Command& command, const Command& root) {
  std::vector<std::string> out;
  for (const auto& child : command.children)
    if (!child->is_hidden) out.push_back(child->name);
  for (const Command* source : {&command, &root}) {
    for (const OptionSpec& o : source->options)
      if (!o.positional() && (source != &root || &command != &root || source == &command))
        for (const std::string& name : split(o.names))
          if (name.starts_with("--") && std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  }
  out.emplace_back("--help");
  return out;
}

bool takes_file(const OptionSpec& o) { return o.traits.value == "FILE" || o.traits.value == "DIR" || o.traits.value == "PATH"; }
bool takes_value(const OptionSpec& o) { return !std::holds_alternative<bool*>(o.target); }

// 'single quotes' for all three shells.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// The part that bash and zsh share: which command the words name, and what may follow.
std::string word_tables(const Command& root) {
  std::string paths, words, values;
  every(root, [&](const Command& c) {
    if (!c.path.empty()) paths += (paths.empty() ? "" : "|") + quoted(c.path);
    words += "    " + quoted(c.path) + ") offer=" + quoted(joined(words_of(c, root))) + " ;;\n";
    for (const OptionSpec& o : c.options) {
      if (!takes_value(o) || o.positional()) continue;
      for (const std::string& name : split(o.names)) {
        const std::string pattern = c.path.empty() ? "*" + quoted(":" + name) : quoted(c.path + ":" + name);
        if (!o.traits.choices.empty()) values += "    " + pattern + ") offer=" + quoted(joined(o.traits.choices)) + " ;;\n";
        else values += "    " + pattern + ") offer= files=" + (takes_file(o) ? "1" : "") + " ;;\n";
      }
    }
  });
  // Positional choices and files.
  std::string arguments;
  every(root, [&](const Command& c) {
    for (const OptionSpec& o : c.options) {
      if (!o.positional()) continue;
      if (!o.traits.choices.empty()) arguments += "    " + quoted(c.path) + ") offer=\"$offer " + joined(o.traits.choices) + "\" ;;\n";
      else if (takes_file(o)) arguments += "    " + quoted(c.path) + ") files=1 ;;\n";
    }
  });
  return "  local at='' word next offer='' files=''\n"
         "  for word in \"${seen[@]}\"; do\n"
         "    next=\"${at:+$at }$word\"\n"
         "    case \"$next\" in " + paths + ") at=\"$next\" ;; esac\n"
         "  done\n"
         "  case \"$at\" in\n" + words + "  esac\n"
         "  case \"$at\" in\n" + arguments + "    *) ;;\n  esac\n"
         "  case \"$at:$prev\" in\n" + values + "    *) ;;\n  esac\n";
}

std::string bash(const Command& root) {
  return "# bash completion for stella: source <(stella completion bash)\n"
         "_stella() {\n"
         "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
         "  local seen=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n" +
         word_tables(root) +
         "  COMPREPLY=($(compgen -W \"$offer\" -- \"$cur\"))\n"
         "  if [ -n \"$files\" ] && [ \"${cur#-}\" = \"$cur\" ]; then COMPREPLY+=($(compgen -f -- \"$cur\")); compopt -o filenames 2>/dev/null; fi\n"
         "}\n"
         "complete -F _stella stella\n";
}

std::string zsh(const Command& root) {
  return "#compdef stella\n# zsh completion for stella: source <(stella completion zsh)\n"
         "_stella() {\n"
         "  local cur=\"${words[CURRENT]}\" prev=\"${words[CURRENT-1]}\"\n"
         "  local -a seen=(\"${(@)words[2,CURRENT-1]}\")\n"
         "  _stella_words\n"
         "}\n"
         "_stella_words() {\n" +
         word_tables(root) +
         "  [ -n \"$offer\" ] && compadd -- ${=offer}\n"
         "  [ -n \"$files\" ] && _files\n"
         "}\n"
         "compdef _stella stella\n";
}

std::string fish(const Command& root) {
  std::string out = "# fish completion for stella: stella completion fish | source\n"
                    "function __stella_path\n"
                    "  set -l path ''\n"
                    "  for word in (commandline -opc)[2..-1]\n"
                    "    set -l next (string trim \"$path $word\")\n"
                    "    contains -- \"$next\" $__stella_paths; and set path \"$next\"\n"
                    "  end\n"
                    "  test \"$path\" = \"$argv[1]\"\n"
                    "end\n"
                    "complete -c stella -f\n";
  std::vector<std::string> paths;
  every(root, [&](const Command& c) {
    if (!c.path.empty()) paths.push_back(quoted(c.path));
  });
  out += "set -g __stella_paths " + joined(paths) + "\n";
  every(root, [&](const Command& c) {
    const std::string at = "-n \"__stella_path " + quoted(c.path) + "\"";
    for (const auto& child : c.children)
      if (!child->is_hidden) out += "complete -c stella " + at + " -a " + child->name + " -d " + quoted(child->help) + "\n";
    for (const OptionSpec& o : c.options) {
      if (o.positional()) {
        if (!o.traits.choices.empty()) out += "complete -c stella " + at + " -a " + quoted(joined(o.traits.choices)) + "\n";
        else if (takes_file(o)) out += "complete -c stella " + at + " -F\n";
        continue;
      }
      std::string line = "complete -c stella " + (c.path.empty() ? "" : at + " ");
      for (const std::string& name : split(o.names)) line += name.starts_with("--") ? "-l " + name.substr(2) + " " : "-s " + name.substr(1) + " ";
      if (takes_value(o)) line += o.traits.choices.empty() ? (takes_file(o) ? "-r -F " : "-x ") : "-x -a " + quoted(joined(o.traits.choices)) + " ";
      out += line + "-d " + quoted(o.help) + "\n";
    }
  });
  return out;
}

}  // namespace

std::string App::completion(std::string_view shell) const {
  if (shell == "bash") return bash(root_);
  if (shell == "zsh") return zsh(root_);
  if (shell == "fish") return fish(root_);
  return "";
}

}  // namespace stella::cli
