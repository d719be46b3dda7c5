// Rules path and windows_path: the directories of an absolute path.
#include <array>

#include "find.h"

namespace stella::telemetry::scrubbing {
namespace {

constexpr std::array<std::string_view, 32> kRoots{"home", "root", "usr", "var", "tmp", "etc", "opt", "mnt", "srv", "Users", "private", "proc", "sys", "dev",
                                                  "lib", "bin", "sbin", "build", "builds", "workspace", "app", "work", "media", "nix", "snap", "boot", "data", "github", "run", "Volumes", "__w", "~"};

bool is_root(std::string_view name) {
  for (const std::string_view root : kRoots) {
    if (name == root) return true;
  }
  return false;
}

}  // namespace

void Finder::path(std::size_t pos) {
  if (pos < seen_.path) return;
  const char previous = before(pos);
  const bool apart = pos == 0 || is(previous, kSpace) || among("\"'(=:,[<>;|`{", previous) || (pos >= 7 && text_.substr(pos - 7, 7) == "file://");
  if (!apart) return;
  std::size_t slash = text_.substr(pos, 12).find('/', 1);
  if (slash == std::string_view::npos) return;
  slash += pos;
  if (!is_root(text_[pos] == '~' ? text_.substr(pos, slash - pos) : text_.substr(pos + 1, slash - pos - 1))) return;
  std::size_t end = 0;  // after the last slash that a name follows
  while (true) {
    const std::size_t name = slash + 1;
    std::size_t stop = name;
    while (stop < text_.size() && text_[stop] != '/' && !is(text_[stop], kPathStop)) ++stop;
    seen_.path = stop;
    if (stop == name) break;
    end = name;
    if (at(stop) != '/') break;
    slash = stop;
  }
  if (end != 0) hit(Rule::kPath, pos, end);
}

void Finder::windows_path(std::size_t pos) {
  if (pos == 0 || !alpha(text_[pos - 1]) || (pos >= 2 && alnum(text_[pos - 2])) || pos < seen_.path) return;
  std::size_t slash = pos + 1, end = 0;
  while (true) {
    const std::size_t name = slash + 1;
    std::size_t stop = name;
    while (stop < text_.size() && !among(" \t\n\r\f\"'<>|,;:\\/", text_[stop])) ++stop;
    seen_.path = stop;
    if (stop == name) break;
    end = name;
    if (at(stop) != '\\') break;
    slash = stop;
  }
  if (end != 0) hit(Rule::kWindowsPath, pos - 1, end);
}

}  // namespace stella::telemetry::scrubbing
