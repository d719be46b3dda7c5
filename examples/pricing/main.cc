// A price service: one HTTP request a connection, with traces, logs and metrics by stella-telemetry.
//   pricing [LOG_FILE]     prints its port; GET /price/<sku>, GET /metrics; ends at SIGTERM
#include <arpa/inet.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pricing/fields.h"
#include "pricing/metrics.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/span.h"

namespace {

namespace telemetry = stella::telemetry;
namespace f = pricing::f;

constexpr telemetry::Logger kLog{"pricing"};
constexpr telemetry::Counter kRequests{pricing::metrics::kRequests};
constexpr telemetry::Histogram kDuration{pricing::metrics::kLookupDurationSeconds};

const std::map<std::string, int> kPrices{{"C-1042", 1299}, {"C-1043", 250}};

struct Reply {
  int status = 200;
  std::string body, type = "text/plain";
};

Reply price(const std::string& sku) {
  telemetry::Span span("pricing.lookup", telemetry::SpanKind::kInternal, {f::sku(sku)});
  const auto begin = std::chrono::steady_clock::now();
  const auto found = kPrices.find(sku);
  kDuration.record(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  if (found == kPrices.end()) {
    const stella::Error error(stella::contracts::errors::kNotFound, "no such article");
    span.fail(error);
    kRequests.add(1, "unknown");
    kLog.warn("price refused", {f::sku(sku), stella::f::error(error)});
    return {404, "no such article\n"};
  }
  kRequests.add(1, "found");
  kLog.info("price found", {f::sku(sku), f::price_cents(found->second), f::customer_email(stella::Pii<std::string>("ann@example.com"))});
  return {200, std::to_string(found->second) + "\n"};
}

// The headers of a request: names as they were sent.
std::vector<std::pair<std::string_view, std::string_view>> headers_of(std::string_view request) {
  std::vector<std::pair<std::string_view, std::string_view>> out;
  for (std::size_t at = request.find("\r\n"); at + 2 < request.size();) {
    const std::size_t begin = at + 2, end = std::min(request.find("\r\n", begin), request.size());
    const std::string_view line = request.substr(begin, end - begin);
    if (const std::size_t colon = line.find(": "); colon != line.npos) out.emplace_back(line.substr(0, colon), line.substr(colon + 2));
    at = end;
  }
  return out;
}

// The caller's trace goes on here. A service that the whole internet can reach says false for strangers, and marks its span.
Reply answer(std::string_view request) {
  telemetry::Extractor caller;
  for (const auto& [name, value] : headers_of(request)) caller.header(name, value);
  telemetry::Context context = telemetry::admit(caller, true).context;
  context.route = "/price/:sku";
  context.method = "GET";
  context.request_id = stella::RequestId::generate();
  const telemetry::ContextScope scope(std::move(context));
  telemetry::Span span(telemetry::SpanName::api("/price/:sku"), telemetry::SpanKind::kServer);
  if (request.starts_with("GET /metrics ")) return {200, telemetry::openmetrics(), std::string(telemetry::kOpenMetricsType)};
  if (request.starts_with("GET /price/")) return price(std::string(request.substr(11, request.find(' ', 11) - 11)));
  kRequests.add(1, "refused");
  return {404, "GET /price/<sku>\n"};
}

void serve(int client) {
  std::string request(8192, '\0');
  const ssize_t got = ::recv(client, request.data(), request.size(), 0);
  if (got > 0) {
    request.resize(static_cast<std::size_t>(got));
    const Reply reply = answer(request);
    const std::string text = "HTTP/1.1 " + std::to_string(reply.status) + " -\r\ncontent-type: " + reply.type + "\r\ncontent-length: " +
                             std::to_string(reply.body.size()) + "\r\nconnection: close\r\n\r\n" + reply.body;
    [[maybe_unused]] const ssize_t sent = ::send(client, text.data(), text.size(), MSG_NOSIGNAL);
  }
  ::close(client);
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop, nullptr);

  telemetry::BackendOptions options;
  options.resource.service = "pricing";
  options.log_path = argc > 1 ? argv[1] : "";
  auto backend = telemetry::Backend::install(std::move(options));
  if (!backend) {
    std::fprintf(stderr, "pricing: %s\n", std::string(backend.error().message()).c_str());
    return 1;
  }

  const int listener = ::socket(AF_INET, SOCK_STREAM, 0), signals = ::signalfd(-1, &stop, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 16) != 0) return 1;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);

  pollfd polled[2]{{signals, POLLIN, 0}, {listener, POLLIN, 0}};
  while (::poll(polled, 2, -1) > 0 && polled[0].revents == 0) serve(::accept(listener, nullptr, nullptr));
  kLog.info("stopping");
}
