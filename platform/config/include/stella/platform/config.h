// Settings: contracts/settings.json declares them; values come from defaults, then one YAML file, then STELLA_* environment variables.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"

namespace stella::config {

// One declared setting (generated table contracts::kSettings; see contracts/settings.json).
struct SettingSpec {
  std::string_view name;         // "http.port"; environment STELLA_HTTP_PORT
  std::string_view type;         // "string", "int", "bool", "duration" (text like 30s), "bytes" (text like 64MiB), "path", "secret_file"
  std::string_view default_text;
  std::string_view description;
  std::int64_t min = 0;
  std::int64_t max = 0;          // 0,0: unbounded
  bool restart = true;
  std::string_view example;
};

// Immutable snapshot of all settings; every name is known to exist (asserted against the declared table).
class Settings {
 public:
  // Unknown keys and values out of range are kInvalid with file, line, field, expected. `path` may be "" (defaults and environment only).
  static Result<Settings> load(const std::string& path, const std::vector<std::pair<std::string, std::string>>& environment);
  static Result<Settings> load_with_process_environment(const std::string& path);
  const std::string& text(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;  // ints; durations in milliseconds; bytes
  bool boolean(std::string_view name) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace stella::config
