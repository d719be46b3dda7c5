// libFuzzer entry: any bytes as an envelope, in one piece and in many; and as the body under a header whose key is known.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/crypto/envelope.h"

namespace {

// Every wrapped key opens, as 32 times its last byte: so that the fuzzer gets behind the header. It knows no key, and so makes no chunk.
class OpenDoor final : public stella::crypto::Kms {
 public:
  stella::Result<void> add_key(std::string_view) override { return {}; }
  stella::Result<void> destroy_key(std::string_view) override { return {}; }
  stella::Result<std::string> wrap(std::string_view, std::string_view data_key, std::string_view) const override { return std::string(data_key); }
  stella::Result<stella::crypto::SecretBytes> unwrap(std::string_view, std::string_view wrapped, std::string_view) const override {
    return stella::crypto::SecretBytes(std::string(stella::crypto::kDataKeyBytes, wrapped.back()));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::crypto;
  const OpenDoor door;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = envelope_open(door, "c", bytes);
  (void)envelope_key_id(bytes);
  std::string out;
  EnvelopeDecryptor decryptor(door, "c", [&out](std::string_view piece) -> stella::Result<void> {
    out += piece;
    return {};
  });
  bool good = true;
  for (std::size_t i = 0; good && i < size; i += 1 + data[i] % 97) good = decryptor.update(bytes.substr(i, 1 + data[i] % 97)).has_value();
  good = good && decryptor.finish().has_value();
  if (good != whole.has_value() || (good && out != *whole)) std::abort();
  return 0;
}
