// What a process that dies of a signal still says: a file with the last records of its rings and the open spans of the thread that died.
// Records are scrubbed before they are pushed, so nothing unscrubbed can stand there.
#pragma once

#include <string>

#include "stella/base/result.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// Handlers for SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE: they write `<dir>/crash-<service>-<pid>-<start>.ndjson`, then the handler that
// was there before has its turn, else the signal kills. Later calls only change where the report goes.
void install_crash_handler(const std::string& dir, const Resource& resource);
// A stack of its own for the handler, for a thread that ran out of its. Once per thread; cheap afterwards.
void arm_signal_stack() noexcept;
// Logs that reports of earlier processes are there, each once; keeps the newest sixteen.
void announce_crash_reports(const std::string& dir, const std::string& service);

}  // namespace stella::telemetry
