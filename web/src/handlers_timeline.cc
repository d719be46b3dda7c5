// The tenant timeline: pages, single events, and the door for emitters outside this repository.
#include "handlers.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/query.h"

namespace stella::web::handlers {
namespace {

Result<std::vector<std::pair<std::string, std::string>>> query_parameters(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    std::string name = STELLA_TRY(percent_decode(pair.substr(0, equals), true));
    std::string value = STELLA_TRY(percent_decode(pair.substr(std::min(equals + 1, pair.size())), true));
    if (!name.empty()) out.emplace_back(std::move(name), std::move(value));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return out;
}

}  // namespace

Result<http::Response> list_timeline(Context& ctx) {
  const auto parameters = STELLA_TRY(query_parameters(ctx.request.query));
  const timeline::Filter filter = STELLA_TRY(timeline::parse_filter(parameters));
  const timeline::Page page = STELLA_TRY(timeline::list(ctx.services.pool, ctx.scope(), filter));
  return http::Response::json(200, page.json());
}

Result<http::Response> get_timeline_event(Context& ctx) {
  const EventId id = STELLA_TRY(ctx.id_param<EventId>("event_id"));
  const timeline::Item item = STELLA_TRY(timeline::get(ctx.services.pool, ctx.scope(), id));
  json::Value body = STELLA_TRY(json::parse(item.json()));
  const std::string trace(body.str("trace_id"));
  const std::string resource = std::string(body.str("resource_type")) + "/" + std::string(body.str("resource_id"));
  body.set("links", json::Value::object({{"trace", "/obs/trace/" + trace}, {"resource", "/timeline?resource=" + percent_encode(resource)}, {"attestations", "/attestations?subject_id=" + percent_encode(body.str("resource_id"))}}));
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

}  // namespace stella::web::handlers
