// The record of what runs (run/state.json), and what /proc says about those processes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "files.h"
#include "layout.h"
#include "stella/base/time.h"

namespace stella::cli::up {

// A process by pid and start time: a pid alone may belong to somebody else after a power cut.
struct Process {
  std::string name;
  int pid = 0;
  std::uint64_t start = 0;  // clock ticks after boot
};

struct State {
  std::string state;   // "starting", "running", "stopping"
  Process self;        // the `stella up` that supervises
  Timestamp since;
  std::string url;
  Ports ports;
  bool new_operators = false;   // this start made them: show their passwords once
  std::vector<Process> parts;   // oldest first
};

Result<void> write_state(const Layout& layout, const State& state);
// nullopt where there is none or it cannot be understood (a torn disk): then nothing runs that we know of.
std::optional<State> read_state(const Layout& layout);

// 0 where no such process exists.
std::uint64_t start_of(int pid);
inline bool alive(const Process& p) { return p.pid > 0 && p.start != 0 && start_of(p.pid) == p.start; }
Process process_of(std::string name, int pid);
// Resident memory and time since it started; 0 where it is gone.
std::uint64_t resident_bytes(int pid);
std::int64_t age_micros(const Process& p);

// The pid of the `stella up` that holds this data directory; 0 where none does, -1 where its pid is not known yet. Whoever may not read the lock (another
// user) is told what the record says.
int holder_of(const Layout& layout);
// The record, where it is that of `holder`: what an earlier one left behind says nothing about the one that is starting.
std::optional<State> state_of(const Layout& layout, int holder);
// What the `stella up` that holds the data directory says of itself; nullopt where none does. A start writes the record a moment after it took the lock, and
// a stop removes it a moment before it lets go: asked again for `patience`. kUnavailable with path where somebody holds the lock without being in the
// record: the number in the lock file alone may belong to anybody.
Result<std::optional<State>> holding(const Layout& layout, std::chrono::milliseconds patience);
// Ends parts that outlived their supervisor, newest first. Number of those it ended.
int end_orphans(const Layout& layout);

}  // namespace stella::cli::up
