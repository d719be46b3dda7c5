// One attempt of one job, seen from the parent: verify inputs, start the child, serve and watch it, account for its end.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "protocol.h"
#include "stella/services/runner.h"
#include "telemetry_capture.h"

namespace stella::runner {

struct Output {
  std::string name;
  std::string file;  // below the job's directory
  std::string media_type;
  Sha256 sha256;
  std::uint64_t size = 0;
};

struct Outcome {
  std::string status;  // "finished", "failed" (the input's fault, final), "errored" (the machine's, worth another attempt)
  std::vector<Output> outputs;
  json::Value error;   // null where finished
  std::string cause;   // "cpu limit", "crashed (signal 11)", …; "" where finished
  std::uint64_t cpu_ms = 0;
  std::uint64_t max_rss_kb = 0;
  std::uint64_t wall_ms = 0;
  json::Value spans = json::Value::array();  // of the child, as it reported them: child_records() makes them fit to pass on
  json::Value logs = json::Value::array();
  Dropped dropped;          // of the child, as it says
  json::Value environment;  // what the child saw
  json::Value transcript = json::Value::array();
};

struct ExecuteOptions {
  int program = -1;                // descriptor of the executable
  bool landlock = true;
  std::optional<ChildUser> user;
  JobContext context;              // of the runner.execute span
  const std::atomic<bool>* abort = nullptr;  // true: kill the child, "errored"
};

// Never fails: every failure is an outcome.
Outcome execute(const JobMessage& job, const ExecuteOptions& options);

}  // namespace stella::runner
