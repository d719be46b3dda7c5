// The exporter's own accounting, read at every collection: settled items as counters, the spool as gauges.
#include "export_metrics.h"

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <utility>

#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Counter kExported{contracts::metrics::kTelemetryExported};
constexpr Counter kRecovered{contracts::metrics::kTelemetryRecovered};
constexpr Gauge kQueued{contracts::metrics::kTelemetryExportQueueRecords};
constexpr Gauge kSpoolBytes{contracts::metrics::kTelemetrySpoolBytes};
constexpr Gauge kSpoolRecords{contracts::metrics::kTelemetrySpoolRecords};

struct Settled {
  std::uint64_t sent = 0, rejected = 0, dropped = 0, recovered = 0;
};

struct Watched {
  std::mutex mutex;
  std::weak_ptr<Exporter> exporter;
  std::array<Settled, kSignals> last;  // of this exporter
};

Watched& watched() {
  static Watched* const w = new Watched;
  return *w;
}

// An accounting never falls; should it do so, nothing is counted.
std::uint64_t grown(std::uint64_t now, std::uint64_t last) { return now > last ? now - last : 0; }

void tell(std::string_view signal, const SignalStats& now, Settled& last) {
  kExported.add(grown(now.sent, last.sent), signal, "sent");
  kExported.add(grown(now.rejected, last.rejected), signal, "rejected");
  kExported.add(grown(now.dropped_total(), last.dropped), signal, "dropped");
  kRecovered.add(grown(now.recovered, last.recovered), signal);
  last = {now.sent, now.rejected, now.dropped_total(), now.recovered};
  kQueued.set(static_cast<double>(now.queued), signal);
  kSpoolBytes.set(static_cast<double>(now.spool_bytes), signal);
  kSpoolRecords.set(static_cast<double>(now.spooled), signal);
}

void read_exporter() {
  Watched& w = watched();
  const std::lock_guard lock(w.mutex);
  const std::shared_ptr<Exporter> exporter = w.exporter.lock();
  if (!exporter) return;
  const ExportStats stats = exporter->stats();
  for (const Signal signal : kAllSignals) {
    tell(to_string(signal), stats.of(signal), w.last[static_cast<std::size_t>(signal)]);
  }
}

}  // namespace

void watch_exporter(std::weak_ptr<Exporter> exporter) {
  static std::once_flag once;
  std::call_once(once, [] { on_collect(read_exporter); });
  const std::lock_guard lock(watched().mutex);
  watched().exporter = std::move(exporter);
  watched().last = {};
}

}  // namespace stella::telemetry
