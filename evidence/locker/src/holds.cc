// Holds, cases and retention in the database: each decision under the lock of its case, with its event.
#include "stella/evidence/locker/holds.h"

#include <algorithm>

#include "case_lock.h"
#include "retention_rules.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {
namespace {

#define STELLA_SQL_TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

constexpr std::chrono::microseconds kLongestRetention = std::chrono::hours(24 * 365 * 100);

constexpr std::string_view kActive =
    "SELECT hold_id, authority, coalesce(release_requested_by, '') FROM evidence_holds WHERE tenant_id = $1 AND case_id = $2 AND released_at IS NULL ORDER BY placed_at, hold_id";
constexpr std::string_view kDirtyCase = "UPDATE evidence_retention SET wanted = wanted + 1 WHERE tenant_id = $1 AND case_id = $2";
// A payload may be shared with a bundle of another case: that one's locks are looked at again as well.
constexpr std::string_view kDirtyShared =
    "UPDATE evidence_retention r SET wanted = wanted + 1 FROM evidence_snapshots o, evidence_snapshots s WHERE s.tenant_id = $1 AND s.case_id = $2 AND o.tenant_id = s.tenant_id "
    "AND o.payload_sha256 = s.payload_sha256 AND o.case_id <> s.case_id AND r.tenant_id = o.tenant_id AND r.bundle_id = o.bundle_id";
constexpr std::string_view kStateJson =
    "SELECT json_build_object('case_id', $2::text, 'state', coalesce(c.state, 'open'), 'held', h.active > 0, 'closed_at', " STELLA_SQL_TIME("c.closed_at") ", 'retain_until', " STELLA_SQL_TIME("c.retain_until") ", 'incident_until', " STELLA_SQL_TIME("c.incident_until") ", "
    "'bundles', json_build_object('sealed', b.sealed, 'locked', b.locked, 'disposed', b.disposed), 'holds', h.holds)::text FROM (SELECT 1) one "
    "LEFT JOIN evidence_cases c ON c.tenant_id = $1 AND c.case_id = $2 "
    "CROSS JOIN (SELECT count(*) FILTER (WHERE s.state = 'sealed') AS sealed, count(*) FILTER (WHERE s.state = 'sealed' AND r.lock_held AND r.applied = r.wanted) AS locked, "
    "count(*) FILTER (WHERE s.state = 'disposed') AS disposed FROM evidence_snapshots s LEFT JOIN evidence_retention r USING (tenant_id, bundle_id) WHERE s.tenant_id = $1 AND s.case_id = $2) b "
    "CROSS JOIN (SELECT count(*) FILTER (WHERE released_at IS NULL) AS active, coalesce(json_agg(json_build_object('hold_id', hold_id, 'authority', authority, 'reason', reason, 'placed_by', placed_by, "
    "'placed_at', " STELLA_SQL_TIME("placed_at") ", 'release_requested_by', release_requested_by, 'release_requested_at', " STELLA_SQL_TIME("release_requested_at") ", 'release_reason', release_reason, 'released_by', released_by, 'released_at', " STELLA_SQL_TIME("released_at") ", "
    "'due', CASE WHEN released_at IS NOT NULL THEN 'none' WHEN $3 > 1 AND release_requested_by IS NOT NULL THEN 'confirm_release' ELSE 'request_release' END) ORDER BY placed_at DESC, hold_id DESC), '[]'::json) AS holds "
    "FROM evidence_holds WHERE tenant_id = $1 AND case_id = $2) h";

timeline::Event case_event(std::string_view kind, const CaseId& case_id, TraceId trace, std::string_view traceparent, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.resource_type = "case";
  event.resource_id = case_id.str();
  event.trace = trace;
  event.traceparent = std::string(traceparent);
  event.details = std::move(details);
  return event;
}

Result<void> check_text(std::string_view text, std::string_view field, std::size_t most, bool needed) {
  if (text.empty() && !needed) return {};
  if (text.empty() || text.size() > most || text.find_first_not_of(" \t\r\n") == text.npos)
    return Error(base_errors::kInvalid, "this text cannot stand in the record of the case")
        .with("field", std::string(field)).with("expected", "1 to " + std::to_string(most) + " bytes of text");
  return {};
}

struct ActiveHold {
  HoldId id;
  std::string authority, requested_by;
};

// Under the locks of tenant and case from here on.
Result<void> lock_case(pg::TenantTx& tx, const CaseId& case_id) {
  STELLA_TRY_VOID(tx.query(kLockTenantShared, {tx.tenant()}));
  STELLA_TRY_VOID(tx.query(kLockCase, {tx.tenant(), case_id.str()}));
  return {};
}

Result<std::vector<ActiveHold>> active_holds(pg::TenantTx& tx, const CaseId& case_id) {
  const auto rows = STELLA_TRY(tx.query(kActive, {tx.tenant(), case_id.str()}));
  std::vector<ActiveHold> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back({STELLA_TRY(HoldId::parse(rows.text(i, 0))), std::string(rows.text(i, 1)), std::string(rows.text(i, 2))});
  return out;
}

// The hold that a release is about.
Result<ActiveHold> chosen(pg::TenantTx& tx, const HoldRequest& request) {
  std::vector<ActiveHold> all = STELLA_TRY(active_holds(tx, request.case_id));
  if (request.authority.empty() && all.size() > 1) {
    std::string names;
    for (const ActiveHold& h : all) names.append(names.empty() ? "" : ", ").append(h.authority);
    return Error(base_errors::kInvalid, "several holds are in force: which one is meant?").with("field", "authority").with("expected", names);
  }
  for (ActiveHold& h : all)
    if (request.authority.empty() || h.authority == request.authority) return std::move(h);
  return Error(base_errors::kNotFound, "no such hold is in force").with("case_id", request.case_id.str());
}

Result<HoldOutcome> done(pg::TenantTx& tx, const HoldRequest& request, std::string_view step) {
  return HoldOutcome{std::string(step), STELLA_TRY(hold_state(tx, request.case_id, request.releasers)), std::nullopt};
}

// Whoever made a login chose its secret, and may have made that of whoever made it.
constexpr std::string_view kMadeBy =
    "WITH RECURSIVE line (id) AS (SELECT created_by FROM principals WHERE tenant_id = $1 AND principal_id = $2 "
    "UNION SELECT p.created_by FROM line l JOIN principals p ON p.tenant_id = $1 AND p.principal_id = l.id) SELECT FROM line WHERE id = $3";

std::optional<PrincipalId> principal_of(std::string_view actor) {
  const std::size_t colon = actor.find(':');
  auto id = PrincipalId::parse(colon == actor.npos ? std::string_view() : actor.substr(colon + 1));
  return id ? std::optional(*id) : std::nullopt;
}

// Why the second one of a release does not count as one: a service account is nobody, and an administrator is one person with each login
// they made. Two logins that one administrator made pass: whether their holders are two people nobody here can see.
Result<std::optional<Error>> no_second_person(pg::TenantTx& tx, const ActiveHold& hold) {
  if (!tx.actor().starts_with("user:"))
    return std::optional(Error(contracts::errors::kForbidden, "a person confirms a release, no service account does").with("requested_by", hold.requested_by).with("remedy", "A user with the scope evidence:hold confirms it."));
  const auto first = principal_of(hold.requested_by), second = principal_of(tx.actor());
  for (const auto& [one, other] : {std::pair(first, second), std::pair(second, first)}) {
    if (!one || !other) continue;
    const auto made = STELLA_TRY(tx.query(kMadeBy, {tx.tenant(), *one, *other}));
    if (!made.empty())
      return std::optional(Error(contracts::errors::kForbidden, "one of the two made the other's login: they do not count as two people").with("requested_by", hold.requested_by).with("remedy", "Another person with the scope evidence:hold, whose login neither of them made, confirms it."));
  }
  return std::optional<Error>();
}

// The store follows: every bundle of the case is looked at again.
Result<void> tell_keeper(pg::TenantTx& tx, const CaseId& case_id) {
  STELLA_TRY_VOID(tx.query(kDirtyCase, {tx.tenant(), case_id.str()}));
  STELLA_TRY_VOID(tx.query(kDirtyShared, {tx.tenant(), case_id.str()}));
  return {};
}

Result<HoldOutcome> refuse(pg::TenantTx& tx, const HoldRequest& request, const ActiveHold& hold, Error error) {
  HoldOutcome out;
  json::Value details = json::Value::object({{"what", "release of a hold"}, {"reason", error.message()}, {"case_id", request.case_id.str()}, {"hold_id", hold.id.str()}});
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kDispositionRefused, request.case_id, request.trace, request.traceparent, std::move(details))));
  out.refused = std::move(error);
  return out;
}

Result<HoldOutcome> release(pg::TenantTx& tx, const HoldRequest& request, const ActiveHold& hold) {
  STELLA_TRY_VOID(tx.query("UPDATE evidence_holds SET released_by = $3, released_at = now(), release_requested_by = coalesce(release_requested_by, $3), release_requested_at = coalesce(release_requested_at, now()), "
                           "release_reason = coalesce(nullif($4, ''), release_reason) WHERE tenant_id = $1 AND hold_id = $2",
                           {tx.tenant(), hold.id, tx.actor(), request.reason}));
  STELLA_TRY_VOID(tell_keeper(tx, request.case_id));
  json::Array people;
  if (!hold.requested_by.empty() && hold.requested_by != tx.actor()) people.push_back(hold.requested_by);
  people.push_back(tx.actor());
  json::Value details = json::Value::object({{"case_id", request.case_id.str()}, {"hold_id", hold.id.str()}, {"authority", hold.authority}, {"releasers", std::move(people)}});
  if (!request.reason.empty()) details.set("reason", request.reason);
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kHoldReleased, request.case_id, request.trace, request.traceparent, std::move(details))));
  return done(tx, request, "released");
}

Result<Timestamp> check_until(Timestamp until) {
  if (until <= Timestamp::now() + kLongestRetention) return until;
  return Error(base_errors::kInvalid, "evidence cannot be kept until then").with("field", "retain_until").with("expected", "an instant in the next 100 years");
}

}  // namespace

Result<json::Value> hold_state(pg::TenantTx& tx, const CaseId& case_id, int releasers) {
  const auto rows = STELLA_TRY(tx.query(kStateJson, {tx.tenant(), case_id.str(), releasers}));
  return json::parse(rows.text(0, 0));
}

Result<HoldOutcome> place_hold(pg::TenantTx& tx, const HoldRequest& request) {
  STELLA_TRY_VOID(check_text(request.authority, "authority", kAuthorityBytes, true));
  STELLA_TRY_VOID(check_text(request.reason, "reason", kHoldReasonBytes, true));
  STELLA_TRY_VOID(lock_case(tx, request.case_id));
  const auto all = STELLA_TRY(active_holds(tx, request.case_id));
  const auto same = std::find_if(all.begin(), all.end(), [&](const ActiveHold& h) { return h.authority == request.authority; });
  if (same != all.end() && same->requested_by.empty()) return done(tx, request, "unchanged");
  const HoldId id = same != all.end() ? same->id : HoldId::generate();
  if (same != all.end())
    STELLA_TRY_VOID(tx.query("UPDATE evidence_holds SET release_requested_by = NULL, release_requested_at = NULL, release_reason = NULL WHERE tenant_id = $1 AND hold_id = $2", {tx.tenant(), id}));
  else
    STELLA_TRY_VOID(tx.query("INSERT INTO evidence_holds (tenant_id, hold_id, case_id, authority, reason, placed_by) VALUES ($1, $2, $3, $4, $5, $6)", {tx.tenant(), id, request.case_id.str(), request.authority, request.reason, tx.actor()}));
  STELLA_TRY_VOID(tell_keeper(tx, request.case_id));
  const auto bundles = STELLA_TRY(tx.query("SELECT count(*) FROM evidence_snapshots WHERE tenant_id = $1 AND case_id = $2 AND state = 'sealed'", {tx.tenant(), request.case_id.str()}));
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kHoldPlaced, request.case_id, request.trace, request.traceparent,
                                                json::Value::object({{"case_id", request.case_id.str()}, {"hold_id", id.str()}, {"authority", request.authority}, {"reason", request.reason}, {"bundle_count", bundles.integer(0, 0)}}))));
  return done(tx, request, "placed");
}

Result<HoldOutcome> request_release(pg::TenantTx& tx, const HoldRequest& request) {
  STELLA_TRY_VOID(check_text(request.authority, "authority", kAuthorityBytes, false));
  STELLA_TRY_VOID(check_text(request.reason, "reason", kHoldReasonBytes, true));
  STELLA_TRY_VOID(lock_case(tx, request.case_id));
  const ActiveHold hold = STELLA_TRY(chosen(tx, request));
  switch (request_step(hold.requested_by, request.releasers)) {
    case ReleaseStep::kReleased: return release(tx, request, hold);
    case ReleaseStep::kAlreadyAsked:
      if (hold.requested_by == tx.actor()) return done(tx, request, "unchanged");
      return refuse(tx, request, hold, Error(contracts::errors::kConflict, "somebody else has asked for this release: confirm it").with("requested_by", hold.requested_by).with("remedy", "Send confirm_release."));
    default: break;
  }
  STELLA_TRY_VOID(tx.query("UPDATE evidence_holds SET release_requested_by = $3, release_requested_at = now(), release_reason = $4 WHERE tenant_id = $1 AND hold_id = $2", {tx.tenant(), hold.id, tx.actor(), request.reason}));
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kHoldReleaseRequested, request.case_id, request.trace, request.traceparent,
                                                json::Value::object({{"case_id", request.case_id.str()}, {"hold_id", hold.id.str()}, {"authority", hold.authority}, {"reason", request.reason}}))));
  return done(tx, request, "release_requested");
}

Result<HoldOutcome> confirm_release(pg::TenantTx& tx, const HoldRequest& request) {
  STELLA_TRY_VOID(check_text(request.authority, "authority", kAuthorityBytes, false));
  STELLA_TRY_VOID(check_text(request.reason, "reason", kHoldReasonBytes, false));
  STELLA_TRY_VOID(lock_case(tx, request.case_id));
  const ActiveHold hold = STELLA_TRY(chosen(tx, request));
  switch (confirm_step(hold.requested_by, tx.actor(), request.releasers)) {
    case ReleaseStep::kReleased: {
      auto nobody = request.releasers > 1 ? STELLA_TRY(no_second_person(tx, hold)) : std::optional<Error>();
      return nobody ? refuse(tx, request, hold, std::move(*nobody)) : release(tx, request, hold);
    }
    case ReleaseStep::kNobodyAsked: return refuse(tx, request, hold, Error(contracts::errors::kConflict, "nobody has asked for this release yet").with("remedy", "Send request_release with a reason; a second person confirms it."));
    default: break;
  }
  return refuse(tx, request, hold, Error(contracts::errors::kForbidden, "whoever asked for a release cannot confirm it").with("requested_by", hold.requested_by).with("remedy", "Another person with the scope evidence:hold confirms it."));
}

Result<bool> close_case(pg::TenantTx& tx, const CaseId& case_id, std::string_view reason, TraceId trace, std::string_view traceparent) {
  STELLA_TRY_VOID(check_text(reason, "reason", kHoldReasonBytes, true));
  STELLA_TRY_VOID(lock_case(tx, case_id));
  const auto closed = STELLA_TRY(tx.query("INSERT INTO evidence_cases (tenant_id, case_id, state, closed_at, closed_by) VALUES ($1, $2, 'closed', now(), $3) ON CONFLICT (tenant_id, case_id) DO UPDATE SET state = 'closed', "
                                          "closed_at = now(), closed_by = $3 WHERE evidence_cases.state = 'open'",
                                          {tx.tenant(), case_id.str(), tx.actor()}));
  if (closed.affected() == 0) return false;
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kCaseClosed, case_id, trace, traceparent, json::Value::object({{"case_id", case_id.str()}, {"reason", reason}}))));
  return true;
}

Result<Extension> extend_retention(pg::TenantTx& tx, const CaseId& case_id, Timestamp until, RetentionBy by, std::string_view reason, TraceId trace, std::string_view traceparent) {
  STELLA_TRY_VOID(check_text(reason, "reason", kHoldReasonBytes, true));
  STELLA_TRY_VOID(check_until(until));
  STELLA_TRY_VOID(lock_case(tx, case_id));
  const bool incident = by == RetentionBy::kIncident;
  const auto before = STELLA_TRY(tx.query("SELECT retain_until, incident_until FROM evidence_cases WHERE tenant_id = $1 AND case_id = $2", {tx.tenant(), case_id.str()}));
  if (!before.empty() && !before.is_null(0, incident ? 1 : 0) && before.timestamp(0, incident ? 1 : 0) >= until) return Extension{before.timestamp(0, incident ? 1 : 0), false, case_id};
  STELLA_TRY_VOID(tx.query(incident ? "INSERT INTO evidence_cases (tenant_id, case_id, incident_until) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, case_id) DO UPDATE SET incident_until = excluded.incident_until"
                                    : "INSERT INTO evidence_cases (tenant_id, case_id, retain_until) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, case_id) DO UPDATE SET retain_until = excluded.retain_until",
                           {tx.tenant(), case_id.str(), until}));
  STELLA_TRY_VOID(tx.query(kDirtyCase, {tx.tenant(), case_id.str()}));
  STELLA_TRY_VOID(timeline::emit(tx, case_event(contracts::events::kRetentionExtended, case_id, trace, traceparent, json::Value::object({{"case_id", case_id.str()}, {"until", until.rfc3339()}, {"reason", reason}}))));
  return Extension{until, true, case_id};
}

namespace {

// The retention of a bundle under the lock of its case: a deletion that is looking at it ends before, or sees what is written here.
Result<std::pair<CaseId, std::optional<Timestamp>>> retention_of(pg::TenantTx& tx, const BundleId& bundle) {
  const auto which = STELLA_TRY(tx.query("SELECT case_id FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tx.tenant(), bundle}));
  if (which.empty()) return Error(base_errors::kNotFound, "no such bundle");
  CaseId case_id = STELLA_TRY(CaseId::parse(which.text(0, 0)));
  STELLA_TRY_VOID(lock_case(tx, case_id));
  const auto rows = STELLA_TRY(tx.query("SELECT s.state, r.bundle_id IS NOT NULL, r.retain_until FROM evidence_snapshots s LEFT JOIN evidence_retention r USING (tenant_id, bundle_id) WHERE s.tenant_id = $1 AND s.bundle_id = $2", {tx.tenant(), bundle}));
  const std::string state(rows.text(0, 0));
  if (state == "disposed") return Error(base_errors::kNotFound, "the bundle was lawfully deleted; its seal, its root and its events remain").with("state", state);
  if (state != "sealed") return Error(contracts::errors::kNotReady, "the bundle is not sealed").with("state", state);
  if (!rows.boolean(0, 1)) return Error(contracts::errors::kNotReady, "the bundle was sealed a moment ago and its retention has not begun").with("remedy", "Send it again in a few seconds, or extend the case.");
  std::optional<Timestamp> until;
  if (!rows.is_null(0, 2)) until = rows.timestamp(0, 2);
  return std::pair(std::move(case_id), until);
}

}  // namespace

Result<Extension> extend_retention(pg::TenantTx& tx, const BundleId& bundle, Timestamp until, std::string_view reason, TraceId trace, std::string_view traceparent) {
  STELLA_TRY_VOID(check_text(reason, "reason", kHoldReasonBytes, true));
  STELLA_TRY_VOID(check_until(until));
  const auto [case_id, before] = STELLA_TRY(retention_of(tx, bundle));
  if (before && *before >= until) return Extension{*before, false, case_id};
  // The keeper may have started its clock since: the later instant counts.
  STELLA_TRY_VOID(tx.query("UPDATE evidence_retention SET retain_until = greatest(retain_until, $3), wanted = wanted + 1 WHERE tenant_id = $1 AND bundle_id = $2", {tx.tenant(), bundle, until}));
  timeline::Event event = case_event(contracts::events::kRetentionExtended, case_id, trace, traceparent,
                                     json::Value::object({{"case_id", case_id.str()}, {"bundle_id", bundle.str()}, {"until", until.rfc3339()}, {"reason", reason}}));
  event.resource_type = "bundle";
  event.resource_id = bundle.str();
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return Extension{until, true, case_id};
}

namespace {

struct Refusal {
  timeline::Event event;
  Error error;
};

Result<std::optional<Refusal>> held(pg::Tx& tx, const TenantId& tenant, std::string_view what) {
  STELLA_TRY_VOID(tx.query(kLockTenant, {tenant}));
  const auto rows = STELLA_TRY(tx.query("SELECT case_id, authority FROM evidence_holds WHERE tenant_id = $1 AND released_at IS NULL ORDER BY placed_at, hold_id LIMIT 20", {tenant}));
  if (rows.empty()) return std::optional<Refusal>();
  std::string cases;
  for (int i = 0; i < rows.size(); ++i) cases.append(i == 0 ? "" : ", ").append(rows.text(i, 0)).append(" (").append(rows.text(i, 1)).append(")");
  timeline::Event event;
  event.kind = contracts::events::kDispositionRefused;
  event.resource_type = "tenant";
  event.resource_id = tenant.str();
  event.details = json::Value::object({{"what", what}, {"reason", reason_of(Kept::kHeld)}, {"case_id", rows.text(0, 0)}});
  return std::optional(Refusal{std::move(event), Error(contracts::errors::kConflict, "a legal hold needs what is to be destroyed").with("what", std::string(what)).with("reason", "held").with("held_by", cases).with("remedy", "Release every hold of the tenant first.")});
}

}  // namespace

Result<std::optional<Error>> refuse_under_hold(pg::TenantTx& tx, std::string_view what, TraceId trace, std::string_view traceparent) {
  auto refusal = STELLA_TRY(held(tx, tx.tenant(), what));
  if (!refusal) return std::optional<Error>();
  refusal->event.trace = trace;
  refusal->event.traceparent = std::string(traceparent);
  STELLA_TRY_VOID(timeline::emit(tx, std::move(refusal->event)));
  return std::optional(std::move(refusal->error));
}

Result<std::optional<Error>> refuse_under_hold(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, std::string_view what) {
  auto refusal = STELLA_TRY(held(tx, tenant, what));
  if (!refusal) return std::optional<Error>();
  refusal->event.actor = "system:locker";
  STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(refusal->event)));
  return std::optional(std::move(refusal->error));
}

}  // namespace stella::evidence
