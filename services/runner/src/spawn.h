// Starts the child: fork, descriptors, user, exec of an open program.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/services/runner.h"

namespace stella::runner {

struct Spawn {
  int program = -1;                                     // descriptor of the executable: what was hashed is what runs
  std::vector<std::string> argv;
  std::vector<std::string> environment;                 // "NAME=value"; nothing else
  int stdout_fd = -1;                                   // becomes 1 and 2; 0 is /dev/null
  std::vector<int> fds;                                 // become 3, 4, 5 …; everything else is closed
  std::optional<ChildUser> user;
};

// The child dies with the calling thread. kIo with step and errno where the program could not be started.
Result<int> spawn_child(const Spawn& spawn);

}  // namespace stella::runner
