// Events that the locker itself causes, nobody's request.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "stella/timeline/emit.h"

namespace stella::evidence {

inline timeline::Event locker_event(std::string_view kind, std::string_view resource_type, std::string resource_id, json::Value details) {
  timeline::Event out;
  out.kind = kind;
  out.actor = "system:locker";
  out.resource_type = resource_type;
  out.resource_id = std::move(resource_id);
  out.details = std::move(details);
  return out;
}

// The same about all of a tenant.
inline timeline::Event tenant_event(const TenantId& tenant, std::string_view kind, json::Value details) { return locker_event(kind, "tenant", tenant.str(), std::move(details)); }

}  // namespace stella::evidence
