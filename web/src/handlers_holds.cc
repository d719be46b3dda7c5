// Legal holds of a case, its end and its retention, and the chain of custody of a bundle.
#include "evidence_trust.h"
#include "handlers.h"
#include "page.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/locker/holds.h"
#include "stella/evidence/locker/upcoming.h"

namespace stella::web::handlers {
namespace {

using Step = Result<evidence::HoldOutcome> (*)(pg::TenantTx&, const evidence::HoldRequest&);

Result<Step> step_of(std::string_view action) {
  if (action == "place") return Step(evidence::place_hold);
  if (action == "request_release") return Step(evidence::request_release);
  if (action == "confirm_release") return Step(evidence::confirm_release);
  return Error(base_errors::kInvalid, "not an action on a hold").with("field", "action").with("expected", "place, request_release or confirm_release");
}

// A case is named by people: what cannot be a name is said to be none, whether or not there is such a case.
Result<CaseId> case_of(Context& ctx) {
  auto id = CaseId::parse(ctx.param("case_id"));
  if (id) return id;
  return Error(base_errors::kInvalid, "not a case id").with("field", "case_id").with("expected", std::string(CaseIdTag::kPattern));
}

// What is asked for when something is to be kept longer.
struct LongerBody {
  Timestamp until;
  std::string reason;
};

Result<LongerBody> longer_body(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"retain_until"}, {"reason"}}));
  const std::string text = STELLA_TRY(body.require_string("retain_until"));
  const auto until = Timestamp::parse(text);
  // An instant that is over keeps nothing: whoever sends it has mistaken something.
  if (!until || *until <= Timestamp::now()) return Error(base_errors::kInvalid, "evidence cannot be kept until then").with("field", "retain_until").with("expected", "an instant to come, RFC 3339, as in 2031-12-31T00:00:00Z");
  return LongerBody{*until, STELLA_TRY(body.require_string("reason"))};
}

// As long as it was asked for already is a repeat; longer than that is a wish to shorten it.
Result<std::string_view> step_of(const evidence::Extension& extension, Timestamp asked) {
  if (extension.grew) return std::string_view("extended");
  if (extension.until == asked) return std::string_view("unchanged");
  return Error(contracts::errors::kConflict, "retention only grows, and this is kept longer already").with("retain_until", extension.until.rfc3339()).with("remedy", "Ask for a later instant; nobody can shorten a retention.");
}

Result<http::Response> answer_case(Context& ctx, pg::TenantTx& tx, const CaseId& id, std::string_view step) {
  json::Value state = STELLA_TRY(evidence::hold_state(tx, id, ctx.services.hold_releasers));
  state.set("step", step);
  state.set("trace_id", ctx.trace.hex());
  return ctx.commit(http::Response::json(200, json::dump(state)));
}

}  // namespace

Result<http::Response> close_case(Context& ctx) {
  const CaseId id = STELLA_TRY(case_of(ctx));
  const json::Value body = STELLA_TRY(ctx.json_body({{"reason"}}));
  const std::string reason = STELLA_TRY(body.require_string("reason"));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const bool closed = STELLA_TRY(evidence::close_case(*tx, id, reason, ctx.trace, ctx.traceparent));
  return answer_case(ctx, *tx, id, closed ? "closed" : "unchanged");
}

Result<http::Response> extend_case(Context& ctx) {
  const CaseId id = STELLA_TRY(case_of(ctx));
  const LongerBody body = STELLA_TRY(longer_body(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const auto extension = STELLA_TRY(evidence::extend_retention(*tx, id, body.until, evidence::RetentionBy::kPerson, body.reason, ctx.trace, ctx.traceparent));
  const std::string_view step = STELLA_TRY(step_of(extension, body.until));
  return answer_case(ctx, *tx, id, step);
}

Result<http::Response> extend_bundle(Context& ctx) {
  const BundleId id = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const LongerBody body = STELLA_TRY(longer_body(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const auto extension = STELLA_TRY(evidence::extend_retention(*tx, id, body.until, body.reason, ctx.trace, ctx.traceparent));
  const std::string_view step = STELLA_TRY(step_of(extension, body.until));
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"step", step}, {"bundle_id", id.str()}, {"case_id", extension.case_id.str()}, {"retain_until", extension.until.rfc3339()}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> get_hold(Context& ctx) {
  const CaseId id = STELLA_TRY(case_of(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  json::Value state = STELLA_TRY(evidence::hold_state(*tx, id, ctx.services.hold_releasers));
  state.set("trace_id", ctx.trace.hex());
  return ctx.commit(http::Response::json(200, json::dump(state)));
}

Result<http::Response> change_hold(Context& ctx) {
  evidence::HoldRequest request;
  request.case_id = STELLA_TRY(case_of(ctx));
  const json::Value body = STELLA_TRY(ctx.json_body({{"action"}, {"authority"}, {"reason"}}));
  const std::string action = STELLA_TRY(body.require_string("action"));
  const Step step = STELLA_TRY(step_of(action));
  request.authority = body.str("authority");
  request.reason = body.str("reason");
  request.trace = ctx.trace;
  request.traceparent = ctx.traceparent;
  request.releasers = ctx.services.hold_releasers;
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  evidence::HoldOutcome outcome = STELLA_TRY(step(*tx, request));
  if (outcome.refused) {
    // The refusal is on the record before it is told; it is no reply to be repeated.
    ctx.idempotency_key.clear();
    STELLA_TRY(ctx.commit(http::Response{}));
    return std::move(*outcome.refused);
  }
  outcome.state.set("step", outcome.step);
  outcome.state.set("trace_id", ctx.trace.hex());
  return ctx.commit(http::Response::json(200, json::dump(outcome.state)));
}

Result<http::Response> get_custody(Context& ctx) {
  const BundleId id = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  read_whole_bundle(ctx);
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  auto custody = evidence::read_custody(*tx, ctx.services.store, trust, id, ctx.trace);
  // It was sealed once: that it cannot be read any more is no mistake of whoever asks.
  if (!custody && custody.error().code() == base_errors::kMalformed)
    return Error(contracts::errors::kIntegrity, "the stored bundle cannot be read any more: it was changed in the store").with("part", "objects");
  if (!custody) return std::move(custody.error());
  return ctx.commit(http::Response::json(200, json::dump(*custody)));
}

Result<http::Response> list_dispositions(Context& ctx) {
  evidence::UpcomingQuery query;
  query.limit = STELLA_TRY(ctx.limit());
  query.dispose = ctx.services.dispose;
  query.now = Timestamp::now();
  if (const std::string name = ctx.request.query_param("case"); !name.empty()) {
    auto id = CaseId::parse(name);
    if (!id) return Error(base_errors::kInvalid, "not a case id").with("field", "case").with("expected", std::string(CaseIdTag::kPattern));
    query.case_id = std::move(*id);
  }
  if (const auto cursor = STELLA_TRY(parse_cursor(ctx.request.query_param("cursor")))) {
    const auto bundle = BundleId::parse(cursor->id);
    if (!bundle) return Error(base_errors::kInvalid, "the cursor is not one of this list").with("field", "cursor").with("expected", "next_cursor of the page before");
    query.after = cursor->ts;
    query.after_bundle = *bundle;
  }
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  evidence::Upcoming found = STELLA_TRY(evidence::upcoming_dispositions(*tx, ctx.services.store, query));
  const json::Value next = found.next ? json::Value(make_cursor(found.next->first, found.next->second.str())) : json::Value();
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"items", std::move(found.items)}, {"next_cursor", next}}))));
}

}  // namespace stella::web::handlers
