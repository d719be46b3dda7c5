// The cheapest receiver of OTLP/HTTP there can be: reads each request whole, answers 200 with an empty body, counts. For benchmarks.
//   otlp_sink            prints its port, then serves until its standard input ends, then prints {"requests": N, "bytes": N}
#include <arpa/inet.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

// Bytes of a whole request at the front of `in`, 0 where more has to come.
std::size_t whole_request(std::string_view in) {
  const std::size_t end = in.find("\r\n\r\n");
  if (end == in.npos) return 0;
  std::size_t body = 0;
  for (std::size_t at = 0; at < end;) {
    const std::size_t line_end = in.find("\r\n", at);
    if (line_end - at > 15 && ::strncasecmp(in.data() + at, "content-length:", 15) == 0) body = std::strtoul(in.data() + at + 15, nullptr, 10);
    at = line_end + 2;
  }
  return in.size() >= end + 4 + body ? end + 4 + body : 0;
}

}  // namespace

int main() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 64) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::perror("otlp_sink");
    return 1;
  }
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  std::map<int, std::string> clients;
  std::size_t requests = 0, bytes = 0;
  while (true) {
    std::vector<pollfd> polled{{STDIN_FILENO, POLLIN, 0}, {listener, POLLIN, 0}};
    for (const auto& [fd, in] : clients) polled.push_back({fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) break;
    if (polled[0].revents != 0) break;
    if (polled[1].revents != 0) clients[::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)];
    for (std::size_t i = 2; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      char buffer[1 << 16];
      const ssize_t got = ::recv(polled[i].fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got <= 0) {
        ::close(polled[i].fd);
        clients.erase(polled[i].fd);
        continue;
      }
      std::string& in = clients[polled[i].fd];
      in.append(buffer, static_cast<std::size_t>(got));
      for (std::size_t whole; (whole = whole_request(in)) != 0;) {
        in.erase(0, whole);
        ++requests;
        bytes += whole;
        static constexpr std::string_view kReply = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        [[maybe_unused]] const ssize_t sent = ::send(polled[i].fd, kReply.data(), kReply.size(), MSG_NOSIGNAL);
      }
    }
  }
  std::printf("{\"requests\": %zu, \"bytes\": %zu}\n", requests, bytes);
}
