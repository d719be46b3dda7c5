// libFuzzer entry: any bytes as a key event (one spelling) and as the envelope of one, appended to a short history that it must not change.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/crypto/key_history.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::crypto;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto event = parse_key_event(bytes); event && key_event_payload(*event) != bytes) std::abort();
  const auto envelope = dsse_parse(bytes);
  if (!envelope) return 0;
  KeyHistory history({});
  const bool taken = history.append(*envelope, stella::Timestamp::from_micros(0)).has_value();
  if (history.size() != (taken ? 1u : 0u) || history.keys().size() != history.size()) std::abort();
  return 0;
}
