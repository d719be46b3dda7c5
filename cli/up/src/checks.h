// What can be wrong with this machine, each with its remedy. `stella doctor` shows all of them; `stella up` refuses where one fails.
#pragma once

#include <string>
#include <vector>

#include "files.h"
#include "layout.h"

namespace stella::cli::up {

enum class Verdict { kOk, kWarn, kFail };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string detail;
  std::string remedy;   // "" where all is well
};

// Looks at everything; changes nothing. `holder` is the pid of the running `stella up` (then the ports are ours), 0 where none.
std::vector<Check> check_machine(const Layout& layout, int holder, int http_port);
// How the running platform feels; empty where it does not run.
std::vector<Check> check_running(const Layout& layout, int holder);

// Each on its own, for tests.
Check check_disk(const std::string& path, std::uint64_t free_bytes);
Check check_clock(std::int64_t now_seconds, std::int64_t last_seen_seconds);
Check check_port(std::string_view part, int port, bool ours);
Check check_shm(std::uint64_t bytes);
Check check_landlock(long abi, bool allowed_without);
Check check_reach(const Layout& layout);
// Reports of crashes that lie below the data directory, the newest first.
Check check_crashes(const Layout& layout);

}  // namespace stella::cli::up
