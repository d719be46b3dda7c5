// C2SP tlog-checkpoint v1.0.0 (what a log states about itself) and tlog-cosignature v1 (what a witness states about it). Pure; no I/O.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/timeline/log/note.h"

namespace stella::timeline {

struct Checkpoint {
  std::string origin;       // not empty; names the log
  std::uint64_t size = 0;   // leaves
  Sha256 root;              // of the tree over the first `size` leaves
  std::vector<std::string> extensions;  // opaque lines, none empty; nobody audits them, so ours have none

  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

// The note text: three lines and the extensions. kInvalid for an origin or extension that cannot be a line.
Result<std::string> checkpoint_text(const Checkpoint& checkpoint);
// Strict: no sign, leading zero or space in the size, a root of 32 bytes in padded base64, no empty line. kMalformed with the line.
Result<Checkpoint> parse_checkpoint_text(std::string_view text);

// SHA-256("o:" || origin): the id of a log where a path or a key needs one (transparency-dev/formats, log/identifier.go).
Sha256 log_id(std::string_view origin);

// The signed checkpoint; the signature carries the origin as its key name. kInvalid where the origin cannot name a key.
Result<Note> sign_checkpoint(const Checkpoint& checkpoint, const crypto::Ed25519Signer& signer);

// Reads a note, verifies it against `log_keys` (verify_note: one false signature spoils it) and then reads its text. kInvalid too where the
// origin is not `origin`.
struct OpenedCheckpoint {
  Checkpoint checkpoint;
  Note note;
};
Result<OpenedCheckpoint> open_checkpoint(std::string_view note, std::string_view origin, std::span<const VerifierKey> log_keys);

// kInvalid unless `newer` continues `older`: same origin, not smaller, one root for one size (and `proof` for different sizes; from size 0 the
// proof must be empty). What a client checks before it replaces the checkpoint it kept.
Result<void> verify_growth(const Checkpoint& older, const Checkpoint& newer, std::span<const Sha256> proof);

// Cosignatures: eight bytes of big-endian POSIX time (at most 2^63 - 1), then Ed25519 over cosigned_message().
inline constexpr std::size_t kCosignatureTimeBytes = 8;
// "cosignature/v1\ntime <t>\n" and the text.
std::string cosigned_message(std::string_view checkpoint_text, std::uint64_t time);
// Seconds since the epoch; `signature` without the key id. kMalformed for another length or a later time.
Result<std::uint64_t> cosignature_time(std::string_view signature);
// kInvalid for a text that is no checkpoint, a time beyond 2^63 - 1 or a bad name.
Result<NoteSignature> cosign_checkpoint(std::string_view checkpoint_text, std::uint64_t time, std::string_view name, const crypto::Ed25519Signer& signer);

}  // namespace stella::timeline
