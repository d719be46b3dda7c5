// G12: creating and verifying a bundle, against tar + gzip + sha256sum + openssl doing the same work (must be ≥ 3.5x and ≥ 4x).
// The data: the SBOMs and advisories of the data set where it is there (STELLA_SHARED or ../shared), again and again, else lines like them;
// about 64 MB, staged in memory (/dev/shm) where possible so that the disk does not take part.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "stella/base/file.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"

namespace {

using namespace stella;
using namespace stella::evidence;
namespace fs = std::filesystem;

constexpr std::uint64_t kWanted = 64u << 20;

struct NullSink final : ByteSink {
  Result<void> write(std::string_view) override { return {}; }
};

// A directory with data/inputs/…, payload.tar, a bundle and keys; removed at exit.
struct Stage {
  std::string dir;
  std::vector<LeafFile> files;
  std::uint64_t bytes = 0;
  std::string items;
  crypto::KeyPair key = crypto::KeyPair::generate().value();

  Stage() {
    std::string name = fs::exists("/dev/shm") ? "/dev/shm/stella_bundle_bench_XXXXXX" : "/tmp/stella_bundle_bench_XXXXXX";
    dir = ::mkdtemp(name.data());
    fs::create_directories(dir + "/leaf/data/inputs");
    const char* shared = std::getenv("STELLA_SHARED");
    std::vector<std::string> sources;
    for (const char* below : {"/data/sboms", "/data/advisories/osv"}) {
      const std::string root = std::string(shared != nullptr ? shared : "../shared") + below;
      if (!fs::exists(root)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root))
        if (entry.is_regular_file()) sources.push_back(entry.path().string());
    }
    std::sort(sources.begin(), sources.end());
    for (std::size_t i = 0; bytes < kWanted; ++i) {
      std::string text = sources.empty() ? std::string() : read_file(sources[i % sources.size()], 1u << 26).value();
      for (int line = 0; sources.empty() && text.size() < 60'000; ++line)
        text += R"({"id":"GHSA-)" + std::to_string(i * 7919 + line * 104729) + R"(","affected":[{"package":{"ecosystem":"npm","name":"lodash"}}]})" "\n";
      const std::string path = "data/inputs/doc-" + std::to_string(100000 + i) + ".json";
      const Fd out(::open((dir + "/leaf/" + path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      if (!write_all(out.get(), text)) std::abort();
      files.push_back({.path = path, .media_type = "application/json", .role = "input", .source_path = dir + "/leaf/" + path, .source_fd = -1, .bytes = {}});
      bytes += text.size();
    }
    create_payload();
    const Fd out(::open((dir + "/bundle.tgz").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    FdSink sink(out.get());
    create(sink);
    shell("openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out key.pub 2>/dev/null");
  }
  ~Stage() { fs::remove_all(dir); }

  void create_payload() {
    const Fd out(::open((dir + "/payload.tar").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    FdSink sink(out.get());
    items = items_ndjson(build_payload(files, sink).value());
  }
  void create(ByteSink& sink) {
    const Fd payload(::open((dir + "/payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
    SealFacts facts;
    facts.bundle_id = BundleId::generate();
    facts.tenant_id = TenantId::parse("bench").value();
    facts.case_id = CaseId::parse("BENCH").value();
    facts.kind = "eval";
    facts.resource_id = "bench";
    const crypto::Signer* signer = &key;
    const std::string salts = bundle_key("secret", "{}");
    if (!seal_bundle({.payload_fd = payload.get(), .items_ndjson = items, .bundle_key = salts, .signers = std::span(&signer, 1), .facts = facts,
                      .custody_events = {}, .extra_files = {}, .on_progress = {}}, sink))
      std::abort();
  }
  void shell(const std::string& command) const {
    if (std::system(("cd " + dir + " && { " + command + "; } >/dev/null").c_str()) != 0) std::abort();
  }
};

Stage& stage() {
  static Stage s;
  return s;
}

// User and system time of this process and of its finished children: comparable on a busy machine, where wall time is not.
double cpu_seconds() {
  double out = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    ::getrusage(who, &usage);
    for (const timeval& t : {usage.ru_utime, usage.ru_stime}) out += static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  }
  return out;
}

void set_rate(benchmark::State& state, double cpu_before) {
  const double bytes = static_cast<double>(state.iterations()) * static_cast<double>(stage().bytes);
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  state.counters["MB_per_cpu_second"] = bytes / 1e6 / (cpu_seconds() - cpu_before);
}

void BM_CreatePeer(benchmark::State& state) {
  stage();
  const double cpu_before = cpu_seconds();
  for (auto _ : state)
    stage().shell("find leaf -type f | sort | xargs sha256sum >sums && openssl dgst -sha256 -sign key.pem -out sums.sig sums && "
                  "tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - leaf sums sums.sig | gzip -n >peer.tgz");
  set_rate(state, cpu_before);
}
BENCHMARK(BM_CreatePeer)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);

// Both sides of the wall: files to payload.tar, payload.tar to bundle.
void BM_Create(benchmark::State& state) {
  stage();
  const double cpu_before = cpu_seconds();
  for (auto _ : state) {
    stage().create_payload();
    const Fd out(::open((stage().dir + "/ours.tgz").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    FdSink sink(out.get());
    stage().create(sink);
  }
  set_rate(state, cpu_before);
}
BENCHMARK(BM_Create)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_SealAlone(benchmark::State& state) {
  NullSink sink;
  stage();
  const double cpu_before = cpu_seconds();
  for (auto _ : state) stage().create(sink);
  set_rate(state, cpu_before);
}
BENCHMARK(BM_SealAlone)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_VerifyPeer(benchmark::State& state) {
  stage().shell("test -f peer.tgz || { find leaf -type f | sort | xargs sha256sum >sums && openssl dgst -sha256 -sign key.pem -out sums.sig sums && "
                "tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - leaf sums sums.sig | gzip -n >peer.tgz; }");
  const double cpu_before = cpu_seconds();
  for (auto _ : state)
    stage().shell("rm -rf x && mkdir x && tar -xzf peer.tgz -C x && cd x && sha256sum -c --quiet sums && "
                  "openssl dgst -sha256 -verify ../key.pub -signature sums.sig sums");
  set_rate(state, cpu_before);
}
BENCHMARK(BM_VerifyPeer)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);

void BM_Verify(benchmark::State& state) {
  const std::vector<crypto::PublicKey> trust = {stage().key.public_key()};
  const double cpu_before = cpu_seconds();
  for (auto _ : state) {
    const auto verdict = verify_bundle_file(stage().dir + "/bundle.tgz", {.trust = trust});
    if (!verdict || exit_code(*verdict) != kExitPass) std::abort();
  }
  set_rate(state, cpu_before);
}
BENCHMARK(BM_Verify)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
