// What stellad and the runner are told of their telemetry: settings that each needs a value of its own for, and the standard variables.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "files.h"
#include "layout.h"
#include "stella/base/result.h"
#include "stella/platform/config.h"

namespace stella::cli::up {

// A setting of stella.yaml that the runner follows, too: all of telemetry, log and runner, and how it finds and names itself.
bool for_runner(std::string_view setting);
// Of these, a file or directory that two programs, who may be two users, cannot share: each is given its own.
bool of_each_program(std::string_view setting);

// The directories of the log lines, with the links log/<program>.log to them, and those below telemetry.dir and telemetry.spool_dir: each its program's.
Result<void> make_telemetry_dirs(const Layout& layout, const config::Settings& settings);
// The variables of `program` ("stellad", "stella-runner") for what is its own. Lines go to Layout::lines(), in files of 64 MiB, where stella.yaml says
// nothing else; log.path there is stellad's.
config::Environment own_environment(const Layout& layout, const config::Settings& settings, std::string_view program);

// OTEL_* of this process, for those that are started. They may hold secrets (headers): they go from environment to environment and into no file.
// With the Collector those of the exporter are left out: it alone is sent to, and the headers of its target are not for it.
config::Environment otel_environment(bool with_collector);

}  // namespace stella::cli::up
