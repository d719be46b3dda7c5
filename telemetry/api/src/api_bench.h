// The reports of this module's benchmarks beside those of google-benchmark: each prints its rows of the quality document.
#pragma once

namespace stella::telemetry {

void report_spans();  // G1, G2, G4
void report_logs();   // G9

}  // namespace stella::telemetry
