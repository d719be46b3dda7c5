// Tiles, checkpoint object and the check against the last signature.
#include "signed_log.h"

#include <vector>

#include "edge.h"
#include "stella/contracts/errors.h"
#include "stella/timeline/log/checkpoint.h"

namespace stella::timeline {

Result<LogState> LogState::read(const pg::Rows& rows) {
  LogState s;
  s.origin = rows.text(0, 0);
  s.size = static_cast<std::uint64_t>(rows.integer(0, 1));
  if (s.size > 0) s.root = STELLA_TRY(rows.sha256(0, 2));
  s.note = rows.text(0, 3);
  s.edge = rows.bytes(0, 4);
  return s;
}

Error not_what_was_signed(std::string_view reason, const LogPlace& place) {
  return Error(contracts::errors::kIntegrity, "the log is not what was signed; nothing more is signed").with("reason", std::string(reason)).with("tenant", place.name);
}

namespace {

// All keys whose word about the log of that name counts.
Result<std::vector<VerifierKey>> log_keys(const std::string& origin, const crypto::Ed25519PublicKey& key, std::span<const crypto::Ed25519PublicKey> former) {
  std::vector<VerifierKey> out = {STELLA_TRY(VerifierKey::ed25519(origin, key))};
  for (const auto& one : former) out.push_back(STELLA_TRY(VerifierKey::ed25519(origin, one)));
  return out;
}

Error other_bytes(const std::string& key, const LogPlace& place) { return not_what_was_signed("an object of the log has other bytes: " + key, place); }

}  // namespace

Result<TileEdge> load_edge(const LogState& state, const LogPlace& place, const crypto::Ed25519PublicKey& key, std::span<const crypto::Ed25519PublicKey> former) {
  if (state.size == 0) return TileEdge();
  EdgeSource source(state.edge, state.size);
  TileEdge edge = STELLA_TRY(TileEdge::load(source, state.size));
  const auto keys = STELLA_TRY(log_keys(state.origin, key, former));
  const auto last = open_checkpoint(state.note, state.origin, keys);
  if (!last) return not_what_was_signed("the last checkpoint does not verify", place);
  if (last->checkpoint.size != state.size || last->checkpoint.root != edge.root()) return not_what_was_signed("the stored edge does not lead to the last checkpoint", place);
  return edge;
}

Result<void> put_same(objects::Store& store, const std::string& key, std::string_view bytes, const LogPlace& place) {
  const auto created = STELLA_TRY(store.put(key, bytes));
  if (created == objects::Created::kNew) return {};
  const std::string there = STELLA_TRY(store.get(key, 1u << 20));
  if (there != bytes) return other_bytes(key, place);
  return {};
}

Result<void> append_leaves(objects::Store& store, const LogPlace& place, TileEdge& edge, std::span<const Sha256> leaves) {
  return edge.append(leaves, [&](const TileId& id, std::string bytes) { return put_same(store, place.tile(id.path()), bytes, place); });
}

Result<std::string> sign_edge(objects::Store& store, const LogPlace& place, const std::string& origin, const TileEdge& edge, const crypto::Ed25519Signer& signer, std::span<const crypto::Ed25519PublicKey> former) {
  const Note note = STELLA_TRY(sign_checkpoint({.origin = origin, .size = edge.size(), .root = edge.root(), .extensions = {}}, signer));
  const std::string key = place.checkpoint(edge.size());
  std::string text = note.str();
  const auto created = STELLA_TRY(store.put(key, text));
  if (created == objects::Created::kNew) return text;
  std::string there = STELLA_TRY(store.get(key, 1u << 20));
  if (there == text) return text;
  // Its transaction was lost in a crash, and the key was rotated since: what the key before said about the same root stands.
  const auto keys = STELLA_TRY(log_keys(origin, signer.public_key(), former));
  const auto before = open_checkpoint(there, origin, keys);
  if (before && before->checkpoint.size == edge.size() && before->checkpoint.root == edge.root()) return there;
  return other_bytes(key, place);
}

}  // namespace stella::timeline
