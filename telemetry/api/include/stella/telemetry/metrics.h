// Counters, up-down counters, gauges and histograms. They are declared in contracts/metrics.json (another service: its own file of that
// form); a call site names the declaration and the labels' values in declared order. The number of labels is checked by the compiler, their
// values at run time: an enum's stranger becomes `_OTHER`; a bounded set's surplus, and what goes over the instrument's or the tenant's
// cap, goes to one series with otel_metric_overflow="true" and is counted in stella_metric_overflow_total.
//
//   static constexpr telemetry::Counter kRequests{contracts::metrics::kHttpRequests};
//   kRequests.add(1, "GET", "/sboms/:id", "2xx");
//   auto handle = kRequests.bind("GET", "/sboms/:id", "2xx");   // keep it; handle.add() costs a few nanoseconds
//
// Thread-safe; recording never fails, takes no lock and shares no cache line with another thread (a series' first use by a thread does).
// Not for signal handlers. Observations inside a span of a sampled trace leave an exemplar with its trace id, at most one per bucket,
// thread and second or scrape, whichever is shorter.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>

#include "stella/contracts/catalogue.h"
#include "stella/contracts/metrics.h"

namespace stella::telemetry {

namespace detail {
class Series;
Series& series(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count);
void add(Series& series, std::int64_t value);
void add(Series& series, double value);
void set(Series& series, double value);
void change(Series& series, double delta);
void observe(Series& series, double value);
// Whether anything is recorded at all: set_metrics_enabled.
extern std::atomic<bool> g_metrics_on;
// Lets the next observation of each bucket leave a new exemplar. Called by every snapshot, and once a second by the backend.
void renew_exemplars();

template <class T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool>;
template <class... L>
concept Labels = (std::convertible_to<L, std::string_view> && ...);

template <class... L>
Series& find(const contracts::MetricSpec* spec, const L&... labels) {
  const std::array<std::string_view, sizeof...(L)> values{std::string_view(labels)...};
  return series(*spec, values.data(), values.size());
}

// Whole numbers are counted exactly, whatever their size.
template <Number V>
void add_number(Series& series, V value) {
  if constexpr (std::is_integral_v<V>) {
    add(series, static_cast<std::int64_t>(value));
  } else {
    add(series, static_cast<double>(value));
  }
}
}  // namespace detail

// Makes every series that the enums of `spec` allow, at 0: an alert sees no increase where a series begins with its first loss. OTLP tells of
// each once, with 0.
void declare_series(const contracts::MetricSpec& spec);

// Bound handles stay valid until the process ends.
class BoundCounter {
 public:
  explicit BoundCounter(detail::Series& s) : series_(&s) {}
  void add() const { detail::add(*series_, std::int64_t{1}); }
  // A value below 0 is not counted.
  template <detail::Number V>
  void add(V value) const {
    if (!(value > V{})) return;
    detail::add_number(*series_, value);
  }

 private:
  detail::Series* series_;
};

// What comes and goes, told by its changes: connections, things in flight.
class BoundUpDownCounter {
 public:
  explicit BoundUpDownCounter(detail::Series& s) : series_(&s) {}
  template <detail::Number V>
  void add(V delta) const {
    detail::add_number(*series_, delta);
  }

 private:
  detail::Series* series_;
};

class BoundGauge {
 public:
  explicit BoundGauge(detail::Series& s) : series_(&s) {}
  void set(double value) const { detail::set(*series_, value); }
  void add(double delta) const { detail::change(*series_, delta); }

 private:
  detail::Series* series_;
};

class BoundHistogram {
 public:
  explicit BoundHistogram(detail::Series& s) : series_(&s) {}
  // NaN is not recorded.
  void record(double value) const { detail::observe(*series_, value); }

 private:
  detail::Series* series_;
};

template <std::size_t N>
class Counter {
 public:
  explicit constexpr Counter(contracts::CounterDef<N> def) : spec_(def.spec) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundCounter bind(const L&... labels) const {
    return BoundCounter(detail::find(spec_, labels...));
  }
  template <detail::Number V, detail::Labels... L>
    requires(sizeof...(L) == N)
  void add(V value, const L&... labels) const {
    bind(labels...).add(value);
  }

 private:
  const contracts::MetricSpec* spec_;
};

template <std::size_t N>
class UpDownCounter {
 public:
  explicit constexpr UpDownCounter(contracts::UpDownCounterDef<N> def) : spec_(def.spec) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundUpDownCounter bind(const L&... labels) const {
    return BoundUpDownCounter(detail::find(spec_, labels...));
  }
  template <detail::Number V, detail::Labels... L>
    requires(sizeof...(L) == N)
  void add(V delta, const L&... labels) const {
    bind(labels...).add(delta);
  }

 private:
  const contracts::MetricSpec* spec_;
};

template <std::size_t N>
class Gauge {
 public:
  explicit constexpr Gauge(contracts::GaugeDef<N> def) : spec_(def.spec) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundGauge bind(const L&... labels) const {
    return BoundGauge(detail::find(spec_, labels...));
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
  const contracts::MetricSpec* spec_;
};

template <std::size_t N>
class Histogram {
 public:
  explicit constexpr Histogram(contracts::HistogramDef<N> def) : spec_(def.spec) {}
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  BoundHistogram bind(const L&... labels) const {
    return BoundHistogram(detail::find(spec_, labels...));
  }
  // Durations are in seconds.
  template <detail::Labels... L>
    requires(sizeof...(L) == N)
  void record(double value, const L&... labels) const {
    bind(labels...).record(value);
  }

 private:
  const contracts::MetricSpec* spec_;
};

// Called before every exposition and snapshot, on its thread, one snapshot at a time: for what is read, not tracked (pool use, queue
// depth). Never removed. Must not take a snapshot itself.
void on_collect(std::function<void()> callback);

// Off: every recording is a load and nothing more. For measuring what telemetry costs, and for services that want none.
void set_metrics_enabled(bool on);

// All series as OpenMetrics 1.0 text, with exemplars, ending with `# EOF`. Content type: kOpenMetricsType. No `_created` samples:
// Prometheus before 2.50 stores each as a series of its own; start times go by OTLP.
std::string openmetrics();
inline constexpr std::string_view kOpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

// The same in the classic text format 0.0.4, which has no exemplars.
std::string prometheus_text();
inline constexpr std::string_view kPrometheusType = "text/plain; version=0.0.4; charset=utf-8";

// What a scraper with this Accept header gets: OpenMetrics unless it prefers text/plain.
struct Exposition {
  std::string_view content_type;
  std::string body;
};
Exposition expose(std::string_view accept);

}  // namespace stella::telemetry
