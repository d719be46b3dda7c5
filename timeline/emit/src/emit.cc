// From an event to its outbox row: catalogue check, canonical entry, deferred insert, wake-up after commit.
#include "stella/timeline/emit.h"

#include <algorithm>
#include <memory>
#include <span>

#include "stella/base/limits.h"
#include "stella/base/sync.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/telemetry/context.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kInsert =
    "INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry, resources, traceparent, tracestate) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
// WITH ORDINALITY keeps the order of emission in seq.
constexpr std::string_view kInsertMany =
    "INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry, resources, traceparent, tracestate)"
    " SELECT $1, $2, n.event_id, n.ts, n.entry, n.resources::jsonb, n.traceparent, n.tracestate"
    " FROM unnest($3::uuid[], $4::timestamptz[], $5::bytea[], $6::text[], $7::text[], $8::text[]) WITH ORDINALITY AS n(event_id, ts, entry, resources, traceparent, tracestate, nth)"
    " ORDER BY n.nth";
constexpr std::size_t kManyPerStatement = 1000;
// A repeat is found in the outbox or, once indexed, in the log; a row leaves the one and enters the other in one commit, so looking
// in this order cannot miss it.
constexpr std::string_view kLockId = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 7215))";
constexpr std::string_view kFindOutbox = "SELECT entry FROM timeline_outbox WHERE tenant_id = $1 AND event_id = $2";
constexpr std::string_view kFindLog = "SELECT entry FROM timeline_log WHERE tenant_id = $1 AND event_id = $2";

SharedSlot<std::function<void(int)>>& hook_slot() {
  static SharedSlot<std::function<void(int)>> slot;
  return slot;
}

Error wrong(std::string_view field, std::string_view expected) {
  return Error(base_errors::kInvalid, "not an acceptable event").with("field", std::string(field)).with("expected", std::string(expected));
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == text.npos;
}

Result<void> check_resource(std::string_view type, std::string_view id, std::string_view field) {
  if (!is_name(type)) return wrong(field, "a resource type of lower-case letters");
  if (id.empty() || id.size() > kMaxResourceId || id.find('\0') != id.npos) return wrong(field, "a resource id of 1 to 512 bytes without NUL");
  return {};
}

Result<const contracts::EventKind*> check(const Event& event) {
  const auto* kind = contracts::find_event(event.kind);
  if (kind == nullptr) return wrong("kind", "a kind of contracts/events.json");
  STELLA_TRY_VOID(contracts::check_event_details(*kind, event.details));
  STELLA_TRY_VOID(check_resource(event.resource_type, event.resource_id, "resource"));
  if (event.resources.size() > kMaxResources) return wrong("resources", "at most 64 resources");
  for (const auto& [type, id] : event.resources) STELLA_TRY_VOID(check_resource(type, id, "resources"));
  return kind;
}

std::string resources_json(const Event& event) {
  std::string out = "[";
  for (const auto& [type, id] : event.resources) {
    out += out.size() > 1 ? ",[" : "[";
    json::append_quoted(out, type);
    out += ',';
    json::append_quoted(out, id);
    out += ']';
  }
  return out + "]";
}

void complete(Event& event) {
  if (event.trace.empty()) {
    if (const auto parent = telemetry::parse_traceparent(event.traceparent)) {
      event.trace = parent->trace_id;
    } else if (const auto& work = telemetry::Context::current(); !work.span_id.empty()) {
      event.trace = work.trace_id;
      event.traceparent = work.traceparent();
    }
  }
  if (event.details.is_null()) event.details = json::Value::object();
}

const TenantId& owner_of(const TenantId& tenant) {
  static const TenantId platform = *TenantId::parse(kPlatformTenant);
  return tenant.str() == kGlobalTenant ? platform : tenant;
}

void wake_after(pg::Tx& tx, int shard) {
  tx.on_commit([shard] {
    if (const auto hook = hook_slot().load()) (*hook)(shard);
  });
}

Result<void> insert(pg::Tx& tx, const TenantId& tenant, const EventId& id, const Event& event) {
  const Timestamp ts = Timestamp::now();
  const std::string entry = STELLA_TRY(encode_entry(id, ts, tenant, event));
  const int shard = shard_of(tenant);
  std::vector<pg::Param> params;
  params.reserve(8);
  params.emplace_back(shard);
  params.emplace_back(tenant);
  params.emplace_back(id);
  params.emplace_back(ts);
  params.push_back(pg::Param::bytes(entry));
  params.emplace_back(resources_json(event));
  params.emplace_back(event.traceparent);
  params.emplace_back(tracestate_of(event.trace));
  tx.defer(kInsert, std::move(params));
  wake_after(tx, shard);
  return {};
}

// Equal but for what we add ourselves: the time and the trace of the request that brought it.
bool same_content(std::string_view stored, std::string_view fresh) {
  auto a = json::parse(stored);
  auto b = json::parse(fresh);
  if (!a || !b || !a->is_object() || !b->is_object()) return false;
  for (auto* value : {&*a, &*b}) {
    value->as_object().erase("ts");
    value->as_object().erase("trace_id");
  }
  return *a == *b;
}

}  // namespace

std::string tracestate_of(TraceId trace) {
  const telemetry::Context& ambient = telemetry::Context::current();
  return ambient.trace_id == trace ? std::string(ambient.tracestate) : std::string();
}

int shard_of(const TenantId& tenant) {
  std::uint64_t h = 14695981039346656037u;  // FNV-1a
  for (const char c : tenant.str()) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return static_cast<int>(h % kShards);
}

// Member names in the order that RFC 8785 asks for.
Result<std::string> encode_entry(const EventId& id, Timestamp ts, const TenantId& tenant, const Event& event) {
  const std::string details = STELLA_TRY(json::canonical(event.details));
  std::string out;
  out.reserve(details.size() + 400);
  auto member = [&out](std::string_view name, std::string_view value) {
    out += name;
    json::append_quoted(out, value);
  };
  member("{\"actor\":", event.actor);
  out += ",\"details\":";
  out += details;
  member(",\"event_id\":", id.str());
  member(",\"kind\":", event.kind);
  if (event.project) {
    member(",\"project_id\":", event.project->str());
  } else {
    out += ",\"project_id\":null";
  }
  member(",\"resource_id\":", event.resource_id);
  member(",\"resource_type\":", event.resource_type);
  member(",\"tenant_id\":", tenant.str());
  member(",\"trace_id\":", event.trace.empty() ? std::string() : event.trace.hex());
  member(",\"ts\":", ts.rfc3339());
  out += '}';
  if (out.size() > limits::kEventBytes)
    return Error(base_errors::kLimit, "event too large").with("limit", limits::kEventBytes).with("actual", out.size());
  return out;
}

namespace {

// Completes an event of our own code; what does not fit is a bug, not somebody's input.
Result<void> admit(Event& event, std::string_view role) {
  if (event.actor.empty()) event.actor = "service:" + std::string(role);
  complete(event);
  auto good = check(event);
  if (good) return {};
  Error bug(base_errors::kInternal, "an event does not fit the catalogue");
  bug.add("kind", std::string(event.kind));
  bug.add("field", std::string(good.error().field("field")));
  bug.add("expected", std::string(good.error().field("expected")));
  return bug;
}

// One statement's worth of events; deferred like a single one.
Result<void> insert_many(pg::Tx& tx, const TenantId& tenant, std::span<const Event> events, std::vector<EventId>& ids) {
  std::vector<Uuid> uuids;
  std::vector<Timestamp> times;
  std::vector<std::string> entries, resources, parents, states;
  for (const Event& event : events) {
    const EventId id = EventId::generate();
    const Timestamp ts = Timestamp::now();
    entries.push_back(STELLA_TRY(encode_entry(id, ts, tenant, event)));
    uuids.push_back(id.uuid());
    times.push_back(ts);
    resources.push_back(resources_json(event));
    parents.push_back(event.traceparent);
    states.push_back(tracestate_of(event.trace));
    ids.push_back(id);
  }
  std::vector<pg::Param> params;
  params.reserve(8);
  params.emplace_back(shard_of(tenant));
  params.emplace_back(tenant);
  params.push_back(pg::Param::uuid_array(uuids));
  params.push_back(pg::Param::timestamp_array(times));
  params.push_back(pg::Param::bytes_array(entries));
  params.push_back(pg::Param::text_array(resources));
  params.push_back(pg::Param::text_array(parents));
  params.push_back(pg::Param::text_array(states));
  tx.defer(kInsertMany, std::move(params));
  return {};
}

}  // namespace

namespace detail {

Result<EventId> emit(pg::Tx& tx, const TenantId& tenant, std::string_view role, Event event) {
  STELLA_TRY_VOID(admit(event, role));
  const EventId id = EventId::generate();
  STELLA_TRY_VOID(insert(tx, owner_of(tenant), id, event));
  return id;
}

Result<std::vector<EventId>> emit_many(pg::Tx& tx, const TenantId& tenant, std::string_view role, std::vector<Event> events) {
  std::vector<EventId> ids;
  if (events.empty()) return ids;
  for (Event& event : events) STELLA_TRY_VOID(admit(event, role));
  const TenantId& owner = owner_of(tenant);
  for (std::span<const Event> rest(events); !rest.empty();) {
    const auto part = rest.first(std::min(rest.size(), kManyPerStatement));
    STELLA_TRY_VOID(insert_many(tx, owner, part, ids));
    rest = rest.subspan(part.size());
  }
  wake_after(tx, shard_of(owner));
  return ids;
}

}  // namespace detail

Result<std::vector<EventId>> emit_many(pg::TenantTx& tx, std::vector<Event> events) {
  for (Event& event : events)
    if (event.actor.empty()) event.actor = tx.actor();
  return detail::emit_many(tx, tx.tenant(), "web", std::move(events));
}

Result<EventId> emit(pg::TenantTx& tx, Event event) {
  if (event.actor.empty()) event.actor = tx.actor();
  return detail::emit(tx, tx.tenant(), "web", std::move(event));
}

Result<Submitted> submit(pg::TenantTx& tx, External external) {
  Event& event = external.event;
  event.actor = tx.actor();
  complete(event);
  const auto* kind = STELLA_TRY(check(event));
  if (!kind->external) return wrong("kind", "a kind that services outside the platform may send");
  bool fits = false;
  for (auto type : kind->resource_types) fits = fits || type == event.resource_type;
  if (!fits) return wrong("resource_type", "a resource type of this kind");
  const auto& id_bytes = external.event_id.uuid().bytes();
  if (external.event_id.is_nil() || (id_bytes[6] >> 4) != 7) return wrong("event_id", "a UUID of version 7");

  const TenantId& tenant = owner_of(tx.tenant());
  STELLA_TRY_VOID(tx.query(kLockId, {tenant, external.event_id}));
  for (auto sql : {kFindOutbox, kFindLog}) {
    const pg::Rows rows = STELLA_TRY(tx.query(sql, {tenant, external.event_id}));
    if (rows.empty()) continue;
    const std::string fresh = STELLA_TRY(encode_entry(external.event_id, Timestamp(), tenant, event));
    if (same_content(rows.bytes(0, 0), fresh)) return Submitted{external.event_id, true};
    return Error(contracts::errors::kConflict, "this event_id is known with other content").with("field", "event_id");
  }
  STELLA_TRY_VOID(insert(tx, tenant, external.event_id, event));
  return Submitted{external.event_id, false};
}

void set_wake_hook(std::function<void(int shard)> hook) {
  hook_slot() = std::make_shared<const std::function<void(int)>>(std::move(hook));
}

}  // namespace stella::timeline
