// GET /timeline/stream: a tenant's events as they enter its log, as server-sent events. The id of each is its log index, so whoever
// comes back with Last-Event-ID misses nothing and gets nothing twice.
#include <charconv>

#include "handlers.h"
#include "query_parameters.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/timeline/query.h"
#include "stella/web/streams.h"

namespace stella::web::handlers {
namespace {

constexpr int kBatch = 100;
constexpr std::size_t kAhead = 256u << 10;  // bytes that may wait for the client before more is written
constexpr std::string_view kHead = "SELECT size FROM timeline_heads WHERE tenant_id = stella_tenant()";

struct Follower {
  Services& services;
  TenantScope scope;
  std::string token;
  timeline::Filter filter;
  std::int64_t next = 0;      // the first index that was not looked at
};

Result<std::int64_t> log_size(Services& services, const TenantScope& scope) {
  const auto rows = STELLA_TRY(pg::TenantTx::read(services.pool, scope, kHead, {}));
  return rows.empty() ? 0 : rows.integer(0, 0);
}

// Lines of `data`: whatever the log holds, it cannot end the event or begin another.
std::string message(std::string_view id, std::string_view event, std::string_view data) {
  std::string out;
  if (!id.empty()) out.append("id: ").append(id).append("\n");
  out.append("event: ").append(event).append("\ndata: ");
  for (const char c : data) {
    if (c == '\n') out.append("\ndata: ");
    else if (c != '\r') out += c;
  }
  return out.append("\n\n");
}

std::string message_of(const timeline::Item& item) {
  const bool known = item.state == "ok" && contracts::find_event(item.kind) != nullptr;
  return message(std::to_string(*item.log_index), known ? item.kind : "tampered", item.json());
}

// Nothing is sent under a token that ran out or was revoked; nullopt while that cannot be said.
std::optional<bool> still_allowed(const Follower& f) {
  const auto caller = f.services.authority.authenticate(f.token);
  if (caller) return true;
  return caller.error().code() == contracts::errors::kUnauthenticated ? std::optional<bool>(false) : std::nullopt;
}

enum class Step : std::uint8_t { kIdle, kMore, kGone, kRefused };

// Waits for a client that reads slowly. The server closes one that reads nothing.
bool ready(Streams& streams, http::Stream& stream) {
  while (stream.waiting() >= kAhead)
    if (!stream.write("") || !streams.pause(std::chrono::milliseconds(5))) return false;
  return true;
}

// One page of what is new. Trouble with the database is waited out: the position stays.
Step advance(Follower& f, Streams& streams, http::Stream& stream) {
  const auto size = log_size(f.services, f.scope);
  if (!size || *size <= f.next) return Step::kIdle;
  f.filter.from_index = f.next;
  const auto page = timeline::list(f.services.pool, f.scope, f.filter);
  if (!page) return Step::kIdle;
  const auto allowed = still_allowed(f);
  if (!allowed) return Step::kIdle;
  if (!*allowed) return Step::kRefused;
  for (const timeline::Item& item : page->items) {
    if (!ready(streams, stream) || !stream.write(message_of(item))) return Step::kGone;
    f.next = *item.log_index + 1;
  }
  if (page->next_cursor) return Step::kMore;
  f.next = std::max(f.next, *size);  // what the filter left out up to there is not looked at again
  return Step::kIdle;
}

void follow(Follower f, Streams& streams, http::Stream& stream) {
  // Where it begins, for whoever comes back before the first event.
  if (!stream.write(": following from " + std::to_string(f.next) + "\n" + (f.next > 0 ? "id: " + std::to_string(f.next - 1) + "\n" : std::string()) + "\n")) return;
  Deadline beat = Deadline::after(streams.limits().heartbeat);
  for (;;) {
    Step step = advance(f, streams, stream);
    if (step == Step::kIdle && beat.passed()) {
      if (still_allowed(f) == std::optional<bool>(false)) step = Step::kRefused;
      // An id without data moves Last-Event-ID past what the filter left out, and is no event.
      else if (!stream.write((f.next > 0 ? "id: " + std::to_string(f.next - 1) + "\n" : std::string()) + ": alive\n\n")) return;
      beat = Deadline::after(streams.limits().heartbeat);
    }
    if (step == Step::kRefused) stream.write(message("", "end", R"({"reason":"the token is no longer valid"})"));
    if (step == Step::kGone || step == Step::kRefused || !stream.write("")) return;
    if (step != Step::kMore && !streams.pause(streams.limits().poll)) return;
  }
}

Result<std::optional<std::int64_t>> last_event_id(const http::Request& request) {
  const std::string_view text = request.header("last-event-id");
  if (text.empty()) return std::optional<std::int64_t>();
  std::int64_t value = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), value);
  if (r.ec != std::errc() || r.ptr != text.data() + text.size() || value < 0 || value == INT64_MAX)
    return Error(base_errors::kInvalid, "not the id of an event of this stream").with("field", "Last-Event-ID").with("expected", "a log index, from 0");
  return std::optional<std::int64_t>(value);
}

}  // namespace

Result<http::Response> stream_timeline(Context& ctx) {
  auto parameters = STELLA_TRY(query_parameters(ctx.request.query));
  for (const auto& [name, value] : parameters)
    if (name != "kind" && name != "resource" && name != "project" && name != "actor" && name != "trace" && name != "from_index")
      return Error(base_errors::kInvalid, "not an acceptable filter").with("field", name.substr(0, 64)).with("expected", "kind, resource, project, actor, trace or from_index");
  parameters.emplace_back("order", "log");
  Follower follower{ctx.services, ctx.scope(), STELLA_TRY(bearer_token(ctx.request)), STELLA_TRY(timeline::parse_filter(parameters))};
  follower.filter.limit = kBatch;
  const auto last = STELLA_TRY(last_event_id(ctx.request));
  // Where the client was; else where it asks to begin; else now.
  const std::int64_t size = STELLA_TRY(log_size(ctx.services, ctx.scope()));
  follower.next = last ? *last + 1 : follower.filter.from_index.value_or(size);
  if (follower.next > size)
    return Error(base_errors::kInvalid, "the log does not reach that far").with("field", last ? "Last-Event-ID" : "from_index").with("expected", last ? "the log index of an event, below " + std::to_string(size) : "at most " + std::to_string(size))
        .with("remedy", "Whoever saw that index saw another log: this one may have been restored from a backup. Read it from the beginning.");
  return ctx.services.streams.open(ctx.tenant(), [follower = std::move(follower), &streams = ctx.services.streams](http::Stream& stream) { follow(follower, streams, stream); });
}

}  // namespace stella::web::handlers
