// Tiles of a large log: what a writer pays for each leaf, an auditor for each entry, a server for each proof.
#include <benchmark/benchmark.h>

#include <cstring>
#include <map>
#include <utility>

#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tile_check.h"

namespace {

using namespace stella;
using namespace stella::timeline;

constexpr std::uint64_t kSize = 300'000;  // tiles on three levels

struct Log final : TileSource {
  std::map<std::pair<int, std::pair<unsigned, std::uint64_t>>, std::string> tiles;
  std::vector<Sha256> leaves;
  Checkpoint checkpoint;

  static std::pair<int, std::pair<unsigned, std::uint64_t>> key(const TileId& id) { return {static_cast<int>(id.kind), {id.level, id.index}}; }
  Result<std::string> read(const TileId& id) override {
    const auto found = tiles.find(key(id));
    if (found == tiles.end()) return Error(base_errors::kNotFound, "no such tile");
    return found->second;
  }
  Log() {
    std::vector<std::string> entries;
    TileEdge edge;
    const auto flush = [&](const TileId& id) {
      tiles[key(id)] = encode_bundle(std::vector<std::string_view>(entries.begin(), entries.end())).value();
      entries.clear();
    };
    for (std::uint64_t i = 0; i < kSize; ++i) {
      entries.push_back("an event of the usual length " + std::to_string(i) + std::string(400, 'x'));
      leaves.push_back(leaf_hash(entries.back()));
      if (entries.size() == kTileWidth) flush(TileId::entries(i / kTileWidth));
      (void)edge.append(leaves.back(), [&](const TileId& id, std::string bytes) -> Result<void> {
        tiles[key(id)] = std::move(bytes);
        return {};
      });
    }
    for (const auto& id : partial_tiles(kSize)) {
      if (id.kind == TileKind::kEntries) flush(id);
      else tiles[key(id)] = encode_tile(edge.partial(id.level));
    }
    checkpoint = {"log", kSize, edge.root(), {}};
  }
};

Log& log_of_events() {
  static Log log;
  return log;
}

void per_item(benchmark::State& state, const char* name, double items) {
  state.counters[name] = benchmark::Counter(items * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void BM_TileEdgeAppend(benchmark::State& state) {
  const auto& leaves = log_of_events().leaves;
  for (auto _ : state) {
    TileEdge edge;
    (void)edge.append(leaves, [](const TileId&, std::string bytes) -> Result<void> {
      benchmark::DoNotOptimize(bytes);
      return {};
    });
    benchmark::DoNotOptimize(edge.root());
  }
  per_item(state, "ns_per_leaf", kSize);
}
BENCHMARK(BM_TileEdgeAppend)->Unit(benchmark::kMillisecond);

void BM_CheckLog(benchmark::State& state) {
  Log& log = log_of_events();
  for (auto _ : state) {
    const auto checked = check_log(log, kSize, log.checkpoint.root);
    if (!checked || checked->entries != kSize) state.SkipWithError("the log does not check");
  }
  per_item(state, "ns_per_entry", kSize);
}
BENCHMARK(BM_CheckLog)->Unit(benchmark::kMillisecond);

void BM_ProveInclusion(benchmark::State& state) {
  Log& log = log_of_events();
  std::uint64_t index = 0;
  for (auto _ : state) {
    if (!prove_inclusion(log, log.checkpoint, index)) state.SkipWithError("no proof");
    index = (index + 99'991) % kSize;
  }
}
BENCHMARK(BM_ProveInclusion)->Unit(benchmark::kMicrosecond);

}  // namespace
