// Defaults, file and environment laid over each other, every value checked against its declaration.
#include "stella/platform/config.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "stella/base/file.h"
#include "stella/contracts/settings.h"
#include "yaml.h"

namespace stella::config {
namespace {

constexpr std::uint64_t kMaxFileBytes = 1u << 20;
constexpr std::string_view kPrefix = "STELLA_";

// Levenshtein distance; names are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t best = std::min({row[j + 1] + 1, row[j] + 1, diagonal + (a[i] != b[j])});
      diagonal = std::exchange(row[j + 1], best);
    }
  }
  return row.back();
}

// The closest of `names` within a third of the length (at least 2), or "". A name that only lacks its section is close, too: "port".
std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const auto& known : names) {
    std::size_t d = distance(name, known);
    if (known.size() > name.size() && known.ends_with(name) && known[known.size() - name.size() - 1] == '.') d = std::min<std::size_t>(d, 2);
    if (d < best_distance) {
      best_distance = d;
      best = &known;
    }
  }
  return best != nullptr ? *best : "";
}

[[noreturn]] void bug(const char* what, std::string_view name) {
  std::fprintf(stderr, "stella: setting '%.*s' %s: this is a bug\n", static_cast<int>(name.size()), name.data(), what);
  std::abort();
}

Result<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return Error(base_errors::kInvalid, "not a number").with("expected", "a whole number");
  return number;
}

Result<std::int64_t> parse_bool(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return 1;
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (text == no) return 0;
  }
  return Error(base_errors::kInvalid, "not a truth value").with("expected", "true or false");
}

Result<std::int64_t> parse_number(const SettingSpec& spec, std::string_view text) {
  if (spec.type == "int") return parse_integer(text);
  if (spec.type == "bool") return parse_bool(text);
  if (spec.type == "duration") return parse_duration_ms(text);
  if (spec.type == "bytes") return parse_bytes(text);
  return 0;
}

std::string range_text(const SettingSpec& spec) {
  const char* unit = spec.type == "duration" ? " milliseconds" : spec.type == "bytes" ? " bytes" : "";
  return std::to_string(spec.min) + " to " + std::to_string(spec.max) + unit;
}

}  // namespace

std::string environment_name(std::string_view setting) {
  std::string name(kPrefix);
  for (const char c : setting) name += c == '.' || c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return name;
}

// One load: knows the table and where the value in hand comes from.
class Loader {
 public:
  explicit Loader(std::span<const SettingSpec> table) {
    for (const auto& spec : table) {
      specs_.emplace(spec.name, &spec);
      names_.emplace_back(spec.name);
    }
  }

  Result<Settings> load(const std::string& path, const Environment& environment) {
    for (const auto& [name, spec] : specs_) STELLA_TRY_VOID(set(*spec, std::string(spec->default_text), "default", ""));
    if (!path.empty()) STELLA_TRY_VOID(load_file(path));
    STELLA_TRY_VOID(load_environment(environment));
    return std::move(settings_);
  }

 private:
  // `line` is "" outside files.
  Result<void> set(const SettingSpec& spec, std::string text, std::string source, const std::string& line) {
    auto number = parse_number(spec, text);
    Error* failure = number ? nullptr : &number.error();
    Error out_of_range(base_errors::kInvalid, "a setting is out of range");
    if (number && (spec.min != 0 || spec.max != 0) && (*number < spec.min || *number > spec.max)) {
      out_of_range.add("expected", range_text(spec));
      failure = &out_of_range;
    }
    if (failure != nullptr) {
      failure->add("field", std::string(spec.name));
      failure->add(line.empty() ? Literal("source") : Literal("file"), std::move(source));
      if (!line.empty()) failure->add("line", line);
      return std::move(*failure);
    }
    if (!line.empty()) source += ":" + line;
    settings_.values_[std::string(spec.name)] = {std::move(text), *number, spec.type, std::move(source)};
    return {};
  }

  Result<void> load_file(const std::string& path) {
    const auto text = STELLA_TRY(read_file(path, kMaxFileBytes));
    auto entries = flatten_yaml(text);
    if (!entries) {
      entries.error().add("file", path);
      return std::move(entries.error());
    }
    std::map<std::string, int> lines;
    for (auto& entry : *entries) {
      const auto located = [&](Literal message) {
        return Error(base_errors::kInvalid, message).with("file", path).with("line", std::to_string(entry.line)).with("field", entry.name);
      };
      const auto spec = specs_.find(entry.name);
      if (spec == specs_.end()) return unknown(located("there is no such setting"), entry.name, names_);
      const auto [first, fresh] = lines.emplace(entry.name, entry.line);
      if (!fresh) return located("a setting is set twice").with("expected", "once; first in line " + std::to_string(first->second));
      if (entry.list && spec->second->type != "string") return located("a setting takes one value").with("expected", std::string(spec->second->type));
      STELLA_TRY_VOID(set(*spec->second, std::move(entry.text), path, std::to_string(entry.line)));
    }
    return {};
  }

  Result<void> load_environment(const Environment& environment) {
    std::map<std::string, const SettingSpec*> variables;
    std::vector<std::string> names;
    for (const auto& name : names_) {
      names.push_back(environment_name(name));
      variables.emplace(names.back(), specs_.find(name)->second);
    }
    for (const auto& [name, value] : environment) {
      if (!name.starts_with(kPrefix)) continue;
      const auto found = variables.find(name);
      if (found != variables.end()) {
        STELLA_TRY_VOID(set(*found->second, value, name, ""));
      } else if (looks_like_ours(name, names)) {
        return unknown(Error(base_errors::kInvalid, "there is no such setting").with("source", "environment").with("field", name), name, names);
      }
    }
    return {};
  }

  bool looks_like_ours(const std::string& variable, const std::vector<std::string>& names) const {
    for (const auto& name : names_) {
      const auto dot = name.find('.');
      if (dot != std::string::npos && variable.starts_with(environment_name(name.substr(0, dot)) + "_")) return true;
    }
    return std::any_of(names.begin(), names.end(), [&](const std::string& known) { return distance(variable, known) <= 2; });
  }

  static Error unknown(Error error, std::string_view name, const std::vector<std::string>& names) {
    error.add("expected", "a setting that exists");
    if (auto close = nearest(name, names); !close.empty()) error.add("nearest", std::move(close));
    return error;
  }

  std::map<std::string_view, const SettingSpec*> specs_;
  std::vector<std::string> names_;
  Settings settings_;
};

Result<Settings> Settings::load(const std::string& path, const Environment& environment, std::span<const SettingSpec> table) {
  return Loader(table).load(path, environment);
}

Result<Settings> Settings::load(const std::string& path, const Environment& environment) { return load(path, environment, contracts::kSettings); }

Result<Settings> Settings::load_with_process_environment(const std::string& path) {
  Environment environment;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return load(path, environment);
}

const Settings::Value& Settings::value(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) bug("is not declared", name);
  return found->second;
}

const std::string& Settings::text(std::string_view name) const { return value(name).text; }

std::int64_t Settings::integer(std::string_view name) const {
  const auto& found = value(name);
  if (found.type != "int" && found.type != "duration" && found.type != "bytes") bug("is no number", name);
  return found.number;
}

bool Settings::boolean(std::string_view name) const {
  const auto& found = value(name);
  if (found.type != "bool") bug("is no truth value", name);
  return found.number != 0;
}

const std::string& Settings::source(std::string_view name) const { return value(name).source; }

}  // namespace stella::config
