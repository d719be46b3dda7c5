// libFuzzer entry: any bytes as an add-checkpoint request to a witness that knows a log of three leaves, and as its answer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/timeline/log/witness.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const auto kPair = stella::crypto::Ed25519KeyPair::from_seed(std::string(32, 'f')).value();
  static const std::vector kWitness{VerifierKey::cosigner("fuzz", kPair.public_key()).value()};
  static const std::vector kLeaves{leaf_hash("entry 0"), leaf_hash("entry 1"), leaf_hash("entry 2")};
  static const WitnessState kState{"fuzz", {VerifierKey::ed25519("fuzz", kPair.public_key()).value()}, 3, merkle_root(kLeaves)};
  if (const auto request = parse_add_checkpoint(bytes); request && request->str() != bytes) std::abort();
  const auto answer = answer_add_checkpoint(bytes, [](std::string_view origin) { return origin == "fuzz" ? &kState : nullptr; });
  // 200 exactly where something was accepted, and then nothing smaller and no second root.
  if ((answer.status == 200) != answer.accepted.has_value()) std::abort();
  if (answer.accepted && (answer.accepted->size < kState.size || (answer.accepted->size == kState.size && answer.accepted->root != kState.root))) std::abort();
  if (answer.status != 200 && (answer.status < 400 || answer.status > 422 || answer.body.empty())) std::abort();
  (void)read_cosignatures(bytes, "fuzz\n", kWitness);
  (void)read_witness_size(bytes);
  return 0;
}
