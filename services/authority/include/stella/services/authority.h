// Authority: who is calling, may they, and the record of that decision. The only maker of a TenantScope.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/key_history.h"
#include "stella/crypto/keys.h"
#include "stella/platform/pg.h"
#include "stella/services/sign_in_guard.h"
#include "stella/tenancy/scope.h"

namespace stella::authority {

// "stella:<name>#tenant/<id>" and "stella:<name>#platform"; `name` as in contracts/scopes.json ("sbom:read").
std::string tenant_scope_text(std::string_view name, const TenantId& tenant);
std::string platform_scope_text(std::string_view name);

inline constexpr std::size_t kLeastSecretBytes = 12;  // of a login

// Somebody whose token verified. Scopes are exact texts; nothing matches by pattern.
struct Principal {
  TenantId tenant;
  PrincipalId id;
  std::string actor;  // "user:<uuid>" or "service:<uuid>"
  Uuid token_id;
  std::vector<std::string> scopes;  // sorted
  bool has(std::string_view scope_text) const;
};

// What a route asks for.
struct Demand {
  std::string_view scope;      // name, e.g. "sbom:read"; "" = any valid token
  bool platform = false;       // the #platform form is demanded
  bool knowledge_base = false; // platform demand whose TenantScope is the tenant `global`
  std::string_view route;      // template, e.g. "/sboms/:sbom_id"
  std::string_view method;
  std::string_view asked_tenant;  // tenant the caller named explicitly, "" = that of the token
  TraceId trace;
};

// The record of one authorisation: OPA's fields plus ours. Never holds names, addresses or parameters.
struct AuthzDecision {
  DecisionId id;
  Timestamp ts;
  TenantId tenant;
  std::string actor;
  std::string route;
  std::string method;
  std::string scope;   // the full text that was demanded
  std::string effect;  // "allow" or "deny"
  std::string reason;  // "scope granted", "missing scope", "token of another tenant"
  TraceId trace;
  json::Value record() const;
};

struct Grant {
  TenantScope scope;
  AuthzDecision decision;  // to be written with record() in the request's first transaction
};
struct Denial {
  AuthzDecision decision;  // already written, with an authz.denied event
  std::string missing_scope;
};

struct IssuedToken {
  std::string token;
  std::chrono::seconds expires_in{0};
  Principal principal;
};

struct Options {
  std::string issuer;  // URL under which this deployment is reached; also the audience
  std::chrono::seconds token_ttl{8 * 3600};
};

// What is to be another way; an absent part stays as it is.
struct PrincipalChange {
  std::optional<std::string> display_name;
  std::optional<std::string> state;  // "active" or "disabled"
};
struct ScopeChange {
  bool grant = true;  // or revoke
  std::vector<std::string> scopes;  // names of contracts/scopes.json: of the tenant
  std::vector<std::string> platform_scopes;
};
struct TenantChange {
  std::optional<std::string> display_name;
  std::optional<std::string> state;  // "active" or "suspended"
};
// As it is after a change, and how many tokens ended with it.
struct PrincipalState {
  std::string display_name, state;
  std::vector<std::string> scopes = {};  // full texts, sorted
  int ended_tokens = 0;
};
struct TenantState {
  std::string display_name, state;
  int ended_tokens = 0;
};

// Thread-safe.
class Authority {
 public:
  Authority(pg::SystemPool<pg::AuthorityRole>& pool, std::shared_ptr<const crypto::Signer> signer, Options options);

  // Password login of a user or client credentials of a service account: the same check. kUnauthenticated for every kind of mismatch
  // (same work, same answer), kRateLimited where SignInGuard says so of the login and the network of `peer` (an address): a check is slow and takes
  // 32 MiB on purpose. That the door was shut is an event of the principal's tenant, of the platform where there is none.
  Result<IssuedToken> login(std::string_view login, std::string_view secret, std::string_view grant, TraceId trace, std::string_view peer = {});

  // The bearer token's principal; kUnauthenticated where it is malformed, expired, of another issuer or revoked.
  Result<Principal> authenticate(std::string_view bearer);

  // The same as far as it can be told without waiting for anything: a token that was revoked lately elsewhere passes. For deciding how much is
  // read of a request, never for answering it.
  Result<Principal> recognise(std::string_view bearer);

  // Exact scope match. A denial is recorded before this returns; an error means that it could not be recorded (503, never access).
  Result<std::variant<Grant, Denial>> authorize(const Principal& principal, const Demand& demand);

  // Writes an allowed decision into the request's own transaction.
  static Result<void> record(pg::TenantTx& tx, const AuthzDecision& decision);

  // Revocation of a token of `tx`'s tenant by `by`, who may. In force at once here, within 5 s on other processes. kNotFound where there is none;
  // kForbidden where it is that of another who holds platform scopes and `by` is no platform administrator.
  Result<void> revoke(pg::TenantTx& tx, const Principal& by, const Uuid& token_id, TraceId trace);

  // The new secret of `by`, who knows the old one; every token of `by` ends with it, this one too. How many did. kForbidden where the old one is not
  // in force, kInvalid where the new one is too short or no other, kRateLimited as for login().
  Result<int> change_secret(const Principal& by, std::string_view old_secret, std::string_view new_secret, TraceId trace, std::string_view peer = {});

  // Changes of a principal of `tx`'s tenant, each with its events, by `by`. A disabled principal's tokens end with it, and so do those of one who
  // loses a scope, since a token carries its scopes; a granted scope is in the next token. What is so already changes nothing. kNotFound;
  // kForbidden where platform scopes are concerned and `by` is no platform administrator; kConflict where `by` would lock itself out.
  Result<PrincipalState> change_principal(pg::TenantTx& tx, const Principal& by, const PrincipalId& id, const PrincipalChange& change, TraceId trace);
  Result<PrincipalState> change_scopes(pg::TenantTx& tx, const Principal& by, const PrincipalId& id, const ScopeChange& change, TraceId trace);
  // The same of a tenant, in a transaction of its own. A suspended tenant's tokens end and nobody of it can log in. kConflict for a reserved
  // tenant and for the suspension of `by`'s own.
  Result<TenantState> change_tenant(const Principal& by, const TenantId& tenant, const TenantChange& change, TraceId trace);

  // OpenID Connect Discovery 1.0 §3 and RFC 7517.
  json::Value openid_configuration() const;
  json::Value jwks() const;

 private:
  Result<Principal> read_token(std::string_view bearer) const;
  Result<bool> revoked(const Uuid& token_id);
  std::function<void()> forget_revocations();  // for on_commit
  Result<void> refused(const pg::Rows& found, const std::string& login, const std::string& network, TraceId trace);

  pg::SystemPool<pg::AuthorityRole>& pool_;
  std::shared_ptr<const crypto::Signer> signer_;
  Options options_;
  Mutex mutex_;
  std::vector<Uuid> revoked_ STELLA_GUARDED_BY(mutex_);  // sorted
  std::optional<Deadline> revoked_until_ STELLA_GUARDED_BY(mutex_);
  std::uint64_t revocations_ STELLA_GUARDED_BY(mutex_) = 0;  // of this process; a list read before one is out of date
  SignInGuard guard_;
};

// What our own processes send their telemetry with: kind=platform, the scope telemetry:write#platform and no tenant, since one process
// carries the records of many. Good for nothing else: authenticate() refuses it. It has no row and cannot be revoked, so it lives `ttl` only.
Result<std::string> telemetry_token(const crypto::Signer& signer, std::string_view issuer, std::chrono::seconds ttl, Timestamp now);

// ── Provisioning: tenants, projects, principals. Each call is one transaction with its event. ──

struct NewPrincipal {
  std::string kind;    // "user" or "service"
  std::string login;   // [a-z0-9][a-z0-9._@-]{0,126}; unique in the deployment
  std::string display_name;
  std::string secret;  // at least 12 characters
  std::vector<std::string> scopes;  // names of contracts/scopes.json: granted for the tenant
  std::vector<std::string> platform_scopes;
};

struct TenantRow {
  std::string id;
  std::string display_name;
  std::string state;
  Timestamp created_at;
};

struct KeyRow {
  std::string key_id, purpose, algorithm, public_pem, state;
  Timestamp introduced_at;
};

struct TenantKeyRow {
  std::string tenant_id, key_id, provider, state;
  std::int64_t version = 0;
  Timestamp created_at;
};

class Provisioner {
 public:
  explicit Provisioner(pg::SystemPool<pg::AuthorityRole>& pool) : pool_(pool) {}
  // All tenants, the reserved ones too, by id.
  Result<std::vector<TenantRow>> list_tenants();
  // With its project `default`. kConflict where it exists, kInvalid for reserved ids.
  Result<void> create_tenant(const TenantId& tenant, std::string_view display_name, std::string_view actor, TraceId trace);
  // `by`: the principal of the tenant who makes it, where it is one.
  Result<PrincipalId> create_principal(const TenantId& tenant, const NewPrincipal& principal, std::string_view actor, TraceId trace, std::optional<PrincipalId> by = std::nullopt);
  Result<ProjectId> create_project(const TenantId& tenant, std::string_view slug, std::string_view name, std::string_view actor, TraceId trace);
  // Public halves of all signing keys, oldest first.
  Result<std::vector<KeyRow>> list_keys();
  // The life of the evidence keys (key_ring.h): as JSON lines, and as this deployment believes it.
  Result<std::string> key_log();
  Result<std::optional<crypto::KeyHistory>> key_history();
  // What exists of the tenants' keys for encryption at rest, by tenant and version: never key material.
  Result<std::vector<TenantKeyRow>> list_tenant_keys();
  // Names the public half of a signing key (idempotent). A key for tokens or logs is active from then on; one that was so before is rotated to it.
  Result<void> introduce_key(const crypto::PublicKey& key, std::string_view purpose, TraceId trace);
  Result<void> introduce_key(const crypto::Ed25519PublicKey& key, std::string_view purpose, TraceId trace);

 private:
  pg::SystemPool<pg::AuthorityRole>& pool_;
};

// Full texts of the named scopes, sorted, each once; kInvalid for a name that is not in contracts/scopes.json.
Result<std::vector<std::string>> scope_texts(const TenantId& tenant, const std::vector<std::string>& scopes, const std::vector<std::string>& platform_scopes);

// Every scope name that an operator of a tenant holds (all tenant scopes of contracts/scopes.json), and the platform ones.
std::vector<std::string> all_tenant_scopes();
std::vector<std::string> all_platform_scopes();

}  // namespace stella::authority
