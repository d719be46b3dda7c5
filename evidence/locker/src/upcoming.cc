// Rows first, then the store's word on each bundle of the page.
#include "stella/evidence/locker/upcoming.h"

#include "retention_rules.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

// Until when the rows keep each; where the event has not happened that starts the clock, far away.
constexpr std::string_view kRows =
    "SELECT * FROM (SELECT r.bundle_id, r.case_id, s.kind, s.resource_id, s.state, r.base_event, CASE WHEN r.base_at IS NOT NULL THEN r.retain_until END AS base, c.retain_until AS of_case, c.incident_until AS incident, "
    "(SELECT string_agg(h.authority, ', ' ORDER BY h.placed_at, h.hold_id) FROM evidence_holds h WHERE h.tenant_id = r.tenant_id AND h.case_id = r.case_id AND h.released_at IS NULL) AS holds, "
    "coalesce(CASE WHEN r.base_at IS NOT NULL THEN greatest(r.retain_until, c.retain_until, c.incident_until) END, '9999-12-31T00:00:00Z'::timestamptz) AS due, "
    "(SELECT d.state || ' ' || to_char(d.planned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM dispositions d WHERE d.tenant_id = r.tenant_id AND d.bundle_id = r.bundle_id AND d.state IN ('planned', 'deleting')) AS planned, "
    "l.ended_at, l.reason FROM evidence_retention r JOIN evidence_snapshots s USING (tenant_id, bundle_id) LEFT JOIN evidence_cases c ON c.tenant_id = r.tenant_id AND c.case_id = r.case_id "
    "LEFT JOIN LATERAL (SELECT d.ended_at, d.reason FROM dispositions d WHERE d.tenant_id = r.tenant_id AND d.bundle_id = r.bundle_id AND d.state = 'refused' ORDER BY d.ended_at DESC LIMIT 1) l ON true "
    "WHERE r.tenant_id = $1 AND s.state IN ('sealed', 'failed') AND ($2::text = '' OR r.case_id = $2)) u WHERE (u.due, u.bundle_id) > ($3, $4) ORDER BY u.due, u.bundle_id LIMIT 501";

json::Value keeper(std::string_view rule, std::string reason, const std::optional<Timestamp>& until = std::nullopt) {
  return json::Value::object({{"rule", rule}, {"until", until ? json::Value(until->rfc3339()) : json::Value()}, {"reason", std::move(reason)}});
}

json::Value time_at(const pg::Rows& rows, int row, int column) { return rows.is_null(row, column) ? json::Value() : json::Value(rows.timestamp(row, column).rfc3339()); }

// A store that is away is not asked for each bundle of a page.
constexpr int kUnanswered = 3;

// What the store says of bundle.tgz. Of a failed snapshot there may be none. Where it says nothing nobody would delete the bundle either.
void ask_store(objects::Store& store, const std::string& key, bool failed, Timestamp now, RetentionFacts& facts, json::Array& kept_by, int& unanswered) {
  const auto lock = unanswered < kUnanswered ? store.lock_state(key) : Result<objects::ObjectLock>(Error(base_errors::kIo, "not asked"));
  const bool gone = !lock && lock.error().code() == base_errors::kNotFound;
  unanswered = lock || gone ? 0 : unanswered + 1;
  if (gone) {
    if (!failed) kept_by.push_back(keeper("gone", "the store does not have it any more"));
    return;
  }
  if (!lock) {
    kept_by.push_back(keeper("store_unknown", "the store does not say how it keeps it"));
    return;
  }
  facts.store_held = lock->legal_hold;
  if (lock->mode != objects::LockMode::kNone) facts.store = lock->retain_until;
  if (facts.store_held && facts.holds == 0) kept_by.push_back(keeper("store_hold", "the store shows a legal hold that is not, or not yet, lifted"));
  if (facts.store >= now) kept_by.push_back(keeper("store_lock", "the store's own lock has not ended", facts.store));
}

Result<json::Value> item(const pg::Rows& rows, int i, const TenantId& tenant, objects::Store& store, const UpcomingQuery& query, const std::string& frozen, int& unanswered) {
  const BundleId bundle = STELLA_TRY(BundleId::parse(rows.text(i, 0)));
  const CaseId case_id = STELLA_TRY(CaseId::parse(rows.text(i, 1)));
  const bool failed = rows.text(i, 4) == "failed";
  RetentionFacts facts;
  if (!rows.is_null(i, 6)) facts.base = rows.timestamp(i, 6);
  if (!rows.is_null(i, 7)) facts.of_case = rows.timestamp(i, 7);
  if (!rows.is_null(i, 8)) facts.incident = rows.timestamp(i, 8);
  facts.holds = rows.is_null(i, 9) ? 0 : 1;
  json::Array kept_by;
  if (facts.holds > 0) kept_by.push_back(keeper("hold", "a legal hold is in force: " + std::string(rows.text(i, 9))));
  if (!facts.base) kept_by.push_back(keeper("base_event", std::string(reason_of(Kept::kClockNotStarted)) + ": " + std::string(rows.text(i, 5))));
  else if (*facts.base >= query.now) kept_by.push_back(keeper("retention", "its own retention has not ended", facts.base));
  if (facts.of_case >= query.now) kept_by.push_back(keeper("case", "the retention of its case has not ended", facts.of_case));
  if (facts.incident >= query.now) kept_by.push_back(keeper("incident", "incident mode keeps its case", facts.incident));
  ask_store(store, object_key::evidence(tenant, case_id, bundle, "bundle.tgz"), failed, query.now, facts, kept_by, unanswered);
  if (!frozen.empty()) kept_by.push_back(keeper("clock", std::string(reason_of(Kept::kFrozen)) + ": " + frozen));
  const std::string_view planned = rows.text(i, 11);
  const std::size_t space = std::min(planned.find(' '), planned.size());
  // A person can ask for one all the same, so that a plan may stand although nothing is deleted by itself.
  if (!query.dispose && planned.empty()) kept_by.push_back(keeper("switched_off", "nothing is deleted by itself: evidence.dispose is false"));
  const auto until = kept_until(facts);
  const std::string_view step = !planned.empty() ? planned.substr(0, space) : kept_by.empty() ? "due" : "kept";
  return json::Value::object({{"bundle_id", bundle.str()}, {"case_id", case_id.str()}, {"kind", rows.text(i, 2)}, {"resource_id", rows.text(i, 3)}, {"what", failed ? "failed snapshot" : "bundle"}, {"step", step},
                              {"kept_until", until ? json::Value(until->rfc3339()) : json::Value()}, {"kept_by", std::move(kept_by)},
                              {"planned_at", planned.empty() ? json::Value() : json::Value(planned.substr(space + 1))},
                              {"refused_at", time_at(rows, i, 12)}, {"refused_reason", rows.is_null(i, 13) ? json::Value() : json::Value(rows.text(i, 13))}});
}

}  // namespace

Result<Upcoming> upcoming_dispositions(pg::TenantTx& tx, objects::Store& store, const UpcomingQuery& query) {
  std::string frozen;
  if (const auto clock = STELLA_TRY(tx.query("SELECT frozen_reason FROM evidence_clock LIMIT 1")); !clock.empty()) frozen = clock.text(0, 0);
  const auto rows = STELLA_TRY(tx.query(kRows, {tx.tenant(), query.case_id ? query.case_id->str() : std::string(), query.after.value_or(Timestamp{}), query.after_bundle}));
  Upcoming out;
  const int n = std::min(rows.size(), query.limit);
  int unanswered = 0;
  for (int i = 0; i < n; ++i) out.items.push_back(STELLA_TRY(item(rows, i, tx.tenant(), store, query, frozen, unanswered)));
  if (rows.size() > n && n > 0) out.next = std::pair(rows.timestamp(n - 1, 10), STELLA_TRY(BundleId::parse(rows.text(n - 1, 0))));
  return out;
}

}  // namespace stella::evidence
