// G18: SBOM bytes to component rows, side by side with nlohmann/json and RapidJSON (DOM) on the same documents in one run; simdjson's DOM for scale.
//
// The peers build the tree and copy name, version, purl and ref of every component into rows: less than parse_sbom does, which also
// parses and canonicalises every purl, names its OSV package, joins duplicates, resolves edges and checks for duplicate members.
#pragma GCC target("sse4.2")  // RapidJSON's best settings
#define RAPIDJSON_SSE42
#include <benchmark/benchmark.h>
#include <rapidjson/document.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include <simdjson.h>

#include "stella/pipeline/sbom/parse.h"

namespace {

struct Row {
  std::string name, version, purl, ref;
};

struct Document {
  const char* path;
  std::string bytes;
};

std::vector<Document> load() {
  const char* shared = std::getenv("STELLA_SHARED");
  std::vector<Document> out;
  for (const char* path : {"cyclonedx-1.4/juice-shop.cdx.json", "cyclonedx-1.4/keycloak-10.0.2.cdx.json", "cyclonedx-1.6/rh-container-amd64.cdx.json",
                           "spdx-2.2/rancher.trivy.spdx.json", "spdx-2.3/OCP-TOOLS-4.11-RHEL-8.spdx.json", "spdx-2.3/SATELLITE-6.15-RHEL-8.spdx.json"}) {
    std::ifstream in(std::string(shared != nullptr ? shared : "../shared") + "/data/sboms/" + path, std::ios::binary);
    out.push_back({path, std::string(std::istreambuf_iterator<char>(in), {})});
  }
  return out;
}

std::size_t ours(const std::string& bytes) {
  auto table = stella::pipeline::parse_sbom(bytes);
  return table ? table->components.size() : 0;
}

std::size_t with_nlohmann(const std::string& bytes) {
  const auto tree = nlohmann::json::parse(bytes);
  std::vector<Row> rows;
  if (const auto components = tree.find("components"); components != tree.end())
    for (const auto& c : *components) rows.push_back({c.value("name", ""), c.value("version", ""), c.value("purl", ""), c.value("bom-ref", "")});
  if (const auto packages = tree.find("packages"); packages != tree.end())
    for (const auto& p : *packages) {
      Row row{p.value("name", ""), p.value("versionInfo", ""), "", p.value("SPDXID", "")};
      if (const auto refs = p.find("externalRefs"); refs != p.end())
        for (const auto& r : *refs)
          if (r.value("referenceType", "") == "purl") row.purl = r.value("referenceLocator", "");
      rows.push_back(std::move(row));
    }
  return rows.size();
}

std::string text(const rapidjson::Value& object, const char* name) {
  const auto it = object.FindMember(name);
  return it == object.MemberEnd() || !it->value.IsString() ? std::string() : std::string(it->value.GetString(), it->value.GetStringLength());
}

std::size_t with_rapidjson(const std::string& bytes) {
  rapidjson::Document tree;
  tree.Parse<rapidjson::kParseValidateEncodingFlag>(bytes.data(), bytes.size());
  if (tree.HasParseError()) return 0;
  std::vector<Row> rows;
  if (const auto it = tree.FindMember("components"); it != tree.MemberEnd())
    for (const auto& c : it->value.GetArray()) rows.push_back({text(c, "name"), text(c, "version"), text(c, "purl"), text(c, "bom-ref")});
  if (const auto it = tree.FindMember("packages"); it != tree.MemberEnd())
    for (const auto& p : it->value.GetArray()) {
      Row row{text(p, "name"), text(p, "versionInfo"), "", text(p, "SPDXID")};
      if (const auto refs = p.FindMember("externalRefs"); refs != p.MemberEnd())
        for (const auto& r : refs->value.GetArray())
          if (text(r, "referenceType") == "purl") row.purl = text(r, "referenceLocator");
      rows.push_back(std::move(row));
    }
  return rows.size();
}

// The tree alone, without rows: what simdjson needs to parse.
std::size_t simdjson_tree(const std::string& bytes) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  return parser.parse(bytes).get(root) == simdjson::SUCCESS ? 1 : 0;
}

// CPU time of this thread: others share the machine.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

template <class F>
double best_seconds(const std::string& bytes, int runs, F&& f) {
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const double start = cpu_seconds();
    benchmark::DoNotOptimize(f(bytes));
    best = std::min(best, cpu_seconds() - start);
  }
  return best;
}

void report(const std::vector<Document>& documents) {
  double sums[4] = {0, 0, 0, 0};
  std::printf("G18  %-44s %6s %10s %10s %10s %10s %8s %8s %8s\n", "document", "MB", "nlohmann", "RapidJSON", "simdjson", "ours", "x nloh.", "x Rapid", "x simdj.");
  const auto line = [](const char* name, double mb, const double (&t)[4]) {
    std::printf("G18  %-44s %6.2f %7.2f ms %7.2f ms %7.2f ms %7.2f ms %8.1f %8.2f %8.2f\n", name, mb, t[0] * 1e3, t[1] * 1e3, t[3] * 1e3, t[2] * 1e3, t[0] / t[2],
                t[1] / t[2], t[3] / t[2]);
  };
  double bytes = 0;
  for (const auto& d : documents) {
    // Interleaved, best of many: the machine is shared.
    double t[4] = {1e9, 1e9, 1e9, 1e9};
    for (int round = 0; round < 5; ++round) {
      t[0] = std::min(t[0], best_seconds(d.bytes, 3, with_nlohmann));
      t[1] = std::min(t[1], best_seconds(d.bytes, 10, with_rapidjson));
      t[2] = std::min(t[2], best_seconds(d.bytes, 20, ours));
      t[3] = std::min(t[3], best_seconds(d.bytes, 20, simdjson_tree));
    }
    for (int i = 0; i < 4; ++i) sums[i] += t[i];
    bytes += static_cast<double>(d.bytes.size());
    line(d.path, static_cast<double>(d.bytes.size()) / 1e6, t);
  }
  line("all", bytes / 1e6, sums);
  std::printf("G18  CPU time, best of 100 (nlohmann 15)\nG18  must >= 20x nlohmann, >= 2.5x RapidJSON: %s\n", sums[0] / sums[2] >= 20 && sums[1] / sums[2] >= 2.5 ? "PASS" : "FAIL");
}

void BM_ParseSbom(benchmark::State& state, const std::string* bytes) {
  for (auto _ : state) benchmark::DoNotOptimize(ours(*bytes));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(bytes->size()));
}

}  // namespace

int main(int argc, char** argv) {
  const bool compare = argc == 1;  // with options: our own figures only, for a profiler
  benchmark::Initialize(&argc, argv);
  const auto documents = load();
  for (const auto& d : documents) {
    if (ours(d.bytes) == 0) {
      std::printf("skipped: no data set (%s)\n", d.path);
      return 0;
    }
    benchmark::RegisterBenchmark(d.path, BM_ParseSbom, &d.bytes);
  }
  if (compare) report(documents);
  benchmark::RunSpecifiedBenchmarks();
}
