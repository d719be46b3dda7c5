// P1b: linking 3,273 purls against 45,150 OSV records, with the index loaded (segments open) and from cold (files mapped, checked and
// opened), beside what building the index costs. The records are the data set's own, repeated under other names and ids.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/ingest.h"
#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/versions/purl.h"
#include "stella/pipeline/versions/version.h"

namespace stella::pipeline {
namespace {

constexpr std::size_t kRecords = 45'150;
constexpr std::size_t kPurls = 3'273;

std::string read_all(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::filesystem::path data_root() {
  const char* env = std::getenv("STELLA_SHARED");
  return std::filesystem::path(env != nullptr ? env : STELLA_SOURCE_DIR "/../shared") / "data";
}

std::vector<std::string> json_files(const std::filesystem::path& dir) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    if (entry.path().extension() == ".json") out.push_back(entry.path().string());
  std::sort(out.begin(), out.end());
  return out;
}

// Copy `n` of a record: another id, and other package names, so that copies are no candidates of the real purls.
std::string renamed(const json::Value& record, std::size_t n) {
  json::Value copy = record;
  copy.set("id", std::string(record.str("id")) + "-" + std::to_string(n));
  if (auto* affected = copy.as_object().find("affected"))
    for (auto& entry : affected->as_array())
      if (auto* package = entry.as_object().find("package"))
        package->set("name", std::string(package->str("name")) + "-copy" + std::to_string(n % 16));
  return json::dump(copy);
}

struct Setup {
  std::vector<std::string> documents;
  contracts::ComponentTable table;
  std::string active;
  std::vector<std::string> files;  // segments on disk
  std::uint64_t bytes = 0;
};

void add_documents(Setup& setup, const std::filesystem::path& advisories) {
  std::vector<json::Value> records;
  for (const char* below : {"osv", "ghsa"})
    for (const auto& file : json_files(advisories / below)) {
      setup.documents.push_back(read_all(file));
      if (auto parsed = json::parse(setup.documents.back())) records.push_back(std::move(*parsed));
    }
  for (std::size_t n = 1; setup.documents.size() < kRecords; ++n)
    for (std::size_t i = 0; i < records.size() && setup.documents.size() < kRecords; ++i) setup.documents.push_back(renamed(records[i], n));
}

// Distinct purls of the supported ecosystems as the SBOMs hold them, repeated where the documents have fewer.
void add_components(Setup& setup, const std::filesystem::path& sboms) {
  std::set<std::string> purls;
  for (const auto& file : json_files(sboms)) {
    const std::string text = read_all(file);
    for (std::size_t at = text.find("\"pkg:"); at != std::string::npos; at = text.find("\"pkg:", at + 1))
      purls.insert(text.substr(at + 1, text.find('"', at + 1) - at - 1));
  }
  std::vector<contracts::Component> distinct;
  for (const auto& text : purls) {
    const auto purl = parse_purl(text);
    if (!purl) continue;
    const auto package = osv_package(*purl);
    if (version_order(package.ecosystem) == VersionOrder::kNone || package.version.empty()) continue;
    contracts::Component component;
    component.purl = text;
    component.ecosystem = package.ecosystem;
    component.name = package.name;
    component.version = package.version;
    distinct.push_back(std::move(component));
  }
  for (std::size_t i = 0; i < kPurls && !distinct.empty(); ++i) setup.table.components.push_back(distinct[i % distinct.size()]);
}

IngestedAdvisories ingest(const Setup& setup) {
  std::vector<AdvisoryDocument> documents;
  for (const auto& text : setup.documents) documents.push_back({"d", text});
  auto result = ingest_advisories(documents);
  if (!result) std::abort();
  return std::move(*result);
}

// Where the segments lie while the benchmarks run; removed at exit.
std::string& scratch() {
  static std::string dir;
  return dir;
}

const Setup* setup() {
  static const Setup* loaded = []() -> const Setup* {
    if (!std::filesystem::exists(data_root() / "advisories")) return nullptr;
    auto* out = new Setup;
    add_documents(*out, data_root() / "advisories");
    add_components(*out, data_root() / "sboms");
    std::vector<Sha256> digests;
    for (const auto& text : out->documents) digests.push_back(crypto::sha256(text));
    out->active = ActiveSet::encode(std::move(digests));
    std::string dir = (std::filesystem::temp_directory_path() / "link-bench-XXXXXX").string();
    if (mkdtemp(dir.data()) == nullptr) std::abort();
    scratch() = dir;
    std::atexit([] { std::filesystem::remove_all(scratch()); });
    for (const auto& segment : ingest(*out).segments) {
      out->files.push_back(dir + "/segment-" + segment.slug + ".idx");
      std::ofstream(out->files.back(), std::ios::binary) << segment.bytes;
      out->bytes += segment.bytes.size();
    }
    return out;
  }();
  return loaded;
}

// A segment file mapped for reading.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    size_ = std::filesystem::file_size(path);
    data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (data_ == MAP_FAILED) std::abort();
  }
  Mapping(Mapping&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  ~Mapping() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_;
  std::size_t size_;
};

std::vector<Segment> open_all(const std::vector<Mapping>& mappings) {
  std::vector<Segment> out;
  for (const auto& mapping : mappings) out.push_back(*Segment::open(mapping.bytes()));
  return out;
}

std::vector<Mapping> map_all(const std::vector<std::string>& files) {
  std::vector<Mapping> out;
  for (const auto& file : files) out.emplace_back(file);
  return out;
}

void count(benchmark::State& state, const contracts::ExposureSet& set) {
  std::size_t affected = 0;
  for (const auto& exposure : set.exposures) affected += exposure.verdict == contracts::Verdict::kAffected;
  state.counters["purls"] = static_cast<double>(kPurls);
  state.counters["records"] = static_cast<double>(kRecords);
  state.counters["exposures"] = static_cast<double>(set.exposures.size());
  state.counters["affected"] = static_cast<double>(affected);
}

void link_loaded(benchmark::State& state) {
  if (setup() == nullptr) return state.SkipWithError("no data set");
  const auto mappings = map_all(setup()->files);
  const auto segments = open_all(mappings);
  const auto active = *ActiveSet::parse(setup()->active);
  contracts::ExposureSet set;
  for (auto _ : state) {
    set = *link(setup()->table, segments, active);
    benchmark::DoNotOptimize(set);
  }
  count(state, set);
  state.counters["must_ms"] = 16;
}
BENCHMARK(link_loaded)->Unit(benchmark::kMillisecond);

// As a fresh process does it: map the files, check every byte of them, open, link, encode.
void link_cold(benchmark::State& state) {
  if (setup() == nullptr) return state.SkipWithError("no data set");
  contracts::ExposureSet set;
  for (auto _ : state) {
    const auto mappings = map_all(setup()->files);
    const auto segments = open_all(mappings);
    for (const auto& segment : segments)
      if (!segment.verify()) std::abort();
    const auto active = *ActiveSet::parse(setup()->active);
    set = *link(setup()->table, segments, active);
    const std::string encoded = contracts::encode(set);
    benchmark::DoNotOptimize(encoded.data());
  }
  count(state, set);
  state.counters["index_bytes"] = static_cast<double>(setup()->bytes);
  state.counters["must_ms"] = 320;
}
BENCHMARK(link_cold)->Unit(benchmark::kMillisecond);

void ingest_documents(benchmark::State& state) {
  if (setup() == nullptr) return state.SkipWithError("no data set");
  std::size_t bytes = 0;
  for (const auto& text : setup()->documents) bytes += text.size();
  for (auto _ : state) {
    const auto result = ingest(*setup());
    benchmark::DoNotOptimize(result.parsed);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes * state.iterations()));
}
BENCHMARK(ingest_documents)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace stella::pipeline

BENCHMARK_MAIN();
