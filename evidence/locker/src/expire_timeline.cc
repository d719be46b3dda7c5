// Retention of the tenants' logs: planned, covered by a checkpoint, and then the rows and the record of it in one transaction. Hashes stay in the tiles;
// nothing is deleted that is not what they say.
#include <array>
#include <limits>

#include "case_lock.h"
#include "doomed.h"
#include "expiry_rules.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/metrics.h"
#include "stella/evidence/locker/holds.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.keeper"};
constexpr telemetry::Counter kExpired{contracts::metrics::kTimelineExpired};
constexpr telemetry::Counter kRefusals{contracts::metrics::kTimelineExpiryRefused};
constexpr telemetry::Counter kPartitions{contracts::metrics::kTimelinePartitionsDropped};
constexpr std::string_view kWhat = "timeline_entries";
constexpr std::string_view kNothing = "nothing of the log has expired";
constexpr std::chrono::microseconds kPlanEvery = std::chrono::minutes(1);
constexpr std::int64_t kPage = 500;
constexpr int kDueTenants = 64;  // of one round

using Tx = pg::SystemTx<pg::LockerRole>;

// The first entry that no disposition has decided about is old. A held tenant is left alone, without an event for every look.
constexpr std::string_view kDue =
    "SELECT h.tenant_id, least(s.size, h.confirmed) FROM timeline_heads h JOIN timeline_logs s USING (tenant_id) CROSS JOIN LATERAL (SELECT coalesce(max(d.below_index), 0) AS at FROM timeline_dispositions d WHERE d.tenant_id = h.tenant_id AND d.state = 'executed') p "
    "CROSS JOIN LATERAL (SELECT l.event_id FROM timeline_log l WHERE l.tenant_id = h.tenant_id AND l.log_index >= p.at ORDER BY l.log_index LIMIT 1) f LEFT JOIN timeline_events e ON e.tenant_id = h.tenant_id AND e.event_id = f.event_id "
    "WHERE h.tenant_id > $3 AND p.at < least(s.size, h.confirmed) AND coalesce(e.ts < $1, true) AND NOT EXISTS (SELECT FROM evidence_holds o WHERE o.tenant_id = h.tenant_id AND o.released_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM timeline_dispositions d WHERE d.tenant_id = h.tenant_id AND (d.state = 'planned' OR (d.state = 'refused' AND d.ended_at > $2))) ORDER BY h.tenant_id LIMIT 64";
// Not before a checkpoint covers them, and not before the topics have them for good: a stream that is filled again is filled from rows.
constexpr std::string_view kReach =
    "SELECT (SELECT coalesce(max(d.below_index), 0) FROM timeline_dispositions d WHERE d.tenant_id = h.tenant_id AND d.state = 'executed'), least(s.size, h.confirmed) FROM timeline_heads h JOIN timeline_logs s USING (tenant_id) WHERE h.tenant_id = $1";
constexpr std::string_view kEntries = "SELECT log_index, entry FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 AND log_index < $3 ORDER BY log_index LIMIT 500";
constexpr std::string_view kPendingPlan =
    "SELECT d.disposition_id, d.state, l.log_index, coalesce(t.size, 0), d.from_index, d.below_index FROM timeline_dispositions d LEFT JOIN timeline_log l ON l.tenant_id = d.tenant_id AND l.event_id = d.planned_event "
    "LEFT JOIN timeline_logs t ON t.tenant_id = d.tenant_id WHERE d.tenant_id = $1 AND d.state = 'planned' FOR UPDATE OF d";
// The first entry that the search tables do not have as the log has it.
constexpr std::string_view kUnsearchable =
    "SELECT l.log_index FROM timeline_log l WHERE l.tenant_id = $1 AND l.log_index >= $2 AND l.log_index < $3 AND $4::int8multirange @> l.log_index AND NOT EXISTS (SELECT FROM timeline_events e WHERE e.tenant_id = $1 AND e.ts >= $5 AND e.ts <= $6 "
    "AND e.event_id = l.event_id) ORDER BY l.log_index LIMIT 1";
// Bundles that are being built read the rows.
constexpr std::string_view kInUse = "SELECT EXISTS (SELECT FROM evidence_snapshots WHERE tenant_id = $1 AND state IN ('building', 'built'))";
constexpr std::string_view kDelete =
    "WITH entries AS (DELETE FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 AND log_index < $3 AND $4::int8multirange @> log_index RETURNING event_id), "
    "events AS (DELETE FROM timeline_events e USING entries g WHERE e.tenant_id = $1 AND e.ts >= $5 AND e.ts <= $6 AND e.event_id = g.event_id RETURNING e.event_id), "
    "related AS (DELETE FROM timeline_event_resources r USING entries g WHERE r.tenant_id = $1 AND r.ts >= $5 AND r.ts <= $6 AND r.event_id = g.event_id) "
    "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM events)";

// What of [from, below) would go and what stays, by the entries' own bytes.
struct Look {
  std::int64_t from = 0, below = 0;
  Runs gone, kept;
  std::int64_t entries = 0;  // that go
  Timestamp first, last;     // of these
  std::string problem;       // why nothing may go; "" where all is well
};

void take(Look& look, std::int64_t index, std::string_view kind, Timestamp ts) {
  look.below = index + 1;
  if (stays_for_good(kind)) {
    look.kept.add(index);
    return;
  }
  look.first = look.entries == 0 ? ts : std::min(look.first, ts);
  look.last = look.entries == 0 ? ts : std::max(look.last, ts);
  look.gone.add(index);
  ++look.entries;
}

// From `from` on, at most up to `to`, as far as everything has expired. Each entry is held against its hash in the tiles: that hash is all that is
// left of it, so a row that was changed or removed by others must not go as if all were well.
Result<Look> look_at(Tx& tx, objects::Store& store, const TenantId& tenant, std::int64_t from, std::int64_t to, Timestamp cutoff) {
  Look look;
  look.from = look.below = from;
  while (look.below < to) {
    const std::int64_t end = std::min(to, look.below + kPage);
    const auto rows = STELLA_TRY(tx.query(kEntries, {tenant, look.below, end}));
    std::vector<std::uint64_t> indexes;
    for (std::int64_t index = look.below; index < end; ++index) indexes.push_back(static_cast<std::uint64_t>(index));
    const auto leaves = timeline::stored_leaves(tx, store, tenant, indexes);
    if (!leaves && leaves.error().code() == base_errors::kNotFound) {
      look.problem = "a tile of the log is lost, entries from " + std::to_string(look.below) + " on would leave no hash";
      return look;
    }
    if (!leaves) return Error(leaves.error());
    const std::int64_t first = look.below;
    for (std::int64_t index = first; index < end; ++index) {
      const int row = static_cast<int>(index - first);
      const bool there = row < rows.size() && rows.integer(row, 0) == index;
      const std::string bytes = there ? rows.bytes(row, 1) : std::string();
      if (!there || timeline::leaf_hash(bytes) != (*leaves)[static_cast<std::size_t>(row)]) {
        look.problem = "entry " + std::to_string(index) + (there ? " is not what the tiles say" : " is missing");
        return look;
      }
      const json::Value entry = STELLA_TRY(json::parse(bytes));
      const Timestamp ts = STELLA_TRY(Timestamp::parse(entry.str("ts")));
      if (ts >= cutoff || (look.kept.size() >= kExpiryRuns && stays_for_good(entry.str("kind")))) return look;
      take(look, index, entry.str("kind"), ts);
    }
  }
  return look;
}

json::Value details_of(const Look& look, Timestamp cutoff, std::string_view id) {
  return json::Value::object({{"what", kWhat}, {"until", cutoff.rfc3339()}, {"disposition_id", id}, {"from_index", look.from}, {"below_index", look.below},
                              {"counts", json::Value::object({{"deleted", look.entries}, {"kept", look.below - look.from - look.entries}})}});
}

// Deletes what `look` says, all or nothing. Why it was nothing; "" where all of it is gone.
Result<std::string> delete_rows(Tx& tx, const TenantId& tenant, const Look& look) {
  STELLA_TRY_VOID(tx.query("SAVEPOINT before_deletion"));
  const std::string runs = look.gone.multirange();
  const auto gone = STELLA_TRY(tx.query(kDelete, {tenant, look.from, look.below, runs, look.first, look.last}));
  if (gone.integer(0, 0) == look.entries && gone.integer(0, 1) == look.entries) return std::string();
  STELLA_TRY_VOID(tx.query("ROLLBACK TO SAVEPOINT before_deletion"));
  const auto first = STELLA_TRY(tx.query(kUnsearchable, {tenant, look.from, look.below, runs, look.first, look.last}));
  if (first.empty()) return std::string("the entries of the log changed while they were looked at");
  return "the search tables do not have entry " + std::to_string(first.integer(0, 0)) + " as the log has it";
}

// The end of a plan, or of the wish for one.
Result<Disposition> refuse(Tx& tx, const TenantId& tenant, std::string_view id, std::string reason) {
  STELLA_TRY_VOID(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionRefused, json::Value::object({{"what", kWhat}, {"reason", reason}, {"disposition_id", id}}))));
  STELLA_TRY_VOID(tx.commit());
  kRefusals.add(1);
  count_disposition("timeline", "refused");
  return Disposition{Disposition::kRefused, std::move(reason)};
}

}  // namespace

Result<Disposition> Keeper::plan_timeline(const TenantId& tenant) {
  const Timestamp cutoff = expiry_cutoff(options_.now(), options_.timeline_keep);
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query(kLockLog, {tenant}));
  if (!STELLA_TRY(tx.query(kPendingPlan, {tenant})).empty()) return Error(contracts::errors::kConflict, "a deletion of entries is planned already");
  const auto reach = STELLA_TRY(tx.query(kReach, {tenant}));
  if (!frozen().empty() || options_.timeline_keep.count() == 0 || reach.empty()) return Disposition{Disposition::kWaiting, frozen().empty() ? std::string(kNothing) : frozen()};
  const std::int64_t from = reach.integer(0, 0), to = std::min(reach.integer(0, 1), from + kExpiryBatch);
  const Look look = STELLA_TRY(look_at(tx, store_, tenant, from, to, cutoff));
  const std::string id = Uuid::v7().str();
  if (!look.problem.empty()) {
    const Timestamp now = options_.now();
    const EventId none = EventId::generate();
    STELLA_TRY_VOID(tx.query("INSERT INTO timeline_dispositions (tenant_id, disposition_id, from_index, below_index, state, planned_at, planned_event, ended_at, reason) VALUES ($1, $2, $3, $4, 'refused', $5, $6, $5, $7)",
                             {tenant, id, from, to, now, none, look.problem}));
    kLog.error("entries of a log cannot be deleted: they are not what was signed", {f::error(Error(contracts::errors::kIntegrity, "entries differ from what was signed").with("problem", look.problem))});
    return refuse(tx, tenant, id, look.problem);
  }
  // Of kept entries alone nothing has to be said, except where they would stop the next ones for good.
  const bool full = look.below == from + kExpiryBatch || look.kept.size() >= kExpiryRuns;
  if (look.below == from || (look.entries == 0 && !full)) return Disposition{Disposition::kWaiting, std::string(kNothing)};
  const EventId event = STELLA_TRY(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionPlanned, details_of(look, cutoff, id))));
  STELLA_TRY_VOID(tx.query("INSERT INTO timeline_dispositions (tenant_id, disposition_id, from_index, below_index, state, planned_at, planned_event) VALUES ($1, $2, $3, $4, 'planned', $5, $6)",
                           {tenant, id, look.from, look.below, options_.now(), event}));
  STELLA_TRY_VOID(tx.commit());
  count_disposition("timeline", "planned");
  return Disposition{Disposition::kPlanned, ""};
}

Result<Disposition> Keeper::execute_timeline(const TenantId& tenant) {
  if (!frozen().empty()) return Disposition{Disposition::kWaiting, frozen()};
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query(kLockLog, {tenant}));
  const auto planned = STELLA_TRY(tx.query(kPendingPlan, {tenant}));
  if (planned.empty()) return Error(base_errors::kNotFound, "no deletion of entries is planned");
  if (!STELLA_TRY(plan_is_covered(tx, tenant, planned))) return Disposition{Disposition::kWaiting, ""};
  if (STELLA_TRY(tx.query(kInUse, {tenant})).boolean(0, 0)) return Disposition{Disposition::kWaiting, "a bundle is being built"};
  const std::string id(planned.text(0, 0));
  const auto end_as_refused = [&](const std::string& reason) -> Result<void> {
    STELLA_TRY_VOID(tx.query("UPDATE timeline_dispositions SET state = 'refused', ended_at = $3, reason = $4 WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now(), reason}));
    return {};
  };
  const auto held = STELLA_TRY(refuse_under_hold(tx, tenant, kWhat));
  if (held) {
    const std::string reason(reason_of(Kept::kHeld));
    STELLA_TRY_VOID(end_as_refused(reason));
    STELLA_TRY_VOID(tx.commit());
    kRefusals.add(1);
    count_disposition("timeline", "held");
    return Disposition{Disposition::kRefused, reason};
  }
  const Timestamp cutoff = expiry_cutoff(options_.now(), options_.timeline_keep);
  const std::int64_t below = planned.integer(0, 5);
  Look look = STELLA_TRY(look_at(tx, store_, tenant, planned.integer(0, 4), below, cutoff));
  if (look.problem.empty() && (look.below != below || options_.timeline_keep.count() == 0)) look.problem = "the retention has become longer";
  if (look.problem.empty()) look.problem = STELLA_TRY(delete_rows(tx, tenant, look));
  if (!look.problem.empty()) {
    STELLA_TRY_VOID(end_as_refused(look.problem));
    return refuse(tx, tenant, id, look.problem);
  }
  STELLA_TRY_VOID(tx.query("UPDATE timeline_dispositions SET state = 'executed', ended_at = $3, gone = $4::int8multirange WHERE tenant_id = $1 AND disposition_id = $2", {tenant, id, options_.now(), look.gone.multirange()}));
  json::Value details = details_of(look, cutoff, id);
  json::Array kept;
  for (std::string& name : look.kept.names()) kept.emplace_back(std::move(name));
  details.set("kept", std::move(kept));
  STELLA_TRY_VOID(timeline::emit(tx, tenant, tenant_event(tenant, contracts::events::kDispositionExecuted, std::move(details))));
  // Until a checkpoint covers the record, a reader sees entries that are gone and nothing that says why.
  const auto head = STELLA_TRY(tx.query("SELECT size FROM timeline_heads WHERE tenant_id = $1", {tenant}));
  STELLA_TRY_VOID(timeline::want_checkpoint(tx, tenant, static_cast<std::uint64_t>(head.integer(0, 0)) + 1));
  STELLA_TRY_VOID(tx.commit());
  kExpired.add(look.entries);
  count_disposition("timeline", "executed");
  return Disposition{Disposition::kExecuted, ""};
}

Result<int> Keeper::expire_timelines() {
  if (!frozen().empty()) return 0;
  int done = 0;
  std::optional<Error> trouble;
  const auto step = [&](const TenantId& tenant, Result<Disposition> (Keeper::*what)(const TenantId&)) {
    auto one = disposition_work(contracts::work::kTimelineExpire, tenant, [&](telemetry::Work&) { return (this->*what)(tenant); });
    if (one) done += one->state != Disposition::kWaiting ? 1 : 0;
    else if (!others_were_faster(one.error())) trouble = std::move(one.error());
    return one && one->state == Disposition::kWaiting && one->reason == kNothing;
  };
  const auto pending = STELLA_TRY(Tx::read(pool_, "SELECT tenant_id FROM timeline_dispositions WHERE state = 'planned' ORDER BY planned_at LIMIT 64"));
  for (int i = 0; i < pending.size() && !rounds_.stopping(); ++i) step(STELLA_TRY(TenantId::parse(pending.text(i, 0))), &Keeper::execute_timeline);
  // A batch that was carried out may be followed by the next one at once.
  if (options_.timeline_keep.count() > 0 && (done > 0 || !expiry_after_.empty() || options_.elapsed() >= next_expiry_)) {
    next_expiry_ = options_.elapsed() + std::min<std::chrono::microseconds>(options_.look_again, kPlanEvery);
    const Timestamp cutoff = expiry_cutoff(options_.now(), options_.timeline_keep);
    const auto due = STELLA_TRY(Tx::read(pool_, kDue, {cutoff, options_.now() - std::chrono::hours(24), expiry_after_}));
    // A part of the tenants in one round, the next part in the next.
    expiry_after_ = due.size() == kDueTenants ? std::string(due.text(due.size() - 1, 0)) : std::string();
    for (int i = 0; i < due.size() && !rounds_.stopping(); ++i) {
      const std::string name(due.text(i, 0));
      const Looked now{cutoff, due.integer(i, 1)};
      if (const auto before = nothing_expired_.find(name); before != nothing_expired_.end() && before->second == now) continue;
      if (step(STELLA_TRY(TenantId::parse(name)), &Keeper::plan_timeline)) nothing_expired_.insert_or_assign(name, now);
      else nothing_expired_.erase(name);
    }
  }
  // One tenant's trouble is no reason to leave the months of all others.
  const auto dropped = telemetry::in_work(contracts::work::kTimelineDrop, {}, [&](telemetry::Work&) { return drop_partitions(); });
  if (trouble) return std::move(*trouble);
  return done + STELLA_TRY(dropped);
}

// Each in its own transaction: everybody who reads or writes the timeline waits while one goes.
Result<int> Keeper::drop_partitions() {
  if (options_.timeline_keep.count() == 0 || options_.elapsed() < next_drop_) return 0;
  next_drop_ = options_.elapsed() + std::chrono::duration_cast<std::chrono::microseconds>(options_.look_again);
  int dropped = 0;
  for (bool more = true; more && !rounds_.stopping();) {
    auto tx = STELLA_TRY(Tx::open(pool_));
    const auto rows = STELLA_TRY(tx.query("SELECT stella_drop_timeline_partitions($1)", {expiry_cutoff(options_.now(), options_.timeline_keep)}));
    more = rows.integer(0, 0) > 0;
    STELLA_TRY_VOID(tx.commit());
    kPartitions.add(rows.integer(0, 0));
    dropped += static_cast<int>(rows.integer(0, 0));
  }
  return dropped;
}

}  // namespace stella::evidence
