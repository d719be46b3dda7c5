// Signed notes: strict reading, and verification that lets one false signature of a known key spoil the note.
#include "stella/timeline/log/note.h"

#include <algorithm>
#include <set>

#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/timeline/log/checkpoint.h"
#include "text.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kDash = "\xe2\x80\x94 ";  // U+2014 and a space
constexpr std::size_t kIdBytes = 4;

std::uint32_t first_word(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(0, kIdBytes)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

std::string id_bytes(std::uint32_t id) {
  std::string out;
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>((id >> shift) & 0xff);
  return out;
}

Error malformed(Literal what, std::string expected) { return Error(base_errors::kMalformed, what).with("expected", std::move(expected)); }

Result<NoteSignature> parse_signature_line(std::string_view line) {
  const auto bad = [] { return malformed("not a signature line", "U+2014 SP name SP base64(key id || signature)"); };
  if (!line.starts_with(kDash)) return bad();
  line.remove_prefix(kDash.size());
  const auto space = line.find(' ');
  if (space == std::string_view::npos || !is_key_name(line.substr(0, space))) return bad();
  const auto bytes = strict_base64(line.substr(space + 1));
  if (!bytes || bytes->size() <= kIdBytes) return bad();
  return NoteSignature{std::string(line.substr(0, space)), first_word(*bytes), bytes->substr(kIdBytes)};
}

Result<void> check_signable(std::string_view text) {
  if (!text.ends_with('\n') || !is_note_text(text) || text.size() > kNoteBytes / 2)
    return Error(base_errors::kInvalid, "no note may have this text").with("expected", "UTF-8 lines without control characters, the last one ended");
  return {};
}

}  // namespace

std::uint32_t note_key_id(std::string_view name, SignatureType type, std::string_view key) {
  if (type == SignatureType::kEcdsa) return first_word(crypto::sha256(key).view());
  std::string text(name);
  text += '\n';
  text += static_cast<char>(type);
  text += key;
  return first_word(crypto::sha256(text).view());
}

Result<VerifierKey> VerifierKey::make(std::string_view name, SignatureType type, std::string_view key) {
  if (!is_key_name(name)) return Error(base_errors::kInvalid, "not a key name").with("expected", "text without '+' and spaces");
  VerifierKey out;
  out.name_ = name;
  out.type_ = type;
  out.bytes_ = key;
  out.id_ = note_key_id(name, type, key);
  if (type == SignatureType::kEd25519 || type == SignatureType::kCosignature) {
    out.ed25519_ = STELLA_TRY(crypto::Ed25519PublicKey::from_raw(key));
  } else if (type == SignatureType::kEcdsa) {
    out.ecdsa_ = STELLA_TRY(crypto::PublicKey::from_spki_der(key));
  }
  return out;
}

Result<VerifierKey> VerifierKey::parse(std::string_view vkey) {
  const auto bad = [] { return malformed("not a verifier key", "name+8 hex digits+base64(type || key)"); };
  const auto first = vkey.find('+');
  if (first == std::string_view::npos || first + 10 > vkey.size() || vkey[first + 9] != '+') return bad();
  const std::string_view name = vkey.substr(0, first);
  const auto id = hex_decode(vkey.substr(first + 1, 8));
  const auto key = strict_base64(vkey.substr(first + 10));
  if (!is_key_name(name) || !id || hex_encode(*id) != vkey.substr(first + 1, 8) || !key || key->size() < 2) return bad();
  VerifierKey out = STELLA_TRY(make(name, static_cast<SignatureType>(key->front()), std::string_view(*key).substr(1)));
  if (out.can_verify() && out.id_ != first_word(*id))
    return Error(base_errors::kInvalid, "the key id does not belong to this name and key").with("expected", hex_encode(id_bytes(out.id_)));
  out.id_ = first_word(*id);
  return out;
}

Result<VerifierKey> VerifierKey::ed25519(std::string_view name, const crypto::Ed25519PublicKey& key) {
  return make(name, SignatureType::kEd25519, key.raw());
}

Result<VerifierKey> VerifierKey::cosigner(std::string_view name, const crypto::Ed25519PublicKey& key) {
  return make(name, SignatureType::kCosignature, key.raw());
}

Result<VerifierKey> VerifierKey::ecdsa(std::string_view name, const crypto::PublicKey& key) { return make(name, SignatureType::kEcdsa, key.spki_der()); }

std::string VerifierKey::str() const {
  std::string key(1, static_cast<char>(type_));
  key += bytes_;
  return name_ + "+" + hex_encode(id_bytes(id_)) + "+" + base64_encode(key);
}

bool VerifierKey::verify(std::string_view text, std::string_view signature) const {
  if (ecdsa_) return ecdsa_->verify_der(text, signature);
  if (!ed25519_) return false;
  if (type_ == SignatureType::kEd25519) return ed25519_->verify(text, signature);
  const auto time = cosignature_time(signature);
  return time && ed25519_->verify(cosigned_message(text, *time), signature.substr(kCosignatureTimeBytes));
}

std::vector<VerifierKey> keys_of_log(std::string_view origin, std::span<const crypto::Ed25519PublicKey> signers, std::span<const VerifierKey> logs) {
  std::vector<VerifierKey> out;
  for (const auto& signer : signers)
    if (auto named = VerifierKey::ed25519(origin, signer)) out.push_back(std::move(*named));
  for (const auto& log : logs)
    if (std::none_of(out.begin(), out.end(), [&](const auto& k) { return k.name() == log.name() && k.id() == log.id(); })) out.push_back(log);
  return out;
}

std::string NoteSignature::line() const { return std::string(kDash) + name + " " + base64_encode(id_bytes(key_id) + bytes) + "\n"; }

std::string Note::str() const {
  std::string out = text + "\n";
  for (const auto& signature : signatures) out += signature.line();
  return out;
}

Result<std::vector<NoteSignature>> parse_signature_lines(std::string_view lines) {
  std::vector<NoteSignature> out;
  while (!lines.empty()) {
    const auto line = take_line(lines);
    if (!line) return malformed("the last line has no end", "newline");
    if (out.size() == kNoteSignatures) return Error(base_errors::kLimit, "too many signatures").with("limit", kNoteSignatures);
    out.push_back(STELLA_TRY(parse_signature_line(*line)));
  }
  if (out.empty()) return malformed("no signature", "at least one signature line");
  return out;
}

Result<Note> parse_note(std::string_view bytes) {
  if (bytes.size() > kNoteBytes) return Error(base_errors::kLimit, "the note is too large").with("limit", kNoteBytes).with("actual", bytes.size());
  if (!is_note_text(bytes)) return malformed("not a note", "UTF-8 without control characters other than newline");
  // The last empty line parts text and signatures; the text keeps its own last newline.
  const auto split = bytes.rfind("\n\n");
  if (split == std::string_view::npos) return malformed("not a note", "text, an empty line, signature lines");
  Note note;
  note.text = bytes.substr(0, split + 1);
  note.signatures = STELLA_TRY(parse_signature_lines(bytes.substr(split + 2)));
  return note;
}

Result<NoteSignature> sign_note(std::string_view text, std::string_view name, const crypto::Ed25519Signer& signer) {
  STELLA_TRY_VOID(check_signable(text));
  const VerifierKey key = STELLA_TRY(VerifierKey::ed25519(name, signer.public_key()));
  std::string bytes = STELLA_TRY(signer.sign(text));
  return NoteSignature{key.name(), key.id(), std::move(bytes)};
}

Result<NoteSignature> sign_note(std::string_view text, std::string_view name, const crypto::Signer& signer) {
  STELLA_TRY_VOID(check_signable(text));
  const VerifierKey key = STELLA_TRY(VerifierKey::ecdsa(name, signer.public_key()));
  std::string bytes = STELLA_TRY(signer.sign(text));
  return NoteSignature{key.name(), key.id(), std::move(bytes)};
}

Result<std::vector<std::size_t>> verify_note(const Note& note, std::span<const VerifierKey> keys) {
  std::set<std::pair<std::string_view, std::uint32_t>> seen;
  for (const auto& key : keys) {
    if (!seen.emplace(key.name(), key.id()).second)
      return Error(base_errors::kInvalid, "two keys have the same name and id").with("key", key.name()).with("field", "keys");
  }
  std::vector<std::size_t> signers;
  for (const auto& signature : note.signatures) {
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const VerifierKey& k) { return k.id() == signature.key_id && k.name() == signature.name; });
    if (key == keys.end() || !key->can_verify()) continue;
    if (!key->verify(note.text, signature.bytes)) return Error(base_errors::kInvalid, "a signature of a known key does not verify").with("key", key->name());
    signers.push_back(static_cast<std::size_t>(key - keys.begin()));
  }
  if (signers.empty()) return Error(base_errors::kInvalid, "no known key signed the note").with("expected", "a signature of one of the given keys");
  std::sort(signers.begin(), signers.end());
  signers.erase(std::unique(signers.begin(), signers.end()), signers.end());
  return signers;
}

}  // namespace stella::timeline
