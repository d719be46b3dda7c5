// Own values of the two programs; OTEL_*.
#include "telemetry.h"

#include <algorithm>
#include <iterator>

#include "stella/base/file.h"

extern char** environ;

namespace stella::cli::up {
namespace {

constexpr std::string_view kOtel = "OTEL_", kOtelExporter = "OTEL_EXPORTER_OTLP_";

}  // namespace

bool for_runner(std::string_view setting) {
  constexpr std::string_view kSections[] = {"telemetry.", "log.", "runner."};
  constexpr std::string_view kOthers[] = {"nats.url", "env", "region", "instance_id", "jobs.dir"};
  return std::any_of(std::begin(kSections), std::end(kSections), [&](std::string_view s) { return setting.starts_with(s); }) || std::find(std::begin(kOthers), std::end(kOthers), setting) != std::end(kOthers);
}

bool of_each_program(std::string_view setting) { return setting == "log.path" || setting == "telemetry.dir"; }

Result<void> make_telemetry_dirs(const Layout& l, const config::Settings& settings) {
  for (const char* setting : {"telemetry.dir", "telemetry.spool_dir"}) {
    const std::string& dir = settings.text(setting);
    if (dir.empty()) continue;
    STELLA_TRY_VOID(make_dirs(dir, 0755));
    STELLA_TRY_VOID(own_dir(dir + "/stellad", l.server, 0700));
    STELLA_TRY_VOID(own_dir(dir + "/stella-runner", l.runner, 0700));
  }
  return {};
}

config::Environment own_environment(const Layout&, const config::Settings& settings, std::string_view program) {
  config::Environment out;
  const auto set = [&out](std::string_view setting, std::string value) { out.emplace_back(config::environment_name(setting), std::move(value)); };
  if (const std::string& dir = settings.text("telemetry.dir"); !dir.empty()) set("telemetry.dir", dir + "/" + std::string(program));
  return out;
}

config::Environment otel_environment(bool with_collector) {
  config::Environment out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (!text.starts_with(kOtel) || equals == text.npos || (with_collector && text.starts_with(kOtelExporter))) continue;
    out.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

}  // namespace stella::cli::up
