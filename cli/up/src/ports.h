// TCP ports of this machine: free or taken, and by whom.
#pragma once

#include <string>

namespace stella::cli::up {

bool port_free(int port);
// True where something accepts connections on 127.0.0.1:port.
bool port_answers(int port);

struct Listener {
  int pid = 0;           // 0: nobody is seen (no listener, or not ours to look at)
  std::string program;
};
Listener listener_of(int port);

}  // namespace stella::cli::up
