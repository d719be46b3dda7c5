// Events that the locker itself causes, nobody's request.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "stella/timeline/emit.h"

namespace stella::evidence {

inline timeline::Event locker_event(std::string_view kind, std::string resource_type, std::string resource_id, json::Value details) {
  timeline::Event out = timeline::event_of(kind, std::move(resource_type), std::move(resource_id), TraceId(), std::move(details));
  out.actor = "system:locker";
  return out;
}

// The same about all of a tenant.
inline timeline::Event tenant_event(const TenantId& tenant, std::string_view kind, json::Value details) { return locker_event(kind, "tenant", tenant.str(), std::move(details)); }

}  // namespace stella::evidence
