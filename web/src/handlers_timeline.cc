// The tenant timeline: pages, single events, and the door for emitters outside this repository.
#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

#include "handlers.h"
#include "query_parameters.h"
#include "stella/base/encoding.h"
#include "stella/contracts/catalogue.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/timeline/deployment.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/log/note.h"
#include "stella/timeline/log_reader.h"
#include "stella/timeline/query.h"

namespace stella::web::handlers {

Result<http::Response> list_timeline(Context& ctx) {
  const auto parameters = STELLA_TRY(query_parameters(ctx.request.query));
  const timeline::Filter filter = STELLA_TRY(timeline::parse_filter(parameters));
  const timeline::Page page = STELLA_TRY(timeline::list(ctx.services.pool, ctx.scope(), filter, [&ctx](std::span<const std::uint64_t> indexes) -> Result<std::vector<Sha256>> {
    pg::TenantTx* tx = STELLA_TRY(ctx.tx());
    return timeline::stored_leaves(*tx, ctx.services.store, indexes);
  }));
  return http::Response::json(200, page.json());
}

Result<http::Response> get_timeline_event(Context& ctx) {
  const EventId id = STELLA_TRY(ctx.id_param<EventId>("event_id"));
  const timeline::Item item = STELLA_TRY(timeline::get(ctx.services.pool, ctx.scope(), id));
  json::Value body = STELLA_TRY(json::parse(item.json()));
  const std::string trace(body.str("trace_id"));
  const std::string resource = std::string(body.str("resource_type")) + "/" + std::string(body.str("resource_id"));
  const std::string_view type = body.str("resource_type"), about = body.str("resource_id");
  // The lines are in the trace's answer; bundles hang on a case, or on what they are about.
  const std::string evidence = type == "bundle" ? "/evidence/" + percent_encode(about) : (type == "case" ? "/evidence?case=" : "/evidence?resource_id=") + percent_encode(about);
  body.set("links", json::Value::object({{"trace", "/obs/trace/" + trace}, {"logs", "/obs/trace/" + trace}, {"evidence", evidence}, {"proof", "/timeline/" + id.str() + "/proof"}, {"resource", "/timeline?resource=" + percent_encode(resource)}, {"attestations", "/attestations?subject_id=" + percent_encode(body.str("resource_id"))}}));
  return http::Response::json(200, json::dump(body));
}

Result<http::Response> create_timeline_event(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"event_id"}, {"kind"}, {"resource_type"}, {"resource_id"}, {"project_id"}, {"details", Member::kObject}}));
  timeline::External external;
  const std::string id = STELLA_TRY(body.require_string("event_id"));
  auto event_id = EventId::parse(id);
  if (!event_id) return Error(base_errors::kInvalid, "not an event id").with("field", "event_id").with("expected", "a UUID of version 7");
  external.event_id = *event_id;
  const std::string kind = STELLA_TRY(body.require_string("kind"));
  external.event.kind = kind;
  external.event.resource_type = STELLA_TRY(body.require_string("resource_type"));
  external.event.resource_id = STELLA_TRY(body.require_string("resource_id"));
  external.event.trace = ctx.trace;
  external.event.traceparent = ctx.traceparent;
  if (const std::string_view project = body.str("project_id"); !project.empty()) {
    auto id_of_project = ProjectId::parse(project);
    if (!id_of_project) return Error(base_errors::kInvalid, "not a project id").with("field", "project_id").with("expected", "a UUID");
    external.event.project = *id_of_project;
  }
  if (const json::Value* details = body.find("details"); details != nullptr && details->is_object()) external.event.details = *details;
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const timeline::Submitted submitted = STELLA_TRY(timeline::submit(*tx, std::move(external)));
  return ctx.commit(http::Response::json(submitted.existed ? 200 : 201, json::dump(json::Value::object({{"event_id", submitted.event_id.str()}, {"existed", submitted.existed}, {"trace_id", ctx.trace.hex()}}))));
}

namespace {

constexpr std::size_t kAnnotationBytes = 2000;

// What can be marked, by the word before the slash. Nothing is marked that the timeline does not know.
bool can_be_marked(std::string_view type) {
  const contracts::EventKind* kind = contracts::find_event(contracts::events::kAnnotationAdded);
  return kind != nullptr && std::find(kind->resource_types.begin(), kind->resource_types.end(), type) != kind->resource_types.end();
}

Result<bool> on_timeline(Context& ctx, std::string_view type, std::string_view id) {
  if (type == "event") {
    const auto event = EventId::parse(id);
    if (!event) return false;
    return !STELLA_TRY(ctx.read("SELECT 1 FROM timeline_log WHERE tenant_id = $1 AND event_id = $2 LIMIT 1", {ctx.tenant(), *event})).empty();
  }
  if (type == "trace") return !STELLA_TRY(ctx.read("SELECT 1 FROM timeline_events WHERE tenant_id = $1 AND trace_id = $2 LIMIT 1", {ctx.tenant(), id})).empty();
  return !STELLA_TRY(ctx.read("SELECT 1 FROM timeline_events WHERE tenant_id = $1 AND resource_type = $2 AND resource_id = $3 "
                              "UNION ALL SELECT 1 FROM timeline_event_resources WHERE tenant_id = $1 AND resource_type = $2 AND resource_id = $3 LIMIT 1",
                              {ctx.tenant(), type, id})).empty();
}

}  // namespace

Result<http::Response> annotate(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"target"}, {"text"}, {"star", Member::kBool}}));
  const std::string target = STELLA_TRY(body.require_string("target"));
  const std::size_t slash = target.find('/');
  const std::string type = target.substr(0, slash), id = slash == std::string::npos ? "" : target.substr(slash + 1);
  if (!can_be_marked(type) || id.empty() || id.size() > timeline::kMaxResourceId || id.find('\0') != std::string::npos)
    return Error(base_errors::kInvalid, "this cannot be marked").with("field", "target").with("expected", "TYPE/ID with an event, trace, bundle, evaluation, finding or job");
  const std::string text(body.str("text"));
  const bool star = body.boolean("star");
  if ((text.empty() && !star) || text.size() > kAnnotationBytes || text.find('\0') != std::string::npos)
    return Error(base_errors::kInvalid, "not an annotation").with("field", "text").with("expected", "1 to 2000 bytes of text, or a star without text");
  if (!STELLA_TRY(on_timeline(ctx, type, id))) return Error(base_errors::kNotFound, "the timeline knows no such thing").with("remedy", "What has just come into being is on the timeline within a second.");
  timeline::Event event;
  event.kind = contracts::events::kAnnotationAdded;
  event.resource_type = type;
  event.resource_id = id;
  event.trace = ctx.trace;
  event.traceparent = ctx.traceparent;
  event.details = json::Value::object({{"target", target}, {"star", star}});
  if (!text.empty()) event.details.set("text", text);
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const EventId made = STELLA_TRY(timeline::emit(*tx, std::move(event)));
  return ctx.commit(http::Response::json(201, json::dump(json::Value::object({{"event_id", made.str()}, {"target", target}, {"trace_id", ctx.trace.hex()}}))));
}

namespace {

// A decimal query parameter.
Result<std::uint64_t> size_parameter(Context& ctx, std::string_view name) {
  for (const auto& [key, value] : STELLA_TRY(query_parameters(ctx.request.query))) {
    if (key != name) continue;
    std::uint64_t out = 0;
    const auto r = std::from_chars(value.data(), value.data() + value.size(), out);
    if (r.ec == std::errc() && r.ptr == value.data() + value.size()) return out;
  }
  return Error(base_errors::kInvalid, "not a size or index of the log").with("field", std::string(name)).with("expected", "a whole number");
}

Result<bool> has_parameter(Context& ctx, std::string_view name) {
  const auto parameters = STELLA_TRY(query_parameters(ctx.request.query));
  return std::any_of(parameters.begin(), parameters.end(), [&](const auto& parameter) { return parameter.first == name; });
}

// Which log is asked about: `log`, where it is given.
Result<bool> asks_for_deployment(Context& ctx) {
  for (const auto& [key, value] : STELLA_TRY(query_parameters(ctx.request.query))) {
    if (key != "log" || value == "tenant") continue;
    if (value == "deployment") return true;
    return Error(base_errors::kInvalid, "no such log").with("field", "log").with("expected", "tenant or deployment");
  }
  return false;
}

Error nothing_signed() { return Error(base_errors::kNotFound, "nothing of this log is signed yet").with("remedy", "The first checkpoint comes within a minute of the first event."); }

}  // namespace

Result<http::Response> get_checkpoint(Context& ctx) {
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const timeline::SignedHead head = STELLA_TRY(timeline::signed_head(*tx));
  if (head.size == 0) return nothing_signed();
  json::Value body = json::Value::object({{"origin", head.origin}, {"size", head.size}, {"root", head.root.hex()}, {"checkpoint", head.note}});
  if (ctx.services.log_key) body.set("vkey", STELLA_TRY(timeline::VerifierKey::ed25519(head.origin, *ctx.services.log_key)).str());
  return http::Response::json(200, json::dump(body));
}

Result<http::Response> get_consistency_proof(Context& ctx) {
  const std::uint64_t from = STELLA_TRY(size_parameter(ctx, "from_size")), to = STELLA_TRY(size_parameter(ctx, "to_size"));
  const bool deployment = STELLA_TRY(asks_for_deployment(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const timeline::Proof proof = STELLA_TRY(deployment ? timeline::deployment_growth(*tx, ctx.services.store, from, to) : timeline::consistency(*tx, ctx.services.store, from, to));
  json::Array hashes;
  for (const Sha256& hash : proof) hashes.emplace_back(hash.hex());
  return http::Response::json(200, json::dump(json::Value::object({{"from_size", from}, {"to_size", to}, {"hashes", std::move(hashes)}})));
}

Result<http::Response> get_inclusion_proof(Context& ctx) {
  const EventId id = STELLA_TRY(ctx.id_param<EventId>("event_id"));
  std::optional<std::uint64_t> index;
  const auto item = timeline::get(ctx.services.pool, ctx.scope(), id);
  if (item && item->log_index) index = static_cast<std::uint64_t>(*item->log_index);
  if (!item) {
    // Expired: which index it had, only whoever has a copy of it can say. The proof is about the index; the copy's own hash tells whether it fits.
    if (item.error().code() != base_errors::kNotFound || !STELLA_TRY(has_parameter(ctx, "log_index"))) return Error(item.error());
    index = STELLA_TRY(size_parameter(ctx, "log_index"));
  }
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  if (!item && !STELLA_TRY(timeline::expired(*tx, *index))) return Error(item.error());
  const timeline::SignedHead head = STELLA_TRY(timeline::signed_head(*tx));
  if (!index || *index >= head.size)
    return Error(contracts::errors::kNotReady, "no checkpoint covers this event yet").with("state", "pending").with("remedy", "Ask again within a minute.");
  http::Response response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = STELLA_TRY(timeline::inclusion_file(*tx, ctx.services.store, head, *index));
  return response;
}

}  // namespace stella::web::handlers
