// Snapshots: the sum over the cells of each series, and the difference between two sums.
#include "stella/telemetry/metric_snapshot.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "metrics_registry.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace detail {
namespace {

// Adds one cell's counts and sum so that they fit each other. The writer is between its stores for nanoseconds, or for as long as the
// scheduler took its processor: then this thread sleeps, at most a tenth of a second. After that (a child of fork(), whose parent's
// thread was there) the copy is taken as it is.
void add_histogram(const Cell& cell, MetricPoint& point) {
  std::vector<std::uint64_t> counts(cell.buckets.size());
  double sum = 0;
  for (int tries = 0; tries < 564; ++tries) {
    const std::uint32_t before = cell.version.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = cell.buckets[i].count.load(std::memory_order_acquire);
    sum = cell.real.load(std::memory_order_acquire);
    if (before % 2 == 0 && cell.version.load(std::memory_order_relaxed) == before) break;
    if (tries >= 64) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  for (std::size_t i = 0; i < counts.size(); ++i) point.counts[i] += counts[i], point.count += counts[i];
  point.sum += sum;
}

// The newest of each bucket.
void add_exemplars(Cell& cell, std::vector<MetricExemplar>& newest) {
  while (cell.busy.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  if (cell.exemplars) {
    for (std::size_t i = 0; i < newest.size(); ++i) {
      if (cell.exemplars[i].ns > newest[i].ns) newest[i] = cell.exemplars[i];
    }
  }
  cell.busy.clear(std::memory_order_release);
}

MetricPoint read_series(const Series& series) {
  MetricPoint point;
  point.labels = &series.values;
  point.series = series.id;
  point.overflow = series.overflow;
  point.start_ns = series.start_ns;
  const contracts::MetricType type = series.spec.type;
  if (type == contracts::MetricType::kGauge) {
    point.value = series.gauge.load(std::memory_order_relaxed);
    return point;
  }
  const bool histogram = type == contracts::MetricType::kHistogram;
  if (histogram) point.counts.resize(series.spec.buckets.size() + 1);
  std::vector<MetricExemplar> newest(std::max<std::size_t>(1, point.counts.size()));
  double rest = 0;
  for (const auto& cell : series.cells) {
    if (histogram) {
      add_histogram(*cell, point);
    } else {
      point.whole += cell->whole.load(std::memory_order_relaxed);
      rest += cell->real.load(std::memory_order_relaxed);
    }
    if (type != contracts::MetricType::kUpDownCounter) add_exemplars(*cell, newest);
  }
  point.integral = series.spec.integral && rest == 0;
  point.value = static_cast<double>(point.whole) + rest;
  for (std::uint32_t i = 0; i < newest.size(); ++i) {
    if (newest[i].ns != 0) point.exemplars.emplace_back(i, newest[i]);
  }
  return point;
}

}  // namespace
}  // namespace detail

MetricSnapshot snapshot() {
  detail::Registry& r = detail::registry();
  Lock one_at_a_time(r.collecting);
  std::vector<std::function<void()>> callbacks;
  {
    Lock lock(r.mutex);
    callbacks = r.callbacks;
  }
  {
    // They record, so not under the registry's mutex; what passed since the last look is nobody's work, least of all that of who looks.
    const ContextScope nobody{Context()};
    for (const auto& callback : callbacks) callback();
  }
  detail::renew_exemplars();

  MetricSnapshot out;
  Lock lock(r.mutex);
  for (const auto& [name, in] : r.instruments) {
    if (in->series.empty() && !in->overflow) continue;
    MetricFamily& family = out.families.emplace_back(MetricFamily{&in->spec, {}});
    family.points.reserve(in->series.size() + 1);
    for (const auto& [text, series] : in->series) family.points.push_back(detail::read_series(*series));
    if (in->overflow) family.points.push_back(detail::read_series(*in->overflow));
  }
  out.ns = detail::wall_ns();
  return out;
}

DeltaReader::DeltaReader(Since since) : begin_ns_(0) {
  if (since == Since::kNow) (void)collect();
}

MetricSnapshot DeltaReader::collect() {
  MetricSnapshot out = snapshot();
  for (MetricFamily& family : out.families) {
    if (family.spec->type == contracts::MetricType::kGauge || family.spec->type == contracts::MetricType::kUpDownCounter) continue;
    std::erase_if(family.points, [&](MetricPoint& point) { return !subtract(point, out.ns); });
  }
  std::erase_if(out.families, [](const MetricFamily& family) { return family.points.empty(); });
  out.temporality = Temporality::kDelta;
  begin_ns_ = out.ns;
  return out;
}

// False where nothing came; but a counter's series is told of once before that, so that its first change is seen as one. Sums only grow here (cells are never reset); a difference below 0 cannot be.
bool DeltaReader::subtract(MetricPoint& point, std::int64_t now_ns) {
  const auto [known, fresh] = last_.try_emplace(point.series);
  Last& last = known->second;
  const Last now{point.whole, point.value, point.sum, point.counts};
  point.whole -= last.whole;
  point.value -= last.value;
  point.sum -= last.sum;
  last.counts.resize(point.counts.size());
  point.count = 0;
  for (std::size_t i = 0; i < point.counts.size(); ++i) point.count += point.counts[i] -= last.counts[i];
  std::erase_if(point.exemplars, [&](const auto& exemplar) { return exemplar.second.ns <= begin_ns_ || exemplar.second.ns > now_ns; });
  if (begin_ns_ != 0) point.start_ns = std::min(begin_ns_, now_ns);  // the clock may have been set back in between
  last = now;
  return point.count != 0 || point.whole != 0 || point.value != 0 || (fresh && point.counts.empty());
}

void on_collect(std::function<void()> callback) {
  Lock lock(detail::registry().mutex);
  detail::registry().callbacks.push_back(std::move(callback));
}

}  // namespace stella::telemetry
