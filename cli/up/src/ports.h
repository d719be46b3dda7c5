// TCP ports of this machine: free or taken, and by whom.
#pragma once

#include <string>

namespace stella::cli::up {

bool port_free(int port);
// For as long as this process lives: true where no other `stella up` of this machine has claimed it. A port that was chosen is free until its part
// listens, which the first start of a database takes seconds to.
bool claim_port(int port);
// True where something accepts connections on 127.0.0.1:port.
bool port_answers(int port);

struct Listener {
  int pid = 0;           // 0: nobody is seen (no listener, or not ours to look at)
  std::string program;
};
Listener listener_of(int port);

}  // namespace stella::cli::up
