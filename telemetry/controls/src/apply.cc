// Controls into force: the one place that turns telemetry's own switches.
#include "stella/telemetry/controls.h"

namespace stella::controls {

void apply(const TenantId& tenant, const Controls& controls) {
  if (controls.deep_debug) telemetry::set_deep_debug(tenant.str(), controls.deep_debug->kinds, controls.deep_debug->until);
  else telemetry::set_deep_debug(tenant.str(), {}, Timestamp());
}

}  // namespace stella::controls
