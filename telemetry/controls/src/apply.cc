// Controls into force: the one place that turns telemetry's own switches.
#include "stella/telemetry/controls.h"
#include "stella/telemetry/level_times.h"
#include "stella/telemetry/sampler.h"

namespace stella::controls {

void apply(const TenantId& tenant, const Controls& controls) {
  telemetry::TenantLevels levels{controls.levels, {}};
  for (const auto& [module, one] : controls.temporary_levels) levels.temporary.emplace(module, telemetry::TemporaryLevel{one.level, one.until});
  telemetry::set_tenant_levels(tenant.str(), std::move(levels));
  telemetry::set_tenant_sampling(tenant.str(), controls.sampling);
  if (controls.deep_debug) telemetry::set_deep_debug(tenant.str(), controls.deep_debug->kinds, controls.deep_debug->until);
  else telemetry::set_deep_debug(tenant.str(), {}, Timestamp());
}

}  // namespace stella::controls
