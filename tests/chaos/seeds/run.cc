// The parent of the processes: it has no threads, and no connection of its own goes over a fork into use.
#include "run.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "checks.h"
#include "stella/base/file.h"

namespace stella::chaos {
namespace {

constexpr unsigned kLongestLife = 100;  // seconds of a process; a longer one hangs
constexpr int kWholeProcesses = 6;      // without a fault, at the end: one that was refused a deletion tries again a day later

int end_of(pid_t pid, int flags) {
  int status = 0;
  while (::waitpid(pid, &status, flags) < 0 && errno == EINTR) {
  }
  return status;
}

pid_t start(const World& world, const Process& process) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  ::alarm(kLongestLife);
  const int log = ::open(world.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0 || ::dup2(log, 2) < 0) ::_exit(126);
  ::_exit(run_process(world, process));
}

}  // namespace

std::string Tally::str() const {
  char line[512];
  std::snprintf(line, sizeof line, "%d processes: %d killed, %d stalled, %d with errors; struck: %d store reads, %d store changes, %d file calls, %d commits, %d database trips; %d key rotations; "
                "%d checkpoints (%d without a row), %d entries, %d bundles sealed, %d deleted, %d logs expired",
                processes, killed, stalled, failed, struck[1], struck[2], struck[3], struck[4], struck[5], rotations, checkpoints, orphans, entries, sealed, disposed, expired);
  return line;
}

Run::Run(const Start& start, Copy& database, Buckets* buckets, std::uint64_t seed, Tally& tally) : seed_(seed), tally_(tally), database_(database), world_(start, database.name(), buckets, seed) {}

// Checkpoints are written once: none may vanish or change.
void Run::look() {
  for (auto& [path, bytes] : checkpoint_objects(world_)) {
    const auto [known, fresh] = seen_.emplace(path, bytes);
    if (!fresh && known->second != bytes) problems_.push_back("the checkpoint " + path + " was written again with other bytes");
  }
}

int Run::one(const Process& process) {
  const pid_t pid = start(world_, process);
  for (;;) {
    const int status = end_of(pid, WUNTRACED);
    if (!WIFSTOPPED(status)) return status;
    // It is not dead, and others take it for dead.
    ++tally_.stalled;
    database_.end_leases();
    Process other = process;
    other.fault = {};
    other.helper = true;
    other.number += 50;
    const int helped = end_of(start(world_, other), 0);
    if (!WIFEXITED(helped) || WEXITSTATUS(helped) != kUnsettled) problems_.push_back("the process that took over from a stalled one ended with status " + std::to_string(helped));
    look();
    ::kill(pid, SIGCONT);
  }
}

void Run::process(Process next) {
  database_.await_the_dead();
  database_.end_leases();
  const int status = one(next);
  ++tally_.processes;
  look();
  judge_end(next, status);
}

void Run::judge_end(const Process& process, int status) {
  std::string end = "ended with status " + std::to_string(status);
  if (WIFSIGNALED(status)) end = "killed by signal " + std::to_string(WTERMSIG(status));
  if (WIFEXITED(status)) end = WEXITSTATUS(status) == kSettled ? "all done" : WEXITSTATUS(status) == kUnsettled ? "not done" : WEXITSTATUS(status) == kTroubled ? "in trouble" : "exit " + std::to_string(WEXITSTATUS(status));
  story_.push_back("process " + std::to_string(process.number) + ", log key " + std::to_string(process.log_key) + ": " + process.fault.str() + ": " + end);
  const bool dies = process.fault.what == What::kDieBefore || process.fault.what == What::kDieAfter || process.fault.what == What::kDieDuring;
  const bool faulty = process.fault.where != Where::kNowhere;
  settled_ = WIFEXITED(status) && WEXITSTATUS(status) == kSettled;
  if (WIFSIGNALED(status)) {
    ++tally_.killed;
    if (WTERMSIG(status) != SIGKILL || !faulty || !dies) problems_.push_back(story_.back());
    ++tally_.struck[static_cast<std::size_t>(process.fault.where)];
    return;
  }
  if (!WIFEXITED(status) || (WEXITSTATUS(status) != kSettled && WEXITSTATUS(status) != kUnsettled)) problems_.push_back(story_.back());
  if (faulty && struck_line(world_)) {
    ++tally_.struck[static_cast<std::size_t>(process.fault.where)];
    if (!dies) ++tally_.failed;
  }
}

std::vector<std::string> Run::go() {
  Dice dice(seed_ ^ 0x5eed5eed5eedu);
  const int faults = 1 + dice.roll(5);
  Process next;
  next.seed = seed_;
  const auto rotate = [&] {
    if (!dice.one_in(3) || next.log_key + 1 == kLogKeys) return;
    ++next.log_key;
    ++tally_.rotations;
  };
  for (; next.number < faults && problems_.empty(); ++next.number) {
    do next.fault = draw(dice, faults);
    while (world_.buckets != nullptr && next.fault.where == Where::kFile);
    if (world_.buckets != nullptr && dice.one_in(4)) world_.buckets->crash();
    next.wishes = 1 + static_cast<int>(wishes_of(seed_).size()) / faults;
    process(next);
    rotate();
  }
  next.fault = {};
  next.wishes = Process().wishes;
  settled_ = false;
  for (int i = 0; i < kWholeProcesses && !settled_ && problems_.empty(); ++i) {
    process(next);
    ++next.number;
    next.later += std::chrono::hours(25);
  }
  if (!settled_ && problems_.empty()) problems_.push_back("the work does not come to an end");
  judge(world_, seed_, seen_, tally_, problems_);
  return problems_;
}

}  // namespace stella::chaos
