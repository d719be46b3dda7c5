// Deletions in three steps. Between the second look and the commit of the deletion nobody can place a hold: both take the lock of the case.
#include <algorithm>
#include <set>

#include "bundle_objects.h"
#include "case_lock.h"
#include "doomed.h"
#include "retention_rules.h"
#include "sealing.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/telemetry/log.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.keeper"};

constexpr std::chrono::microseconds kSoon = std::chrono::minutes(1), kLate = std::chrono::hours(1);

constexpr std::string_view kExpired =
    "SELECT r.tenant_id, r.bundle_id FROM evidence_retention r JOIN evidence_snapshots s USING (tenant_id, bundle_id) LEFT JOIN evidence_cases c ON c.tenant_id = r.tenant_id AND c.case_id = r.case_id WHERE r.retain_until < $1 AND r.done_at IS NULL "
    "AND r.base_at IS NOT NULL AND r.dispose_after < $1 AND s.state IN ('sealed', 'failed') AND coalesce(greatest(c.retain_until, c.incident_until) < $1, true) AND NOT EXISTS (SELECT FROM dispositions d WHERE d.tenant_id = r.tenant_id "
    "AND d.bundle_id = r.bundle_id AND (d.state IN ('planned', 'deleting') OR d.ended_at > $1 - interval '1 day')) ORDER BY r.retain_until LIMIT 64";
constexpr std::string_view kPending = "SELECT tenant_id, bundle_id FROM dispositions WHERE state IN ('planned', 'deleting') AND not_before <= $1 ORDER BY not_before, planned_at LIMIT 64";
// What failed stands behind all others for a minute, or 64 of them would stop every deletion; what waits, for its checkpoint or for others, stands
// behind those of this round. $3: until when.
constexpr std::string_view kPlanLater = "UPDATE evidence_retention SET dispose_after = greatest(dispose_after, $3) WHERE tenant_id = $1 AND bundle_id = $2";
constexpr std::string_view kExecuteLater = "UPDATE dispositions SET not_before = $3 WHERE tenant_id = $1 AND bundle_id = $2 AND state IN ('planned', 'deleting')";
constexpr std::string_view kFacts =
    "SELECT s.case_id, s.state, r.base_at, r.retain_until, c.retain_until, c.incident_until, (SELECT count(*) FROM evidence_holds h WHERE h.tenant_id = s.tenant_id AND h.case_id = s.case_id AND h.released_at IS NULL), "
    "b.root_hash, s.seal_sha256, s.bundle_sha256 FROM evidence_snapshots s LEFT JOIN evidence_bundles b ON b.tenant_id = s.tenant_id AND b.id = s.bundle_id LEFT JOIN evidence_retention r ON r.tenant_id = s.tenant_id AND r.bundle_id = s.bundle_id "
    "LEFT JOIN evidence_cases c ON c.tenant_id = s.tenant_id AND c.case_id = s.case_id WHERE s.tenant_id = $1 AND s.bundle_id = $2";
constexpr std::string_view kCovered =
    "SELECT d.disposition_id, d.state, l.log_index, coalesce(t.size, 0) FROM dispositions d LEFT JOIN timeline_log l ON l.tenant_id = d.tenant_id AND l.event_id = d.planned_event LEFT JOIN timeline_logs t ON t.tenant_id = d.tenant_id "
    "WHERE d.tenant_id = $1 AND d.bundle_id = $2 AND d.state IN ('planned', 'deleting')";
// Which of these objects another bundle of the tenant was or is being made from.
constexpr std::string_view kUsedElsewhere =
    "SELECT d FROM unnest($3::bytea[]) d WHERE EXISTS (SELECT FROM evidence_snapshots o WHERE o.tenant_id = $1 AND o.bundle_id <> $2 AND o.state IN ('building', 'built', 'sealed', 'failed') "
    "AND (o.payload_sha256 = d OR o.items_sha256 = d OR o.made_objects @> ARRAY[d]))";
// A job that may take the payload for its own result.
constexpr std::string_view kResultPending =
    "SELECT EXISTS (SELECT FROM evidence_snapshots o WHERE o.tenant_id = s.tenant_id AND o.bundle_id <> s.bundle_id AND o.state = 'building' AND o.kind = s.kind AND o.resource_id = s.resource_id) "
    "FROM evidence_snapshots s WHERE s.tenant_id = $1 AND s.bundle_id = $2";
// Which of them are something else as well: what a job read or made, the transcript of a run. An evaluation's output may have the bytes of a record.
constexpr std::string_view kNeededByJobs =
    "SELECT decode(e->>'sha256', 'hex') FROM jobs j CROSS JOIN LATERAL jsonb_array_elements(j.inputs || coalesce(j.outputs, '[]'::jsonb)) e WHERE j.tenant_id = $1 AND j.kind <> 'evidence.snapshot' "
    "AND e->>'sha256' IN (SELECT encode(d, 'hex') FROM unnest($2::bytea[]) d) UNION SELECT transcript_sha256 FROM runs WHERE tenant_id = $1 AND transcript_sha256 = ANY($2::bytea[])";
// A redacted copy of it that is still to be made.
constexpr std::string_view kCopyPending = "SELECT EXISTS (SELECT FROM evidence_snapshots WHERE tenant_id = $1 AND derived_from = $2 AND state = 'built')";
// What failed can be tried again, by its job: until the end of the transaction nobody seals it. That job may be under way.
constexpr std::string_view kStaysFailed = "SELECT FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2 AND state = 'failed' FOR NO KEY UPDATE";
constexpr std::string_view kTriedAgain =
    "SELECT EXISTS (SELECT FROM evidence_snapshots s JOIN jobs j ON j.tenant_id = s.tenant_id AND j.job_id = s.job_id WHERE s.tenant_id = $1 AND s.bundle_id = $2 AND j.state IN ('queued', 'running'))";

// What of the shared objects goes with this bundle.
Result<std::vector<std::string>> no_longer_needed(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const BundleId& bundle, const BundleObjects& objects) {
  const auto digests = objects.digests();
  std::set<Sha256> needed;
  const auto add = [&](const pg::Rows& rows) -> Result<void> {
    for (int i = 0; i < rows.size(); ++i) needed.insert(STELLA_TRY(rows.sha256(i, 0)));
    return {};
  };
  const pg::Rows by_bundles = STELLA_TRY(tx.query(kUsedElsewhere, {tenant, bundle, pg::Param::bytes_array(digests)}));
  const pg::Rows by_jobs = STELLA_TRY(tx.query(kNeededByJobs, {tenant, pg::Param::bytes_array(digests)}));
  STELLA_TRY_VOID(add(by_bundles));
  STELLA_TRY_VOID(add(by_jobs));
  std::vector<std::string> out;
  if (STELLA_TRY(tx.query(kResultPending, {tenant, bundle})).boolean(0, 0)) return out;
  for (const auto& [digest, key] : objects.shared)
    if (!needed.contains(digest)) out.push_back(key);
  return out;
}

bool missing(const Error& error) { return error.code() == base_errors::kNotFound; }

}  // namespace

Result<bool> plan_is_covered(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const pg::Rows& planned) {
  if (planned.is_null(0, 2)) return false;  // the indexer has not reached it
  const std::uint64_t covered = static_cast<std::uint64_t>(planned.integer(0, 2)) + 1;
  if (static_cast<std::uint64_t>(planned.integer(0, 3)) >= covered) return true;
  STELLA_TRY_VOID(timeline::want_checkpoint(tx, tenant, covered));
  STELLA_TRY_VOID(tx.commit());
  return false;
}

Result<bool> add_locks(objects::Store& store, const std::string& key, RetentionFacts& facts) {
  const auto lock = store.lock_state(key);
  if (!lock && missing(lock.error())) return false;
  if (!lock) return Error(lock.error());
  facts.store_held = facts.store_held || lock->legal_hold;
  if (lock->mode != objects::LockMode::kNone) facts.store = std::max(facts.store, lock->retain_until);
  return true;
}

Result<void> Keeper::look_at_store(Doomed& found, const std::string& bundle_key) {
  for (const std::string& key : found.remove) {
    const bool there = STELLA_TRY(add_locks(store_, key, found.facts));
    if (there && key == bundle_key) found.present = true;
  }
  return {};
}

Result<std::optional<Keeper::Doomed>> Keeper::look(Tx& tx, const TenantId& tenant, const BundleId& bundle) {
  const auto which = STELLA_TRY(tx.query("SELECT case_id, state FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));
  if (which.empty()) return std::optional<Doomed>();
  STELLA_TRY_VOID(tx.query(kLockCase, {tenant, which.text(0, 0)}));
  if (which.text(0, 1) == "failed") STELLA_TRY_VOID(tx.query(kStaysFailed, {tenant, bundle}));
  const auto rows = STELLA_TRY(tx.query(kFacts, {tenant, bundle}));
  if (rows.empty() || (rows.text(0, 1) != "sealed" && rows.text(0, 1) != "failed")) return std::optional<Doomed>();
  Doomed out;
  out.tenant = tenant;
  out.bundle = bundle;
  out.case_id = STELLA_TRY(CaseId::parse(rows.text(0, 0)));
  out.failed = rows.text(0, 1) == "failed";
  if (!rows.is_null(0, 2)) out.facts.base = rows.timestamp(0, 3);
  out.facts.of_case = rows.timestamp(0, 4);
  out.facts.incident = rows.timestamp(0, 5);
  out.facts.holds = static_cast<std::size_t>(rows.integer(0, 6));
  out.facts.in_use = !STELLA_TRY(tx.query(kTryBundle, {tenant, bundle.str()})).boolean(0, 0) || STELLA_TRY(tx.query(kCopyPending, {tenant, bundle})).boolean(0, 0);
  const BundleObjects objects = STELLA_TRY(objects_of(tx, tenant, bundle));
  // Asked only where the rows do not keep it anyway: the jobs of a tenant are many.
  if (deletable(out.facts, options_.now(), false) == Kept::kDeletable) out.remove = STELLA_TRY(no_longer_needed(tx, tenant, bundle, objects));
  if (out.failed) {
    out.facts.in_use = out.facts.in_use || STELLA_TRY(tx.query(kTriedAgain, {tenant, bundle})).boolean(0, 0);
    // There are no commitments that would outlive it; what lies in the place of its bundle goes as well, whoever put it there.
    out.remove.insert(out.remove.end(), objects.own.rbegin(), objects.own.rend());
  } else {
    out.root = STELLA_TRY(rows.sha256(0, 7)).hex();
    out.seal = STELLA_TRY(rows.sha256(0, 8)).hex();
    out.digest = STELLA_TRY(rows.sha256(0, 9)).hex();
    // The copy that an export's bundle was built with.
    const std::string copy = object_key::object(tenant, STELLA_TRY(rows.sha256(0, 9)));
    if (store_.stat(copy)) out.remove.push_back(copy);
    out.remove.push_back(objects.own.front());
  }
  STELLA_TRY_VOID(look_at_store(out, objects.own.front()));
  return std::optional<Doomed>(std::move(out));
}

Result<Disposition> Keeper::plan(const TenantId& tenant, const BundleId& bundle) { return plan_as(tenant, bundle, true); }

Result<Disposition> Keeper::plan_expired(const TenantId& tenant, const BundleId& bundle) { return plan_as(tenant, bundle, false); }

Result<Disposition> Keeper::plan_as(const TenantId& tenant, const BundleId& bundle, bool asked) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  auto found = STELLA_TRY(look(tx, tenant, bundle));
  if (!found) return Error(base_errors::kNotFound, "no such sealed bundle, and no snapshot that failed");
  if (!STELLA_TRY(tx.query(kCovered, {tenant, bundle})).empty()) return Error(contracts::errors::kConflict, "its deletion is planned already");
  const Kept kept = deletable(found->facts, options_.now(), !frozen().empty());
  std::string reason(reason_of(kept));
  if (!asked && (kept == Kept::kRetained || kept == Kept::kInUse)) {
    // The store's lock ends a little later than the rows say, or somebody is reading: no refusal, only not yet.
    const Timestamp now = options_.now(), later = kept == Kept::kInUse ? now + kSoon : std::min(kept_until(found->facts).value_or(now), now + kLate);
    STELLA_TRY_VOID(tx.query("UPDATE evidence_retention SET dispose_after = greatest(dispose_after, $3) WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle, later}));
    STELLA_TRY_VOID(tx.commit());
    return Disposition{Disposition::kWaiting, reason};
  }
  if (reason.empty() && !found->complete()) reason = "the store does not have it any more";
  const Uuid id = Uuid::v7();
  json::Value details = reason.empty() ? found->commitments() : json::Value::object({{"what", found->what()}, {"reason", reason}, {"case_id", found->case_id.str()}});
  details.set("disposition_id", id.str());
  const EventId event = STELLA_TRY(timeline::emit(tx, tenant, found->event(reason.empty() ? contracts::events::kDispositionPlanned : contracts::events::kDispositionRefused, std::move(details))));
  STELLA_TRY_VOID(tx.query("INSERT INTO dispositions (tenant_id, disposition_id, bundle_id, case_id, state, planned_at, planned_event, ended_at, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                           {tenant, id.str(), bundle, found->case_id.str(), reason.empty() ? "planned" : "refused", options_.now(), event, reason.empty() ? std::optional<Timestamp>() : options_.now(), reason}));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("bundle", reason.empty() ? "planned" : refusal(kept == Kept::kHeld));
  return Disposition{reason.empty() ? Disposition::kPlanned : Disposition::kRefused, reason};
}

Result<Disposition> Keeper::execute(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto planned = STELLA_TRY(tx.query(kCovered, {tenant, bundle}));
  if (planned.empty()) return Error(base_errors::kNotFound, "no deletion of this bundle is planned");
  if (!STELLA_TRY(plan_is_covered(tx, tenant, planned))) return Disposition{Disposition::kWaiting, ""};
  const std::string id(planned.text(0, 0));
  const bool begun = planned.text(0, 1) == "deleting";
  // A closure that is being made may count on objects that it found.
  if (!STELLA_TRY(tx.query(kTryMade, {tenant})).boolean(0, 0)) return Disposition{Disposition::kWaiting, "a snapshot is being asked for"};
  auto found = STELLA_TRY(look(tx, tenant, bundle));
  if (!found) return Error(base_errors::kNotFound, "no such sealed bundle, and no snapshot that failed");
  std::string reason(reason_of(deletable(found->facts, options_.now(), !frozen().empty())));
  if (found->facts.in_use && reason == reason_of(Kept::kInUse)) return Disposition{Disposition::kWaiting, reason};
  // Begun before a crash and gone: it was us, and a hold that came afterwards cannot undo it.
  const bool gone = begun && !found->complete();
  if (!begun && !found->complete() && reason.empty()) reason = "the store does not have it any more";
  if (!reason.empty() && !gone) {
    json::Value details = json::Value::object({{"what", found->what()}, {"reason", reason}, {"case_id", found->case_id.str()}, {"disposition_id", id}});
    STELLA_TRY_VOID(tx.query("UPDATE dispositions SET state = 'refused', ended_at = $3, reason = $4 WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now(), reason}));
    STELLA_TRY_VOID(timeline::emit(tx, tenant, found->event(contracts::events::kDispositionRefused, std::move(details))));
    STELLA_TRY_VOID(tx.commit());
    count_disposition("bundle", refusal(reason == reason_of(Kept::kHeld)));
    return Disposition{Disposition::kRefused, reason};
  }
  if (!begun) {
    // Durable before anything goes, and a second look afterwards: in between the locks are free.
    STELLA_TRY_VOID(tx.query("UPDATE dispositions SET state = 'deleting' WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id}));
    STELLA_TRY_VOID(tx.commit());
    return execute(tenant, bundle);
  }
  if (!STELLA_TRY(destroy(tx, *found))) return Disposition{Disposition::kWaiting, "the store's own clock has not reached the end of its lock"};
  json::Value details = found->commitments();
  details.set("disposition_id", id);
  STELLA_TRY_VOID(tx.query("UPDATE dispositions SET state = 'executed', ended_at = $3 WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now()}));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'disposed' WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_retention SET wanted = wanted + 1 WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));  // the last look at its bits
  STELLA_TRY_VOID(timeline::emit(tx, tenant, found->event(contracts::events::kDispositionExecuted, std::move(details))));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("bundle", "executed");
  if (found->failed) kLog.info("what a failed snapshot left in the store was deleted", {f::bundle_id(bundle), f::case_id(found->case_id)});
  else kLog.info("a bundle was deleted, its seal and root stay", {f::bundle_id(bundle), f::case_id(found->case_id)});
  return Disposition{Disposition::kExecuted, ""};
}

Result<bool> Keeper::destroy(Tx& tx, const Doomed& bundle) {
  if (bundle.remove.size() > 1) STELLA_TRY_VOID(tx.query(kForgetResult, {bundle.tenant, bundle.bundle}));
  for (const std::string& key : bundle.remove) {
    const auto removed = store_.remove(key);
    if (!removed && removed.error().code() == contracts::errors::kConflict) return false;
    if (!removed && !missing(removed.error())) return Error(removed.error());
  }
  return true;
}

// What failed or waits stands behind all others, so that it holds up nobody. `put_off`: of its row, which is named by `which`; the last parameter is
// until when.
Result<void> Keeper::note_step(Steps& steps, Result<Disposition> one, std::string_view put_off, std::vector<pg::Param> which) {
  if (one && one->state != Disposition::kWaiting) {
    ++steps.done;
    return {};
  }
  const bool waits = one || others_were_faster(one.error());
  if (!waits) steps.trouble = std::move(one.error());
  which.emplace_back(waits ? options_.now() : options_.now() + kSoon);
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query(put_off, which));
  return tx.commit();
}

Result<int> Keeper::dispose() {
  if (!frozen().empty()) return 0;
  Steps steps;
  const auto each = [&](std::string_view sql, std::string_view put_off, Result<Disposition> (Keeper::*step)(const TenantId&, const BundleId&)) -> Result<void> {
    const auto rows = STELLA_TRY(Tx::read(pool_, sql, {options_.now()}));
    for (int i = 0; i < rows.size() && !rounds_.stopping(); ++i) {
      const TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      const BundleId bundle = STELLA_TRY(BundleId::parse(rows.text(i, 1)));
      auto one = disposition_work(contracts::work::kEvidenceDispose, tenant, [&](telemetry::Work& work) {
        work.set(f::bundle_id(bundle));
        return (this->*step)(tenant, bundle);
      });
      STELLA_TRY_VOID(note_step(steps, std::move(one), put_off, {tenant, bundle}));
    }
    return {};
  };
  if (options_.dispose) STELLA_TRY_VOID(each(kExpired, kPlanLater, &Keeper::plan_expired));
  STELLA_TRY_VOID(each(kPending, kExecuteLater, &Keeper::execute));
  const auto keys = destroy_keys();
  if (steps.trouble) return std::move(*steps.trouble);
  return steps.done + STELLA_TRY(keys);
}

}  // namespace stella::evidence
