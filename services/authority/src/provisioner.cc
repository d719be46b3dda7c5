// Tenants, projects and principals: each call one transaction with its timeline event.
#include <algorithm>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/scopes.h"
#include "stella/crypto/password.h"
#include "stella/services/authority.h"
#include "stella/timeline/emit.h"

namespace stella::authority {
namespace {

using Tx = pg::SystemTx<pg::AuthorityRole>;

Error invalid(Literal message, std::string field, std::string expected) {
  return Error(base_errors::kInvalid, message).with("field", std::move(field)).with("expected", std::move(expected));
}

bool valid_slug(std::string_view s) { return TenantIdTag::valid(s); }

bool valid_login(std::string_view s) {
  if (s.empty() || s.size() > 127) return false;
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return alnum(s.front()) && std::all_of(s.begin(), s.end(), [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '@' || c == '-'; });
}

timeline::Event event_of(std::string_view kind, std::string_view actor, std::string type, std::string id, TraceId trace, json::Value details) {
  timeline::Event event = timeline::event_of(kind, std::move(type), std::move(id), trace, std::move(details));
  event.actor = std::string(actor);
  return event;
}

// One row, or kConflict: asked for this way the database has no error to write into its log.
Result<void> insert_new(Tx& tx, std::string_view statement, std::initializer_list<pg::Param> values) {
  const auto made = STELLA_TRY(tx.query(std::string(statement) + " ON CONFLICT DO NOTHING", values));
  return made.affected() == 1 ? Result<void>() : Result<void>(Error(contracts::errors::kConflict, "already there"));
}

Result<ProjectId> insert_project(Tx& tx, const TenantId& tenant, std::string_view slug, std::string_view name, std::string_view actor, TraceId trace) {
  const ProjectId id = ProjectId::generate();
  STELLA_TRY_VOID(insert_new(tx, "INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ($1, $2, $3, $4)", {tenant, id, slug, name}));
  timeline::Event event = event_of(contracts::events::kProjectCreated, actor, "project", id.str(), trace,
                                   json::Value::object({{"project_id", id.str()}, {"name", name}}));
  event.project = id;
  STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
  return id;
}

}  // namespace

Result<std::vector<std::string>> scope_texts(const TenantId& tenant, const std::vector<std::string>& scopes, const std::vector<std::string>& platform_scopes) {
  std::vector<std::string> out;
  const auto tenant_names = all_tenant_scopes();
  const auto platform_names = all_platform_scopes();
  for (const std::string& name : scopes) {
    if (std::find(tenant_names.begin(), tenant_names.end(), name) == tenant_names.end())
      return invalid("no such tenant scope", "scopes", "a name of the scope list");
    out.push_back(tenant_scope_text(name, tenant));
  }
  for (const std::string& name : platform_scopes) {
    if (std::find(platform_names.begin(), platform_names.end(), name) == platform_names.end())
      return invalid("no such platform scope", "platform_scopes", "a name of the scope list");
    out.push_back(platform_scope_text(name));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<std::string> all_tenant_scopes() {
  std::vector<std::string> out;
  for (const auto& scope : contracts::kScopes)
    if (scope.tenant) out.emplace_back(scope.name);
  return out;
}

std::vector<std::string> all_platform_scopes() {
  std::vector<std::string> out;
  for (const auto& scope : contracts::kScopes)
    if (scope.platform) out.emplace_back(scope.name);
  return out;
}

Result<std::vector<TenantRow>> Provisioner::list_tenants() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT tenant_id, display_name, state, created_at FROM tenants ORDER BY tenant_id"));
  STELLA_TRY_VOID(tx.commit());
  std::vector<TenantRow> out;
  for (int i = 0; i < rows.size(); ++i)
    out.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), std::string(rows.text(i, 2)), rows.timestamp(i, 3)});
  return out;
}

Result<void> Provisioner::create_tenant(const TenantId& tenant, std::string_view display_name, std::string_view actor, TraceId trace) {
  if (is_reserved_tenant(tenant.str())) return invalid("the tenant id is reserved", "tenant_id", "another id than global or platform");
  if (display_name.size() > 200) return invalid("the display name is too long", "display_name", "at most 200 bytes");
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(insert_new(tx, "INSERT INTO tenants (tenant_id, display_name) VALUES ($1, $2)", {tenant, display_name}));
  STELLA_TRY_VOID(timeline::emit(tx, tenant, event_of(contracts::events::kTenantCreated, actor, "tenant", tenant.str(), trace,
                                                      json::Value::object({{"display_name", display_name}}))));
  STELLA_TRY_VOID(insert_project(tx, tenant, "default", "Default project", actor, trace));
  return tx.commit();
}

Result<ProjectId> Provisioner::create_project(const TenantId& tenant, std::string_view slug, std::string_view name, std::string_view actor, TraceId trace) {
  if (!valid_slug(slug)) return invalid("not a project slug", "slug", std::string(TenantIdTag::kPattern));
  if (name.size() > 200) return invalid("the name is too long", "name", "at most 200 bytes");
  auto tx = STELLA_TRY(Tx::open(pool_));
  auto id = STELLA_TRY(insert_project(tx, tenant, slug, name, actor, trace));
  STELLA_TRY_VOID(tx.commit());
  return id;
}

Result<PrincipalId> Provisioner::create_principal(const TenantId& tenant, const NewPrincipal& p, std::string_view actor, TraceId trace, std::optional<PrincipalId> by) {
  if (p.kind != "user" && p.kind != "service") return invalid("not a kind of principal", "kind", "user or service");
  if (!valid_login(p.login)) return invalid("not a login", "login", "[a-z0-9][a-z0-9._@-]{0,126}");
  if (p.secret.size() < kLeastSecretBytes) return invalid("the secret is too short", "secret", "at least 12 characters");
  const auto scopes = STELLA_TRY(scope_texts(tenant, p.scopes, p.platform_scopes));
  const auto hash = STELLA_TRY(crypto::password_hash(p.secret));
  const PrincipalId id = PrincipalId::generate();
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(insert_new(tx, "INSERT INTO principals (tenant_id, principal_id, kind, login, display_name, secret_hash, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                             {tenant, id, p.kind, p.login, p.display_name, hash, by ? pg::Param(*by) : pg::Param(nullptr)}));
  for (const std::string& scope : scopes)
    STELLA_TRY_VOID(tx.query("INSERT INTO principal_scopes (tenant_id, principal_id, scope) VALUES ($1, $2, $3)", {tenant, id, scope}));
  STELLA_TRY_VOID(timeline::emit(tx, tenant, event_of(contracts::events::kPrincipalCreated, actor, "principal", id.str(), trace,
                                                      json::Value::object({{"principal_id", id.str()}, {"principal_kind", p.kind},
                                                                           {"scopes", json::Array(scopes.begin(), scopes.end())}}))));
  STELLA_TRY_VOID(tx.commit());
  return id;
}

Result<std::vector<KeyRow>> Provisioner::list_keys() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT key_id, purpose, algorithm, public_pem, state, introduced_at FROM signing_keys ORDER BY introduced_at, key_id"));
  STELLA_TRY_VOID(tx.commit());
  std::vector<KeyRow> out;
  for (int i = 0; i < rows.size(); ++i)
    out.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), std::string(rows.text(i, 2)), std::string(rows.text(i, 3)), std::string(rows.text(i, 4)), rows.timestamp(i, 5)});
  return out;
}

Result<std::vector<TenantKeyRow>> Provisioner::list_tenant_keys() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT tenant_id, key_id, provider, state, version, created_at FROM tenant_keys ORDER BY tenant_id, version"));
  STELLA_TRY_VOID(tx.commit());
  std::vector<TenantKeyRow> out;
  for (int i = 0; i < rows.size(); ++i)
    out.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), std::string(rows.text(i, 2)), std::string(rows.text(i, 3)), rows.integer(i, 4), rows.timestamp(i, 5)});
  return out;
}

namespace {

// One key of a purpose signs: the one before it, where there is one, is retired; one that signed although it was called compromised stays that.
Result<void> take_over(Tx& tx, const TenantId& platform, const KeyId& id, std::string_view purpose, TraceId trace) {
  auto before = STELLA_TRY(tx.query("UPDATE signing_keys SET state = 'retired' WHERE purpose = $1 AND state = 'active' AND key_id <> $2 RETURNING key_id", {purpose, id.str()}));
  if (before.empty())
    before = STELLA_TRY(tx.query("SELECT key_id FROM signing_keys WHERE purpose = $1 AND state = 'compromised' AND key_id <> $2 ORDER BY introduced_at DESC LIMIT 1", {purpose, id.str()}));
  if (before.empty())
    STELLA_TRY_VOID(timeline::emit(tx, platform, event_of(contracts::events::kKeyActivated, "system:authority", "key", id.str(), trace, json::Value::object({{"key_id", id.str()}, {"purpose", purpose}}))));
  for (int i = 0; i < before.size(); ++i) {
    const std::string old(before.text(i, 0));
    auto event = event_of(contracts::events::kKeyRotated, "system:authority", "key", old, trace, json::Value::object({{"key_id", id.str()}, {"previous_key_id", old}, {"purpose", purpose}}));
    event.resources.emplace_back("key", id.str());
    STELLA_TRY_VOID(timeline::emit(tx, platform, std::move(event)));
  }
  return {};
}

Result<void> introduce(pg::SystemPool<pg::AuthorityRole>& pool, const KeyId& id, std::string_view algorithm, const std::string& pem, std::string_view purpose, TraceId trace) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const auto rows = STELLA_TRY(tx.query("INSERT INTO signing_keys (key_id, purpose, algorithm, public_pem) VALUES ($1, $2, $3, $4) ON CONFLICT (key_id) DO NOTHING RETURNING key_id",
                                        {id.str(), purpose, algorithm, pem}));
  if (!rows.empty()) {
    const auto platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
    STELLA_TRY_VOID(timeline::emit(tx, platform, event_of(contracts::events::kKeyIntroduced, "system:authority", "key", id.str(), trace,
                                                          json::Value::object({{"key_id", id.str()}, {"algorithm", algorithm}, {"purpose", purpose}}))));
    // The evidence key's activation is signed: KeyRing::begin().
    if (purpose != "evidence") STELLA_TRY_VOID(take_over(tx, platform, id, purpose, trace));
  }
  return tx.commit();
}

}  // namespace

Result<void> Provisioner::introduce_key(const crypto::PublicKey& key, std::string_view purpose, TraceId trace) {
  return introduce(pool_, key.id(), "ecdsa-p256-sha256", key.pem(), purpose, trace);
}

Result<void> Provisioner::introduce_key(const crypto::Ed25519PublicKey& key, std::string_view purpose, TraceId trace) {
  return introduce(pool_, key.id(), "ed25519", key.pem(), purpose, trace);
}

}  // namespace stella::authority
