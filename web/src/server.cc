// The middleware: what every request gets whether its handler thinks of it or not.
#include "stella/web/server.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "query_parameters.h"
#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/crypto/digest.h"
#include "stella/platform/http_method.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/span.h"
#include "stella/web/router.h"

namespace stella::web {
namespace {

namespace errors = contracts::errors;
using Clock = std::chrono::steady_clock;

constexpr telemetry::Logger kLog{"web"};
constexpr telemetry::Counter kRequests{contracts::metrics::kHttpRequests};
constexpr telemetry::Histogram kLatency{contracts::metrics::kHttpRequestDurationSeconds};
constexpr telemetry::Counter kDecisions{contracts::metrics::kAuthzDecisions};
constexpr telemetry::Counter kRejected{contracts::metrics::kHttpRejected};

// The record of who may do what: on the request's span and in its line, whatever came of it. What a tenant's token was allowed or denied
// is a row as well (authority); a public route and a caller without a good token belong to no tenant and are told here only.
struct Decided {
  DecisionId id;
  std::string_view effect;
  std::string reason, scope, action;
};

std::string action_of(const Route& route) {
  if (!route.scope.empty()) return std::string(route.scope);
  return route.access == Access::kPublic ? "public" : "own token";
}

Decided decided(std::string_view effect, std::string_view reason, const Route& route) {
  return {DecisionId::generate(), effect, std::string(reason), "", action_of(route)};
}
Decided decided(const authority::AuthzDecision& decision, const Route& route) {
  return {decision.id, decision.effect == "allow" ? "allow" : "deny", decision.reason, decision.scope, action_of(route)};
}

http::Response forbidden(const authority::Denial& denial, const TraceId& trace) {
  Error error(errors::kForbidden, "the token does not allow this");
  error.add("decision_id", denial.decision.id.str());
  error.add("reason", denial.decision.reason);
  if (!denial.missing_scope.empty()) error.add("missing_scope", denial.missing_scope);
  return problem(error, trace);
}

// Whose trace the request belongs to. `caller`: nullptr where nobody was authenticated. Who asks in another tenant's name is a stranger there.
telemetry::Admission admission_of(const http::Request& request, const authority::Principal* caller) {
  telemetry::Extractor sent;
  for (const auto& [name, value] : request.headers) sent.header(name, value);
  const std::string_view asked = request.header("x-stella-tenant");
  auto admission = telemetry::admit(sent, caller != nullptr && (asked.empty() || asked == caller->tenant.str()));
  if (caller != nullptr) {
    admission.context.tenant_id = caller->tenant;
    admission.context.actor = caller->actor;
  }
  return admission;
}

// Who asks: before the span begins, for only a known caller's trace is continued.
Result<std::optional<authority::Principal>> identify(const Services& services, const http::Request& request, const Route& route) {
  if (route.access == Access::kPublic) return std::optional<authority::Principal>();
  const std::string token = STELLA_TRY(bearer_token(request));
  authority::Principal principal = STELLA_TRY(services.authority.authenticate(token));
  return std::optional<authority::Principal>(std::move(principal));
}

// May they. nullopt: go on; a response: answer with it. `made` is the decision, also where it is an error.
Result<std::optional<http::Response>> admit(Context& ctx, const Route& route, Result<std::optional<authority::Principal>> caller, Decided& made) {
  if (!caller) {
    made = decided("deny", caller.error().code() == errors::kUnauthenticated ? "no valid token" : "the caller could not be checked", route);
    kDecisions.add(1, "deny");
    return std::move(caller.error());
  }
  if (!*caller) {
    made = decided("allow", "public route", route);
    kDecisions.add(1, "allow");
    return std::optional<http::Response>();
  }
  ctx.principal = std::move(**caller);
  made = decided("deny", "not decided", route);
  authority::Demand demand;
  demand.route = route.path;
  demand.method = route.method;
  demand.scope = route.scope;
  demand.trace = ctx.trace;
  demand.platform = route.access == Access::kPlatform;
  const std::string asked(ctx.request.header("x-stella-tenant"));
  demand.asked_tenant = asked;
  if (route.access == Access::kTenantOrGlobal) {
    const std::string global = ctx.request.query_param("global");
    // A document meant for everybody must not end up as the tenant's own because of a spelling.
    if (!global.empty() && global != "1" && global != "true" && global != "0" && global != "false")
      return Error(base_errors::kInvalid, "a query parameter is out of range").with("field", "global").with("expected", "1, true, 0 or false");
    if (global == "1" || global == "true") {
      demand.scope = "kb:write";
      demand.platform = true;
      demand.knowledge_base = true;
    }
  }
  auto verdict = STELLA_TRY(ctx.services.authority.authorize(*ctx.principal, demand));
  if (auto* denial = std::get_if<authority::Denial>(&verdict)) {
    kDecisions.add(1, "deny");
    made = decided(denial->decision, route);
    return std::optional<http::Response>(forbidden(*denial, ctx.trace));
  }
  kDecisions.add(1, "allow");
  ctx.grant = std::move(std::get<authority::Grant>(verdict));
  made = decided(ctx.grant->decision, route);
  return std::optional<http::Response>();
}

// Digest of what was asked, wherever the body lies.
Result<Sha256> request_digest(const http::Request& request) {
  crypto::Hasher hasher;
  hasher.update(request.target);
  hasher.update("\n");
  hasher.update(request.body);
  if (request.body_file) {
    std::string chunk(256u << 10, '\0');
    for (off_t at = 0;;) {
      const auto n = ::pread(request.body_file.get(), chunk.data(), chunk.size(), at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return io_error("cannot read the request body", "");
      if (n == 0) break;
      hasher.update(std::string_view(chunk).substr(0, static_cast<std::size_t>(n)));
      at += n;
    }
  }
  return hasher.finish();
}

// A repeated Idempotency-Key answers what was answered before to the same caller; another body under the same key is a conflict.
Result<std::optional<http::Response>> replayed(Context& ctx) {
  const std::string_view key = ctx.request.header("idempotency-key");
  if (key.empty() || ctx.request.method != "POST" || !ctx.grant) return std::optional<http::Response>();
  if (key.size() > 128 || !std::all_of(key.begin(), key.end(), [](char c) { return c >= 0x20 && c < 0x7f; }))
    return Error(base_errors::kInvalid, "the idempotency key is not acceptable").with("field", "Idempotency-Key").with("expected", "1 to 128 printable ASCII characters");
  ctx.idempotency_key = std::string(key);
  ctx.request_sha256 = STELLA_TRY(request_digest(ctx.request));
  const auto rows = STELLA_TRY(ctx.read("SELECT request_sha256, status, response, " STELLA_SQL_KEY_ABANDONED " FROM idempotency_keys WHERE tenant_id = $1 AND actor = $2 AND route = $3 AND key = $4",
                                        {ctx.tenant(), ctx.actor(), ctx.route, ctx.idempotency_key}));
  if (rows.empty()) return std::optional<http::Response>();
  const Sha256 before = STELLA_TRY(rows.sha256(0, 0));
  if (before != *ctx.request_sha256) return Error(errors::kConflict, "the idempotency key was used for another request").with("field", "Idempotency-Key");
  if (rows.boolean(0, 3)) return std::optional<http::Response>();
  if (rows.integer(0, 1) == kKeyInUse) return Error(errors::kConflict, "a request with this idempotency key is being answered").with("field", "Idempotency-Key").with("retry_after", 2);
  http::Response response = http::Response::json(static_cast<int>(rows.integer(0, 1)), std::string(rows.text(0, 2)));
  response.header("Idempotency-Replayed", "true");
  return std::optional<http::Response>(std::move(response));
}

// Whether a request of somebody known may go on now.
enum class Entry : std::uint8_t { kIn, kPutAside, kFull };

// For a turn that is not to be had at once.
Entry queue(Services& services, http::Request& request, const TenantId& tenant, TurnKind kind, Turns::Turn& turn) {
  const auto place = std::make_shared<Turns::Turn>();
  request.held = place;
  const auto outcome = services.turns.take_or_queue(tenant, kind, place, [&request] { return request.parking->park(); });
  if (outcome == Turns::Outcome::kQueued) return Entry::kPutAside;
  request.held.reset();
  turn = std::move(*place);
  return outcome == Turns::Outcome::kFull ? Entry::kFull : Entry::kIn;
}

// kPutAside: the request is somebody else's from here on.
Entry enter(Services& services, http::Request& request, const Route& route, const TenantId& tenant, Turns::Turn& turn) {
  const TurnKind kind = route.may_take_long ? TurnKind::kLong : TurnKind::kRunning;
  auto place = std::static_pointer_cast<Turns::Turn>(std::exchange(request.held, nullptr));
  if (place) {  // it was put aside, and this is its turn
    turn = std::move(*place);
    return Entry::kIn;
  }
  turn = services.turns.try_take(tenant, kind);
  if (turn) return Entry::kIn;
  return queue(services, request, tenant, kind, turn);
}

Error too_many() { return Error(errors::kRateLimited, "too many requests of the tenant run or wait already").with("retry_after", 1); }

Result<http::Response> run_handler(Context& ctx, const Route& route, Result<std::optional<authority::Principal>> caller, bool full, Decided& made) {
  if (full) {
    made = decided("deny", "too many requests of the tenant at once", route);
    return too_many();
  }
  auto early = STELLA_TRY(admit(ctx, route, std::move(caller), made));
  kLog.debug("request is decided", {f::decision_effect(made.effect), f::decision_reason(made.reason), f::action(made.action), f::scope(made.scope), f::decision_id(made.id)});
  if (early) return std::move(*early);
  auto before = STELLA_TRY(replayed(ctx));
  if (before) return std::move(*before);
  STELLA_TRY_VOID(no_other_parameters(route, ctx.request.query));
  if (route.starts_job && ctx.services.bus_connected && !ctx.services.bus_connected())
    return Error(errors::kUnavailable, "the message bus is away, so the work could not start").with("part", "nats");
  auto response = route.handler(ctx);
  // Two requests with one key at once: the second meets the first's row and is told to read.
  if (!response && response.error().code() == errors::kConflict && response.error().field("constraint") == "idempotency_keys_pkey") {
    auto again = STELLA_TRY(replayed(ctx));
    if (again) return std::move(*again);
  }
  return response;
}

// Under the same key it may be sent again: what failed by the caller's doing, or before the deed, or was rolled back.
bool did_nothing(const Context& ctx, const Error& failed) {
  return contracts::error_info(failed.code()).http_status < 500 || (!ctx.deed_done && failed.field("outcome") != "unknown");
}

// "sbom/0190…" of a route with one id in it; "" where the id is none: what callers write there is nobody's field.
std::string resource_of(const Context& ctx) {
  if (ctx.params.empty()) return {};
  const auto& [name, value] = ctx.params.front();
  if (!Uuid::parse(value) && !TraceId::parse(value)) return {};
  return std::string(std::string_view(name).substr(0, name.rfind('_'))).append("/").append(value);
}

// Server-Timing as the current W3C draft has it: the caller's trace id and our span; `keep` asks the caller to keep its trace, too.
void add_timing(http::Response& response, const telemetry::Context& context, std::chrono::microseconds took) {
  std::string timing = "trace;desc=\"" + context.traceparent() + "\", total;dur=" + std::to_string(static_cast<double>(took.count()) / 1000.0);
  if (response.status >= 500 || context.keep) timing += ", keep;desc=\"1\"";
  response.header("Server-Timing", std::move(timing));
  response.header("X-Trace-Id", context.trace_id.hex());
}

// Whatever the answer holds is a tenant's and is what its type says.
void add_safety(http::Response& response) {
  response.header("X-Content-Type-Options", "nosniff");
  response.header("Cache-Control", "no-store");
}

// The span's and the line's share of an answer: one place, so that both say the same.
void tell(telemetry::Span& span, const Context& ctx, const http::Response& response, const Decided* made, const Error* failed, std::chrono::microseconds took) {
  span.set(f::http_status(response.status));
  const std::string resource = resource_of(ctx);
  if (!resource.empty()) span.set(f::resource(resource));
  if (made != nullptr) {
    span.set(f::decision_id(made->id));
    span.set(f::decision_effect(made->effect));
    span.set(f::decision_reason(made->reason));
    span.set(f::action(made->action));
    if (!made->scope.empty()) span.set(f::scope(made->scope));
  }
  // Semantic conventions: a mistake of the caller leaves the span's status unset; ours is an error, also where a handler says so by its status alone.
  if (response.status >= 500) failed != nullptr ? span.fail(*failed) : span.fail();
  if (failed != nullptr) span.set(f::error_type(contracts::error_info(failed->code()).wire));
  else if (response.status >= 500) span.set(f::error_type(std::to_string(response.status)));
  const auto level = response.status >= 500 ? telemetry::Level::kError : response.status >= 400 ? telemetry::Level::kWarn : telemetry::Level::kInfo;
  // A handler that says it by its status alone: an error line has a code also then.
  const Error silent(response.status == 503 ? errors::kUnavailable : errors::kInternal, "the answer says so by its status");
  if (failed == nullptr && response.status >= 500) failed = &silent;
  const auto line = [&](Literal message) {
    if (made == nullptr) kLog.log(level, message, {f::error(*failed), f::http_status(response.status), f::duration(took)});
    else if (failed != nullptr)
      kLog.log(level, message, {f::resource(resource), f::action(made->action), f::decision_effect(made->effect), f::decision_reason(made->reason), f::error(*failed), f::decision_id(made->id),
                                f::scope(made->scope), f::http_status(response.status), f::duration(took)});
    else
      kLog.log(level, message, {f::resource(resource), f::action(made->action), f::decision_effect(made->effect), f::decision_reason(made->reason), f::decision_id(made->id), f::scope(made->scope),
                                f::http_status(response.status), f::duration(took)});
  };
  if (response.status >= 500) line("request failed");
  else if (made != nullptr && made->effect == "deny") line("request denied");
  else if (response.status >= 400) line("request refused");
  else line("request served");
}

// The template; that of the path also where only the method is wrong. "unmatched" looks like no route that there is.
std::string_view route_of(const Match& found) { return found.route != nullptr ? found.route->path : found.path.empty() ? std::string_view("unmatched") : found.path; }

// `context` with what is known of every request.
telemetry::Context request_context(telemetry::Context context, const http::Request& request, std::string_view route, const RequestId& id) {
  context.request_id = id;
  context.route = std::string(route);
  context.method = http::known_method(request.method);
  return context;
}

http::Response answer(Services& services, http::Request& request) {
  const auto started = Clock::now();
  const Timestamp started_at = Timestamp::now();
  Context ctx(services, request);
  ctx.request_id = RequestId::generate();
  const Match found = match(request.method, request.path);
  ctx.route = route_of(found);
  ctx.params = found.params;
  auto caller = found.route != nullptr ? identify(services, request, *found.route) : Result<std::optional<authority::Principal>>(std::nullopt);
  Entry entry = Entry::kIn;
  if (caller.has_value() && caller->has_value()) entry = enter(services, request, *found.route, (*caller)->tenant, ctx.turn);
  if (entry == Entry::kPutAside) return http::Response::put_aside();
  auto admission = admission_of(request, caller.has_value() && caller->has_value() ? &**caller : nullptr);
  const telemetry::ContextScope scope(request_context(std::move(admission.context), request, ctx.route, ctx.request_id));
  telemetry::Span span(telemetry::SpanName::api(ctx.route), telemetry::SpanKind::kServer);
  span.started_at(started_at);
  admission.mark(span);
  kLog.debug("request comes in", {f::http_request_bytes(static_cast<std::int64_t>(request.body.size())), f::state(entry == Entry::kFull ? "too many of the tenant" : found.route == nullptr ? "no route" : "has its turn")});
  ctx.trace = telemetry::Context::current().trace_id;
  ctx.traceparent = telemetry::Context::current().traceparent();

  http::Response response;
  std::optional<Error> failed;
  std::optional<Decided> made;
  if (found.route == nullptr) {
    Error error = found.allow.empty() ? Error(base_errors::kNotFound, "no such route") : Error(errors::kMethodNotAllowed, "method not allowed here").with("allow", found.allow);
    response = problem(error, ctx.trace);
    if (!found.allow.empty()) response.header("Allow", found.allow);
    failed = std::move(error);
  } else {
    auto handled = run_handler(ctx, *found.route, std::move(caller), entry == Entry::kFull, made.emplace());
    if (ctx.awaits_long) {
      ctx.abandon();
      entry = queue(services, request, ctx.principal->tenant, TurnKind::kLong, ctx.turn);
      if (entry == Entry::kPutAside) {  // nothing was done: its second call is the request
        span.drop();
        return http::Response::put_aside();
      }
      handled = entry == Entry::kFull ? Result<http::Response>(too_many()) : found.route->handler(ctx);
    }
    if (handled) response = std::move(*handled);
    else failed = std::move(handled.error());
    // A decision that no transaction of the handler carried gets one of its own: none is ever lost. Failing that, the request fails.
    if (auto written = ctx.write_decision_alone(); !written && !failed) failed = std::move(written.error());
    if (failed && did_nothing(ctx, *failed)) (void)ctx.release_key();
    if (failed) response = problem(*failed, ctx.trace);
    else if (response.status >= 400 && made->effect == "deny") failed = Error(errors::kForbidden, "the token does not allow this");
  }
  const auto took = Clock::now() - started;
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(took);
  add_timing(response, telemetry::Context::current(), micros);
  add_safety(response);
  if (!request.claim.take()) {  // its caller was told 504, which is counted: one request is one answer
    span.fail(Error(errors::kTimeout, "the handler took too long"));
    kLog.warn("request finished after its caller was answered", {f::http_status(response.status), f::duration(micros)});
    return response;
  }
  kRequests.add(1, request.method, ctx.route, http::status_class(response.status));
  kLatency.record(std::chrono::duration<double>(took).count(), request.method, ctx.route);
  tell(span, ctx, response, made ? &*made : nullptr, failed ? &*failed : nullptr, micros);
  return response;
}

// How much is read of a request's body, before anybody has authenticated: the whole that its route takes only of who has a token for it.
struct Taken {
  std::uint64_t bytes = kAnonymousBodyBytes;
  bool stranger = false;        // no good token
  std::string missing_scope;    // of a good one
};

// A body that says of itself that it is small needs no check here.
bool says_it_is_small(const http::Request& head) {
  const std::string_view length = head.header("content-length");
  std::uint64_t bytes = 0;
  const auto r = std::from_chars(length.data(), length.data() + length.size(), bytes);
  return !length.empty() && r.ec == std::errc() && r.ptr == length.data() + length.size() && bytes <= kAnonymousBodyBytes && head.header("content-encoding").empty();
}

// On an I/O thread: nothing here waits.
Taken taken_of(Services& services, const http::Request& head) {
  const Route* route = match(head.method, head.path).route;
  if (route == nullptr) return {};
  if (route->access == Access::kPublic || route->body_bytes <= kAnonymousBodyBytes || says_it_is_small(head)) return {route->body_bytes};
  const auto token = bearer_token(head);
  const auto caller = token ? services.authority.recognise(*token) : Result<authority::Principal>(token.error());
  if (!caller) return {kAnonymousBodyBytes, true};
  const std::string wanted = route->access == Access::kPlatform ? authority::platform_scope_text(route->scope) : authority::tenant_scope_text(route->scope, caller->tenant);
  const bool may = route->scope.empty() || caller->has(wanted) || (route->access == Access::kTenantOrGlobal && caller->has(authority::platform_scope_text("kb:write")));
  if (!may) return {kAnonymousBodyBytes, false, wanted};
  return {route->body_bytes};
}

std::string_view rejection_of(int status, std::string_view detail) {
  if (status == 413 || status == 431 || status == 401) return "too_large";
  if (status == 408) return "timeout";
  if (status == 503) return detail.find("connections") != detail.npos ? "connections" : "queue_full";
  return "malformed";
}

// What the server refused before a handler saw it: it has its span, its line and its place in the figures like any other request.
// Nobody was authenticated, so the caller's trace is linked, never continued.
http::Response refuse(Services& services, int status, Literal detail, http::Request* head, const Taken& taken) {
  // From the arrival of its head: what waited in the queue or was abandoned by its handler took that long for its caller.
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(head == nullptr ? Clock::duration(0) : Clock::now() - head->arrived);
  const Timestamp began = Timestamp::now() - took;
  const ErrorCode code = status == 413   ? errors::kTooLarge
                         : status == 415 ? errors::kUnsupportedMediaType
                         : status == 401 ? errors::kUnauthenticated
                         : status == 503 ? errors::kUnavailable
                         : status == 408 || status == 504 ? errors::kTimeout
                         : status >= 500 ? base_errors::kInternal
                                         : base_errors::kMalformed;
  http::Request none;
  http::Request& request = head == nullptr ? none : *head;
  Context ctx(services, request);
  ctx.request_id = RequestId::generate();
  const Match found = head == nullptr ? Match() : match(head->method, head->path);
  ctx.route = route_of(found);
  auto admission = admission_of(request, nullptr);
  const telemetry::ContextScope scope(request_context(std::move(admission.context), request, ctx.route, ctx.request_id));
  telemetry::Span span(telemetry::SpanName::api(ctx.route), telemetry::SpanKind::kServer);
  span.started_at(began);
  admission.mark(span);
  Error error(code, detail);
  if (status == 413) error.add("limit", std::to_string(taken.bytes));
  if (status == 413 && !taken.missing_scope.empty()) error.add("missing_scope", taken.missing_scope);
  http::Response response = problem(error, telemetry::Context::current().trace_id);
  response.status = status;
  add_timing(response, telemetry::Context::current(), took);
  add_safety(response);
  if (status < 500 || status == 503) kRejected.add(1, rejection_of(status, detail.view()));
  kRequests.add(1, request.method, ctx.route, http::status_class(status));
  if (head != nullptr) kLatency.record(std::chrono::duration<double>(took).count(), request.method, ctx.route);  // where no head came there is no duration
  std::optional<Decided> made;
  if (found.route != nullptr) made = decided("deny", "the request was not taken", *found.route);
  tell(span, ctx, response, made ? &*made : nullptr, &error, took);
  return response;
}

}  // namespace

namespace {

// What an error knows about our insides (statements, constraints, system calls) is for the log, never for the caller.
bool is_internal(std::string_view name) {
  static constexpr std::string_view kInternal[] = {"sqlstate", "constraint", "table", "statement", "server", "outcome", "errno"};
  return std::find(std::begin(kInternal), std::end(kInternal), name) != std::end(kInternal);
}

// Positions and sizes are numbers on the wire.
json::Value wire_value(const ErrorField& field) {
  if (field.name != "line" && field.name != "column" && field.name != "limit" && field.name != "actual") return field.value;
  std::int64_t n = 0;
  const auto r = std::from_chars(field.value.data(), field.value.data() + field.value.size(), n);
  return r.ec == std::errc() && r.ptr == field.value.data() + field.value.size() ? json::Value(n) : json::Value(field.value);
}

}  // namespace

http::Response problem(const Error& error, const TraceId& trace) {
  const contracts::ErrorInfo& info = contracts::error_info(error.code());
  json::Value body = json::Value::object({{"type", std::string("urn:stella:error:").append(info.wire)},
                                          {"title", info.title},
                                          {"status", info.http_status},
                                          {"detail", error.message()},
                                          {"code", info.wire},
                                          {"remedy", info.remedy},
                                          {"trace_id", trace.hex()}});
  json::Value where = json::Value::object();
  for (const ErrorField& field : error.fields()) {
    if (field.name == "decision_id" || field.name == "missing_scope" || field.name == "reason" || field.name == "part" || field.name == "state") body.set(std::string(field.name), field.value);
    else if (!is_internal(field.name)) where.set(std::string(field.name), wire_value(field));
  }
  // An operating-system path or a constraint name is nobody's business but ours.
  if (info.http_status < 500 && !where.as_object().empty()) body.set("errors", json::Value::array({where}));
  http::Response response = http::Response::json(info.http_status, json::dump(body));
  response.content_type = "application/problem+json";
  if (const std::string_view after = error.field("retry_after"); info.retry || info.http_status == 503 || !after.empty()) {
    response.header("Retry-After", after.empty() ? "2" : std::string(after));
  }
  if (info.http_status == 401) response.header("WWW-Authenticate", "Bearer");
  return response;
}

Result<std::unique_ptr<http::Server>> start(http::ServerOptions options, Services& services) {
  services.turns.set_limits(TurnLimits::of_workers(options.workers));
  // Whether this process is alive is not a matter of how busy it is.
  options.express = [](const http::Request& request) { return request.path == "/healthz"; };
  const auto handler = [&services](http::Request& request) { return answer(services, request); };
  const auto body_limit = [&services](const http::Request& head) { return taken_of(services, head).bytes; };
  const auto refusal = [&services](int status, Literal detail, const http::Request* head) {
    if (head == nullptr) return refuse(services, status, detail, nullptr, {});
    http::Request copy;  // the connection still owns the head
    copy.method = head->method;
    copy.target = head->target;
    copy.path = head->path;
    copy.headers = head->headers;
    copy.arrived = head->arrived;
    const Taken taken = status == 413 ? taken_of(services, copy) : Taken();
    // Too large for a stranger: who it is comes first.
    if (taken.stranger) return refuse(services, 401, "a body of this size needs a valid token", &copy, taken);
    return refuse(services, status, detail, &copy, taken);
  };
  return http::Server::start(std::move(options), handler, body_limit, refusal);
}

}  // namespace stella::web
