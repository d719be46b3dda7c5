// One route. A witness knows no callers: what it cosigns is decided by the log's signature and by what it remembers.
#include "stella/timeline/witness_service.h"

#include <chrono>

#include "stella/base/time.h"
#include "stella/contracts/metrics.h"
#include "stella/platform/http_method.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/span.h"

namespace stella::timeline {
namespace {

constexpr telemetry::Logger kLog{"timeline.witness"};
constexpr telemetry::Counter kRequests{contracts::metrics::kHttpRequests};
constexpr telemetry::Histogram kLatency{contracts::metrics::kHttpRequestDurationSeconds};
constexpr std::string_view kRoute = "/add-checkpoint";
constexpr std::uint64_t kBodyBytes = kNoteBytes + (8u << 10);

http::Response text(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

http::Response answer(WitnessStore& store, http::Request& request) {
  if (request.path != kRoute) return text(404, "no such route\n");
  if (request.method != "POST") {
    http::Response response = text(405, "POST only\n");
    response.header("Allow", "POST");
    return response;
  }
  const auto body = request.body_text(kBodyBytes);
  if (!body) return text(413, "the request is too large\n");
  const auto now = static_cast<std::uint64_t>(Timestamp::now().micros() / 1'000'000);
  auto decided = store.add_checkpoint(*body, now);
  if (!decided) {
    kLog.error("the state of a log cannot be kept", {f::error(decided.error())});
    return text(500, "the state cannot be kept\n");
  }
  http::Response response = text(decided->status, std::move(decided->body));
  response.content_type = decided->content_type;
  return response;
}

// A request's span, line and figures. Its caller is nobody we know: his trace is linked, never continued.
http::Response observed(WitnessStore& store, http::Request& request) {
  const auto began = std::chrono::steady_clock::now();
  telemetry::Context context;
  context.request_id = RequestId::generate();
  context.route = std::string(request.path == kRoute ? kRoute : std::string_view("unmatched"));
  context.method = http::known_method(request.method);
  const std::string route = context.route;
  const telemetry::ContextScope scope(std::move(context));
  telemetry::Span span(telemetry::SpanName::api(route), telemetry::SpanKind::kServer);
  if (const auto origin = telemetry::parse_traceparent(request.header("traceparent"))) span.link(*origin);
  http::Response response = answer(store, request);
  const int status = response.status;
  span.set(f::http_status(status));
  if (status >= 500) span.fail();
  const auto took = std::chrono::steady_clock::now() - began;
  kRequests.add(1, request.method, route, http::status_class(status));
  kLatency.record(std::chrono::duration<double>(took).count(), request.method, route);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(took);
  if (status >= 500) kLog.error("request failed", {f::error(Error(base_errors::kInternal, "the state cannot be kept")), f::http_status(status), f::duration(micros)});
  else if (status >= 400) kLog.warn("request refused", {f::http_status(status), f::duration(micros)});
  else kLog.info("a checkpoint is cosigned", {f::http_status(status), f::duration(micros)});
  return response;
}

}  // namespace

Result<std::unique_ptr<http::Server>> serve_witness(http::ServerOptions options, WitnessStore& store) {
  return http::Server::start(
      std::move(options), [&store](http::Request& request) { return observed(store, request); }, [](const http::Request&) { return kBodyBytes; },
      [](int status, Literal detail, const http::Request*) { return text(status, std::string(detail.view()) + "\n"); });
}

}  // namespace stella::timeline
