// What the exporter did, as metrics.
#pragma once

#include <memory>

#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

// From now on every collection reads this exporter, while it lives; one that was watched before is let go.
void watch_exporter(std::weak_ptr<Exporter> exporter);

}  // namespace stella::telemetry
