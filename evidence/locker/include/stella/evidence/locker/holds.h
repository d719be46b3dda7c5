// Legal holds, cases and retention, as people decide them. Each call is part of the caller's transaction and appends its event; what follows in
// the store is the keeper's work (keeper.h).
//
// A case is held while its set of holds is not empty. A hold is known by its case and its authority, so that two authorities that demand the
// same do not release each other's.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

using HoldId = UuidId<struct HoldIdTag>;

inline constexpr std::size_t kAuthorityBytes = 200;
inline constexpr std::size_t kHoldReasonBytes = 2000;

struct HoldRequest {
  CaseId case_id;
  std::string authority;  // who demands it; may be empty in a release where the case has one hold only
  std::string reason;     // why it is placed, or released; may be empty in a confirmation
  TraceId trace;
  std::string traceparent;
  int releasers = 2;      // how many different people a release takes (setting hold.releasers)
};

struct HoldOutcome {
  std::string step;              // "placed", "unchanged", "release_requested", "released"; "" where refused
  json::Value state;             // hold_state() after it
  std::optional<Error> refused;  // kForbidden, kConflict: the refusal is an event, commit the transaction before the answer
};

// Placing a hold that is in force changes nothing, except that a pending wish to release it is withdrawn. kInvalid: authority or reason.
Result<HoldOutcome> place_hold(pg::TenantTx& tx, const HoldRequest& request);
// The first of two people; with releasers = 1 the hold is released at once. kNotFound: no such hold is in force; kInvalid: several are, and
// none is named.
Result<HoldOutcome> request_release(pg::TenantTx& tx, const HoldRequest& request);
// The second one: a user. Refused (kForbidden) where it is the one who asked or one of the two made the other's login, directly or through others, and
// (kConflict) where nobody asked. Not refused where a third one made both logins: that one may know both secrets, or use both.
Result<HoldOutcome> confirm_release(pg::TenantTx& tx, const HoldRequest& request);

// {case_id, state, held, closed_at, retain_until, incident_until, bundles: {sealed, locked, disposed}, holds: [{hold_id, authority, reason,
// placed_by, placed_at, release_requested_by, …, due}]}, newest hold first. A case that nobody has heard of is open and not held.
Result<json::Value> hold_state(pg::TenantTx& tx, const CaseId& case_id, int releasers);

// Closing starts the clock of bundles that are kept from there on. Closing again changes nothing; whether it was this call that closed the case.
Result<bool> close_case(pg::TenantTx& tx, const CaseId& case_id, std::string_view reason, TraceId trace, std::string_view traceparent);

// Keeps a whole case, or one bundle, at least until then. Retention only grows: what is kept as long already stays as it is, without an event.
// kInvalid for more than 100 years from now, or a reason that is none; kNotFound for a bundle that is not sealed; kNotReady for one that was
// sealed a moment ago and that the keeper has not seen yet.
enum class RetentionBy : std::uint8_t { kPerson, kIncident };
struct Extension {
  Timestamp until;    // that it is kept until now, by this rule alone
  bool grew = false;  // by this call
  CaseId case_id;
};
Result<Extension> extend_retention(pg::TenantTx& tx, const CaseId& case_id, Timestamp until, RetentionBy by, std::string_view reason, TraceId trace, std::string_view traceparent);
Result<Extension> extend_retention(pg::TenantTx& tx, const BundleId& bundle, Timestamp until, std::string_view reason, TraceId trace, std::string_view traceparent);

// For whoever is about to destroy a key of the tenant, to off-board it, or to delete its log or telemetry: a hold covers those as well. nullopt:
// no hold of the tenant stands in the way. Else the error (kConflict) to answer with, after committing: the refusal is an event. `what`: "the
// tenant's key", "the tenant". Holds placed until the caller commits wait for it.
Result<std::optional<Error>> refuse_under_hold(pg::TenantTx& tx, std::string_view what, TraceId trace, std::string_view traceparent);
Result<std::optional<Error>> refuse_under_hold(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, std::string_view what);

}  // namespace stella::evidence
