// What platform operators do to keys: rotate the evidence key, retire one, call one compromised; and which keys tenants' contents are encrypted under.
#include "handlers.h"
#include "stella/contracts/errors.h"

namespace stella::web::handlers {
namespace {

constexpr std::size_t kReasonBytes = 500;

Result<std::string> reason_of(const json::Value& body) {
  std::string reason(body.str("reason"));
  if (reason.size() > kReasonBytes) return Error(base_errors::kInvalid, "a field is not acceptable").with("field", std::string("reason")).with("expected", "at most " + std::to_string(kReasonBytes) + " bytes");
  return reason;
}

Result<KeyId> key_of(const json::Value& body) {
  const std::string text = STELLA_TRY(body.require_string("key_id"));
  auto id = KeyId::parse(text);
  if (!id) return Error(base_errors::kInvalid, "not a key id").with("field", std::string("key_id")).with("expected", std::string("SHA256:… as GET /keys lists it"));
  return *id;
}

Result<std::string> act(Context& ctx, authority::KeyRing& ring, std::string_view action, const json::Value& body) {
  const std::string reason = STELLA_TRY(reason_of(body));
  if (action == "rotate") {
    const KeyId next = STELLA_TRY(ring.rotate(ctx.actor(), ctx.trace));
    return next.str();
  }
  const KeyId key = STELLA_TRY(key_of(body));
  if (action == "retire") {
    STELLA_TRY_VOID(ring.retire(key, reason, ctx.actor(), ctx.trace));
    return key.str();
  }
  const std::string text = STELLA_TRY(body.require_string("since"));
  const auto since = Timestamp::parse(text);
  if (!since) return Error(base_errors::kInvalid, "not an instant").with("field", std::string("since")).with("expected", std::string("RFC 3339, as in 2026-11-24T17:07:00Z"));
  STELLA_TRY_VOID(ring.compromise(key, *since, reason, ctx.actor(), ctx.trace));
  return key.str();
}

}  // namespace

Result<http::Response> change_key(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"action"}, {"key_id"}, {"since"}, {"reason"}}));
  const std::string action = STELLA_TRY(body.require_string("action"));
  if (action != "rotate" && action != "retire" && action != "compromise")
    return Error(base_errors::kInvalid, "not an action on a key").with("field", std::string("action")).with("expected", std::string("rotate, retire or compromise"));
  if (!ctx.services.key_ring) return Error(contracts::errors::kUnavailable, "this server does not hold the evidence key: ask one with the role locker").with("part", "evidence key");
  STELLA_TRY_VOID(ctx.write_decision());
  ctx.deed_done = true;  // files follow the commit: what fails may have been done
  const std::string key = STELLA_TRY(act(ctx, *ctx.services.key_ring, action, body));
  const auto history = STELLA_TRY(ctx.services.provisioner.key_history());
  const auto id = STELLA_TRY(KeyId::parse(key));
  std::string state(crypto::name_of(history ? history->state_at(id, Timestamp::now()) : crypto::KeyState::kUnknown));
  for (const auto& known : STELLA_TRY(ctx.services.provisioner.list_keys()))
    if (known.key_id == key && known.purpose != "evidence") state = known.state;
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"action", action}, {"key_id", key}, {"state", state}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> list_tenant_keys(Context& ctx) {
  json::Array items;
  for (const auto& k : STELLA_TRY(ctx.services.provisioner.list_tenant_keys()))
    items.push_back(json::Value::object({{"tenant_id", k.tenant_id}, {"key_id", k.key_id}, {"version", k.version}, {"provider", k.provider}, {"state", k.state}, {"created_at", k.created_at.rfc3339()}}));
  return http::Response::json(200, json::dump(json::Value::object({{"items", std::move(items)}, {"next_cursor", nullptr}})));
}

}  // namespace stella::web::handlers
