// G14: attestations by one signature over a Merkle batch with inclusion proofs, against a signature each (must be ≥ 50x). Per statement;
// digests of the statements are known on both sides (the store names objects by them). The documents, proofs included, are a row of their own:
// they are made when somebody asks.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/statement.h"

namespace {

using namespace stella;
using namespace stella::evidence;

struct Input {
  crypto::KeyPair key = crypto::KeyPair::generate().value();
  std::vector<std::string> statements;
  std::vector<Sha256> digests;
  explicit Input(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      const Subject subject{.name = "findings.ndjson", .sha256 = crypto::sha256(std::to_string(i))};
      Provenance p;
      p.external_parameters = json::Value::object({{"kind", "policy.evaluate"}, {"n", i}});
      p.invocation_id = std::to_string(i);
      statements.push_back(make_provenance(std::span(&subject, 1), p).value());
      digests.push_back(crypto::sha256(statements.back()));
    }
  }
};

void one_signature_each(benchmark::State& state) {
  const Input in(64);
  std::size_t i = 0;
  for (auto _ : state) {
    auto envelope = crypto::dsse_sign(kInTotoPayloadType, in.statements[i++ % in.statements.size()], in.key);
    if (!envelope) std::abort();
    benchmark::DoNotOptimize(envelope);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(one_signature_each);

void batch(benchmark::State& state) {
  const Input in(state.range(0));
  for (auto _ : state) {
    auto made = SignedBatch::sign(in.key, in.digests);
    if (!made) std::abort();
    benchmark::DoNotOptimize(made);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch)->Arg(100)->Arg(1000)->Arg(10'000);

void document_with_proof(benchmark::State& state) {
  const Input in(1000);
  const auto made = SignedBatch::sign(in.key, in.digests).value();
  std::size_t i = 0;
  for (auto _ : state) {
    const std::size_t at = i++ % in.statements.size();
    benchmark::DoNotOptimize(made.document(at, in.statements[at]));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(document_with_proof);

}  // namespace

