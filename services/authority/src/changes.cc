// Changes of principals and tenants: who loses something loses the tokens that still say otherwise, in the same transaction.
#include <algorithm>
#include <functional>
#include <tuple>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/services/authority.h"
#include "stella/timeline/emit.h"
#include "token_events.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;
namespace kinds = contracts::events;

constexpr std::size_t kNameBytes = 200;
constexpr std::string_view kPlatformSuffix = "#platform";

Error invalid(Literal message, std::string field, std::string expected) { return Error(base_errors::kInvalid, message).with("field", std::move(field)).with("expected", std::move(expected)); }

using timeline::event_of;

bool platform_admin(const Principal& by) { return by.has(platform_scope_text("tenant:admin")); }

Error platform_only(Literal message) { return Error(errors::kForbidden, message).with("missing_scope", platform_scope_text("tenant:admin")); }

Result<int> end_tokens(pg::TenantTx& tx, const PrincipalId& id, std::string_view reason, TraceId trace) {
  const auto rows = STELLA_TRY(tx.query("UPDATE tokens SET revoked_at = now() WHERE tenant_id = $1 AND principal_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING token_id, principal_id", {tx.tenant(), id}));
  if (rows.empty()) return 0;
  STELLA_TRY_VOID(timeline::emit_many(tx, ended_events(rows, "", reason, trace)));
  return rows.size();
}

// The principal's row, locked. kForbidden for a holder of platform scopes where `by` may not give them either.
Result<PrincipalState> lock_principal(pg::TenantTx& tx, const Principal& by, const PrincipalId& id) {
  const auto rows = STELLA_TRY(tx.query("SELECT display_name, state FROM principals WHERE tenant_id = $1 AND principal_id = $2 FOR UPDATE", {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such principal");
  PrincipalState out{.display_name = std::string(rows.text(0, 0)), .state = std::string(rows.text(0, 1))};
  const auto held = STELLA_TRY(tx.query("SELECT scope FROM principal_scopes WHERE tenant_id = $1 AND principal_id = $2 LIMIT 500", {tx.tenant(), id}));
  for (int i = 0; i < held.size(); ++i) out.scopes.emplace_back(held.text(i, 0));
  std::sort(out.scopes.begin(), out.scopes.end());  // the database's order is that of its locale
  const bool of_platform = std::any_of(out.scopes.begin(), out.scopes.end(), [](const std::string& s) { return s.ends_with(kPlatformSuffix); });
  if (of_platform && !platform_admin(by)) return platform_only("a holder of platform scopes may be changed by a platform administrator alone");
  return out;
}

// Which of the named scopes the change really adds or takes away, as full texts.
Result<std::vector<std::string>> differing(const TenantId& tenant, const PrincipalState& now, const ScopeChange& change) {
  std::vector<std::string> texts = STELLA_TRY(scope_texts(tenant, change.scopes, change.platform_scopes));
  std::erase_if(texts, [&](const std::string& s) { return std::binary_search(now.scopes.begin(), now.scopes.end(), s) == change.grant; });
  return texts;
}

}  // namespace

// A list read before such a change says nothing about it.
std::function<void()> Authority::forget_revocations() {
  return [this] {
    const Lock lock(mutex_);
    ++revocations_;
    revoked_until_.reset();
  };
}

Result<void> Authority::revoke(pg::TenantTx& tx, const Principal& by, const Uuid& token_id, TraceId trace) {
  const auto whose = STELLA_TRY(tx.query("SELECT principal_id FROM tokens WHERE tenant_id = $1 AND token_id = $2 AND revoked_at IS NULL", {tx.tenant(), token_id.str()}));
  if (whose.empty()) return Error(base_errors::kNotFound, "no such token");
  const PrincipalId holder = STELLA_TRY(PrincipalId::parse(whose.text(0, 0)));
  if (holder != by.id) STELLA_TRY_VOID(lock_principal(tx, by, holder));
  const auto ended = STELLA_TRY(tx.query("UPDATE tokens SET revoked_at = now() WHERE tenant_id = $1 AND token_id = $2 AND revoked_at IS NULL RETURNING token_id", {tx.tenant(), token_id.str()}));
  if (ended.empty()) return Error(base_errors::kNotFound, "no such token");  // somebody else was faster
  STELLA_TRY_VOID(timeline::emit(tx, event_of(kinds::kTokenRevoked, "token", token_id.str(), trace, json::Value::object({{"token_id", token_id.str()}, {"principal_id", holder.str()}}))));
  tx.on_commit(forget_revocations());
  return {};
}

Result<PrincipalState> Authority::change_principal(pg::TenantTx& tx, const Principal& by, const PrincipalId& id, const PrincipalChange& change, TraceId trace) {
  if (!change.display_name && !change.state) return invalid("nothing to change", "state", "state, display_name or both");
  if (change.state && *change.state != "active" && *change.state != "disabled") return invalid("not a state", "state", "active or disabled");
  if (change.display_name && change.display_name->size() > kNameBytes) return invalid("the display name is too long", "display_name", "at most 200 bytes");
  PrincipalState now = STELLA_TRY(lock_principal(tx, by, id));
  const bool disables = change.state && *change.state == "disabled" && now.state != "disabled";
  if (disables && id == by.id) return Error(errors::kConflict, "you cannot disable yourself").with("remedy", "Another administrator of the tenant can.");
  for (const auto& [field, wanted, value] : {std::tuple<std::string_view, const std::optional<std::string>&, std::string&>{"display_name", change.display_name, now.display_name}, {"state", change.state, now.state}}) {
    if (!wanted || *wanted == value) continue;
    value = *wanted;
    STELLA_TRY_VOID(tx.query(field == "state" ? "UPDATE principals SET state = $3 WHERE tenant_id = $1 AND principal_id = $2" : "UPDATE principals SET display_name = $3 WHERE tenant_id = $1 AND principal_id = $2", {tx.tenant(), id, value}));
    json::Value details = json::Value::object({{"principal_id", id.str()}, {"field", field}});
    if (field == "state") details.set("state", value);
    STELLA_TRY_VOID(timeline::emit(tx, event_of(kinds::kPrincipalChanged, "principal", id.str(), trace, std::move(details))));
  }
  if (disables) {
    now.ended_tokens = STELLA_TRY(end_tokens(tx, id, "principal disabled", trace));
    tx.on_commit(forget_revocations());
  }
  return now;
}

Result<PrincipalState> Authority::change_scopes(pg::TenantTx& tx, const Principal& by, const PrincipalId& id, const ScopeChange& change, TraceId trace) {
  if (change.scopes.empty() && change.platform_scopes.empty()) return invalid("nothing to change", "scopes", "one scope at least, in scopes or platform_scopes");
  if (!change.platform_scopes.empty() && !platform_admin(by)) return platform_only("platform scopes may be given and taken by a platform administrator alone");
  PrincipalState now = STELLA_TRY(lock_principal(tx, by, id));
  const std::vector<std::string> differ = STELLA_TRY(differing(tx.tenant(), now, change));
  if (!change.grant && id == by.id && std::find(differ.begin(), differ.end(), tenant_scope_text("tenant:admin", tx.tenant())) != differ.end())
    return Error(errors::kConflict, "you cannot take tenant:admin from yourself").with("remedy", "Another administrator of the tenant can.");
  for (const std::string& scope : differ) {
    STELLA_TRY_VOID(tx.query(change.grant ? "INSERT INTO principal_scopes (tenant_id, principal_id, scope) VALUES ($1, $2, $3)" : "DELETE FROM principal_scopes WHERE tenant_id = $1 AND principal_id = $2 AND scope = $3", {tx.tenant(), id, scope}));
    STELLA_TRY_VOID(timeline::emit(tx, event_of(change.grant ? kinds::kScopeGranted : kinds::kScopeRevoked, "principal", id.str(), trace, json::Value::object({{"principal_id", id.str()}, {"scope", scope}}))));
    if (change.grant) now.scopes.push_back(scope);
    else std::erase(now.scopes, scope);
  }
  std::sort(now.scopes.begin(), now.scopes.end());
  // Tokens carry their scopes: those that were issued before would keep what is taken.
  if (!change.grant && !differ.empty()) {
    now.ended_tokens = STELLA_TRY(end_tokens(tx, id, "scope revoked", trace));
    tx.on_commit(forget_revocations());
  }
  return now;
}

Result<TenantState> Authority::change_tenant(const Principal& by, const TenantId& tenant, const TenantChange& change, TraceId trace) {
  if (!change.display_name && !change.state) return invalid("nothing to change", "state", "state, display_name or both");
  if (change.state && *change.state != "active" && *change.state != "suspended") return invalid("not a state", "state", "active or suspended");
  if (change.display_name && (change.display_name->empty() || change.display_name->size() > kNameBytes)) return invalid("not a display name", "display_name", "1 to 200 bytes");
  if (is_reserved_tenant(tenant.str())) return Error(errors::kConflict, "global and platform are the deployment's own and stay as they are").with("tenant_id", tenant.str());
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT display_name, state FROM tenants WHERE tenant_id = $1 FOR UPDATE", {tenant}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such tenant");
  TenantState now{.display_name = std::string(rows.text(0, 0)), .state = std::string(rows.text(0, 1))};
  const bool suspends = change.state && *change.state == "suspended" && now.state != "suspended";
  if (suspends && tenant == by.tenant) return Error(errors::kConflict, "you cannot suspend the tenant that you belong to").with("remedy", "A platform administrator of another tenant can.");
  for (const auto& [field, wanted, value] : {std::tuple<std::string_view, const std::optional<std::string>&, std::string&>{"display_name", change.display_name, now.display_name}, {"state", change.state, now.state}}) {
    if (!wanted || *wanted == value) continue;
    value = *wanted;
    STELLA_TRY_VOID(tx.query(field == "state" ? "UPDATE tenants SET state = $2 WHERE tenant_id = $1" : "UPDATE tenants SET display_name = $2 WHERE tenant_id = $1", {tenant, value}));
    json::Value details = json::Value::object({{"field", field}});
    details.set(std::string(field), value);
    timeline::Event event = event_of(kinds::kTenantChanged, "tenant", tenant.str(), trace, std::move(details));
    event.actor = by.actor;
    STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
  }
  if (suspends) {
    const auto ended = STELLA_TRY(tx.query("UPDATE tokens SET revoked_at = now() WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING token_id, principal_id", {tenant}));
    now.ended_tokens = ended.size();
    if (!ended.empty()) STELLA_TRY_VOID(timeline::emit_many(tx, tenant, ended_events(ended, by.actor, "tenant suspended", trace)));
    tx.on_commit(forget_revocations());
  }
  STELLA_TRY_VOID(tx.commit());
  return now;
}

}  // namespace stella::authority
