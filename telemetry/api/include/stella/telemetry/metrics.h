// Counters, gauges and histograms. They are declared in contracts/metrics.json; a call site names the declaration and the labels' values
// in declared order. The number of labels is checked by the compiler, their values at run time: an enum's stranger becomes `_OTHER`,
// a bounded set's surplus goes to one series with otel_metric_overflow="true".
//
//   static constexpr telemetry::Counter kRequests{contracts::metrics::kHttpRequests};
//   kRequests.add(1, "GET", "/sboms/:id", "2xx");
//   auto handle = kRequests.bind("GET", "/sboms/:id", "2xx");   // keep it; handle.add(1) costs a few nanoseconds
//
// Thread-safe; recording never fails. Observations inside a span leave an exemplar with its trace id.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "stella/contracts/catalogue.h"
#include "stella/contracts/metrics.h"

namespace stella::telemetry {

namespace detail {
class Series;
Series& series(std::uint16_t metric, const std::string_view* labels, std::size_t count);
void add(Series& series, double value);
void set(Series& series, double value);
void observe(Series& series, double value);

template <class... L>
concept Labels = (std::convertible_to<L, std::string_view> && ...);

template <class... L>
Series& find(std::uint16_t metric, const L&... labels) {
  const std::array<std::string_view, sizeof...(L)> values{std::string_view(labels)...};
  return series(metric, values.data(), values.size());
}
}  // namespace detail

// Bound handles stay valid until the process ends.
class BoundCounter {
 public:
  explicit BoundCounter(detail::Series& s) : series_(&s) {}
  // Precondition: value >= 0.
  void add(double value = 1) const { detail::add(*series_, value); }

 private:
  detail::Series* series_;
};

class BoundGauge {
 public:
  explicit BoundGauge(detail::Series& s) : series_(&s) {}
  void set(double value) const { detail::set(*series_, value); }
  void add(double delta) const { detail::add(*series_, delta); }

 private:
  detail::Series* series_;
};

class BoundHistogram {
 public:
  explicit BoundHistogram(detail::Series& s) : series_(&s) {}
  void record(double value) const { detail::observe(*series_, value); }

 private:
  detail::Series* series_;
};

template <std::size_t N>
class Counter {
 public:
  explicit constexpr Counter(contracts::CounterDef<N> def) : index_(def.index) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundCounter bind(const L&... labels) const {
    return BoundCounter(detail::find(index_, labels...));
  }
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  void add(double value, const L&... labels) const {
    bind(labels...).add(value);
  }

 private:
  std::uint16_t index_;
};

template <std::size_t N>
class Gauge {
 public:
  explicit constexpr Gauge(contracts::GaugeDef<N> def) : index_(def.index) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundGauge bind(const L&... labels) const {
    return BoundGauge(detail::find(index_, labels...));
  }
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  void set(double value, const L&... labels) const {
    bind(labels...).set(value);
  }
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  void add(double delta, const L&... labels) const {
    bind(labels...).add(delta);
  }

 private:
  std::uint16_t index_;
};

template <std::size_t N>
class Histogram {
 public:
  explicit constexpr Histogram(contracts::HistogramDef<N> def) : index_(def.index) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundHistogram bind(const L&... labels) const {
    return BoundHistogram(detail::find(index_, labels...));
  }
  // Durations are in seconds.
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  void record(double value, const L&... labels) const {
    bind(labels...).record(value);
  }

 private:
  std::uint16_t index_;
};

// Called before every exposition, on its thread: for gauges that are read, not tracked (pool use, queue depth). Never removed.
void on_collect(std::function<void()> callback);

// All series as OpenMetrics 1.0 text, with exemplars, ending with `# EOF`. Content type: kOpenMetricsType.
std::string openmetrics();
inline constexpr std::string_view kOpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

}  // namespace stella::telemetry
