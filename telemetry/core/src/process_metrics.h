// Saturation of the process itself, read at every exposition.
#pragma once

namespace stella::telemetry {

// Registers the process gauges once per process.
void watch_process();

}  // namespace stella::telemetry
