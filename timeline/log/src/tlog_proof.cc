// Offline proof files.
#include "stella/timeline/log/tlog_proof.h"

#include "stella/base/encoding.h"
#include "text.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kMagic = "c2sp.org/tlog-proof@v1";
constexpr std::string_view kExtra = "extra ";
constexpr std::string_view kIndex = "index ";
constexpr std::size_t kProofHashes = 64;

Error malformed(std::uint64_t line, std::string expected) {
  return Error(base_errors::kMalformed, "not a tlog-proof").with("line", line).with("expected", std::move(expected));
}

}  // namespace

std::string TlogProof::str() const {
  std::string out = std::string(kMagic) + "\n";
  if (extra) out += std::string(kExtra) + base64_encode(*extra) + "\n";
  out += std::string(kIndex) + std::to_string(index) + "\n";
  for (const auto& hash : hashes) out += base64_encode(hash.view()) + "\n";
  return out + "\n" + checkpoint;
}

Result<TlogProof> parse_tlog_proof(std::string_view bytes) {
  if (bytes.size() > kTlogProofBytes) return Error(base_errors::kLimit, "the proof is too large").with("limit", kTlogProofBytes).with("actual", bytes.size());
  TlogProof out;
  std::uint64_t number = 1;
  auto line = take_line(bytes);
  if (line != kMagic) return malformed(number, std::string(kMagic));
  line = take_line(bytes);
  ++number;
  if (line && line->starts_with(kExtra)) {
    auto extra = strict_base64(line->substr(kExtra.size()));
    if (!extra || extra->empty()) return malformed(number, "extra <base64>, left out where there is none");
    out.extra = std::move(*extra);
    line = take_line(bytes);
    ++number;
  }
  const auto index = line && line->starts_with(kIndex) ? decimal(line->substr(kIndex.size())) : std::nullopt;
  if (!index) return malformed(number, "index <decimal without leading zeros>");
  out.index = *index;
  for (;;) {
    line = take_line(bytes);
    ++number;
    if (!line) return malformed(number, "an empty line before the checkpoint");
    if (line->empty()) break;
    const auto hash = hash_line(*line);
    if (!hash || out.hashes.size() == kProofHashes) return malformed(number, "at most 64 hashes, base64 of 32 bytes each, and an empty line");
    out.hashes.push_back(*hash);
  }
  if (bytes.empty()) return malformed(number + 1, "the checkpoint");
  out.checkpoint = bytes;
  return out;
}

Result<TlogProof> make_tlog_proof(TileSource& source, const OpenedCheckpoint& checkpoint, std::uint64_t index) {
  LeafProof proven = STELLA_TRY(prove_inclusion(source, checkpoint.checkpoint, index));
  return TlogProof{std::nullopt, index, std::move(proven.proof), checkpoint.note.str()};
}

Result<Checkpoint> verify_tlog_proof(const TlogProof& proof, const Sha256& leaf, std::string_view origin, std::span<const VerifierKey> log_keys) {
  OpenedCheckpoint opened = STELLA_TRY(open_checkpoint(proof.checkpoint, origin, log_keys));
  STELLA_TRY_VOID(verify_inclusion(leaf, proof.index, opened.checkpoint.size, proof.hashes, opened.checkpoint.root));
  return std::move(opened.checkpoint);
}

Result<LogPolicy::Accepted> verify_tlog_proof(const TlogProof& proof, const Sha256& leaf, const LogPolicy& policy, std::span<const VerifierKey> more_logs) {
  LogPolicy::Accepted accepted = STELLA_TRY(policy.open(proof.checkpoint, more_logs));
  STELLA_TRY_VOID(verify_inclusion(leaf, proof.index, accepted.checkpoint.size, proof.hashes, accepted.checkpoint.root));
  return accepted;
}

}  // namespace stella::timeline
