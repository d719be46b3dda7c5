// What a process that dies of a signal still says: a file with the last records of its rings and the open spans of the thread that died.
// Records are scrubbed before they are pushed, so nothing unscrubbed can stand there.
#pragma once

#include <chrono>
#include <string>

#include "stella/base/result.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// Handlers for SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE: they write `<dir>/crash-<service>-<pid>-<start>.ndjson`, then the handler that
// was there before has its turn, else the signal kills. Later calls only change where the report goes.
void install_crash_handler(const std::string& dir, const Resource& resource);
// A stack of its own for the handler, for a thread that ran out of its. Once per thread; cheap afterwards.
void arm_signal_stack() noexcept;
// Where reports stay: `dir` is made (0700) when there is one, `shown` is its name as a line of the log says it. Without `dir` they stay where they are.
struct CrashReports {
  std::string dir;
  std::string shown;
};
// Finds in `dir` what processes of before left, moves it to `place` and logs each once; keeps the newest sixteen.
void announce_crash_reports(const std::string& dir, const std::string& service, const CrashReports& place);
// The same for reports of other services that nobody came for in `grace`: they go to `place`, too.
void announce_others_crash_reports(const std::string& dir, const std::string& service, const CrashReports& place, std::chrono::seconds grace);
// What the names of a service's reports begin with.
std::string crash_report_prefix(const std::string& service);

}  // namespace stella::telemetry
