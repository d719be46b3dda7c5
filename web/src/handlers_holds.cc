// Legal holds of a case, and the chain of custody of a bundle.
#include "evidence_trust.h"
#include "handlers.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/locker/holds.h"

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

}  // namespace

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
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  auto custody = evidence::read_custody(*tx, ctx.services.store, trust, id, ctx.trace);
  // It was sealed once: that it cannot be read any more is no mistake of whoever asks.
  if (!custody && custody.error().code() == base_errors::kMalformed)
    return Error(contracts::errors::kIntegrity, "the stored bundle cannot be read any more: it was changed in the store").with("part", "objects");
  if (!custody) return std::move(custody.error());
  return ctx.commit(http::Response::json(200, json::dump(*custody)));
}

}  // namespace stella::web::handlers
