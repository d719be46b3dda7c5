// C2SP signed-note v1.0.0: text and the signatures under it, verifier keys ("vkeys"), signing and verification. Pure; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"

namespace stella::timeline {

// A note has at least one and at most this many signatures (the standard demands 16), in at most this many bytes all told (a post-quantum
// signature of another party takes 5 kB).
inline constexpr std::size_t kNoteSignatures = 100;
inline constexpr std::size_t kNoteBytes = 1u << 20;

// The byte that says how a key signs. Others exist (0x05 RFC 6962 tree heads, 0x06 ML-DSA-44): we read their keys and verify nothing with them.
enum class SignatureType : std::uint8_t { kEd25519 = 0x01, kEcdsa = 0x02, kCosignature = 0x04 };

// SHA-256(name || 0x0A || type || key)[:4], big-endian; for ECDSA SHA-256(SPKI)[:4].
std::uint32_t note_key_id(std::string_view name, SignatureType type, std::string_view key);

// A public key with the name it signs under. A value; thread-safe.
class VerifierKey {
 public:
  // "name+hex id+base64(type || key)". kMalformed for another form, kInvalid where the id does not belong to name and key (types 0x05 and above
  // define their own ids: those are taken as written).
  static Result<VerifierKey> parse(std::string_view vkey);
  // kInvalid where `name` may not name a key: empty, or with '+' or a space.
  static Result<VerifierKey> ed25519(std::string_view name, const crypto::Ed25519PublicKey& key);
  static Result<VerifierKey> cosigner(std::string_view name, const crypto::Ed25519PublicKey& key);
  static Result<VerifierKey> ecdsa(std::string_view name, const crypto::PublicKey& key);

  const std::string& name() const { return name_; }
  std::uint32_t id() const { return id_; }
  SignatureType type() const { return type_; }
  // 32 bytes of Ed25519, or SubjectPublicKeyInfo: two vkeys with the same bytes wrap one key.
  const std::string& key_bytes() const { return bytes_; }
  std::string str() const;
  // False for types that we only read.
  bool can_verify() const { return ed25519_.has_value() || ecdsa_.has_value(); }
  // `signature` without the key id.
  bool verify(std::string_view text, std::string_view signature) const;

 private:
  VerifierKey() = default;
  static Result<VerifierKey> make(std::string_view name, SignatureType type, std::string_view key);
  std::string name_;
  std::uint32_t id_ = 0;
  SignatureType type_ = SignatureType::kEd25519;
  std::string bytes_;
  std::optional<crypto::Ed25519PublicKey> ed25519_;
  std::optional<crypto::PublicKey> ecdsa_;
};

// The keys that may sign the log of this name: an installation's signers under that name, and those of single logs. A key that is given both
// ways is one (verify_note refuses two of one name and id); an origin that cannot name a key leaves only the latter.
std::vector<VerifierKey> keys_of_log(std::string_view origin, std::span<const crypto::Ed25519PublicKey> signers, std::span<const VerifierKey> logs);

struct NoteSignature {
  std::string name;
  std::uint32_t key_id = 0;
  std::string bytes;  // without the key id

  // "— name base64\n"
  std::string line() const;
  friend bool operator==(const NoteSignature&, const NoteSignature&) = default;
};

struct Note {
  std::string text;  // ends with a newline
  std::vector<NoteSignature> signatures;

  std::string str() const;
};

// kMalformed for everything that is no note, kLimit beyond the limits above. Nothing is verified: the text is not to be trusted yet.
Result<Note> parse_note(std::string_view bytes);
// Signature lines alone, at least one: what a witness answers with.
Result<std::vector<NoteSignature>> parse_signature_lines(std::string_view lines);

// A signature over `text` as it stands. kInvalid for a name that cannot name a key or a text that no note may have.
Result<NoteSignature> sign_note(std::string_view text, std::string_view name, const crypto::Ed25519Signer& signer);
Result<NoteSignature> sign_note(std::string_view text, std::string_view name, const crypto::Signer& signer);

// Which of `keys` signed: positions in `keys`, each once however many lines it has, ascending. Signatures of unknown keys (another name or another
// id) and of types we cannot verify are ignored. kInvalid where a line of a known key does not verify (the whole note is refused), where no
// known key signed, and where two of `keys` have the same name and id.
Result<std::vector<std::size_t>> verify_note(const Note& note, std::span<const VerifierKey> keys);

}  // namespace stella::timeline
