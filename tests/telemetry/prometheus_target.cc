// A process with known metrics for a real Prometheus: every kind, with exemplars of known traces. Prints its port, serves /metrics by the
// Accept header, ends when its standard input closes. Each scrape adds one more request, so that counters move.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "stella/telemetry/context.h"
#include "stella/telemetry/metrics.h"

namespace {

namespace telemetry = stella::telemetry;
namespace metrics = stella::contracts::metrics;

constexpr telemetry::Counter kRequests{metrics::kHttpRequests};
constexpr telemetry::Histogram kDuration{metrics::kHttpRequestDurationSeconds};
constexpr telemetry::Gauge kQueue{metrics::kHttpQueueDepth};
constexpr telemetry::Counter kJobs{metrics::kJobs};

// One request in a trace whose id the test knows.
void observe(double seconds, std::string_view trace, std::string_view status) {
  telemetry::Context context;
  context.trace_id = *stella::TraceId::parse(trace);
  context.span_id = *stella::SpanId::parse("00f067aa0ba902b7");
  const telemetry::ContextScope scope(context);
  kRequests.add(1, "GET", "/sboms/:id", status);
  kDuration.record(seconds, "GET", "/sboms/:id");
}

std::string accept_of(std::string_view request) {
  const std::size_t at = request.find("\r\nAccept: ");
  if (at == request.npos) return "";
  const std::string_view rest = request.substr(at + 10);
  return std::string(rest.substr(0, rest.find("\r\n")));
}

void answer(int client) {
  std::string request;
  char buffer[4096];
  while (request.find("\r\n\r\n") == request.npos) {
    const ssize_t n = read(client, buffer, sizeof buffer);
    if (n <= 0) return;
    request.append(buffer, static_cast<std::size_t>(n));
  }
  observe(0.3, "33333333333333333333333333333333", "2xx");
  const telemetry::Exposition out = telemetry::expose(accept_of(request));
  std::string reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + std::string(out.content_type) + "\r\nContent-Length: " +
                      std::to_string(out.body.size()) + "\r\n\r\n" + out.body;
  for (std::size_t sent = 0; sent < reply.size();) {
    const ssize_t n = send(client, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return;
    sent += static_cast<std::size_t>(n);
  }
}

}  // namespace

int main() {
  observe(0.004, "11111111111111111111111111111111", "2xx");
  observe(0.06, "22222222222222222222222222222222", "5xx");
  kQueue.set(7);
  kJobs.add(5, "sbom.compute", "finished");
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || bind(listener, generic, size) != 0 || listen(listener, 16) != 0 || getsockname(listener, generic, &size) != 0) return 1;
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  for (;;) {
    pollfd ready[2] = {{listener, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (poll(ready, 2, -1) < 0 || ready[1].revents != 0) return 0;
    const int client = accept(listener, nullptr, nullptr);
    if (client < 0) continue;
    answer(client);
    close(client);
  }
}
