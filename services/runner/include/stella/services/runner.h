// The Task Runner: jobs from the bus, each in a fresh sandboxed child (architecture.md §3).
#pragma once

#include <chrono>
#include <functional>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/platform/bus.h"
#include "stella/telemetry/records.h"

namespace stella::pipeline {
struct JobKind;
}

namespace stella::runner {

struct ChildUser {
  unsigned uid = 0;
  unsigned gid = 0;
};

struct Options {
  std::string runner_id;                      // "": host name and process id
  int concurrency = 2;                        // jobs at once
  std::chrono::milliseconds heartbeat{5000};
  bool allow_without_landlock = false;        // recorded in every report
  std::optional<ChildUser> child_user;        // needs root; else the child runs as we do
  std::string program;                        // what is executed with --child; "": this very program
  std::function<void(telemetry::Records)> child_telemetry = {};  // spans and lines of children, to export; from any thread
};

// Facts of this machine that every `started` message carries.
struct SandboxFacts {
  int landlock_abi = 0;  // 0: the kernel has none
  bool seccomp = false;
};
SandboxFacts probe_sandbox();

class Runner {
 public:
  // `bus` is logged in as the user runner and outlives the Runner. kUnavailable with part=runner where Landlock is missing and not waived.
  static Result<std::unique_ptr<Runner>> create(bus::Connection& bus, Options options);
  ~Runner();
  // Starts the worker threads.
  Result<void> start();
  // No new jobs; running ones are finished and reported, after `grace` killed and reported as errored.
  void stop(std::chrono::milliseconds grace);
  // Digest of the program that children execute.
  const std::string& image_sha256() const;

  struct Impl;

 private:
  explicit Runner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// main() of `<program> --child`: sandboxes itself, runs one job of the table, reports, and never returns to anything else.
using FindKind = const pipeline::JobKind* (*)(std::string_view kind);
int child_main(FindKind find_kind);

}  // namespace stella::runner
