// All instruments and their series. Recording comes here only for what a thread sees for the first time; snapshots read it whole.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "metrics_series.h"
#include "stella/base/sync.h"

namespace stella::telemetry::detail {

struct Instrument {
  explicit Instrument(const contracts::MetricSpec& spec) : spec(spec), seen(spec.labels.size()) {}

  const contracts::MetricSpec& spec;
  std::map<std::string, std::unique_ptr<Series>> series;   // by label text, in the order of the exposition
  std::vector<std::unordered_set<std::string>> seen;       // values of each bounded label
  std::unordered_map<std::string, std::uint32_t> tenants;  // series by tenant, where a label names it
  std::unique_ptr<Series> overflow;
};

struct Registry {
  Registry();
  Mutex mutex;  // a leaf: nothing is called under it
  std::map<std::string_view, std::unique_ptr<Instrument>> instruments STELLA_GUARDED_BY(mutex);  // by name
  std::unordered_map<const contracts::MetricSpec*, Instrument*> by_spec STELLA_GUARDED_BY(mutex);
  std::vector<std::unique_ptr<Instrument>> refused STELLA_GUARDED_BY(mutex);  // a name that is taken with another shape: never shown
  std::uint32_t next_id STELLA_GUARDED_BY(mutex) = 0;
  Mutex collecting;  // held while callbacks run
  std::vector<std::function<void()>> callbacks STELLA_GUARDED_BY(mutex);
};
// Never destroyed: threads may record while the process ends.
Registry& registry();

// Finds or makes the series, within all caps. Takes the registry's mutex.
Series& register_series(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count, std::uint64_t hash);
// A cell that no thread writes. The registry's mutex must be held.
Cell& take_cell(Series& series);
// Of a thread that ends, by series id; null where it has none.
void release_cells(std::span<Cell* const> cells);
std::int64_t wall_ns();
// Backslash, quote and line feed, as OpenMetrics escapes them.
void append_escaped(std::string& out, std::string_view text);

}  // namespace stella::telemetry::detail
