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

Result<TileEdge> load_edge(const LogState& state, const LogPlace& place, const crypto::Ed25519PublicKey& key, std::span<const crypto::Ed25519PublicKey> former) {
  if (state.size == 0) return TileEdge();
  EdgeSource source(state.edge, state.size);
  TileEdge edge = STELLA_TRY(TileEdge::load(source, state.size));
  std::vector<VerifierKey> keys = {STELLA_TRY(VerifierKey::ed25519(state.origin, key))};
  for (const auto& one : former) keys.push_back(STELLA_TRY(VerifierKey::ed25519(state.origin, one)));
  const auto last = open_checkpoint(state.note, state.origin, keys);
  if (!last) return not_what_was_signed("the last checkpoint does not verify", place);
  if (last->checkpoint.size != state.size || last->checkpoint.root != edge.root()) return not_what_was_signed("the stored edge does not lead to the last checkpoint", place);
  return edge;
}

Result<void> put_same(objects::Store& store, const std::string& key, std::string_view bytes, const LogPlace& place) {
  const auto created = STELLA_TRY(store.put(key, bytes));
  if (created == objects::Created::kNew) return {};
  const std::string there = STELLA_TRY(store.get(key, 1u << 20));
  if (there != bytes) return not_what_was_signed("an object of the log has other bytes: " + key, place);
  return {};
}

Result<void> append_leaves(objects::Store& store, const LogPlace& place, TileEdge& edge, std::span<const Sha256> leaves) {
  return edge.append(leaves, [&](const TileId& id, std::string bytes) { return put_same(store, place.tile(id.path()), bytes, place); });
}

Result<std::string> sign_edge(objects::Store& store, const LogPlace& place, const std::string& origin, const TileEdge& edge, const crypto::Ed25519Signer& signer) {
  const Note note = STELLA_TRY(sign_checkpoint({.origin = origin, .size = edge.size(), .root = edge.root(), .extensions = {}}, signer));
  std::string text = note.str();
  STELLA_TRY_VOID(put_same(store, place.checkpoint(edge.size()), text, place));
  return text;
}

}  // namespace stella::timeline
