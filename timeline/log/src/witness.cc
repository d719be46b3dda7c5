// The witness protocol's decisions, in the order of the specification.
#include "stella/timeline/log/witness.h"

#include <algorithm>

#include "stella/base/encoding.h"
#include "text.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kOld = "old ";

Error malformed(std::uint64_t line, std::string expected) {
  return Error(base_errors::kMalformed, "not an add-checkpoint request").with("line", line).with("expected", std::move(expected));
}

WitnessAnswer refuse(int status, std::string reason) {
  WitnessAnswer answer;
  answer.status = status;
  answer.body = std::move(reason) + "\n";
  return answer;
}

// After origin, signature and sizes: does the checkpoint continue what was cosigned last?
WitnessAnswer continue_from(const WitnessState& state, const AddCheckpoint& request, Checkpoint checkpoint, const std::string& text) {
  if (request.old_size == 0 || request.old_size == checkpoint.size) {
    if (!request.proof.empty()) return refuse(422, "the consistency proof must be empty here");
    if (request.old_size == checkpoint.size && checkpoint.root != state.root) return refuse(409, "another root is known for this size");
  } else if (const auto verified = verify_consistency(request.old_size, checkpoint.size, request.proof, state.root, checkpoint.root); !verified) {
    return refuse(422, std::string(verified.error().message()));
  }
  WitnessAnswer answer;
  answer.status = 200;
  answer.accepted = std::move(checkpoint);
  answer.accepted_text = text;
  return answer;
}

}  // namespace

std::string AddCheckpoint::str() const {
  std::string out = std::string(kOld) + std::to_string(old_size) + "\n";
  for (const auto& hash : proof) out += base64_encode(hash.view()) + "\n";
  return out + "\n" + checkpoint;
}

Result<AddCheckpoint> parse_add_checkpoint(std::string_view body) {
  AddCheckpoint out;
  std::uint64_t number = 1;
  auto line = take_line(body);
  const auto old_size = line && line->starts_with(kOld) ? decimal(line->substr(kOld.size())) : std::nullopt;
  if (!old_size) return malformed(number, "old <size, decimal without leading zeros>");
  out.old_size = *old_size;
  for (;;) {
    line = take_line(body);
    ++number;
    if (!line) return malformed(number, "an empty line before the checkpoint");
    if (line->empty()) break;
    const auto hash = hash_line(*line);
    if (!hash || out.proof.size() == kAddCheckpointHashes) return malformed(number, "at most 63 hashes, base64 of 32 bytes each, and an empty line");
    out.proof.push_back(*hash);
  }
  if (body.empty()) return malformed(number + 1, "the checkpoint");
  if (body.size() > kNoteBytes) return Error(base_errors::kLimit, "the checkpoint is too large").with("limit", kNoteBytes).with("actual", body.size());
  out.checkpoint = body;
  return out;
}

WitnessAnswer answer_add_checkpoint(std::string_view body, const std::function<const WitnessState*(std::string_view origin)>& state_of) {
  const auto request = parse_add_checkpoint(body);
  if (!request) return refuse(400, request.error().describe());
  // The text first: whether the origin is known comes before whether the lines below are signatures.
  const auto split = request->checkpoint.rfind("\n\n");
  if (split == std::string::npos) return refuse(400, "the checkpoint is not signed");
  auto checkpoint = parse_checkpoint_text(std::string_view(request->checkpoint).substr(0, split + 1));
  if (!checkpoint) return refuse(400, checkpoint.error().describe());
  const WitnessState* state = state_of(checkpoint->origin);
  if (state == nullptr) return refuse(404, "no such log");
  const auto note = parse_note(request->checkpoint);
  if (!note) return refuse(403, std::string(note.error().message()));
  if (const auto signers = verify_note(*note, state->keys); !signers) return refuse(403, std::string(signers.error().message()));
  if (request->old_size > checkpoint->size) return refuse(400, "the old size is above the size of the checkpoint");
  if (request->old_size != state->size) {
    WitnessAnswer answer = refuse(409, std::to_string(state->size));
    answer.content_type = kWitnessSizeType;
    return answer;
  }
  return continue_from(*state, *request, std::move(*checkpoint), note->text);
}

Result<std::vector<NoteSignature>> read_cosignatures(std::string_view body, std::string_view checkpoint_text, std::span<const VerifierKey> witnesses) {
  if (std::any_of(witnesses.begin(), witnesses.end(), [](const VerifierKey& key) { return key.type() != SignatureType::kCosignature; }))
    return Error(base_errors::kInvalid, "the key of a witness must be one for cosignatures").with("expected", "key type 0x04");
  if (body.size() > kNoteBytes) return Error(base_errors::kLimit, "the answer is too large").with("limit", kNoteBytes).with("actual", body.size());
  Note note{std::string(checkpoint_text), {}};
  note.signatures = STELLA_TRY(parse_signature_lines(body));
  STELLA_TRY_VOID(verify_note(note, witnesses));
  std::vector<NoteSignature> out;
  for (auto& signature : note.signatures) {
    const bool known = std::any_of(witnesses.begin(), witnesses.end(), [&](const VerifierKey& k) { return k.id() == signature.key_id && k.name() == signature.name; });
    if (known && std::find(out.begin(), out.end(), signature) == out.end()) out.push_back(std::move(signature));
  }
  return out;
}

Result<std::uint64_t> read_witness_size(std::string_view body) {
  const auto line = take_line(body);
  const auto size = line && body.empty() ? decimal(*line) : std::nullopt;
  if (!size) return Error(base_errors::kMalformed, "not a tree size").with("expected", "decimal without leading zeros, newline");
  return *size;
}

}  // namespace stella::timeline
