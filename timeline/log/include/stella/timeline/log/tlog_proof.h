// C2SP tlog-proof: a file that proves offline that an entry is in a log (index, inclusion proof and the signed checkpoint). Pure; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/timeline/log/policy.h"
#include "stella/timeline/log/proofs.h"
#include "stella/timeline/log/tile_tree.h"

namespace stella::timeline {

inline constexpr std::size_t kTlogProofBytes = 4u << 20;  // the note in it may take 1 MiB, the extra data the rest

// Files are named *.tlog-proof.
struct TlogProof {
  std::optional<std::string> extra;  // opaque; authenticated by nothing, so never to be trusted for itself
  std::uint64_t index = 0;
  Proof hashes;
  std::string checkpoint;  // the signed note, byte for byte

  std::string str() const;
};

// The syntax only: the checkpoint is neither read nor verified. kMalformed with the line, kLimit.
Result<TlogProof> parse_tlog_proof(std::string_view bytes);

// From tiles, verified before it is given out. `checkpoint` must have been opened from the note that is to stand in the file.
Result<TlogProof> make_tlog_proof(TileSource& source, const OpenedCheckpoint& checkpoint, std::uint64_t index);

// Shows that the entry with this leaf hash is in the log: checkpoint of `origin` signed by one of `log_keys`, or accepted by a policy with its
// quorum of witnesses; index below the size; the hashes lead to the root. kMalformed, kInvalid.
Result<Checkpoint> verify_tlog_proof(const TlogProof& proof, const Sha256& leaf, std::string_view origin, std::span<const VerifierKey> log_keys);
Result<LogPolicy::Accepted> verify_tlog_proof(const TlogProof& proof, const Sha256& leaf, const LogPolicy& policy, std::span<const VerifierKey> more_logs = {});

}  // namespace stella::timeline
