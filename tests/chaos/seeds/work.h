// What the clients of a run want, and the process that does it for them, with all the parts of the platform that touch log and evidence.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "faults.h"
#include "world.h"

namespace stella::chaos {

// One wish of a client; in the order of the plan, each until it was granted.
struct Wish {
  enum Kind : std::uint8_t { kEmit, kSubmit, kHold, kRelease, kBundle, kKeep, kClose } kind = kEmit;
  std::string tenant = "acme";
  std::string case_id = {};
  std::string what = {};  // of kBundle: "eval" or "job"
  int count = 1;          // of kEmit
};
std::vector<Wish> wishes_of(std::uint64_t seed);
// The id of the event that wish number `n`, a kSubmit, sends.
std::string submitted_id(std::size_t n);

struct Process {
  std::uint64_t seed = 0;
  int number = 0;                 // among those of its seed
  Fault fault;
  int wishes = 1000;              // it ends when it has granted so many
  int log_key = 0;                // Start::log_keys; the ones before it are former
  std::chrono::seconds later{0};  // so much is the clock of the keeper ahead
  bool helper = false;            // another is stalled: one round of everything, without clients, and no waiting for locks
};

// How a process ends that was not killed.
inline constexpr int kSettled = 0;     // nothing is left to do
inline constexpr int kUnsettled = 3;   // something is
inline constexpr int kTroubled = 4;    // something failed although nothing was broken; the told file says what

// The whole life of a process. Appends to the told file: "try <wish> <attempt>", "told <wish> <attempt> <answer>", "trouble <text>".
int run_process(const World& world, const Process& process);

}  // namespace stella::chaos
