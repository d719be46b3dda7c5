// Settings: contracts/settings.json declares them; values come from defaults, then one YAML file, then STELLA_* environment variables.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/contracts/catalogue.h"

namespace stella::config {

// One declared setting. Types: "string", "int", "bool", "duration" (text like 250ms, 30s, 5m, 1h30m, 7d), "bytes" (text like 4096, 64KiB,
// 64MiB, 1GB), "path", "secret_file" (a path whose content is secret; it is not read here).
using SettingSpec = contracts::SettingRow;
using Environment = std::vector<std::pair<std::string, std::string>>;

// Immutable snapshot of all settings. Thread-safe.
class Settings {
 public:
  // `path` may be "" (defaults and environment only). In the file, settings are nested maps or dotted names, and both may be mixed; a string
  // may be a list (joined with commas). Unknown keys, values of the wrong type or out of range and names set twice are kInvalid with file,
  // line, field and expected, and `nearest` where a known name is close. A variable is refused as unknown where it starts with STELLA_ and
  // a known section (STELLA_HTTP_…) or is close to a known name; other STELLA_ variables belong to somebody else. Broken YAML is kMalformed with file
  // and line; a missing file kNotFound. Values never stand in an error: they may be secret.
  static Result<Settings> load(const std::string& path, const Environment& environment);
  static Result<Settings> load_with_process_environment(const std::string& path);
  // The same with another table, for tests and tools.
  static Result<Settings> load(const std::string& path, const Environment& environment, std::span<const SettingSpec> table);

  // The value as text. A name that is not declared is a bug and ends the program; so is the wrong type in the two below.
  const std::string& text(std::string_view name) const;
  // int; duration in milliseconds; bytes.
  std::int64_t integer(std::string_view name) const;
  bool boolean(std::string_view name) const;
  // Where the value comes from: "default", "<file>:<line>" or the variable's name. For doctor and logs.
  const std::string& source(std::string_view name) const;

 private:
  struct Value {
    std::string text;
    std::int64_t number = 0;
    std::string_view type;
    std::string source;
  };
  friend class Loader;
  const Value& value(std::string_view name) const;
  std::map<std::string, Value, std::less<>> values_;
};

// "STELLA_HTTP_PORT" for "http.port".
std::string environment_name(std::string_view setting);

// Text of a setting to its number; kInvalid with `expected`. Durations in milliseconds.
Result<std::int64_t> parse_duration_ms(std::string_view text);
Result<std::int64_t> parse_bytes(std::string_view text);

}  // namespace stella::config
