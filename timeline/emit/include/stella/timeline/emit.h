// Emission of timeline events: one outbox row in the transaction that changes the state (transactional outbox).
//
// Call it last in the transaction, after the resource's row is written or locked: then order per resource holds. The row travels
// with the transaction's next statement or with its commit, so emitting costs no round trip of its own, and its database errors
// appear there. After the commit the indexer is woken.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/platform/pg.h"

namespace stella::timeline {

// The indexer's units of exclusive work; a tenant's events are all in one. Fixed for good: rows carry the number.
inline constexpr int kShards = 8;
int shard_of(const TenantId& tenant);

struct Event {
  std::string_view kind;              // of contracts/events.json
  std::optional<ProjectId> project = {};
  std::string actor = {};             // "": the transaction's actor; background roles: "service:<role>"
  std::string resource_type = {};
  std::string resource_id = {};
  TraceId trace = {};                 // empty: taken from traceparent, or where that is empty too, both from the span that is open
  json::Value details = json::Value::object();
  std::vector<std::pair<std::string, std::string>> resources = {};  // other resources, as (type, id); at most kMaxResources
  std::string traceparent = {};       // W3C form; travels as header of the published message, with the ambient trace state
};
// One of the transaction's actor, without project and further resources.
inline Event event_of(std::string_view kind, std::string resource_type, std::string resource_id, TraceId trace, json::Value details) {
  return {.kind = kind, .resource_type = std::move(resource_type), .resource_id = std::move(resource_id), .trace = trace, .details = std::move(details)};
}
// The W3C trace state that goes with `trace`: that of the ambient context where the work is part of this trace, else "".
std::string tracestate_of(TraceId trace);
inline constexpr std::size_t kMaxResources = 64;
inline constexpr std::size_t kMaxResourceId = 512;  // bytes

// The event's tenant is the transaction's; events of the tenant `global` belong to `platform`.
// kInternal (a bug of the caller) where kind or details are not in the catalogue or a part is missing; kLimit over
// limits::kEventBytes: larger details go in by digest.
Result<EventId> emit(pg::TenantTx& tx, Event event);

// Many events in one statement, in order: for transitions that touch hundreds of things at once (findings). All or none.
Result<std::vector<EventId>> emit_many(pg::TenantTx& tx, std::vector<Event> events);

namespace detail {
Result<EventId> emit(pg::Tx& tx, const TenantId& tenant, std::string_view role, Event event);
Result<std::vector<EventId>> emit_many(pg::Tx& tx, const TenantId& tenant, std::string_view role, std::vector<Event> events);
}  // namespace detail

// Background roles name the tenant.
template <class Role>
Result<EventId> emit(pg::SystemTx<Role>& tx, const TenantId& tenant, Event event) {
  return detail::emit(tx, tenant, Role::kName, std::move(event));
}

template <class Role>
Result<std::vector<EventId>> emit_many(pg::SystemTx<Role>& tx, const TenantId& tenant, std::vector<Event> events) {
  return detail::emit_many(tx, tenant, Role::kName, std::move(events));
}

// An event of a service outside the platform (POST /timeline): only kinds marked external, ts, tenant and actor from us.
struct External {
  EventId event_id;                   // chosen by the sender: repeating a send is safe
  Event event;                        // actor is ignored
};
struct Submitted {
  EventId event_id;
  bool existed = false;               // the same content was already there
};
// kInvalid with field and expected for what the catalogue refuses; kConflict where event_id is known with other content; kLimit.
Result<Submitted> submit(pg::TenantTx& tx, External external);

// The bytes of an entry: RFC 8785 JSON of the canonical schema. Exposed for tests and benchmarks.
Result<std::string> encode_entry(const EventId& id, Timestamp ts, const TenantId& tenant, const Event& event);

// Called after each commit that emitted, with the shard, on the committing thread; must not block or throw. Set once by the composition
// root (it tells the indexer of this process and, through the bus, the others). Thread-safe.
void set_wake_hook(std::function<void(int shard)> hook);

}  // namespace stella::timeline
