// Large bundles: seconds, MB/s and peak memory (VmHWM) of making and of verifying one, each in a process of its own. 1 GB of what does not
// compress; with STELLA_LARGE_GB=10 as much as that, and with STELLA_LARGE_FILES=1000000 as many small files. Needs twice the size below TMPDIR.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <memory>

#include "large_bundle.h"

namespace {

using namespace stella::evidence;

void report(benchmark::State& state, const char* what, const Measured& m, std::uint64_t bytes) {
  if (!m.ok) {
    state.SkipWithError("it failed");
    return;
  }
  state.SetIterationTime(m.seconds);
  state.counters["GB"] = static_cast<double>(bytes) / 1e9;
  state.counters["MB_per_second"] = static_cast<double>(bytes) / 1e6 / m.seconds;
  state.counters["peak_MB"] = static_cast<double>(m.peak_bytes) / 1e6;
  std::fprintf(stderr, "%-7s %8.2f GB %8.1f s %7.0f MB/s  peak %6.1f MB\n", what, static_cast<double>(bytes) / 1e9, m.seconds, static_cast<double>(bytes) / 1e6 / m.seconds, static_cast<double>(m.peak_bytes) / 1e6);
}

const LargeBundle& bundle(std::uint64_t bytes, std::size_t files) {
  static std::unique_ptr<LargeBundle> now;
  if (!now || now->bytes() != bytes) {
    const char* below = std::getenv("TMPDIR");
    now.reset();
    now = std::make_unique<LargeBundle>(below != nullptr ? below : "/tmp", bytes, files);
  }
  return *now;
}

void create(benchmark::State& state, std::uint64_t bytes, std::size_t files) {
  for (auto _ : state) report(state, "create", bundle(bytes, files).create(), bytes);
  bundle(bytes, files).forget_payload();
}
void verify(benchmark::State& state, std::uint64_t bytes, std::size_t files) {
  for (auto _ : state) report(state, "verify", bundle(bytes, files).verify(), bytes);
}

void pair(const std::string& name, std::uint64_t bytes, std::size_t files) {
  benchmark::RegisterBenchmark(("Create/" + name).c_str(), create, bytes, files)->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
  benchmark::RegisterBenchmark(("Verify/" + name).c_str(), verify, bytes, files)->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
}

[[maybe_unused]] const bool registered = [] {
  pair("1GB", 1'000'000'000, 10);
  if (const char* text = std::getenv("STELLA_LARGE_GB")) {
    const auto gigabytes = std::strtoull(text, nullptr, 10);
    if (gigabytes > 1) pair(std::string(text) + "GB", gigabytes * 1'000'000'000, 10);
  }
  if (const char* text = std::getenv("STELLA_LARGE_FILES")) {
    const auto files = std::strtoull(text, nullptr, 10);
    if (files > 0) pair(std::string(text) + "_files", files * 100, static_cast<std::size_t>(files));
  }
  return true;
}();

}  // namespace
