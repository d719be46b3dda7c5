// The configuration text of nats-server: accounts, users and their permissions. Written by `stella up` and by the tests' server.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace stella::bus {

struct ServerConfigOptions {
  std::string host = "127.0.0.1";
  int port = 14222;                              // -1: any free port (see ports_file_dir)
  std::string store_dir;                         // JetStream's directory
  std::map<std::string, std::string> passwords;  // one per user of bus_topology.h; a user without password is left out
  std::uint64_t max_store_bytes = 8ull << 30;
  std::string pid_file;                          // "": none
  std::string log_file;                          // "": standard error
  std::string ports_file_dir;                    // "": none; else the server writes <dir>/nats-server_<pid>.ports once it listens
};

// The text holds passwords: write it with mode 0600.
std::string nats_server_config(const ServerConfigOptions& options);

}  // namespace stella::bus
