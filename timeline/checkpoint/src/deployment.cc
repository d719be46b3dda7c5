// Proofs in the deployment log. Its leaves belong to many tenants, so they come from tiles and the edge alone, never from rows.
#include "stella/timeline/deployment.h"

#include "log_tiles.h"
#include "stella/contracts/errors.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kNewest = "SELECT l.origin, c.size, c.root, c.note, c.deployment_index FROM timeline_checkpoints c JOIN timeline_logs l USING (tenant_id) WHERE c.tenant_id = $1 ORDER BY c.size DESC LIMIT 1";
constexpr std::string_view kOfSize = "SELECT l.origin, c.size, c.root, c.note, c.deployment_index FROM timeline_checkpoints c JOIN timeline_logs l USING (tenant_id) WHERE c.tenant_id = $1 AND c.size = $2";
constexpr std::string_view kLog = "SELECT origin, size, edge FROM deployment_log";
// In one statement, so that both choices see the same rows.
constexpr std::string_view kCovering =
    "(SELECT size, root, CASE cosigned WHEN '' THEN note ELSE cosigned END, witnessed FROM deployment_checkpoints WHERE size > $1 AND witnessed ORDER BY size LIMIT 1)"
    " UNION ALL (SELECT size, root, CASE cosigned WHEN '' THEN note ELSE cosigned END, witnessed FROM deployment_checkpoints WHERE size > $1 ORDER BY size LIMIT 1) ORDER BY witnessed DESC LIMIT 1";
constexpr std::string_view kToKeep =
    "SELECT l.origin, c.note, c.size, c.root FROM timeline_checkpoints c JOIN timeline_logs l USING (tenant_id) WHERE c.tenant_id = $1 AND c.size >= $2 AND c.deployment_index <"
    " CASE WHEN (SELECT min(signed_at) FROM timeline_checkpoints WHERE tenant_id = $1 AND size >= $2) > now() - make_interval(secs => $3)"
    " THEN (SELECT max(size) FROM deployment_checkpoints WHERE witnessed) ELSE (SELECT size FROM deployment_log) END ORDER BY c.size DESC LIMIT 1";
constexpr std::string_view kNewestLeaf = "SELECT max(deployment_index) FROM timeline_checkpoints WHERE tenant_id = $1 AND deployment_index < (SELECT size FROM deployment_log)";
constexpr std::string_view kRoot = "SELECT root FROM deployment_checkpoints WHERE size = $1";

struct Log {
  std::string origin, edge;
  std::uint64_t size = 0;
};

Result<Log> log_of(pg::Tx& tx) {
  const auto rows = STELLA_TRY(tx.query(kLog, {}));
  if (rows.empty()) return Error(contracts::errors::kIntegrity, "the row of the deployment log is gone");
  return Log{.origin = std::string(rows.text(0, 0)), .edge = rows.bytes(0, 2), .size = static_cast<std::uint64_t>(rows.integer(0, 1))};
}

LogTiles tiles_of(objects::Store& store, Log log) {
  return LogTiles(store, object_key::deployment_tile, std::move(log.edge), log.size,
                  [](std::uint64_t, std::uint64_t) -> Result<std::vector<Sha256>> { return Error(base_errors::kNotFound, "a tile of the deployment log is lost"); });
}

Result<Checkpoint> checkpoint_of(pg::Tx& tx, const Log& log, std::uint64_t size) {
  const auto rows = STELLA_TRY(tx.query(kRoot, {size}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no checkpoint of this size was signed").with("field", size);
  return Checkpoint{.origin = log.origin, .size = size, .root = STELLA_TRY(rows.sha256(0, 0)), .extensions = {}};
}

Error not_there_yet() { return Error(contracts::errors::kNotReady, "the checkpoint is not in the deployment log yet").with("state", "pending").with("remedy", "Ask again in a second."); }

}  // namespace

namespace detail {

Result<DeploymentProof> deployment_proof(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::optional<std::uint64_t> size) {
  const auto rows = size ? STELLA_TRY(tx.query(kOfSize, {tenant, *size})) : STELLA_TRY(tx.query(kNewest, {tenant}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such checkpoint of this log was signed").with("field", "size");
  DeploymentProof out;
  out.covers = {std::string(rows.text(0, 0)), std::string(rows.text(0, 3)), static_cast<std::uint64_t>(rows.integer(0, 1)), STELLA_TRY(rows.sha256(0, 2))};
  if (rows.is_null(0, 4)) return not_there_yet();
  out.index = static_cast<std::uint64_t>(rows.integer(0, 4));
  const auto covering = STELLA_TRY(tx.query(kCovering, {out.index}));
  if (covering.empty()) return not_there_yet();
  Log log = STELLA_TRY(log_of(tx));
  out.head = {log.origin, std::string(covering.text(0, 2)), static_cast<std::uint64_t>(covering.integer(0, 0)), STELLA_TRY(covering.sha256(0, 1))};
  out.witnessed = covering.boolean(0, 3);
  const Checkpoint checkpoint{.origin = out.head.origin, .size = out.head.size, .root = out.head.root, .extensions = {}};
  LogTiles tiles = tiles_of(store, std::move(log));
  const TlogProof proof = STELLA_TRY(make_tlog_proof(tiles, {.checkpoint = checkpoint, .note = STELLA_TRY(parse_note(out.head.note))}, out.index));
  // The tiles lead to the root; whether they do so from this checkpoint, they do not know.
  if (!verify_inclusion(leaf_hash(out.covers.note), out.index, out.head.size, proof.hashes, out.head.root))
    return Error(contracts::errors::kIntegrity, "the checkpoint is not the one in the deployment log").with("actual", out.index);
  out.file = proof.str();
  return out;
}

Result<SignedHead> head_to_keep(pg::Tx& tx, const TenantId& tenant, std::uint64_t size, std::chrono::seconds patience) {
  const auto rows = STELLA_TRY(tx.query(kToKeep, {tenant, size, static_cast<double>(patience.count())}));
  SignedHead out;
  if (!rows.empty()) out = {std::string(rows.text(0, 0)), std::string(rows.text(0, 1)), static_cast<std::uint64_t>(rows.integer(0, 2)), STELLA_TRY(rows.sha256(0, 3))};
  return out;
}

Result<Proof> deployment_growth(pg::Tx& tx, objects::Store& store, const TenantId& tenant, std::uint64_t from, std::uint64_t to) {
  const auto leaf = STELLA_TRY(tx.query(kNewestLeaf, {tenant}));
  if (leaf.is_null(0, 0)) return Error(base_errors::kNotFound, "the deployment log has no checkpoint of this log yet").with("remedy", "The first one comes within a minute of the first event.");
  const auto covering = STELLA_TRY(tx.query(kCovering, {leaf.integer(0, 0)}));
  if (covering.empty()) return Error(contracts::errors::kIntegrity, "the deployment log's checkpoint is gone").with("actual", leaf.integer(0, 0));
  Log log = STELLA_TRY(log_of(tx));
  const Checkpoint last{.origin = log.origin, .size = static_cast<std::uint64_t>(covering.integer(0, 0)), .root = STELLA_TRY(covering.sha256(0, 1)), .extensions = {}};
  if (from == 0 || from > to || to > last.size)
    return Error(base_errors::kInvalid, "no such proof").with("field", "from_size, to_size").with("expected", "1 to " + std::to_string(last.size) + ", the former not above the latter");
  LogTiles stored = tiles_of(store, std::move(log));
  RememberedTiles tiles(stored);
  const auto of_size = [&](std::uint64_t size) -> Result<Checkpoint> { return Checkpoint{.origin = last.origin, .size = size, .root = STELLA_TRY(TileTree(tiles, size).root()), .extensions = {}}; };
  const Checkpoint newer = STELLA_TRY(of_size(to));
  // The tiles lead to what was signed; then what they say of smaller sizes is true.
  STELLA_TRY_VOID(prove_growth(tiles, newer, last));
  return prove_growth(tiles, STELLA_TRY(of_size(from)), newer);
}

}  // namespace detail

Result<Proof> deployment_consistency(pg::SystemTx<pg::IndexerRole>& tx, objects::Store& store, std::uint64_t from, std::uint64_t to) {
  Log log = STELLA_TRY(log_of(tx));
  const Checkpoint older = STELLA_TRY(checkpoint_of(tx, log, from));
  const Checkpoint newer = STELLA_TRY(checkpoint_of(tx, log, to));
  LogTiles tiles = tiles_of(store, std::move(log));
  return prove_growth(tiles, older, newer);
}

}  // namespace stella::timeline
