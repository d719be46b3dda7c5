// One seed: processes that die one after the other, until the work is through; then what is left is judged.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "work.h"
#include "world.h"

namespace stella::chaos {

// Of all seeds: a test that strikes nothing proves nothing.
struct Tally {
  int processes = 0, killed = 0, stalled = 0, failed = 0, rotations = 0, checkpoints = 0, orphans = 0;
  int sealed = 0, disposed = 0, expired = 0, entries = 0;
  std::array<int, kPlaces> struck{};
  std::string str() const;
};

// Every checkpoint that was ever written, as it was first seen: path below the store → bytes.
using Seen = std::map<std::string, std::string>;

class Run {
 public:
  // `buckets`: the store is a bucket there; null: a directory.
  Run(const Start& start, Copy& database, Buckets* buckets, std::uint64_t seed, Tally& tally);
  // What is wrong; empty where all is well.
  std::vector<std::string> go();
  // What happened, process by process.
  const std::vector<std::string>& story() const { return story_; }
  const World& world() const { return world_; }

 private:
  int one(const Process& process);  // its status, as of waitpid
  void look();
  void process(Process next);
  void judge_end(const Process& process, int status);

  const std::uint64_t seed_;
  Tally& tally_;
  Copy& database_;
  World world_;
  Seen seen_;
  std::vector<std::string> story_, problems_;
  bool settled_ = false;
};

}  // namespace stella::chaos
