// Checkpoints and cosignatures: their bytes, and what must hold from one checkpoint of a log to the next.
#include "stella/timeline/log/checkpoint.h"

#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/timeline/log/proofs.h"
#include "text.h"

namespace stella::timeline {
namespace {

constexpr std::uint64_t kLatestTime = INT64_MAX;

bool is_line(std::string_view text) { return !text.empty() && is_note_text(text) && text.find('\n') == std::string_view::npos; }

Error malformed(std::uint64_t line, std::string expected) {
  return Error(base_errors::kMalformed, "not a checkpoint").with("line", line).with("expected", std::move(expected));
}

}  // namespace

Result<std::string> checkpoint_text(const Checkpoint& checkpoint) {
  const auto not_a_line = [](Literal field) {
    return Error(base_errors::kInvalid, "no line of a checkpoint").with("field", std::string(field.view())).with("expected", "UTF-8, not empty, no control characters");
  };
  if (!is_line(checkpoint.origin)) return not_a_line("origin");
  std::string out = checkpoint.origin + "\n" + std::to_string(checkpoint.size) + "\n" + base64_encode(checkpoint.root.view()) + "\n";
  for (const auto& line : checkpoint.extensions) {
    if (!is_line(line)) return not_a_line("extensions");
    out += line + "\n";
  }
  return out;
}

Result<Checkpoint> parse_checkpoint_text(std::string_view text) {
  if (!is_note_text(text)) return malformed(1, "UTF-8 without control characters other than newline");
  Checkpoint out;
  const auto origin = take_line(text);
  if (!origin || origin->empty()) return malformed(1, "the origin of the log");
  out.origin = *origin;
  const auto size = take_line(text);
  const auto number = size ? decimal(*size) : std::nullopt;
  if (!number) return malformed(2, "the size, decimal without leading zeros, below 2^64");
  out.size = *number;
  const auto root = take_line(text);
  if (!root) return malformed(3, "base64 of the root, 32 bytes");
  const auto hash = hash_line(*root);
  if (!hash) return malformed(3, "base64 of the root, 32 bytes");
  out.root = *hash;
  while (!text.empty()) {
    const auto line = take_line(text);
    if (!line || line->empty()) return malformed(4 + out.extensions.size(), "an extension line that is not empty and has an end");
    out.extensions.emplace_back(*line);
  }
  return out;
}

Sha256 log_id(std::string_view origin) { return crypto::sha256("o:" + std::string(origin)); }

Result<Note> sign_checkpoint(const Checkpoint& checkpoint, const crypto::Ed25519Signer& signer) {
  Note note;
  note.text = STELLA_TRY(checkpoint_text(checkpoint));
  note.signatures.push_back(STELLA_TRY(sign_note(note.text, checkpoint.origin, signer)));
  return note;
}

Result<OpenedCheckpoint> open_checkpoint(std::string_view bytes, std::string_view origin, std::span<const VerifierKey> log_keys) {
  OpenedCheckpoint out;
  out.note = STELLA_TRY(parse_note(bytes));
  STELLA_TRY_VOID(verify_note(out.note, log_keys));
  out.checkpoint = STELLA_TRY(parse_checkpoint_text(out.note.text));
  if (out.checkpoint.origin != origin)
    return Error(base_errors::kInvalid, "the checkpoint of another log").with("expected", std::string(origin)).with("actual", out.checkpoint.origin);
  return out;
}

Result<void> verify_growth(const Checkpoint& older, const Checkpoint& newer, std::span<const Sha256> proof) {
  if (older.origin != newer.origin) return Error(base_errors::kInvalid, "checkpoints of two logs").with("expected", older.origin).with("actual", newer.origin);
  if (newer.size < older.size)
    return Error(base_errors::kInvalid, "the log has shrunk: this checkpoint is older than the one known").with("size", newer.size).with("expected", older.size);
  if (older.size == 0 && newer.size != 0) {
    if (!proof.empty()) return Error(base_errors::kInvalid, "the consistency proof has the wrong length").with("expected", "no hash from size 0");
    return {};
  }
  if (older.size == 0) {
    if (older.root != newer.root) return Error(base_errors::kInvalid, "two roots for one size").with("size", older.size);
    if (!proof.empty()) return Error(base_errors::kInvalid, "the consistency proof has the wrong length").with("expected", "no hash from size 0");
    return {};
  }
  return verify_consistency(older.size, newer.size, proof, older.root, newer.root);
}

std::string cosigned_message(std::string_view text, std::uint64_t time) {
  std::string out = "cosignature/v1\ntime " + std::to_string(time) + "\n";
  out += text;
  return out;
}

Result<std::uint64_t> cosignature_time(std::string_view signature) {
  const auto bad = [] { return Error(base_errors::kMalformed, "not a cosignature").with("expected", "8 bytes of time up to 2^63 - 1 and 64 bytes of Ed25519"); };
  if (signature.size() != kCosignatureTimeBytes + crypto::kEd25519SignatureBytes) return bad();
  std::uint64_t time = 0;
  for (const char c : signature.substr(0, kCosignatureTimeBytes)) time = time << 8 | static_cast<unsigned char>(c);
  if (time > kLatestTime) return bad();
  return time;
}

Result<NoteSignature> cosign_checkpoint(std::string_view text, std::uint64_t time, std::string_view name, const crypto::Ed25519Signer& signer) {
  if (time > kLatestTime) return Error(base_errors::kInvalid, "no cosignature has this time").with("expected", "at most 2^63 - 1 seconds");
  STELLA_TRY_VOID(parse_checkpoint_text(text));
  const VerifierKey key = STELLA_TRY(VerifierKey::cosigner(name, signer.public_key()));
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>((time >> shift) & 0xff);
  bytes += STELLA_TRY(signer.sign(cosigned_message(text, time)));
  return NoteSignature{key.name(), key.id(), std::move(bytes)};
}

}  // namespace stella::timeline
