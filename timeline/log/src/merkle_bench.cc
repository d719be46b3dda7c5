// G13: a Merkle tree of one million small leaves, against one-shot EVP per node (must be ≥ 3x, stretch 5x).
#include <benchmark/benchmark.h>
#include <openssl/evp.h>

#include <cstring>

#include "stella/timeline/log/merkle.h"

namespace {

using stella::Sha256;

constexpr std::size_t kLeaves = 1'000'000;

std::vector<Sha256> entries() {
  std::vector<Sha256> out(kLeaves);
  for (std::size_t i = 0; i < kLeaves; ++i) std::memcpy(out[i].mutable_bytes().data(), &i, sizeof i);
  return out;
}

Sha256 one_shot(unsigned char prefix, const void* data, std::size_t size) {
  unsigned char message[1 + 64];
  message[0] = prefix;
  std::memcpy(message + 1, data, size);
  Sha256 out;
  EVP_Digest(message, 1 + size, out.mutable_bytes().data(), nullptr, EVP_sha256(), nullptr);
  return out;
}

// The peer: leaf hashes, then level by level, each digest by a one-shot EVP call.
void BM_OneShotEvp(benchmark::State& state) {
  const auto data = entries();
  for (auto _ : state) {
    std::vector<Sha256> level(kLeaves);
    for (std::size_t i = 0; i < kLeaves; ++i) level[i] = one_shot(0, data[i].bytes().data(), Sha256::kSize);
    while (level.size() > 1) {
      std::size_t n = 0;
      for (std::size_t i = 0; i + 1 < level.size(); i += 2) level[n++] = one_shot(1, level[i].bytes().data(), 2 * Sha256::kSize);
      if (level.size() % 2 != 0) level[n++] = level.back();
      level.resize(n);
    }
    benchmark::DoNotOptimize(level[0]);
  }
  state.counters["ns_per_node"] =
      benchmark::Counter(2.0 * kLeaves * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_OneShotEvp)->Unit(benchmark::kMillisecond);

void BM_MerkleRoot(benchmark::State& state) {
  const auto data = entries();
  for (auto _ : state) {
    auto leaves = stella::timeline::leaf_hashes(data);
    benchmark::DoNotOptimize(stella::timeline::merkle_root_in_place(leaves));
  }
  state.counters["ns_per_node"] =
      benchmark::Counter(2.0 * kLeaves * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_MerkleRoot)->Unit(benchmark::kMillisecond);

// The indexer's way: one leaf after the other.
void BM_CompactTreeAppend(benchmark::State& state) {
  const auto data = entries();
  for (auto _ : state) {
    stella::timeline::CompactTree tree;
    for (const auto& entry : data) tree.append_entry(entry.view());
    benchmark::DoNotOptimize(tree.root());
  }
  state.counters["ns_per_node"] =
      benchmark::Counter(2.0 * kLeaves * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_CompactTreeAppend)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
