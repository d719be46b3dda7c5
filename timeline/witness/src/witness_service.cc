// One route. A witness knows no callers: what it cosigns is decided by the log's signature and by what it remembers.
#include "stella/timeline/witness_service.h"

#include "stella/base/time.h"
#include "stella/telemetry/log.h"

namespace stella::timeline {
namespace {

constexpr telemetry::Logger kLog{"timeline.witness"};
constexpr std::uint64_t kBodyBytes = kNoteBytes + (8u << 10);

http::Response text(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

http::Response answer(WitnessStore& store, http::Request& request) {
  if (request.path != "/add-checkpoint") return text(404, "no such route\n");
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
    kLog.error("a checkpoint cannot be cosigned", {f::error(decided.error())});
    return text(500, "the state cannot be kept\n");
  }
  if (decided->status != 200) kLog.warn("a checkpoint is refused", {f::http_status(decided->status)});
  http::Response response = text(decided->status, std::move(decided->body));
  response.content_type = decided->content_type;
  return response;
}

}  // namespace

Result<std::unique_ptr<http::Server>> serve_witness(http::ServerOptions options, WitnessStore& store) {
  return http::Server::start(
      std::move(options), [&store](http::Request& request) { return answer(store, request); }, [](const http::Request&) { return kBodyBytes; },
      [](int status, Literal detail, const http::Request*) { return text(status, std::string(detail.view()) + "\n"); });
}

}  // namespace stella::timeline
