// Rows to tiles to checkpoint. What is signed is what can be reproduced: entries, tiles, the indexer's root and the last signature must agree.
#include "stella/timeline/checkpointer.h"

#include "deployment_signer.h"
#include "edge.h"
#include "signed_log.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

constexpr telemetry::Logger kLog{"timeline.checkpoint"};
constexpr telemetry::Counter kSigned{contracts::metrics::kTimelineCheckpoints};
constexpr telemetry::Counter kDeploymentSigned{contracts::metrics::kTimelineDeploymentCheckpoints};

constexpr std::string_view kDue =
    "SELECT h.tenant_id FROM timeline_heads h LEFT JOIN timeline_logs l USING (tenant_id) WHERE h.size > coalesce(l.size, 0) AND"
    " (l.tenant_id IS NULL OR l.wanted > l.size OR h.size - l.size >= $1 OR l.signed_at < now() - make_interval(secs => $2)) ORDER BY l.signed_at NULLS FIRST LIMIT 64";
constexpr std::string_view kLock = "SELECT origin, size, root, note, edge FROM timeline_logs WHERE tenant_id = $1 FOR UPDATE";
constexpr std::string_view kEntries = "SELECT log_index, entry FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 AND log_index < $3 ORDER BY log_index LIMIT 1000";
constexpr std::int64_t kStep = 100'000;  // events of one transaction; a log that is further behind is signed in steps
constexpr std::int64_t kPage = 1000;

LogPlace place_of(const TenantId& tenant) {
  return {.name = tenant.str(), .tile = [tenant](std::string_view path) { return object_key::log_tile(tenant, path); }, .checkpoint = [tenant](std::uint64_t size) { return object_key::checkpoint(tenant, size); }};
}

Result<LogState> lock_log(pg::Tx& tx, const TenantId& tenant) {
  const auto rows = STELLA_TRY(tx.query(kLock, {tenant}));
  if (rows.empty() || rows.text(0, 0).empty()) return not_what_was_signed("the log has lost its name", place_of(tenant));
  return LogState::read(rows);
}

// Opaque: who sees the name of a log learns nothing about its tenant. Committed before anything is signed under it: where a process dies between the
// first checkpoint's object and its row, the object must not speak of a log that nobody knows.
Result<void> name_log(pg::SystemPool<pg::IndexerRole>& pool, const TenantId& tenant) {
  const auto named = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool, "SELECT FROM timeline_logs WHERE tenant_id = $1 AND origin <> ''", {tenant}));
  if (!named.empty()) return {};
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool));
  STELLA_TRY_VOID(tx.query("INSERT INTO timeline_logs (tenant_id, origin) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET origin = excluded.origin WHERE timeline_logs.origin = ''",
                           {tenant, "stellaops.dev/log/" + EventId::generate().str()}));
  return tx.commit();
}

Result<void> append_entries(pg::Tx& tx, objects::Store& store, const TenantId& tenant, const LogPlace& place, TileEdge& edge, std::int64_t to) {
  while (static_cast<std::int64_t>(edge.size()) < to) {
    const auto from = static_cast<std::int64_t>(edge.size());
    const auto rows = STELLA_TRY(tx.query(kEntries, {tenant, from, std::min(to, from + kPage)}));
    if (rows.empty()) return not_what_was_signed("entry " + std::to_string(from) + " is missing", place);
    std::vector<Sha256> leaves;
    for (int i = 0; i < rows.size(); ++i) {
      if (rows.integer(i, 0) != from + i) return not_what_was_signed("entry " + std::to_string(from + i) + " is missing", place);
      leaves.push_back(leaf_hash(rows.bytes(i, 1)));
    }
    STELLA_TRY_VOID(append_leaves(store, place, edge, leaves));
  }
  return {};
}

}  // namespace

Checkpointer::Checkpointer(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, std::shared_ptr<const crypto::Ed25519Signer> signer, CheckpointerOptions options)
    : pool_(pool), store_(store), signer_(std::move(signer)), options_(options) {}

Checkpointer::~Checkpointer() { stop(); }

void Checkpointer::start() {
  rounds_.start("checkpointer", [this] {
    auto done = round();
    const Lock lock(mutex_);
    // Said once, not at every poll.
    if (!done && (!trouble_ || trouble_->code() != done.error().code())) kLog.error("checkpoints cannot be signed", {f::error(done.error())});
    trouble_ = done ? std::optional<Error>() : std::move(done.error());
    return trouble_ ? std::chrono::milliseconds(2000) : options_.poll;
  });
}

void Checkpointer::stop() { rounds_.stop(); }

std::optional<Error> Checkpointer::trouble() const {
  const Lock lock(mutex_);
  return trouble_;
}

Result<int> Checkpointer::round() {
  const auto rows = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool_, kDue, {options_.events, static_cast<double>(options_.every.count())}));
  telemetry::Work::waiting(contracts::work::kTimelineCheckpoint, rows.size());
  int done = 0;
  std::optional<Error> first;
  for (int i = 0; i < rows.size() && !rounds_.stopping(); ++i) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
    auto made = telemetry::in_work(contracts::work::kTimelineCheckpoint, telemetry::of_tenant(tenant), [&](telemetry::Work&) { return sign_one(tenant); });
    if (made) done += *made ? 1 : 0;
    else if (!first) first = std::move(made.error());
  }
  if (!rounds_.stopping()) {
    // Also where one of them failed: it must not hold up the heads of the others.
    auto placed = telemetry::in_work(contracts::work::kTimelineDeployment, {}, [&](telemetry::Work&) { return sign_deployment(pool_, store_, *signer_, options_.former); });
    if (placed && *placed) kDeploymentSigned.add(1);
    if (!placed && !first) first = std::move(placed.error());
  }
  if (first) return std::move(*first);
  return done;
}

Result<bool> Checkpointer::sign_one(const TenantId& tenant) {
  STELLA_TRY_VOID(name_log(pool_, tenant));
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool_));
  const LogPlace place = place_of(tenant);
  const LogState state = STELLA_TRY(lock_log(tx, tenant));
  const auto head = STELLA_TRY(tx.query("SELECT size, root FROM timeline_heads WHERE tenant_id = $1", {tenant}));
  if (head.empty()) return not_what_was_signed("the log's head is gone", place);
  const std::int64_t size = head.integer(0, 0);
  if (size < static_cast<std::int64_t>(state.size)) return not_what_was_signed("the log became shorter than its last checkpoint", place);
  if (size == static_cast<std::int64_t>(state.size)) return false;  // another process was faster
  const std::int64_t to = std::min(size, static_cast<std::int64_t>(state.size) + kStep);

  TileEdge edge = STELLA_TRY(load_edge(state, place, signer_->public_key(), options_.former));
  STELLA_TRY_VOID(append_entries(tx, store_, tenant, place, edge, to));
  const Sha256 indexed = STELLA_TRY(head.sha256(0, 1));
  if (to == size && edge.root() != indexed) return not_what_was_signed("the entries do not lead to the indexer's root", place);

  const std::string text = STELLA_TRY(sign_edge(store_, place, state.origin, edge, *signer_, options_.former));
  STELLA_TRY_VOID(tx.query("UPDATE timeline_logs SET size = $2, root = $3, note = $4, edge = $5, signed_at = now() WHERE tenant_id = $1",
                           {tenant, edge.size(), edge.root(), text, pg::Param::bytes(edge_bytes(edge))}));
  STELLA_TRY_VOID(tx.query("INSERT INTO timeline_checkpoints (tenant_id, size, root, note, signed_at) VALUES ($1, $2, $3, $4, clock_timestamp())", {tenant, edge.size(), edge.root(), text}));
  STELLA_TRY_VOID(tx.commit());
  kSigned.add(1);
  return true;
}

}  // namespace stella::timeline
