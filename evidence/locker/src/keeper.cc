// The keeper's rounds: the clock first, then retention, the store's locks, and deletions.
#include "doomed.h"
#include "stella/evidence/locker/keeper.h"

#include <time.h>

#include "retention_rules.h"
#include "stella/contracts/events.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.keeper"};
constexpr std::string_view kBaseEvents[] = {"sealed", "published", "case_closed"};
// The row moves on by steps of this size; finer ones would be writes for nothing.
constexpr std::chrono::microseconds kClockStep = std::chrono::seconds(30);

// A case that was held when its bundle was sealed: the locker put the bit there, so it is ours to lift, also where the hold is released by now. Its
// look at the holds came after sealed_at; a release that it did not see yet may have begun a little earlier.
constexpr std::string_view kAdopt =
    "WITH fresh AS (UPDATE evidence_snapshots s SET adopted = true FROM (SELECT tenant_id, bundle_id FROM evidence_snapshots WHERE NOT adopted AND state = 'sealed' ORDER BY requested_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED) n "
    "WHERE s.tenant_id = n.tenant_id AND s.bundle_id = n.bundle_id RETURNING s.tenant_id, s.bundle_id, s.case_id, s.sealed_at) "
    "INSERT INTO evidence_retention (tenant_id, bundle_id, case_id, base_event, keep_seconds, base_at, retain_until, lock_held) "
    "SELECT s.tenant_id, s.bundle_id, s.case_id, $1, $2::bigint, CASE WHEN $1 = 'sealed' THEN s.sealed_at END, CASE WHEN $1 = 'sealed' THEN s.sealed_at + make_interval(secs => $2::bigint) END, "
    "EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = s.tenant_id AND h.case_id = s.case_id AND (h.released_at IS NULL OR h.released_at >= s.sealed_at - interval '10 minutes')) "
    "FROM fresh s ON CONFLICT DO NOTHING RETURNING bundle_id";
// What failed may leave objects behind, which no other rule would ever let go: its clock starts with the failure, whatever that of bundles starts with.
constexpr std::string_view kAdoptFailed =
    "WITH fresh AS (UPDATE evidence_snapshots s SET adopted = true FROM (SELECT tenant_id, bundle_id FROM evidence_snapshots WHERE NOT adopted AND state = 'failed' ORDER BY requested_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED) n "
    "WHERE s.tenant_id = n.tenant_id AND s.bundle_id = n.bundle_id RETURNING s.tenant_id, s.bundle_id, s.case_id, coalesce(s.failed_at, s.requested_at) AS failed_at) "
    "INSERT INTO evidence_retention (tenant_id, bundle_id, case_id, base_event, keep_seconds, base_at, retain_until, lock_held) "
    "SELECT s.tenant_id, s.bundle_id, s.case_id, 'failed', $1::bigint, s.failed_at, s.failed_at + make_interval(secs => $1::bigint), "
    "EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = s.tenant_id AND h.case_id = s.case_id AND (h.released_at IS NULL OR h.released_at >= s.failed_at - interval '10 minutes')) "
    "FROM fresh s ON CONFLICT DO NOTHING";
// Once in a process, for databases that were put together from parts.
constexpr std::string_view kOrphans =
    "UPDATE evidence_snapshots s SET adopted = false WHERE adopted AND state IN ('sealed', 'failed') AND NOT EXISTS (SELECT FROM evidence_retention r WHERE r.tenant_id = s.tenant_id AND r.bundle_id = s.bundle_id)";
// Failed once, tried again, sealed in the end: from then on it is kept as any bundle.
constexpr std::string_view kSealedAfterAll =
    "UPDATE evidence_retention r SET base_event = $1, base_at = CASE WHEN $1 = 'sealed' THEN s.sealed_at END, keep_seconds = $2::bigint, wanted = r.wanted + 1, "
    "retain_until = CASE WHEN $1 = 'sealed' THEN greatest(r.retain_until, s.sealed_at + make_interval(secs => $2::bigint)) ELSE r.retain_until END "
    "FROM evidence_snapshots s WHERE r.base_event = 'failed' AND s.tenant_id = r.tenant_id AND s.bundle_id = r.bundle_id AND s.state = 'sealed' RETURNING r.bundle_id";
// What comes into a case after its end, as a redacted copy does, is kept as long as what was there: from its own seal on.
constexpr std::string_view kCaseClosed =
    "UPDATE evidence_retention r SET base_at = e.at, retain_until = greatest(r.retain_until, e.at + make_interval(secs => r.keep_seconds)), wanted = r.wanted + 1 FROM (SELECT w.tenant_id, w.bundle_id, "
    "greatest(c.closed_at, s.sealed_at) AS at FROM evidence_retention w JOIN evidence_cases c ON c.tenant_id = w.tenant_id AND c.case_id = w.case_id AND c.closed_at IS NOT NULL "
    "JOIN evidence_snapshots s ON s.tenant_id = w.tenant_id AND s.bundle_id = w.bundle_id WHERE w.base_event = 'case_closed' AND w.base_at IS NULL) e WHERE r.tenant_id = e.tenant_id AND r.bundle_id = e.bundle_id";

std::chrono::microseconds boot_time() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_nsec / 1000);
}

}  // namespace

Result<void> Keeper::check(const KeeperOptions& options) {
  if (std::find(std::begin(kBaseEvents), std::end(kBaseEvents), options.base_event) == std::end(kBaseEvents))
    return Error(base_errors::kInvalid, "no event that retention can begin at").with("field", "evidence.keep_from").with("expected", "sealed, published or case_closed");
  if (!options.clock_checked.empty() && !Timestamp::parse(options.clock_checked))
    return Error(base_errors::kInvalid, "not an instant").with("field", "evidence.clock_checked").with("expected", "RFC 3339, as in 2026-11-24T17:07:00Z");
  return {};
}

Keeper::Keeper(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store, KeeperOptions options) : pool_(pool), store_(store), options_([&] {
  if (!options.elapsed) options.elapsed = boot_time;
  return std::move(options);
}()) {}

Keeper::~Keeper() { stop(); }

void Keeper::start() {
  rounds_.start("keeper", [this] {
    if (const auto done = round(); !done) kLog.warn("holds and retention did not reach the store, it will be tried again", {f::error(done.error())});
    return options_.poll;
  });
}

void Keeper::stop() { rounds_.stop(); }

std::string Keeper::frozen() const {
  const Lock lock(mutex_);
  return frozen_;
}

Result<int> Keeper::round() {
  STELLA_TRY_VOID(believe_clock());
  const int adopted = STELLA_TRY(telemetry::in_work(contracts::work::kEvidenceAdopt, {}, [&](telemetry::Work&) { return adopt(); }));
  // A store that refuses a lock is no reason to leave the rest undone.
  auto followed = reconcile();
  const auto moved = dispose();
  const auto expired = expire_timelines();
  const auto recorded = telemetry::in_work(contracts::work::kEvidenceKeys, {}, [&](telemetry::Work&) { return record_keys(); });
  if (!recorded) kLog.warn("the tenants' keys could not be looked at, it will be tried again", {f::error(recorded.error())});
  if (!followed) return followed;
  if (!moved) return moved;
  if (!expired) return expired;
  return adopted + *followed + *moved + *expired;
}

Result<void> Keeper::believe_clock() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const Timestamp now = options_.now();
  const std::chrono::microseconds elapsed = options_.elapsed();
  STELLA_TRY_VOID(tx.query("INSERT INTO evidence_clock (seen) VALUES ($1) ON CONFLICT DO NOTHING", {now}));
  const auto rows = STELLA_TRY(tx.query("SELECT seen, frozen_reason, checked FROM evidence_clock FOR UPDATE"));
  const Timestamp seen = rows.timestamp(0, 0);
  const std::string before(rows.text(0, 1));
  // A person's word counts once, and only while it is fresh.
  std::optional<Timestamp> checked;
  if (!options_.clock_checked.empty()) checked = STELLA_TRY(Timestamp::parse(options_.clock_checked));
  const bool vouched = checked && (rows.is_null(0, 2) || rows.timestamp(0, 2) != *checked) && *checked <= now + kClockSlack && *checked >= now - std::chrono::hours(24);
  ClockJump jump = ClockJump::kNone;
  if (!vouched) {
    jump = anchor_ ? judge_clock(anchor_->wall, elapsed - anchor_->elapsed, now) : judge_clock(seen, std::nullopt, now);
    if (jump == ClockJump::kNone && now < seen - kClockSlack) jump = ClockJump::kBack;  // another process has seen later times
  }
  const std::string reason = jump == ClockJump::kNone ? "" : jump == ClockJump::kBack ? "the clock went back" : "the clock went far forward";
  const std::string own = frozen();
  if (reason.empty()) {
    // What another process froze is not ours to end: its clock is the one that is wrong. One that begins ends what one before it left.
    const bool ends = vouched || !own.empty() || !anchor_;
    if (!anchor_ || vouched) anchor_ = Anchor{now, elapsed};
    if (vouched || (ends && !before.empty()) || now >= seen + kClockStep)
      STELLA_TRY_VOID(tx.query("UPDATE evidence_clock SET seen = CASE WHEN $2 THEN $1 ELSE greatest(seen, $1) END, frozen_reason = CASE WHEN $4 THEN '' ELSE frozen_reason END, checked = coalesce($3, checked)",
                               {now, vouched, vouched ? checked : std::nullopt, ends}));
  } else if (before.empty()) {
    STELLA_TRY_VOID(tx.query("UPDATE evidence_clock SET frozen_reason = $1", {reason}));
  }
  if (!reason.empty() && own != reason && before != reason) {
    auto event = locker_event(contracts::events::kDispositionFrozen, "tenant", std::string(kPlatformTenant), json::Value::object({{"what", "every deletion of evidence"}, {"reason", reason}}));
    const TenantId platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
    STELLA_TRY_VOID(timeline::emit(tx, platform, std::move(event)));
    kLog.warn("no evidence is deleted until the clock is right again, or evidence.clock_checked says when a person found it right");
  }
  STELLA_TRY_VOID(tx.commit());
  const Lock lock(mutex_);
  frozen_ = reason;
  return {};
}

Result<int> Keeper::adopt() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const std::int64_t keep = options_.keep.count();
  if (!looked_for_orphans_) STELLA_TRY_VOID(tx.query(kOrphans));
  std::vector<std::string> fresh;
  for (const std::string_view sql : {kAdopt, kSealedAfterAll}) {
    const auto rows = STELLA_TRY(tx.query(sql, {options_.base_event, keep}));
    for (int i = 0; i < rows.size(); ++i) fresh.emplace_back(rows.text(i, 0));
  }
  std::int64_t done = static_cast<std::int64_t>(fresh.size());
  done += STELLA_TRY(tx.query(kAdoptFailed, {keep})).affected();
  done += STELLA_TRY(tx.query(kCaseClosed)).affected();
  std::map<std::string, std::int64_t> read;
  done += STELLA_TRY(begin_at_exports(tx, fresh, read));
  STELLA_TRY_VOID(tx.commit());
  looked_for_orphans_ = true;
  exports_read_ = std::move(read);
  return static_cast<int>(done);
}

}  // namespace stella::evidence
