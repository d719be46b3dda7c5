// G6: a context read from headers and written into a caller's buffer. The opentelemetry-cpp figures of the quality document were measured
// on another machine and are printed without verdict; the limits are ours. CPU time of one call.
#include <benchmark/benchmark.h>

#include "stella/telemetry/propagation.h"

namespace stella::telemetry {
namespace {

using Headers = std::vector<std::pair<std::string_view, std::string_view>>;

constexpr std::string_view kParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
constexpr std::string_view kState = "ot=th:fd70a4,rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,es=s:0.25";

// `peer`: ns of opentelemetry-cpp; `must`: the largest part of it.
void report(benchmark::State& state, double peer, double must) {
  state.counters["peer_ns_other_machine"] = peer;
  state.counters["must_ns"] = peer * must;
}

void extracts(benchmark::State& state, const Headers& headers) {
  for (auto _ : state) {
    const Extractor caller(headers);
    const auto remote = caller.remote();
    benchmark::DoNotOptimize(remote->parent.span_id);
    benchmark::DoNotOptimize(remote->tracestate.data());
  }
}

void extract_parent(benchmark::State& state) {
  extracts(state, {{"traceparent", kParent}});
  report(state, 160, 1.0 / 5);
}
BENCHMARK(extract_parent)->Name("G6/extract_traceparent");

void extract_state(benchmark::State& state) {
  extracts(state, {{"traceparent", kParent}, {"tracestate", kState}});
  report(state, 1340, 1.0 / 15);
}
BENCHMARK(extract_state)->Name("G6/extract_traceparent_and_tracestate");

void inject_parent(benchmark::State& state) {
  const TraceParent parent = *parse_traceparent(kParent);
  char text[kTraceparentBytes];
  for (auto _ : state) {
    write_traceparent(parent, text);
    benchmark::DoNotOptimize(&text);
    benchmark::ClobberMemory();
  }
  report(state, 53, 1.0 / 10);
}
BENCHMARK(inject_parent)->Name("G6/inject_traceparent");

// Blanks and duplicates: the state is put together anew.
void extract_untidy(benchmark::State& state) { extracts(state, {{"traceparent", kParent}, {"tracestate", "ot=th:fd70a4, rojo=00f067aa0ba902b7 ,rojo=1"}, {"tracestate", "congo=t61rcWkgMzE"}}); }
BENCHMARK(extract_untidy)->Name("extract_untidy_tracestate");

// What a browser sends along.
void extract_among(benchmark::State& state) {
  extracts(state, {{"host", "stella.example"}, {"user-agent", "Mozilla/5.0"}, {"accept", "*/*"}, {"accept-encoding", "gzip"}, {"authorization", "Bearer x"},
                   {"content-type", "application/json"}, {"connection", "keep-alive"}, {"traceparent", kParent}});
}
BENCHMARK(extract_among)->Name("extract_traceparent_of_8_headers");

// The whole way of a request: extract, rule, context of its own.
void admits(benchmark::State& state) {
  const Headers headers{{"traceparent", kParent}, {"tracestate", kState}};
  for (auto _ : state) {
    const Extractor caller(headers);
    benchmark::DoNotOptimize(admit(caller, true));
  }
}
BENCHMARK(admits)->Name("admit_with_tracestate");

void format(benchmark::State& state) {
  const TraceParent parent = *parse_traceparent(kParent);
  for (auto _ : state) benchmark::DoNotOptimize(format_traceparent(parent));
}
BENCHMARK(format)->Name("format_traceparent_as_string");

void allowed_of_baggage(benchmark::State& state) {
  if (!allow_baggage(std::vector<std::string>{"case"}).has_value()) return state.SkipWithError("the key was refused");
  for (auto _ : state) {
    Extractor caller;
    caller.header("baggage", "userId=alice,serverNode=DF%2028,isProduction=false,case=2026-01");
    benchmark::DoNotOptimize(caller.allowed_baggage().data());
  }
  (void)allow_baggage({});
}
BENCHMARK(allowed_of_baggage)->Name("baggage_one_of_4_members_allowed");

}  // namespace
}  // namespace stella::telemetry
