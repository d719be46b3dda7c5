// The store follows the rows: its legal-hold bit and its lock of every object that a bundle consists of.
#include <set>

#include "bundle_objects.h"
#include "retention_rules.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/work.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.keeper"};
constexpr int kBundlesPerRound = 256;
constexpr std::chrono::microseconds kPause = std::chrono::minutes(1);

constexpr std::string_view kDue =
    "(SELECT tenant_id, bundle_id FROM evidence_retention WHERE applied < wanted AND done_at IS NULL AND not_before <= $2 ORDER BY tenant_id, bundle_id LIMIT 256) UNION "
    "(SELECT tenant_id, bundle_id FROM evidence_retention WHERE checked_at < $1 AND done_at IS NULL AND not_before <= $2 ORDER BY checked_at LIMIT 256)";
// One at a time, or the slower of two would write what the faster one had overtaken.
constexpr std::string_view kAlone = "SELECT pg_try_advisory_xact_lock(hashtextextended($1 || '/' || $2, 6))";
constexpr std::string_view kWanted =
    "SELECT r.wanted, r.lock_held, greatest(r.retain_until, c.retain_until, c.incident_until), EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = r.tenant_id AND h.case_id = r.case_id AND h.released_at IS NULL), "
    "s.state FROM evidence_retention r JOIN evidence_snapshots s USING (tenant_id, bundle_id) LEFT JOIN evidence_cases c ON c.tenant_id = r.tenant_id AND c.case_id = r.case_id "
    "WHERE r.tenant_id = $1 AND r.bundle_id = $2";

// Which of these objects a held case needs, this one or another.
constexpr std::string_view kHeldObjects =
    "SELECT d FROM unnest($2::bytea[]) d WHERE EXISTS (SELECT FROM evidence_snapshots o JOIN evidence_holds h ON h.tenant_id = o.tenant_id AND h.case_id = o.case_id AND h.released_at IS NULL "
    "WHERE o.tenant_id = $1 AND o.state IN ('built', 'sealed', 'failed') AND (o.payload_sha256 = d OR o.items_sha256 = d OR o.made_objects @> ARRAY[d]))";

struct Wanted {
  bool held = false;
  bool may_lift = false;  // the bit is there because of us
  Timestamp until;
};

// Brings one object there; whether anything had to be changed.
Result<bool> bring(objects::Store& store, const std::string& key, const Wanted& wanted) {
  const auto lock = store.lock_state(key);
  if (!lock && lock.error().code() == base_errors::kNotFound) return false;  // gone, or never there: not a matter of locks
  if (!lock) return Error(lock.error());
  bool changed = false;
  if (wanted.held != lock->legal_hold && (wanted.held || wanted.may_lift)) {
    STELLA_TRY_VOID(store.set_legal_hold(key, wanted.held));
    changed = true;
  }
  // A lock that would have ended already is none. Stores keep whole seconds.
  const bool shorter = lock->mode == objects::LockMode::kNone || lock->retain_until < wanted.until;
  if (shorter && wanted.until > Timestamp::now() + std::chrono::seconds(1)) {
    STELLA_TRY_VOID(store.extend_retention(key, wanted.until));
    changed = true;
  }
  return changed;
}

}  // namespace

Result<int> Keeper::reconcile() {
  std::vector<std::pair<TenantId, BundleId>> due;
  const auto rows = STELLA_TRY(Tx::read(pool_, kDue, {options_.now() - options_.look_again, options_.now()}));
  for (int i = 0; i < rows.size() && i < kBundlesPerRound; ++i) due.emplace_back(STELLA_TRY(TenantId::parse(rows.text(i, 0))), STELLA_TRY(BundleId::parse(rows.text(i, 1))));
  telemetry::Work::waiting(contracts::work::kEvidenceLock, static_cast<std::int64_t>(due.size()));
  int done = 0;
  std::optional<Error> trouble;
  for (const auto& [tenant, bundle] : due) {
    if (rounds_.stopping()) break;
    auto one = telemetry::in_work(contracts::work::kEvidenceLock, telemetry::of_tenant(tenant), [&](telemetry::Work& work) {
      work.set(f::bundle_id(bundle));
      return reconcile_one(tenant, bundle);
    });
    if (one) {
      done += *one ? 1 : 0;
      continue;
    }
    // One bundle whose locks cannot be set now must not keep the hold from those behind it. A store that cannot lock at all is told of once in
    // a round: the rows forbid the deletion all the same.
    if (!trouble) kLog.warn("the store's locks of a bundle are not what they should be", {f::bundle_id(bundle), f::error(one.error())});
    trouble = std::move(one.error());
    STELLA_TRY_VOID(postpone(tenant, bundle));
  }
  if (trouble) return std::move(*trouble);
  return done;
}

Result<void> Keeper::postpone(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_retention SET not_before = $3 WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle, options_.now() + kPause}));
  return tx.commit();
}

Result<bool> Keeper::reconcile_one(const TenantId& tenant, const BundleId& bundle) {
  {
    // Written down before the store is touched: after a crash between the two the bit would otherwise never be ours to lift.
    auto tx = STELLA_TRY(Tx::open(pool_));
    STELLA_TRY_VOID(tx.query("UPDATE evidence_retention r SET lock_held = true WHERE tenant_id = $1 AND bundle_id = $2 AND NOT lock_held AND EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = r.tenant_id "
                             "AND h.case_id = r.case_id AND h.released_at IS NULL)",
                             {tenant, bundle}));
    STELLA_TRY_VOID(tx.commit());
  }
  auto tx = STELLA_TRY(Tx::open(pool_));
  if (!STELLA_TRY(tx.query(kAlone, {tenant, bundle.str()})).boolean(0, 0)) return false;
  const auto rows = STELLA_TRY(tx.query(kWanted, {tenant, bundle}));
  if (rows.empty()) return false;
  const std::int64_t version = rows.integer(0, 0);
  const bool was_held = rows.boolean(0, 1);
  const bool held = rows.boolean(0, 3);
  if (held && !was_held) return false;  // placed a moment ago: the next round writes it down first
  const bool sealed = rows.text(0, 4) == "sealed", failed = rows.text(0, 4) == "failed";
  // Of a bundle that was deleted the bits that it put there are lifted all the same: others may rest on its payload. What a failed snapshot left is held,
  // but nothing makes the store keep it longer than it does already.
  if (sealed || failed || (was_held && !held)) {
    const Wanted own{held, was_held, sealed ? rows.timestamp(0, 2) : Timestamp{}};
    const auto objects = STELLA_TRY(objects_of(tx, tenant, bundle));
    bool changed = false;
    for (const std::string& key : objects.own) changed = STELLA_TRY(bring(store_, key, own)) || changed;
    const auto digests = objects.digests();
    const auto needed = STELLA_TRY(tx.query(kHeldObjects, {tenant, pg::Param::bytes_array(digests)}));
    std::set<Sha256> held_objects;
    for (int i = 0; i < needed.size(); ++i) held_objects.insert(STELLA_TRY(needed.sha256(i, 0)));
    for (const auto& [digest, key] : objects.shared) changed = STELLA_TRY(bring(store_, key, {held_objects.contains(digest), was_held, own.until})) || changed;
    if (changed) kLog.info("the store's locks follow holds and retention", {f::bundle_id(bundle)});
  }
  const bool done = rows.text(0, 4) == "disposed" && !held;
  STELLA_TRY_VOID(tx.query("UPDATE evidence_retention SET applied = greatest(applied, $3), lock_held = $4, checked_at = $5::timestamptz, done_at = CASE WHEN $6 THEN $5::timestamptz END WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle, version, held, options_.now(), done}));
  STELLA_TRY_VOID(tx.commit());
  return true;
}

}  // namespace stella::evidence
