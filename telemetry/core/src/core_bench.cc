// The backend: records from rings to the log file (G10) and to OTLP requests (G3, our part), beside spdlog's async logger to a file.
//
// What is timed for G10 is the wall time from the first call to the last byte handed to the kernel, with one producer and one backend
// thread each; each side logs the same message with the same six values. spdlog neither escapes nor scrubs nor names its values.
#include <benchmark/benchmark.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "ring.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/otlp.h"

namespace stella::telemetry {
namespace {

const Resource kResource{"stellad", "0.1.0", "bench", "here", "bench:1"};
constexpr int kLines = 400'000;
constexpr std::size_t kQueue = 8192;

struct Dir {
  char name[32] = "/tmp/stella-bench-XXXXXX";
  Dir() {
    if (mkdtemp(name) == nullptr) std::abort();
  }
  ~Dir() {
    const std::string command = std::string("rm -rf ") + name;
    [[maybe_unused]] const int done = system(command.c_str());
  }
};

RecordBuilder log_builder() {
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.ns = 1'795'000'000'123'456'789;
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(0x22);
  b.head.request_id.fill(0x33);
  b.tenant = "acme";
  b.actor = "user:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9099";
  b.route = "/sboms/:id";
  b.method = "GET";
  b.module = "web";
  b.message = "sbom accepted";
  b.add(f::sbom_id(*SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012")));
  b.add(f::duration(std::chrono::microseconds(1234)));
  b.add(f::component_count(512));
  b.add(f::format("cyclonedx"));
  return b;
}

RecordBuilder span_builder() {
  RecordBuilder b = log_builder();
  b.head.kind = RecordKind::kSpan;
  b.head.end_ns = b.head.ns + 1'000'000;
  b.module.clear();
  b.message = "api./sboms/:id";
  b.add(f::http_status(201));
  b.add(f::decision_effect("allow"));
  b.add(f::operation("create"));
  b.add(f::attempt(1));
  return b;
}

void BM_Line(benchmark::State& state) {
  const std::string bytes = log_builder().build();
  std::string out;
  out.reserve(1 << 20);
  for (auto _ : state) {
    append_line(out, *RecordView::parse(bytes), kResource);
    if (out.size() > 128 * 1024) out.clear();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Line);

void BM_RingPush(benchmark::State& state) {
  const std::string bytes = log_builder().build();
  const auto ring = *Ring::create("", 256 * 1024);
  for (auto _ : state) {
    if (!ring->push(bytes)) {
      ring->advance(ring->readable().size(), 0);
      ring->release();
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_RingPush);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// CPU seconds of the whole process.
double cpu() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return s(u.ru_utime) + s(u.ru_stime);
}

struct Rate {
  double per_second = 0, cpu_ns = 0;
};

// A ring of about as many records as spdlog's queue; before it is full the producer waits, as spdlog's does, so that every line is written.
Rate ours() {
  const Dir dir;
  BackendOptions o;
  o.resource = kResource;
  o.log_path = std::string(dir.name) + "/log";
  o.dir = std::string(dir.name) + "/rings";
  o.ring_bytes = 4 << 20;
  o.crash_handler = false;
  auto backend = *Backend::install(std::move(o));
  std::string bytes = log_builder().build();
  const double cpu_start = cpu();
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t written = 0;
  for (std::uint64_t i = 0; i < kLines; ++i) {
    while (i - written >= kQueue) {
      written = backend->totals().lines;
      if (i - written >= kQueue) usleep(20);
    }
    backend->outlet().push(bytes);
  }
  backend->flush(Deadline::after(std::chrono::seconds(60)));
  const double seconds = seconds_since(start);
  const BackendTotals t = backend->totals();
  if (t.lines != kLines) std::printf("lines missing: %llu of %d\n", static_cast<unsigned long long>(t.lines), kLines);
  return {kLines / seconds, (cpu() - cpu_start) / kLines * 1e9};
}

Rate theirs() {
  const Dir dir;
  spdlog::init_thread_pool(kQueue, 1);
  auto logger = spdlog::create_async<spdlog::sinks::basic_file_sink_mt>("bench", std::string(dir.name) + "/log");
  const double cpu_start = cpu();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kLines; ++i) {
    logger->info("sbom accepted tenant={} actor={} sbom_id={} duration_us={} component_count={} format={}", "acme",
                 "user:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9099", "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012", 1234, 512, "cyclonedx");
  }
  logger->flush();
  logger.reset();
  spdlog::shutdown();  // joins its thread: everything is written
  const double seconds = seconds_since(start);
  return {kLines / seconds, (cpu() - cpu_start) / kLines * 1e9};
}

// The backend thread's own work for a line: ring, order, line, write.
double backend_ns() {
  const Dir dir;
  const std::string path = std::string(dir.name) + "/log";
  FILE* const file = std::fopen(path.c_str(), "w");
  const std::string bytes = log_builder().build();
  const auto ring = *Ring::create("", 256 * 1024);
  std::string out;
  out.reserve(256 * 1024);
  double best = 1e12;
  for (int round = 0; round < 200; ++round) {
    int n = 0;
    while (ring->push(bytes)) ++n;
    const auto start = std::chrono::steady_clock::now();
    std::string_view rest = ring->readable();
    const std::size_t all = rest.size();
    while (!rest.empty()) {
      const auto view = RecordView::parse(rest);
      append_line(out, *view, kResource);
      out.push_back('\n');
      rest.remove_prefix(view->bytes().size());
      if (out.size() > 128 * 1024 || rest.empty()) {
        if (write(fileno(file), out.data(), out.size()) < 0) std::abort();
        out.clear();
      }
    }
    ring->advance(all, 0);
    ring->release();
    best = std::min(best, seconds_since(start) / n * 1e9);
  }
  std::fclose(file);
  return best;
}

double spans_ns() {
  std::vector<std::string> records;
  const std::string bytes = span_builder().build();
  const auto ring = *Ring::create("", 256 * 1024);
  TraceBatch batch;
  double best = 1e12;
  for (int round = 0; round < 300; ++round) {
    int n = 0;
    const auto start = std::chrono::steady_clock::now();
    while (ring->push(bytes)) ++n;
    std::string_view rest = ring->readable();
    const std::size_t all = rest.size();
    while (!rest.empty()) {
      const auto view = RecordView::parse(rest);
      batch.add(*view);
      rest.remove_prefix(view->bytes().size());
    }
    ring->advance(all, 0);
    ring->release();
    benchmark::DoNotOptimize(batch.take(kResource));
    best = std::min(best, seconds_since(start) / n * 1e9);
  }
  return best;
}

void report() {
  Rate we, they;
  for (int i = 0; i < 3; ++i) {  // in turns; the best of each
    const Rate a = ours(), b = theirs();
    if (a.per_second > we.per_second) we = a;
    if (b.per_second > they.per_second) they = b;
  }
  const double ratio = we.per_second / they.per_second;
  std::printf("G10  lines to file: spdlog %.2f M/s (%.0f ns CPU a line), ours %.2f M/s (%.0f ns), %zu bytes a line: %.2fx (must 1.7, stretch 2.5) %s\n",
              they.per_second / 1e6, they.cpu_ns, we.per_second / 1e6, we.cpu_ns, [] {
                std::string line;
                const std::string bytes = log_builder().build();
                append_line(line, *RecordView::parse(bytes), kResource);
                return line.size();
              }(), ratio, ratio >= 1.7 ? "pass" : "FAIL");
  std::printf("G10  backend thread alone: %.0f ns a line, the write included (%.2f M/s)\n", backend_ns(), 1e3 / backend_ns());
  std::printf("G3   ring to OTLP request: %.0f ns a span of eight attributes, push included; oc 2000 ns (other machine)\n", spans_ns());
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
