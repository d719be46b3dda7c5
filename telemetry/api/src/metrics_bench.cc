// G5: a counter with three labels: bound handle, dynamic labels, two threads at once; and a histogram. The opentelemetry-cpp figures of
// the quality document were measured on another machine and are printed without verdict; the limits are ours.
#include <benchmark/benchmark.h>

#include "stella/telemetry/context.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Counter kRequests{contracts::metrics::kHttpRequests};
constexpr Histogram kDuration{contracts::metrics::kHttpRequestDurationSeconds};

// `peer`: ns of opentelemetry-cpp; `must`: the largest part of it.
void report(benchmark::State& state, double peer, double must) {
  using benchmark::Counter;
  state.counters["peer_ns_other_machine"] = Counter(peer, Counter::kAvgThreads);
  state.counters["must_ns"] = Counter(peer * must, Counter::kAvgThreads);
}

// A span is open, as around every request.
Context in_span() {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  return context;
}

void bound(benchmark::State& state) {
  const ContextScope scope(in_span());
  const BoundCounter handle = kRequests.bind("GET", "/sboms/:id", "2xx");
  for (auto _ : state) handle.add();
  report(state, state.threads() == 2 ? 265 : 180, state.threads() == 2 ? 1.0 / 18 : 1.0 / 30);
}
BENCHMARK(bound)->Name("G5/counter_bound");
BENCHMARK(bound)->Name("G5/counter_bound_two_threads")->Threads(2)->UseRealTime();

void outside(benchmark::State& state) {
  const BoundCounter handle = kRequests.bind("GET", "/sboms/:id", "2xx");
  for (auto _ : state) handle.add();
}
BENCHMARK(outside)->Name("counter_bound_outside_of_spans");

void dynamic(benchmark::State& state) {
  const ContextScope scope(in_span());
  const std::string route = "/timeline/:event_id";
  for (auto _ : state) kRequests.add(1, "GET", route, "2xx");
  report(state, 180, 1.0 / 5);
}
BENCHMARK(dynamic)->Name("G5/counter_dynamic");

// Forty series in turn: what a server with forty routes looks up.
void dynamic_many(benchmark::State& state) {
  const ContextScope scope(in_span());
  std::vector<std::string> routes;
  for (int i = 0; i < 40; ++i) routes.push_back("/route/" + std::to_string(i) + "/:id");
  std::size_t i = 0;
  for (auto _ : state) {
    kRequests.add(1, "POST", routes[i], "2xx");
    i = i == 39 ? 0 : i + 1;
  }
}
BENCHMARK(dynamic_many)->Name("counter_dynamic_40_series");

void record(benchmark::State& state) {
  const ContextScope scope(in_span());
  const BoundHistogram handle = kDuration.bind("GET", "/sboms/:id");
  double value = 0.0001;
  for (auto _ : state) {
    handle.record(value);
    value = value > 9 ? 0.0001 : value * 1.7;
  }
}
BENCHMARK(record)->Name("histogram_bound");
BENCHMARK(record)->Name("histogram_bound_two_threads")->Threads(2)->UseRealTime();

void exposition(benchmark::State& state) {
  for (int i = 0; i < 200; ++i) kDuration.record(0.01, "GET", "/exposed/" + std::to_string(i));
  std::size_t bytes = 0;
  for (auto _ : state) bytes += openmetrics().size();
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK(exposition)->Name("openmetrics_200_histograms")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace stella::telemetry
