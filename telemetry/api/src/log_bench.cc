// G9: how long a log call holds up its caller, beside spdlog's async logger in the same run; and the main of this module's benchmarks.
//
// Both write to a file through a thread of their own and say the same message with the same three values. Calls come in bursts with pauses
// in which the other thread catches up: what is timed is the call, not the wait for room. p50 is that of the means of ten calls in a row (some
// CPUs count their ticks in steps of ten ns), p99.9 that of single calls without what reading the clock costs. The first call after a pause, whose
// code and data have left the caches, is a number of its own: one call in 500 here, it would be the p99.9 and say nothing about the others. Ours scrubs, and stands in the context of a request, whose ids and texts are in each of its lines.
#include <benchmark/benchmark.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "api_bench.h"
#include "bench_report.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/clock.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"web"};
constexpr int kBursts = 400, kBurst = 500;
constexpr std::string_view kSbomText = "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012";
const SbomId kSbom = *SbomId::parse(kSbomText);

// Counts per ns up to 64 µs, then by powers of two.
class Histogram {
 public:
  void add(std::int64_t ns) {
    ++all_;
    if (ns < 0) ns = 0;
    if (ns < static_cast<std::int64_t>(fine_.size())) ++fine_[static_cast<std::size_t>(ns)];
    else ++coarse_[static_cast<std::size_t>(63 - __builtin_clzll(static_cast<unsigned long long>(ns)))];
  }
  // The value that `part` of all do not exceed.
  double at(double part) const {
    const auto goal = static_cast<std::uint64_t>(part * static_cast<double>(all_));
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < fine_.size(); ++i) {
      if ((sum += fine_[i]) > goal) return static_cast<double>(i);
    }
    for (std::size_t i = 0; i < coarse_.size(); ++i) {
      if ((sum += coarse_[i]) > goal) return static_cast<double>(std::uint64_t{2} << i);
    }
    return 0;
  }

 private:
  std::vector<std::uint64_t> fine_ = std::vector<std::uint64_t>(64 * 1024);
  std::array<std::uint64_t, 64> coarse_{};
  std::uint64_t all_ = 0;
};

class Dir {
 public:
  Dir() {
    if (mkdtemp(name_) == nullptr) std::abort();
  }
  ~Dir() { std::filesystem::remove_all(name_); }
  std::string operator/(const char* file) const { return std::string(name_) + "/" + file; }

 private:
  char name_[32] = "/tmp/stella-bench-XXXXXX";
};

// Of the ticks of the CPU where they can be had: finer than the kernel's clock in a virtual machine.
std::int64_t now() { return detail::instant().mono; }

struct Times {
  double p50 = 0, p999 = 0, first = 0;  // ns; the median of first calls
};

// Times of call(i).
template <class F>
Times timed(F&& call) {
  constexpr int kGroup = 10;
  Histogram groups, calls, first, clock;
  for (int burst = 0; burst < kBursts; ++burst) {
    const bool single = burst % 2 == 1;
    for (int i = 0; i < kBurst; i += kGroup) {
      std::int64_t start = now();
      for (int k = 0; k < kGroup; ++k) {
        call(i + k);
        if (!single) continue;
        const std::int64_t end = now();
        (i + k == 0 ? first : calls).add(end - start);
        start = now();
        clock.add(start - end);
      }
      if (!single) groups.add((now() - start) * 10 / kGroup);  // in tenths
    }
    usleep(3000);
  }
  const double reading = clock.at(0.5);
  return {groups.at(0.5) / 10, std::max(0.0, calls.at(0.999) - reading), std::max(0.0, first.at(0.5) - reading)};
}

Context request() {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  context.tenant_id = *TenantId::parse("acme");
  context.actor = "user:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9099";
  context.route = "/sboms/:id";
  context.method = "GET";
  return context;
}

template <class F>
Times ours(F&& call) {
  const Dir dir;
  BackendOptions o;
  o.resource = {"stellad", "0.1.0", "bench", "here", "bench:1"};
  o.log_path = dir / "log";
  o.dir = dir / "rings";
  o.ring_bytes = 4 << 20;  // a burst has room, however late the other thread comes
  o.crash_handler = false;
  const auto backend = *Backend::install(std::move(o));
  const ContextScope scope(request());
  const Times out = timed(call);
  backend->flush(Deadline::after(std::chrono::seconds(30)));
  if (backend->totals().lines != kBursts * kBurst) std::printf("lines missing: %llu of %d\n", static_cast<unsigned long long>(backend->totals().lines), kBursts * kBurst);
  return out;
}

Times theirs() {
  const Dir dir;
  spdlog::init_thread_pool(8192, 1);
  auto logger = spdlog::create_async<spdlog::sinks::basic_file_sink_mt>("bench", dir / "log");
  const Times out = timed([&](int i) { logger->info("sbom accepted sbom_id={} component_count={} format={}", kSbomText, i, "cyclonedx"); });
  logger.reset();
  spdlog::shutdown();
  return out;
}

}  // namespace

void report_logs() {
  detail::recalibrate();
  const Times peer = theirs();
  const Times own = ours([](int i) { kLog.info("sbom accepted", {f::sbom_id(kSbom), f::component_count(i), f::format("cyclonedx")}); });
  std::vector<std::string> texts;
  for (int i = 0; i < kBursts * kBurst; ++i) texts.push_back("part " + std::to_string(i) + " of the work");
  std::size_t next = 0;
  const Times fresh = ours([&](int i) { kLog.info("sbom accepted", {f::sbom_id(kSbom), f::component_count(i), f::format(texts[next++])}); });
  std::printf("G9   log call, three fields: spdlog async %.0f ns p50, %.0f p99.9; ours %.0f p50: 1/%.1f (must 1/5) %s; %.0f p99.9 (must 1000) %s\n", peer.p50, peer.p999, own.p50, peer.p50 / own.p50,
              bench::verdict(own.p50 * 5 <= peer.p50), own.p999, bench::verdict(own.p999 <= 1000));
  std::printf("G9   the first call after 3 ms of something else: spdlog %.0f ns p50, ours %.0f: 1/%.1f\n", peer.first, own.first, peer.first / own.first);
  std::printf("G9   with a text that was never said before: %.0f p50, %.0f p99.9\n", fresh.p50, fresh.p999);
}

}  // namespace stella::telemetry

int main(int argc, char** argv) {
  const bool compare = argc == 1;
  benchmark::Initialize(&argc, argv);
  if (compare) {
    stella::telemetry::report_spans();
    stella::telemetry::report_logs();
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
