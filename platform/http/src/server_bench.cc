// Requests per second over loopback: keep-alive connections, one request at a time each, real handler on the worker pool.
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "stella/platform/http_server.h"

namespace stella::http {
namespace {

Server& server() {
  static const auto running = [] {
    ServerOptions options;
    options.workers = 2;
    return Server::start(
               options,
               [](Request& request) { return Response::json(200, "{\"path\":\"" + request.path + "\",\"bytes\":" + std::to_string(request.body_size) + "}"); },
               nullptr, nullptr)
        .value();
  }();
  return *running;
}

class Connection {
 public:
  Connection() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server().port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    good_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  // True where a 200 came back. Answers here are small: one read holds them.
  bool exchange(const std::string& request) {
    if (!good_ || ::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return false;
    char buffer[4096];
    const auto n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    return n > 12 && std::string_view(buffer, static_cast<std::size_t>(n)).starts_with("HTTP/1.1 200");
  }

 private:
  Fd fd_;
  bool good_ = false;
};

void run(benchmark::State& state, const std::string& request) {
  Connection connection;
  for (auto _ : state) {
    if (!connection.exchange(request)) {
      state.SkipWithError("no answer");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_Get(benchmark::State& state) {
  run(state, "GET /obs/health?window=5m HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nAuthorization: Bearer abc\r\n\r\n");
}
BENCHMARK(BM_Get)->Threads(1)->Threads(16)->UseRealTime();

void BM_Post1KiB(benchmark::State& state) {
  run(state, "POST /timeline HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + std::string(1024, 'x'));
}
BENCHMARK(BM_Post1KiB)->Threads(1)->Threads(16)->UseRealTime();

}  // namespace
}  // namespace stella::http

BENCHMARK_MAIN();
