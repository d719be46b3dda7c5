// Objects encrypted at rest: a data key per object, wrapped by a Kms, and AES-256-GCM in chunks (STREAM). Constant memory both ways.
//
// Format 1, integers big-endian:
//   magic      7  "STELLAE"
//   version    1  0x01: AES-256-GCM, HKDF-SHA-256, STREAM
//   chunk      1  log2 of the plain bytes of a chunk, 12 to 20; we write 16 (64 KiB)
//   key id     2  length 1 to 128, then the id of the wrapping key
//   wrapped    2  length 1 to 1024, then the data key as the Kms wrapped it
//   chunks        each chunk's ciphertext and its 16-byte tag. Only the last chunk may be shorter; it is empty only in an empty object.
// The chunks' key is HKDF(data key, info = "stella/envelope/v1" 0x00 header): a header with another bit opens nothing.
// A chunk's nonce is its number (11 bytes) and 0x01 for the last one, else 0x00 (Hoang, Reyhanitabar, Rogaway, Vizár 2015; as in age): chunks
// that are missing, moved, repeated, from another object, or cut off do not open. Additional data is empty.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/kms.h"

namespace stella::crypto {

inline constexpr std::size_t kEnvelopeChunkBytes = 64u << 10;

// Size of an object of `plain` bytes without its header: header + this = file.
constexpr std::uint64_t envelope_body_bytes(std::uint64_t plain) {
  const std::uint64_t chunks = plain == 0 ? 1 : (plain + kEnvelopeChunkBytes - 1) / kEnvelopeChunkBytes;
  return plain + 16 * chunks;
}

// Takes pieces of output. What it returns ends the stream where it is an error.
using EnvelopeSink = std::function<Result<void>(std::string_view)>;

// One object; not thread-safe.
class EnvelopeEncryptor {
 public:
  // A fresh data key, wrapped under `key_id` and `context` (what the object is: its store key). Errors of Kms::wrap.
  static Result<EnvelopeEncryptor> start(const Kms& kms, std::string_view key_id, std::string_view context, EnvelopeSink sink);
  EnvelopeEncryptor(EnvelopeEncryptor&&) noexcept;
  EnvelopeEncryptor& operator=(EnvelopeEncryptor&&) noexcept;
  ~EnvelopeEncryptor();
  Result<void> update(std::string_view plain);
  // Once, at the end: an envelope without it does not open.
  Result<void> finish();

 private:
  struct State;
  explicit EnvelopeEncryptor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// One object; not thread-safe. After an error every further call fails.
class EnvelopeDecryptor {
 public:
  // `kms` must outlive the decryptor.
  EnvelopeDecryptor(const Kms& kms, std::string_view context, EnvelopeSink sink);
  EnvelopeDecryptor(EnvelopeDecryptor&&) noexcept;
  EnvelopeDecryptor& operator=(EnvelopeDecryptor&&) noexcept;
  ~EnvelopeDecryptor();
  // Gives authentic plain bytes to the sink, in order. They are a prefix of the object until finish() has returned: act on nothing before.
  // kMalformed for what is no envelope, errors of Kms::unwrap, kInvalid with `chunk` for altered, moved or missing bytes.
  Result<void> update(std::string_view sealed);
  Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whole objects in memory.
Result<std::string> envelope_seal(const Kms& kms, std::string_view key_id, std::string_view context, std::string_view plain);
Result<std::string> envelope_open(const Kms& kms, std::string_view context, std::string_view sealed);

// The key id in the header of an envelope (its first 256 bytes do): says which key to look for, and nothing that is proved. kMalformed.
Result<std::string> envelope_key_id(std::string_view sealed);
// True where `bytes` begins as an envelope of any version does.
bool is_envelope(std::string_view bytes);

}  // namespace stella::crypto
