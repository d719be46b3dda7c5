// G9: how long a log call holds up its caller, beside spdlog's async logger in the same run; and the main of this module's benchmarks.
//
// Both write to a file through a thread of their own and say the same message with the same three values. Calls come in bursts with pauses
// in which the other thread catches up: what is timed is the call, not the wait for room. Each call is timed by itself; what reading the
// clock costs is taken off. Ours scrubs, and stands in the context of a request, whose ids and texts are in each of its lines.
#include <benchmark/benchmark.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

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

// Times of call(i), without the time of `clock` ns that two readings take.
template <class F>
Histogram timed(std::int64_t clock, F&& call) {
  Histogram out;
  for (int burst = 0; burst < kBursts; ++burst) {
    for (int i = 0; i < kBurst; ++i) {
      const std::int64_t start = now();
      call(i);
      out.add(now() - start - clock);
    }
    usleep(3000);
  }
  return out;
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
Histogram ours(std::int64_t clock, F&& call) {
  const Dir dir;
  BackendOptions o;
  o.resource = {"stellad", "0.1.0", "bench", "here", "bench:1"};
  o.log_path = dir / "log";
  o.dir = dir / "rings";
  o.ring_bytes = 4 << 20;  // a burst has room, however late the other thread comes
  o.crash_handler = false;
  const auto backend = *Backend::install(std::move(o));
  const ContextScope scope(request());
  const Histogram out = timed(clock, call);
  backend->flush(Deadline::after(std::chrono::seconds(30)));
  if (backend->totals().lines != kBursts * kBurst) std::printf("lines missing: %llu of %d\n", static_cast<unsigned long long>(backend->totals().lines), kBursts * kBurst);
  return out;
}

Histogram theirs(std::int64_t clock) {
  const Dir dir;
  spdlog::init_thread_pool(8192, 1);
  auto logger = spdlog::create_async<spdlog::sinks::basic_file_sink_mt>("bench", dir / "log");
  const Histogram out = timed(clock, [&](int i) { logger->info("sbom accepted sbom_id={} component_count={} format={}", kSbomText, i, "cyclonedx"); });
  logger.reset();
  spdlog::shutdown();
  return out;
}

}  // namespace

void report_logs() {
  detail::recalibrate();
  const auto clock = static_cast<std::int64_t>(timed(0, [](int) {}).at(0.5));
  const Histogram peer = theirs(clock);
  const Histogram own = ours(clock, [](int i) { kLog.info("sbom accepted", {f::sbom_id(kSbom), f::component_count(i), f::format("cyclonedx")}); });
  std::vector<std::string> texts;
  for (int i = 0; i < kBursts * kBurst; ++i) texts.push_back("part " + std::to_string(i) + " of the work");
  std::size_t next = 0;
  const Histogram fresh = ours(clock, [&](int i) { kLog.info("sbom accepted", {f::sbom_id(kSbom), f::component_count(i), f::format(texts[next++])}); });
  const double p50 = own.at(0.5), p999 = own.at(0.999);
  std::printf("G9   log call, three fields: spdlog async %.0f ns p50, %.0f p99.9; ours %.0f p50: 1/%.1f (must 1/5) %s; %.0f p99.9 (must 1000) %s\n", peer.at(0.5), peer.at(0.999), p50, peer.at(0.5) / p50,
              bench::verdict(p50 * 5 <= peer.at(0.5)), p999, bench::verdict(p999 <= 1000));
  std::printf("G9   with a text that was never said before: %.0f p50, %.0f p99.9\n", fresh.at(0.5), fresh.at(0.999));
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
