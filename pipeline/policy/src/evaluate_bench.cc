// P1: evaluation of the two largest SPDX documents of the data set, one after the other, times added: decision only, with the full
// record (decision, findings and trace as bytes), and as the job does it (inputs decoded from their wire forms, policy compiled).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/ingest.h"
#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/policy/evaluate.h"
#include "stella/pipeline/sbom/parse.h"

namespace stella::pipeline {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

struct Document {
  contracts::ComponentTable components;
  contracts::ExposureSet exposures;
  std::string components_bytes, exposures_bytes;
};

struct World {
  std::vector<Document> documents;
  contracts::VexResultSet vex{.rule = "stella.vex-precedence/2"};
  std::string vex_bytes, policy_bytes;
  PolicySet policy;
  Timestamp as_of = *Timestamp::parse("2026-11-25T00:00:00Z");
};

// nullopt where the data set is absent.
std::optional<World> load() {
  const char* shared = std::getenv("STELLA_SHARED");
  const std::string data = std::string(shared != nullptr ? shared : "../shared") + "/data/";
  if (!std::filesystem::exists(data + "advisories/osv")) return std::nullopt;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data + "advisories/osv"))
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> texts;
  for (const auto& path : paths) texts.push_back(slurp(path));
  std::vector<AdvisoryDocument> advisories;
  std::vector<Sha256> digests;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    advisories.push_back({paths[i], texts[i]});
    digests.push_back(crypto::sha256(texts[i]));
  }
  const auto ingested = *ingest_advisories(advisories);
  std::vector<Segment> segments;
  for (const auto& built : ingested.segments) segments.push_back(*Segment::open(built.bytes));
  const std::string active_bytes = ActiveSet::encode(digests);
  const ActiveSet active = *ActiveSet::parse(active_bytes);
  World world;
  for (const char* name : {"spdx-2.3/OCP-TOOLS-4.11-RHEL-8.spdx.json", "spdx-2.3/SATELLITE-6.15-RHEL-8.spdx.json"}) {
    Document d;
    d.components = *parse_sbom(slurp(data + "sboms/" + name));
    d.exposures = *link(d.components, segments, active);
    d.components_bytes = encode(d.components);
    d.exposures_bytes = encode(d.exposures);
    world.documents.push_back(std::move(d));
  }
  world.vex_bytes = encode(world.vex);
  world.policy_bytes = slurp(std::string(STELLA_SOURCE_DIR) + "/samples/policy.yaml");
  world.policy = *parse_policy_set(world.policy_bytes);
  return world;
}

std::size_t decision_only(const World& w) {
  std::size_t findings = 0;
  for (const Document& d : w.documents) findings += evaluate(d.components, d.exposures, w.vex, w.policy, w.as_of, {.trace = false})->findings.size();
  return findings;
}

std::size_t full_record(const World& w) {
  std::size_t bytes = 0;
  for (const Document& d : w.documents) {
    const auto e = *evaluate(d.components, d.exposures, w.vex, w.policy, w.as_of);
    bytes += e.trace.size() + encode(e.decision).size() + encode(e.findings).size();
  }
  return bytes;
}

std::size_t whole_job(const World& w) {
  std::size_t bytes = 0;
  for (const Document& d : w.documents) {
    const auto components = *contracts::decode_components(d.components_bytes);
    const auto exposures = *contracts::decode_exposures(d.exposures_bytes);
    const auto vex = *contracts::decode_vex_result(w.vex_bytes);
    const auto policy = *parse_policy_set(w.policy_bytes);
    const auto e = *evaluate(components, exposures, vex, policy, w.as_of);
    bytes += e.trace.size() + encode(e.decision).size() + encode(e.findings).size();
  }
  return bytes;
}

double p95_ms(const World& world, std::size_t (*f)(const World&)) {
  std::vector<double> times;
  for (int i = 0; i < 100; ++i) {
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(f(world));
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return times[94];
}

void report(const World& w) {
  std::size_t components = 0;
  for (const Document& d : w.documents) components += d.components.components.size();
  std::printf("P1   %zu components, %zu findings, %.1f MB of record\n", components, decision_only(w), static_cast<double>(full_record(w)) / 1e6);
  const double only = p95_ms(w, decision_only);
  const double full = p95_ms(w, full_record);
  std::printf("P1   P95 of 100: decision only %.2f ms (must 100, stretch 20) %s; with full record %.2f ms (must 500, stretch 100) %s\n", only,
              only <= 100 ? "PASS" : "FAIL", full, full <= 500 ? "PASS" : "FAIL");
  std::printf("P1   the whole job, inputs decoded: %.2f ms\n", p95_ms(w, whole_job));
}

void BM_Evaluate(benchmark::State& state, const World* world, std::size_t (*f)(const World&)) {
  for (auto _ : state) benchmark::DoNotOptimize(f(*world));
}

}  // namespace
}  // namespace stella::pipeline

int main(int argc, char** argv) {
  using namespace stella::pipeline;  // NOLINT: a program
  const bool compare = argc == 1;
  benchmark::Initialize(&argc, argv);
  const auto world = load();
  if (!world) {
    std::printf("skipped: no data set\n");
    return 0;
  }
  benchmark::RegisterBenchmark("decision_only", BM_Evaluate, &*world, decision_only)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("full_record", BM_Evaluate, &*world, full_record)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("whole_job", BM_Evaluate, &*world, whole_job)->Unit(benchmark::kMillisecond);
  if (compare) report(*world);
  benchmark::RunSpecifiedBenchmarks();
}
