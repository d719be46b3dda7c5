// Tokens, tenants, projects, principals.
#include "handlers.h"
#include "page.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/web/router.h"

// What the provisioner makes is committed by the authority's own transaction: the decision is written before it (nothing happens without
// its record), ctx.commit() after it keeps the Idempotency-Key.
namespace stella::web::handlers {
namespace {

Result<std::string> take_string(const json::Value& body, std::string_view name, std::size_t max_bytes = 256) {
  std::string text = STELLA_TRY(body.require_string(name));
  if (text.empty() || text.size() > max_bytes || text.find('\0') != std::string::npos)
    return Error(base_errors::kInvalid, "a field is not acceptable").with("field", std::string(name)).with("expected", "1 to " + std::to_string(max_bytes) + " bytes of text");
  return text;
}

std::vector<std::string> take_strings(const json::Value& body, std::string_view name) {
  std::vector<std::string> out;
  for (const json::Value& v : body.items(name))
    if (v.is_string()) out.push_back(v.as_string());
  return out;
}

// RFC 6749 sends forms; JSON is accepted as well.
Result<json::Value> form_or_json(Context& ctx) {
  if (ctx.request.header("content-type").rfind("application/x-www-form-urlencoded", 0) != 0) return ctx.json_body();
  const std::string text = STELLA_TRY(ctx.request.body_text(kAnonymousBodyBytes));
  json::Value out = json::Value::object();
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string name = STELLA_TRY(percent_decode(pair.substr(0, equals), true));
    const std::string value = STELLA_TRY(percent_decode(pair.substr(std::min(equals + 1, pair.size())), true));
    if (!is_utf8(name) || !is_utf8(value)) return Error(base_errors::kMalformed, "the form is not UTF-8").with("expected", "UTF-8");
    out.set(name, value);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

// A member that may be left out; kInvalid where it is there and no acceptable text.
Result<std::optional<std::string>> maybe_string(const json::Value& body, std::string_view name, std::size_t max_bytes) {
  if (body.find(name) == nullptr) return std::optional<std::string>();
  std::string text = STELLA_TRY(take_string(body, name, max_bytes));
  return std::optional(std::move(text));
}

json::Array scope_list(const std::vector<std::string>& scopes) { return json::Array(scopes.begin(), scopes.end()); }

}  // namespace

Result<http::Response> create_token(Context& ctx) {
  const json::Value body = STELLA_TRY(form_or_json(ctx));
  const std::string grant = STELLA_TRY(take_string(body, "grant_type", 64));
  if (grant != "password" && grant != "client_credentials")
    return Error(base_errors::kInvalid, "the grant type is not supported").with("field", "grant_type").with("expected", "password or client_credentials");
  const bool user = grant == "password";
  const std::string login = STELLA_TRY(take_string(body, user ? "username" : "client_id"));
  const std::string secret = STELLA_TRY(take_string(body, user ? "password" : "client_secret", 1024));
  const authority::IssuedToken issued = STELLA_TRY(ctx.services.authority.login(login, secret, grant, ctx.trace, ctx.client_address()));
  http::Response response = http::Response::json(200, json::dump(json::Value::object({{"access_token", issued.token}, {"token_type", "Bearer"}, {"expires_in", static_cast<std::int64_t>(issued.expires_in.count())},
                                                                                       {"tenant_id", issued.principal.tenant.str()}, {"actor", issued.principal.actor},
                                                                                       {"scopes", scope_list(issued.principal.scopes)}, {"trace_id", ctx.trace.hex()}})));
  return response;
}

Result<http::Response> revoke_token(Context& ctx) {
  auto id = Uuid::parse(ctx.param("token_id"));
  if (!id) return Error(base_errors::kNotFound, "no such token");
  if (*id != ctx.principal->token_id && !ctx.principal->has(authority::tenant_scope_text("tenant:admin", ctx.principal->tenant)))
    return Error(base_errors::kNotFound, "no such token");
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  STELLA_TRY_VOID(ctx.services.authority.revoke(*tx, *ctx.principal, *id, ctx.trace));
  http::Response response = http::Response::json(200, json::dump(json::Value::object({{"token_id", id->str()}, {"revoked", true}})));
  return ctx.commit(std::move(response));
}

Result<http::Response> me(Context& ctx) {
  const authority::Principal& p = *ctx.principal;
  return http::Response::json(200, json::dump(json::Value::object({{"tenant_id", p.tenant.str()}, {"principal_id", p.id.str()}, {"actor", p.actor}, {"token_id", p.token_id.str()},
                                                                   {"scopes", scope_list(p.scopes)}})));
}

Result<http::Response> change_secret(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"old_secret"}, {"new_secret"}}));
  const std::string old_secret = STELLA_TRY(take_string(body, "old_secret", 1024));
  const std::string new_secret = STELLA_TRY(take_string(body, "new_secret", 1024));
  STELLA_TRY_VOID(ctx.write_decision());
  const int ended = STELLA_TRY(ctx.services.authority.change_secret(*ctx.principal, old_secret, new_secret, ctx.trace, ctx.client_address()));
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"principal_id", ctx.principal->id.str()}, {"ended_tokens", ended}, {"trace_id", ctx.trace.hex()}}))));
}

// Tenants are rows of their own tenant: an operator of the platform sees only that they exist, through the authority.
Result<http::Response> list_tenants(Context& ctx) {
  const auto tenants = STELLA_TRY(ctx.services.provisioner.list_tenants());
  json::Array items;
  for (const auto& t : tenants) items.push_back(json::Value::object({{"tenant_id", t.id}, {"display_name", t.display_name}, {"state", t.state}, {"created_at", t.created_at.rfc3339()}}));
  return http::Response::json(200, json::dump(json::Value::object({{"items", std::move(items)}, {"next_cursor", nullptr}})));
}

Result<http::Response> create_tenant(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"tenant_id"}, {"display_name"}}));
  const std::string id_text = STELLA_TRY(take_string(body, "tenant_id", 63));
  const TenantId id = STELLA_TRY(TenantId::parse(id_text));
  const std::string name = STELLA_TRY(take_string(body, "display_name", 200));
  STELLA_TRY_VOID(ctx.write_decision());
  STELLA_TRY_VOID(ctx.services.provisioner.create_tenant(id, name, ctx.actor(), ctx.trace));
  return ctx.commit(http::Response::json(201, json::dump(json::Value::object({{"tenant_id", id.str()}, {"display_name", name}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> list_projects(Context& ctx) {
  ListQuery q;
  q.select = "json_build_object('project_id', project_id, 'slug', slug, 'name', name, 'created_at', " STELLA_SQL_TIME("created_at") ")";
  q.from = "FROM projects";
  q.time = "created_at";
  q.id = "project_id";
  return list_page(ctx, q);
}

Result<http::Response> create_project(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"slug"}, {"name"}}));
  const std::string slug = STELLA_TRY(take_string(body, "slug", 63));
  const std::string name = STELLA_TRY(take_string(body, "name", 200));
  STELLA_TRY_VOID(ctx.write_decision());
  const ProjectId id = STELLA_TRY(ctx.services.provisioner.create_project(ctx.tenant(), slug, name, ctx.actor(), ctx.trace));
  return ctx.commit(http::Response::json(201, json::dump(json::Value::object({{"project_id", id.str()}, {"slug", slug}, {"name", name}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> list_principals(Context& ctx) {
  ListQuery q;
  q.select =
      "json_build_object('principal_id', principal_id, 'kind', kind, 'login', login, 'display_name', display_name, 'state', state, 'created_at', " STELLA_SQL_TIME("created_at") ", "
      "'scopes', (SELECT coalesce(json_agg(s.scope ORDER BY s.scope), '[]'::json) FROM principal_scopes s WHERE s.tenant_id = principals.tenant_id AND s.principal_id = principals.principal_id))";
  q.from = "FROM principals";
  q.time = "created_at";
  q.id = "principal_id";
  return list_page(ctx, q);
}

namespace {

Result<bool> own_login(Context& ctx, const std::string& login) {
  const auto rows = STELLA_TRY(ctx.read("SELECT 1 FROM principals WHERE tenant_id = $1 AND login = $2", {ctx.tenant(), login}));
  return !rows.empty();
}

}  // namespace

Result<http::Response> create_principal(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"kind"}, {"login"}, {"display_name"}, {"secret"}, {"scopes", Member::kStrings}, {"platform_scopes", Member::kStrings}}));
  authority::NewPrincipal p;
  p.kind = STELLA_TRY(take_string(body, "kind", 16));
  p.login = STELLA_TRY(take_string(body, "login", 127));
  p.display_name = std::string(clip_utf8(body.str("display_name"), 200));
  p.secret = STELLA_TRY(take_string(body, "secret", 1024));
  p.scopes = take_strings(body, "scopes");
  // Platform scopes are not a tenant's to give: only who holds the platform's own administration may pass them on.
  p.platform_scopes = take_strings(body, "platform_scopes");
  if (!p.platform_scopes.empty() && !ctx.principal->has(authority::platform_scope_text("tenant:admin")))
    return Error(contracts::errors::kForbidden, "platform scopes may be given by a platform administrator alone").with("missing_scope", authority::platform_scope_text("tenant:admin"));
  STELLA_TRY_VOID(ctx.write_decision());
  // A login is unique in the deployment, so a refusal says that somebody has it, maybe of another tenant: nobody learns many of them that way.
  STELLA_TRY_VOID(ctx.services.taken_logins.may(ctx.tenant(), "too many logins that are taken were asked for within an hour"));
  auto id = ctx.services.provisioner.create_principal(ctx.tenant(), p, ctx.actor(), ctx.trace, ctx.principal->id);
  if (!id) {
    // Of its own logins a tenant learns nothing.
    if (id.error().code() == contracts::errors::kConflict && !STELLA_TRY(own_login(ctx, p.login))) ctx.services.taken_logins.count(ctx.tenant());
    return std::move(id.error());
  }
  return ctx.commit(http::Response::json(201, json::dump(json::Value::object({{"principal_id", id->str()}, {"kind", p.kind}, {"login", p.login}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> change_tenant(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"display_name"}, {"state"}}));
  const auto id = TenantId::parse(ctx.param("tenant_id"));
  if (!id) return Error(base_errors::kNotFound, "no such tenant");
  authority::TenantChange change;
  change.display_name = STELLA_TRY(maybe_string(body, "display_name", 200));
  change.state = STELLA_TRY(maybe_string(body, "state", 16));
  STELLA_TRY_VOID(ctx.write_decision());
  const authority::TenantState now = STELLA_TRY(ctx.services.authority.change_tenant(*ctx.principal, *id, change, ctx.trace));
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"tenant_id", id->str()}, {"display_name", now.display_name}, {"state", now.state}, {"ended_tokens", now.ended_tokens}, {"trace_id", ctx.trace.hex()}}))));
}

namespace {

Result<http::Response> principal_state(Context& ctx, const PrincipalId& id, const authority::PrincipalState& now) {
  return ctx.commit(http::Response::json(200, json::dump(json::Value::object({{"principal_id", id.str()}, {"display_name", now.display_name}, {"state", now.state}, {"scopes", scope_list(now.scopes)},
                                                                              {"ended_tokens", now.ended_tokens}, {"trace_id", ctx.trace.hex()}}))));
}

}  // namespace

Result<http::Response> change_principal(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"display_name"}, {"state"}}));
  const PrincipalId id = STELLA_TRY(ctx.id_param<PrincipalId>("principal_id"));
  authority::PrincipalChange change;
  change.display_name = STELLA_TRY(maybe_string(body, "display_name", 200));
  change.state = STELLA_TRY(maybe_string(body, "state", 16));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  return principal_state(ctx, id, STELLA_TRY(ctx.services.authority.change_principal(*tx, *ctx.principal, id, change, ctx.trace)));
}

Result<http::Response> change_scopes(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"action"}, {"scopes", Member::kStrings}, {"platform_scopes", Member::kStrings}}));
  const PrincipalId id = STELLA_TRY(ctx.id_param<PrincipalId>("principal_id"));
  const std::string action = STELLA_TRY(take_string(body, "action", 16));
  if (action != "grant" && action != "revoke") return Error(base_errors::kInvalid, "no such action").with("field", "action").with("expected", "grant or revoke");
  authority::ScopeChange change;
  change.grant = action == "grant";
  change.scopes = take_strings(body, "scopes");
  change.platform_scopes = take_strings(body, "platform_scopes");
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  return principal_state(ctx, id, STELLA_TRY(ctx.services.authority.change_scopes(*tx, *ctx.principal, id, change, ctx.trace)));
}

}  // namespace stella::web::handlers
