// Own values of the two programs; OTEL_*.
#include "telemetry.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "stella/base/file.h"

extern char** environ;

namespace stella::cli::up {
namespace {

constexpr std::string_view kPrograms[] = {"stellad", "stella-runner"};
constexpr std::string_view kLogBytes = "64MiB";
constexpr std::string_view kOtel = "OTEL_", kOtelExporter = "OTEL_EXPORTER_OTLP_";

bool unsaid(const config::Settings& settings, std::string_view setting) { return settings.source(setting) == "default"; }

// Where its lines go; "" is standard error.
std::string lines_of(const Layout& l, const config::Settings& settings, std::string_view program) {
  return program == "stellad" && !unsaid(settings, "log.path") ? settings.text("log.path") : l.lines(program);
}

// log/<program>.log, which everybody looks into, leads to the lines. What lies there from before there were links stays as ….log.1.
Result<void> link_lines(const Layout& l, std::string_view program, const std::string& lines) {
  const std::string link = l.log(program), below = l.path("log/");
  const std::string target = lines.empty() ? std::string(program) + ".err" : lines.starts_with(below) ? lines.substr(below.size()) : lines;
  struct stat info {};
  if (::lstat(link.c_str(), &info) == 0) {
    if (!S_ISLNK(info.st_mode) && ::rename(link.c_str(), (link + ".1").c_str()) != 0) return io_error("cannot put the earlier log aside", link);
    if (S_ISLNK(info.st_mode) && ::unlink(link.c_str()) != 0) return io_error("cannot renew the link to the log", link);
  }
  return ::symlink(target.c_str(), link.c_str()) == 0 ? Result<void>() : Result<void>(io_error("cannot make the link to the log", link));
}

}  // namespace

bool for_runner(std::string_view setting) {
  constexpr std::string_view kSections[] = {"telemetry.", "log.", "runner."};
  constexpr std::string_view kOthers[] = {"nats.url", "env", "region", "instance_id", "jobs.dir"};
  return std::any_of(std::begin(kSections), std::end(kSections), [&](std::string_view s) { return setting.starts_with(s); }) || std::find(std::begin(kOthers), std::end(kOthers), setting) != std::end(kOthers);
}

bool of_each_program(std::string_view setting) { return setting == "log.path" || setting == "telemetry.dir"; }

Result<void> make_telemetry_dirs(const Layout& l, const config::Settings& settings) {
  for (const std::string_view program : kPrograms) {
    STELLA_TRY_VOID(own_dir(l.path("log/" + std::string(program)), program == "stellad" ? l.server : l.runner, 0755));
    STELLA_TRY_VOID(link_lines(l, program, lines_of(l, settings, program)));
  }
  for (const char* setting : {"telemetry.dir", "telemetry.spool_dir"}) {
    const std::string& dir = settings.text(setting);
    if (dir.empty()) continue;
    STELLA_TRY_VOID(make_dirs(dir, 0755));
    STELLA_TRY_VOID(own_dir(dir + "/stellad", l.server, 0700));
    STELLA_TRY_VOID(own_dir(dir + "/stella-runner", l.runner, 0700));
  }
  return {};
}

config::Environment own_environment(const Layout& l, const config::Settings& settings, std::string_view program) {
  config::Environment out;
  const auto set = [&out](std::string_view setting, std::string value) { out.emplace_back(config::environment_name(setting), std::move(value)); };
  set("log.path", lines_of(l, settings, program));
  if (unsaid(settings, "log.rotate_bytes") && unsaid(settings, "log.rotate_age")) set("log.rotate_bytes", std::string(kLogBytes));
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
