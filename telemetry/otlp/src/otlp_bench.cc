// What a span costs on its way to OTLP bytes and back: encoding is our part of G1 and G3, decoding to rows is G7.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdio>

#include "stella/telemetry/otlp.h"
#include "stella/telemetry/otlp_rows.h"
#include "stella/telemetry/otlp_scrub.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kSpans = 1000;

// A server span with its context, eight attributes.
std::string span_record(std::uint64_t i) {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = 1'700'000'000'000'000'000 + static_cast<std::int64_t>(i);
  b.head.end_ns = b.head.ns + 1'500'000;
  b.head.trace_flags = 1;
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(static_cast<std::uint8_t>(i | 1));
  b.head.parent_span_id.fill(0x33);
  b.tenant = "acme";
  b.message = "policy.evaluate";
  b.add(f::operation("evaluate"));
  b.add(f::job_kind("policy.evaluate"));
  b.add(f::policy_version("baseline@4f2a91c07d13"));
  b.add(f::decision_effect("deny"));
  b.add(f::component_count(5356));
  b.add(f::finding_count(static_cast<std::int64_t>(i)));
  b.add(f::duration(std::chrono::microseconds(1500)));
  b.add(f::cached(false));
  return b.build();
}
std::string log_record(std::uint64_t i) {
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.ns = 1'700'000'000'000'000'000 + static_cast<std::int64_t>(i);
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(0x22);
  b.head.request_id.fill(0x44);
  b.tenant = "acme";
  b.route = "/sboms/:id";
  b.method = "POST";
  b.module = "web";
  b.message = "sbom accepted";
  b.add(f::operation("ingest"));
  b.add(f::component_count(5356));
  b.add(f::duration(std::chrono::microseconds(1500)));
  return b.build();
}

std::vector<RecordView> views(const std::vector<std::string>& records) {
  std::vector<RecordView> out;
  for (const std::string& r : records) out.push_back(*RecordView::parse(r));
  return out;
}
std::vector<std::string> make(std::string (*one)(std::uint64_t)) {
  std::vector<std::string> out;
  for (std::uint64_t i = 0; i < kSpans; ++i) out.push_back(one(i));
  return out;
}

void per_item(benchmark::State& state) {
  state.counters["ns_per_item"] = benchmark::Counter(kSpans * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void BM_EncodeSpans(benchmark::State& state) {
  const auto records = make(span_record);
  const auto spans = views(records);
  TraceBatch batch;
  std::size_t bytes = 0;
  for (auto _ : state) {
    for (const RecordView& span : spans) batch.add(span);
    bytes = batch.take({}).size();
    benchmark::DoNotOptimize(bytes);
  }
  state.counters["bytes_per_span"] = static_cast<double>(bytes) / kSpans;
  per_item(state);
}
BENCHMARK(BM_EncodeSpans);

// As the backend does it: the record is validated first.
void BM_ParseAndEncodeSpans(benchmark::State& state) {
  const auto records = make(span_record);
  TraceBatch batch;
  for (auto _ : state) {
    for (const std::string& record : records) batch.add(*RecordView::parse(record));
    benchmark::DoNotOptimize(batch.take({}));
  }
  per_item(state);
}
BENCHMARK(BM_ParseAndEncodeSpans);

void BM_EncodeLogs(benchmark::State& state) {
  const auto records = make(log_record);
  const auto logs = views(records);
  LogBatch batch;
  for (auto _ : state) {
    for (const RecordView& log : logs) batch.add(log);
    benchmark::DoNotOptimize(batch.take({}));
  }
  per_item(state);
}
BENCHMARK(BM_EncodeLogs);

std::string request() {
  const auto records = make(span_record);
  TraceBatch batch;
  for (const RecordView& span : views(records)) batch.add(span);
  return batch.take({});
}

// What a receiver pays before it believes a request.
void BM_ScrubSpans(benchmark::State& state) {
  const std::string bytes = request();
  for (auto _ : state) benchmark::DoNotOptimize(scrub_otlp(Signal::kTraces, bytes).has_value());
  per_item(state);
}
BENCHMARK(BM_ScrubSpans);

void BM_DecodeSpans(benchmark::State& state) {
  const std::string bytes = request();
  TraceRows rows;
  for (auto _ : state) benchmark::DoNotOptimize(decode_traces(rows, bytes).has_value());
  per_item(state);
}
BENCHMARK(BM_DecodeSpans);

void BM_DecodeSpansIntoNewRows(benchmark::State& state) {
  const std::string bytes = request();
  for (auto _ : state) benchmark::DoNotOptimize(decode_traces(bytes)->spans.size());
  per_item(state);
}
BENCHMARK(BM_DecodeSpansIntoNewRows);

template <class F>
double best_ns(F&& f) {
  double best = 1e12;
  for (int i = 0; i < 200; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / kSpans);
  }
  return best;
}

void report() {
  const auto records = make(span_record);
  const auto spans = views(records);
  TraceBatch batch;
  const double encode = best_ns([&] {
    for (const RecordView& span : spans) batch.add(span);
    benchmark::DoNotOptimize(batch.take({}));
  });
  const std::string bytes = request();
  TraceRows rows;
  const double decode = best_ns([&] { benchmark::DoNotOptimize(decode_traces(rows, bytes).has_value()); });
  std::printf("G3   encode, our part: %.0f ns a span of eight attributes, request included (aim 60); %zu bytes\n", encode, bytes.size() / kSpans);
  std::printf("G7   decode to rows: %.0f ns a span; libprotobuf parse alone 640 ns (other machine): %.2f of it (must 0.25, stretch 0.17)\n", decode, decode / 640);
}

}  // namespace
}  // namespace stella::telemetry

int main(int argc, char** argv) {
  const bool compare = argc == 1;
  benchmark::Initialize(&argc, argv);
  if (compare) stella::telemetry::report();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
