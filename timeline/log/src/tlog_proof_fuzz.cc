// libFuzzer entry: any bytes as an offline proof; what is read prints as it was, and only a proof of the right leaf verifies.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const auto kPair = stella::crypto::Ed25519KeyPair::from_seed(std::string(32, 'f')).value();
  static const std::vector kKeys{VerifierKey::ed25519("fuzz", kPair.public_key()).value()};
  const auto proof = parse_tlog_proof(bytes);
  if (!proof) return 0;
  if (proof->str() != bytes) std::abort();
  (void)verify_tlog_proof(*proof, leaf_hash("entry 2"), "fuzz", kKeys);
  if (verify_tlog_proof(*proof, leaf_hash("never logged"), "fuzz", kKeys)) std::abort();
  return 0;
}
