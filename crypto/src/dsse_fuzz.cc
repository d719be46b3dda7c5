// libFuzzer entry: any bytes as a DSSE envelope (whose own text must read as the same envelope), as a token and as a public key.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/crypto/dsse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::crypto;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)PublicKey::from_pem(bytes);
  const auto envelope = dsse_parse(bytes);
  if (!envelope) return 0;
  (void)dsse_signers(*envelope, {});
  const auto again = dsse_parse(envelope->json());
  if (!again || again->payload != envelope->payload || again->payload_type != envelope->payload_type || again->signatures.size() != envelope->signatures.size())
    std::abort();
  return 0;
}
