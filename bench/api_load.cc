// A load generator for one route of an HTTP/1.1 server on loopback: keeps connections busy (saturation) or sends at a fixed rate.
//   api_load --port 8080 --path /healthz [--header "authorization: Bearer …"] [--connections 16] [--seconds 5] [--rate 2000]
// Prints one JSON object: requests, errors, seconds, per_second, and latencies from the moment a request was due (so that a stall of the
// server counts in full, also for the requests that had to wait behind it).
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int port = 0;
  std::string path = "/";
  std::string headers;
  int connections = 16;
  double seconds = 5;
  double rate = 0;  // requests per second over all connections; 0: as many as possible
};

struct Connection {
  int fd = -1;
  std::string in;
  Clock::time_point due;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--port") o.port = std::atoi(value);
    else if (name == "--path") o.path = value;
    else if (name == "--header") o.headers += std::string(value) + "\r\n";
    else if (name == "--connections") o.connections = std::atoi(value);
    else if (name == "--seconds") o.seconds = std::atof(value);
    else if (name == "--rate") o.rate = std::atof(value);
    else std::exit((std::fprintf(stderr, "api_load: unknown option %s\n", argv[i]), 64));
  }
  if (o.port == 0) std::exit((std::fputs("api_load: --port is missing\n", stderr), 64));
  return o;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// Bytes of a whole reply at the front of `in`; 0 where more has to come. Only replies with content-length.
std::size_t whole_reply(std::string_view in) {
  const std::size_t end = in.find("\r\n\r\n");
  if (end == in.npos) return 0;
  std::size_t body = 0;
  for (std::size_t at = 0; at < end;) {
    const std::size_t line_end = in.find("\r\n", at);
    const std::string_view line = in.substr(at, line_end - at);
    if (line.size() > 15 && ::strncasecmp(line.data(), "content-length:", 15) == 0) body = std::strtoul(line.data() + 15, nullptr, 10);
    at = line_end + 2;
  }
  return in.size() >= end + 4 + body ? end + 4 + body : 0;
}

class Load {
 public:
  explicit Load(Options options) : o_(std::move(options)), epoll_(::epoll_create1(EPOLL_CLOEXEC)), connections_(o_.connections) {
    request_ = "GET " + o_.path + " HTTP/1.1\r\nhost: 127.0.0.1\r\n" + o_.headers + "\r\n";
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].fd = connect_to(o_.port);
      epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &event) != 0) die("epoll_ctl");
      idle_.push_back(i);
    }
  }

  void run() {
    const auto start = Clock::now(), end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(o_.seconds));
    auto next_due = start;
    const auto gap = o_.rate > 0 ? std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / o_.rate)) : Clock::duration{};
    while (true) {
      auto now = Clock::now();
      if (now >= end && idle_.size() == connections_.size()) break;
      if (now >= end + std::chrono::seconds(5)) break;
      while (now < end && !idle_.empty() && (o_.rate <= 0 || next_due <= now)) {
        send(idle_.back(), o_.rate > 0 ? next_due : now);
        idle_.pop_back();
        next_due += gap;
      }
      receive(o_.rate > 0 && !idle_.empty() && now < end ? std::chrono::duration_cast<std::chrono::microseconds>(next_due - now).count() : 10'000);
    }
    report(std::chrono::duration<double>(Clock::now() - start).count());
  }

 private:
  void send(std::size_t i, Clock::time_point due) {
    Connection& c = connections_[i];
    c.due = due;
    if (::send(c.fd, request_.data(), request_.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request_.size())) die("send");
  }

  void receive(long long most_us) {
    epoll_event events[64];
    const timespec wait{most_us / 1'000'000, (std::max(most_us, 0LL) % 1'000'000) * 1000};
    const int n = ::epoll_pwait2(epoll_, events, 64, &wait, nullptr);
    const auto now = Clock::now();
    for (int e = 0; e < n; ++e) {
      const std::size_t i = events[e].data.u64;
      Connection& c = connections_[i];
      char buffer[65536];
      const ssize_t got = ::recv(c.fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got <= 0) die("the server closed a connection");
      c.in.append(buffer, static_cast<std::size_t>(got));
      const std::size_t size = whole_reply(c.in);
      if (size == 0) continue;
      if (!c.in.starts_with("HTTP/1.1 2")) ++errors_;
      c.in.erase(0, size);
      latencies_.push_back(std::chrono::duration<double, std::micro>(now - c.due).count());
      idle_.push_back(i);
    }
  }

  void report(double seconds) {
    std::sort(latencies_.begin(), latencies_.end());
    const auto at = [&](double q) { return latencies_.empty() ? 0.0 : latencies_[std::min(latencies_.size() - 1, static_cast<std::size_t>(q * static_cast<double>(latencies_.size())))]; };
    std::printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"per_second\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
                latencies_.size(), errors_, seconds, static_cast<double>(latencies_.size()) / seconds, at(0.5), at(0.9), at(0.99), at(0.999), at(1));
  }

  Options o_;
  int epoll_;
  std::string request_;
  std::vector<Connection> connections_;
  std::vector<std::size_t> idle_;
  std::vector<double> latencies_;
  std::size_t errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Load load(parse(argc, argv));
  load.run();
}
