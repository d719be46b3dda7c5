// Destruction of a tenant's encryption key: planned, covered by a checkpoint, done. It deletes every bundle of the tenant at once, so every one of
// them must be deletable, and no hold of the tenant may be in force; both are looked at again right before.
#include <set>

#include "bundle_objects.h"
#include "case_lock.h"
#include "doomed.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/holds.h"
#include "stella/telemetry/log.h"
#include "stella/tenancy/contents.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.keeper"};
constexpr std::string_view kWhat = "the tenant's key";
constexpr std::string_view kPendingKey =
    "SELECT d.disposition_id, d.state, l.log_index, coalesce(t.size, 0) FROM key_dispositions d LEFT JOIN timeline_log l ON l.tenant_id = d.tenant_id AND l.event_id = d.planned_event LEFT JOIN timeline_logs t ON t.tenant_id = d.tenant_id "
    "WHERE d.tenant_id = $1 AND d.state IN ('planned', 'destroying')";

// The first sealed bundle that the rows keep, and what its clock says.
constexpr std::string_view kFirstKept =
    "SELECT s.bundle_id, CASE WHEN r.base_at IS NOT NULL THEN greatest(r.retain_until, c.retain_until, c.incident_until) END FROM evidence_snapshots s LEFT JOIN evidence_retention r ON r.tenant_id = s.tenant_id AND r.bundle_id = s.bundle_id "
    "LEFT JOIN evidence_cases c ON c.tenant_id = s.tenant_id AND c.case_id = s.case_id WHERE s.tenant_id = $1 AND s.state = 'sealed' AND (r.base_at IS NULL OR greatest(r.retain_until, c.retain_until, c.incident_until) >= $2) "
    "ORDER BY s.case_id, s.bundle_id LIMIT 1";
constexpr std::string_view kLater = "UPDATE key_dispositions SET not_before = $2 WHERE tenant_id = $1 AND state IN ('planned', 'destroying')";

std::string of_bundle(std::string_view bundle, std::string_view reason) { return std::string("bundle ").append(bundle).append(": ").append(reason); }

Error no_key() { return Error(base_errors::kNotFound, "the tenant has no key that could be destroyed"); }

// Whether a version of the key is there, without using it for anything.
Result<bool> has_key(const crypto::Kms& keys, const std::string& id) { return !STELLA_TRY(crypto::wrapping_key_versions(keys, id)).empty(); }

// All versions, the newest first: after a crash the older ones still say that there is something to do.
Result<void> destroy_versions(crypto::Kms& keys, const std::string& id) {
  const auto versions = STELLA_TRY(crypto::wrapping_key_versions(keys, id));
  for (auto version = versions.rbegin(); version != versions.rend(); ++version) STELLA_TRY_VOID(keys.destroy_key(*version));
  return {};
}

}  // namespace

// Why it cannot go yet, by the rows; "" where nothing needs it. Holds of the tenant have been looked at, and none comes in between; nor does anything
// else that a person asks for, since all of that takes the tenant's lock. One statement and two locks, however many bundles there are.
Result<std::string> Keeper::key_needed(Tx& tx, const TenantId& tenant) {
  const auto rows = STELLA_TRY(tx.query(kFirstKept, {tenant, options_.now()}));
  if (!rows.empty()) {
    RetentionFacts facts;
    if (!rows.is_null(0, 1)) facts.base = rows.timestamp(0, 1);
    return of_bundle(rows.text(0, 0), reason_of(deletable(facts, options_.now(), false)));
  }
  // Their inputs are under this key, and so would be the bundle; also of one that failed and that its job is making again.
  const auto coming = STELLA_TRY(tx.query("SELECT s.bundle_id FROM evidence_snapshots s WHERE s.tenant_id = $1 AND (s.state IN ('building', 'built') OR (s.state = 'failed' AND EXISTS (SELECT FROM jobs j "
                                          "WHERE j.tenant_id = s.tenant_id AND j.job_id = s.job_id AND j.state IN ('queued', 'running')))) ORDER BY s.requested_at, s.bundle_id LIMIT 1", {tenant}));
  if (!coming.empty()) return of_bundle(coming.text(0, 0), "it is being built");
  if (!STELLA_TRY(tx.query(kTryReaders, {tenant})).boolean(0, 0)) return std::string(reason_of(Kept::kInUse));
  return frozen();
}

// The same by the store, whose locks others may set. It is asked before the tenant's lock is taken: that is a call for each object.
Result<std::string> Keeper::key_needed_in_store(const TenantId& tenant) {
  std::set<Sha256> asked;
  for (BundleId after;;) {
    const auto rows = STELLA_TRY(Tx::read(pool_, "SELECT bundle_id FROM evidence_snapshots WHERE tenant_id = $1 AND state = 'sealed' AND bundle_id > $2 ORDER BY bundle_id LIMIT 500", {tenant, after}));
    if (rows.empty()) return std::string();
    for (int i = 0; i < rows.size(); ++i) {
      after = STELLA_TRY(BundleId::parse(rows.text(i, 0)));
      auto tx = STELLA_TRY(Tx::open(pool_));
      BundleObjects objects = STELLA_TRY(objects_of(tx, tenant, after));
      STELLA_TRY_VOID(tx.commit());
      for (BundleObjects::Shared& object : objects.shared)
        if (asked.insert(object.digest).second) objects.own.push_back(std::move(object.key));
      RetentionFacts facts{.base = Timestamp{}};
      for (const std::string& key : objects.own) STELLA_TRY_VOID(add_locks(store_, key, facts));
      if (const Kept kept = deletable(facts, options_.now(), false); kept != Kept::kDeletable) return of_bundle(after.str(), reason_of(kept));
    }
  }
}

Result<Disposition> Keeper::refuse_key(Tx& tx, const TenantId& tenant, const std::string& id, std::string reason) {
  json::Value details = json::Value::object({{"what", kWhat}, {"reason", reason}});
  if (!id.empty()) details.set("disposition_id", id);
  STELLA_TRY_VOID(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionRefused, std::move(details))));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("key", "refused");
  return Disposition{Disposition::kRefused, std::move(reason)};
}

Result<Disposition> Keeper::plan_key(const TenantId& tenant, std::string_view purpose) {
  if (purpose.empty() || purpose.size() > kHoldReasonBytes) return Error(base_errors::kInvalid, "a key is not destroyed without a reason").with("field", std::string("reason")).with("expected", std::string("1 to 2000 bytes"));
  const std::string key = object_key::wrapping_key_id(tenant);
  if (!options_.tenant_keys) return no_key();
  const bool there = STELLA_TRY(has_key(*options_.tenant_keys, key));
  if (!there) return no_key();
  if (auto first = STELLA_TRY(plan_key(tenant, purpose, std::nullopt))) return std::move(*first);
  const std::string by_store = STELLA_TRY(key_needed_in_store(tenant));
  auto second = STELLA_TRY(plan_key(tenant, purpose, by_store));  // always there: the store was asked
  if (!second) return Error(base_errors::kInternal, "a key's plan was not decided");
  return std::move(*second);
}

// `by_store`: why the store does not let it go; nullopt: nobody has asked, and where the answer is nullopt that is to be asked next.
Result<std::optional<Disposition>> Keeper::plan_key(const TenantId& tenant, std::string_view purpose, const std::optional<std::string>& by_store) {
  const std::string key = object_key::wrapping_key_id(tenant);
  auto tx = STELLA_TRY(Tx::open(pool_));
  if (auto refused = STELLA_TRY(refuse_under_hold(tx, tenant, kWhat))) {
    STELLA_TRY_VOID(tx.commit());
    count_disposition("key", "held");
    return std::optional(Disposition{Disposition::kRefused, std::string(reason_of(Kept::kHeld)) + ": " + std::string(refused->field("held_by"))});
  }
  if (!STELLA_TRY(tx.query(kPendingKey, {tenant})).empty()) return Error(contracts::errors::kConflict, "the destruction of this key is planned already");
  std::string reason = STELLA_TRY(key_needed(tx, tenant));
  if (reason.empty() && by_store) reason = *by_store;
  if (!reason.empty()) return std::optional(STELLA_TRY(refuse_key(tx, tenant, "", std::move(reason))));
  if (!by_store) return std::optional<Disposition>();
  const Uuid id = Uuid::v7();
  const EventId event = STELLA_TRY(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionPlanned, json::Value::object({{"what", kWhat}, {"until", options_.now().rfc3339()}, {"disposition_id", id.str()}}))));
  STELLA_TRY_VOID(tx.query("INSERT INTO key_dispositions (tenant_id, disposition_id, key_id, state, purpose, planned_at, planned_event) VALUES ($1, $2, $3, 'planned', $4, $5, $6)", {tenant, id.str(), key, purpose, options_.now(), event}));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("key", "planned");
  return std::optional(Disposition{Disposition::kPlanned, ""});
}

Result<Disposition> Keeper::execute_key(const TenantId& tenant) {
  if (auto first = STELLA_TRY(execute_key(tenant, std::nullopt))) return std::move(*first);
  const std::string by_store = STELLA_TRY(key_needed_in_store(tenant));
  auto second = STELLA_TRY(execute_key(tenant, by_store));
  return second ? std::move(*second) : execute_key(tenant);  // begun: everything is looked at once more before the key goes
}

// `by_store`: why the store does not let it go; nullopt: nobody has asked. nullopt where that is to be asked next, or where it was begun now.
Result<std::optional<Disposition>> Keeper::execute_key(const TenantId& tenant, const std::optional<std::string>& by_store) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto planned = STELLA_TRY(tx.query(kPendingKey, {tenant}));
  if (planned.empty()) return Error(base_errors::kNotFound, "no destruction of this key is planned");
  if (!options_.tenant_keys) return Error(contracts::errors::kUnavailable, "this process does not have the tenants' keys").with("part", std::string("keys"));
  if (!STELLA_TRY(plan_is_covered(tx, tenant, planned))) return std::optional(Disposition{Disposition::kWaiting, ""});
  const std::string id(planned.text(0, 0)), key = object_key::wrapping_key_id(tenant);
  const bool begun = planned.text(0, 1) == "destroying";
  const bool there = STELLA_TRY(has_key(*options_.tenant_keys, key));
  // Begun before a crash and gone: it was us, and a hold that came afterwards cannot undo it.
  if (!begun || there) {
    const auto held = STELLA_TRY(refuse_under_hold(tx, tenant, kWhat));
    std::string reason = held ? std::string(reason_of(Kept::kHeld)) : STELLA_TRY(key_needed(tx, tenant));
    if (reason.empty() && !there) reason = "the key is gone already";
    if (reason.empty() && by_store) reason = *by_store;
    if (!reason.empty()) {
      STELLA_TRY_VOID(tx.query("UPDATE key_dispositions SET state = 'refused', ended_at = $3, reason = $4 WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now(), reason}));
      if (!held) return std::optional(STELLA_TRY(refuse_key(tx, tenant, id, std::move(reason))));
      STELLA_TRY_VOID(tx.commit());
      count_disposition("key", "held");
      return std::optional(Disposition{Disposition::kRefused, std::move(reason)});
    }
    if (!by_store) return std::optional<Disposition>();
    if (!begun) {
      // Durable before anything goes, and a second look afterwards: in between the locks are free.
      STELLA_TRY_VOID(tx.query("UPDATE key_dispositions SET state = 'destroying' WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id}));
      STELLA_TRY_VOID(tx.commit());
      return std::optional<Disposition>();
    }
    STELLA_TRY_VOID(destroy_versions(*options_.tenant_keys, key));
  }
  STELLA_TRY_VOID(tx.query("UPDATE key_dispositions SET state = 'executed', ended_at = $3 WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now()}));
  STELLA_TRY_VOID(tx.query("UPDATE tenant_keys SET state = 'destroyed', ended_at = $2 WHERE tenant_id = $1", {tenant, options_.now()}));
  STELLA_TRY_VOID(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionExecuted, json::Value::object({{"what", kWhat}, {"until", options_.now().rfc3339()}, {"disposition_id", id}}))));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("key", "executed");
  kLog.info("a tenant's key was destroyed: its documents and bundles cannot be read any more, seals and roots stay");
  return std::optional(Disposition{Disposition::kExecuted, ""});
}

Result<int> Keeper::destroy_keys() {
  if (!options_.tenant_keys) return 0;  // not ours to do, and not to put off
  const auto rows = STELLA_TRY(Tx::read(pool_, "SELECT tenant_id FROM key_dispositions WHERE state IN ('planned', 'destroying') AND not_before <= $1 ORDER BY not_before, planned_at LIMIT 16", {options_.now()}));
  Steps steps;
  for (int i = 0; i < rows.size() && !rounds_.stopping(); ++i) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
    auto one = disposition_work(contracts::work::kEvidenceKeys, tenant, [&](telemetry::Work&) { return execute_key(tenant); });
    STELLA_TRY_VOID(note_step(steps, std::move(one), kLater, {tenant}));
  }
  if (steps.trouble) return std::move(*steps.trouble);
  return steps.done;
}

}  // namespace stella::evidence
