// C2SP tlog-witness, add-checkpoint: the request, the witness's decision, and what a log reads from the answer. Pure: HTTP, storage and clock are
// the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/proofs.h"

namespace stella::timeline {

inline constexpr std::size_t kAddCheckpointHashes = 63;

// POST <submission prefix>/add-checkpoint
struct AddCheckpoint {
  std::uint64_t old_size = 0;
  Proof proof;             // from old_size to the checkpoint's size; empty from 0
  std::string checkpoint;  // the signed note, byte for byte

  std::string str() const;
};
// The syntax only: the checkpoint is neither read nor verified. kMalformed with the line, kLimit.
Result<AddCheckpoint> parse_add_checkpoint(std::string_view body);

// What a witness keeps of one log: configuration and the last checkpoint it cosigned (size 0 and the empty root where there is none).
struct WitnessState {
  std::string origin;
  std::vector<VerifierKey> keys;
  std::uint64_t size = 0;
  Sha256 root = empty_root();
};

struct WitnessAnswer {
  int status = 500;              // 200, 400, 403, 404, 409 or 422
  std::string body;              // a reason, or with 409 for another size that size; with 200 empty until the caller has cosigned
  std::string_view content_type = "text/plain; charset=utf-8";
  // With 200 only. The caller replaces size and root of the state by these, atomically with a check that they are still those it passed (and
  // asks again where they are not); only then it signs `accepted_text` with cosign_checkpoint() and sends the line.
  std::optional<Checkpoint> accepted;
  std::string accepted_text;
};

// Decides about a request. `state_of` gives the state of the log with this origin, nullptr where the witness does not know it.
//   400 not a request, or old size above the checkpoint's; 404 unknown origin; 403 no signature of the log that verifies, a false one of a known
//   key, or a line that is no signature;
//   409 old size is not the size last cosigned (the body is that size), or another root for the same size; 422 the proof does not verify.
WitnessAnswer answer_add_checkpoint(std::string_view body, const std::function<const WitnessState*(std::string_view origin)>& state_of);

// The client's side of a 200: the lines of `witnesses` that verify over `checkpoint_text`. Lines of others are ignored; kInvalid where a line of
// one of them does not verify, where none is there, and where a key of `witnesses` is none for cosignatures.
Result<std::vector<NoteSignature>> read_cosignatures(std::string_view body, std::string_view checkpoint_text, std::span<const VerifierKey> witnesses);
// The client's side of a 409 of type text/x.tlog.size: the size to prove from. kMalformed.
Result<std::uint64_t> read_witness_size(std::string_view body);
inline constexpr std::string_view kWitnessSizeType = "text/x.tlog.size";

}  // namespace stella::timeline
