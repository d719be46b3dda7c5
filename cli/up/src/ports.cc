// Ports by bind() and connect(); their holders by /proc.
#include "ports.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <map>
#include <set>
#include <sstream>

#include "stella/base/file.h"

namespace stella::cli::up {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Files of /proc have no size: read to the end.
std::string slurp(const std::string& path) { return read_file(path, 16 << 20).value_or(""); }

void listening_inodes(const std::string& table, int port, std::set<std::string>& out) {
  std::istringstream lines(slurp(table));
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    const std::size_t colon = local.rfind(':');
    if (state == "0A" && colon != std::string::npos && std::strtol(local.c_str() + colon + 1, nullptr, 16) == port) out.insert("socket:[" + inode + "]");
  }
}

bool holds_one(const std::string& fd_dir, const std::set<std::string>& sockets) {
  DIR* dir = ::opendir(fd_dir.c_str());
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* entry = found ? nullptr : ::readdir(dir)) {
    char target[64];
    const ssize_t n = ::readlink((fd_dir + "/" + entry->d_name).c_str(), target, sizeof target);
    found = n > 0 && sockets.contains(std::string(target, static_cast<std::size_t>(n)));
  }
  ::closedir(dir);
  return found;
}

}  // namespace

// With SO_REUSEADDR, bind() fails where somebody listens and nowhere else. Never listen() here: for that moment the port would be taken
// for whoever looks, or starts, beside us.
bool port_free(int port) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const sockaddr_in address = loopback(port);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

bool claim_port(int port) {
  // A name in the kernel that goes with the process; of the same network as the ports.
  static std::map<int, Fd> claimed;
  if (claimed.contains(port)) return true;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "stella-up-port-" + std::to_string(port);
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())) != 0) return false;
  claimed.emplace(port, std::move(fd));
  return true;
}

bool port_answers(int port) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

Listener listener_of(int port) {
  std::set<std::string> sockets;
  listening_inodes("/proc/net/tcp", port, sockets);
  listening_inodes("/proc/net/tcp6", port, sockets);
  Listener out;
  DIR* dir = sockets.empty() ? nullptr : ::opendir("/proc");
  if (dir == nullptr) return out;
  while (const dirent* entry = out.pid != 0 ? nullptr : ::readdir(dir)) {
    const int pid = std::atoi(entry->d_name);
    if (pid <= 0 || !holds_one("/proc/" + std::string(entry->d_name) + "/fd", sockets)) continue;
    out.pid = pid;
    out.program = slurp("/proc/" + std::string(entry->d_name) + "/comm");
    while (out.program.ends_with('\n')) out.program.pop_back();
  }
  ::closedir(dir);
  return out;
}

}  // namespace stella::cli::up
