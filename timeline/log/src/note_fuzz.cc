// libFuzzer entry: any bytes as a note and as a verifier key; what is read prints as it was, and a note verifies with its key or is refused.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/timeline/log/note.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const auto kPair = stella::crypto::Ed25519KeyPair::from_seed(std::string(32, 'f')).value();
  static const std::vector kKeys{VerifierKey::ed25519("fuzz", kPair.public_key()).value(), VerifierKey::cosigner("fuzz", kPair.public_key()).value()};
  if (const auto key = VerifierKey::parse(bytes); key && key->str() != bytes) std::abort();
  const auto note = parse_note(bytes);
  if (!note) return 0;
  if (note->str() != bytes || note->signatures.empty() || note->signatures.size() > kNoteSignatures) std::abort();
  (void)verify_note(*note, kKeys);
  // Whatever text could be read can be signed, and then verifies.
  const auto signature = sign_note(note->text, "fuzz", kPair);
  if (signature && !verify_note({note->text, {*signature}}, kKeys)) std::abort();
  return 0;
}
