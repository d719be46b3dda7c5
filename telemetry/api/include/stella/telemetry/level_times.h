// Log levels that hold for a time: for whoever sets them, apart from log.h, which every call site includes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "stella/base/time.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/reclaim.h"

namespace stella::telemetry {

// Until then, before all other rules of the tenant (`module` "*": every module that has no such level of its own); what those say holds
// again at that time without another call. clear_tenant_levels() takes it back. Thread-safe.
void set_tenant_level(std::string_view tenant, std::string_view module, Level level, Timestamp until);

struct TemporaryLevel {
  Level level = Level::kInfo;
  Timestamp until;
  friend bool operator==(const TemporaryLevel&, const TemporaryLevel&) = default;
};
// All rules of a tenant, by module.
struct TenantLevels {
  std::map<std::string, Level, std::less<>> levels;
  std::map<std::string, TemporaryLevel, std::less<>> temporary;
  friend bool operator==(const TenantLevels&, const TenantLevels&) = default;
};
// In place of all that the tenant had, at once: no line in between sees half of them. Thread-safe.
void set_tenant_levels(std::string_view tenant, TenantLevels levels);

// Tables of rules: setting what holds already makes none.
Tables level_tables();

}  // namespace stella::telemetry
