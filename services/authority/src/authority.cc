// Sign-in, token verification and the authorisation decision.
#include "stella/services/authority.h"

#include <algorithm>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/jws.h"
#include "stella/crypto/password.h"
#include "stella/timeline/emit.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;

constexpr std::size_t kLoginBytes = 127;
constexpr std::chrono::seconds kRevocationRefresh{5};

// Checked where the login is unknown, so that a wrong name costs as much time as a wrong secret.
const std::string& decoy_hash() {
  static const std::string hash = crypto::password_hash("no secret matches this").value_or("");
  return hash;
}

// One of the checks that may be under way at once.
Result<bool> matches_hash(std::string_view secret, const std::string& hash, Result<SignInGuard::Check> check) {
  if (!check) return std::move(check.error());
  return crypto::password_verify(secret, hash);
}

Error bad_credentials() { return Error(errors::kUnauthenticated, "login and secret do not match"); }
Error bad_token(std::string reason) { return Error(errors::kUnauthenticated, "the token is not valid").with("reason", std::move(reason)); }

json::Array scope_array(const std::vector<std::string>& scopes) { return json::Array(scopes.begin(), scopes.end()); }

std::string joined(const std::vector<std::string>& scopes) {
  std::string out;
  for (const std::string& s : scopes) out.append(out.empty() ? "" : " ").append(s);
  return out;
}

std::vector<std::string> split_scopes(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    if (space > 0) out.emplace_back(text.substr(0, space));
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  std::sort(out.begin(), out.end());
  return out;
}

constexpr std::string_view kInsertDecision =
    "INSERT INTO decisions (tenant_id, decision_id, ts, kind, decision_effect, decision_reason, actor, route, scope, trace_id, record) "
    "VALUES ($1, $2, $3, 'authz', $4, $5, $6, $7, $8, $9, $10)";

// Revoked, or of somebody who may not come in: a token that was issued while its principal was being disabled is not in force either. Kept
// past their end, because a verifier's leeway for clocks keeps a token in force as long.
constexpr std::string_view kEnded =
    "SELECT token_id FROM tokens WHERE revoked_at IS NOT NULL AND expires_at > now() - interval '5 minutes' "
    "UNION SELECT k.token_id FROM principals p JOIN tokens k USING (tenant_id, principal_id) WHERE p.state <> 'active' AND k.expires_at > now() - interval '5 minutes' "
    "UNION SELECT k.token_id FROM tenants t JOIN tokens k USING (tenant_id) WHERE t.state <> 'active' AND k.expires_at > now() - interval '5 minutes'";

// Both rows are locked against changes, which lock them as well before they end tokens: a token is there before a change, which ends it, or it
// comes after and says what is left. The scopes are a statement of their own, for one that waited still sees what was before.
constexpr std::string_view kStillMay =
    "SELECT FROM principals p JOIN tenants t ON t.tenant_id = p.tenant_id "
    "WHERE p.tenant_id = $1 AND p.principal_id = $2 AND p.secret_hash = $3 AND p.state = 'active' AND t.state = 'active' FOR SHARE";
constexpr std::string_view kScopes = "SELECT coalesce(string_agg(scope, ' '), '') FROM principal_scopes WHERE tenant_id = $1 AND principal_id = $2";

// The scopes of the token to be issued in `tx`, sorted; nullopt where its holder may not come in any more.
Result<std::optional<std::vector<std::string>>> scopes_now(pg::Tx& tx, const Principal& p, const std::string& secret_hash) {
  const auto may = STELLA_TRY(tx.query(kStillMay, {p.tenant, p.id, secret_hash}));
  if (may.empty()) return std::optional<std::vector<std::string>>();
  const auto rows = STELLA_TRY(tx.query(kScopes, {p.tenant, p.id}));
  return std::optional(split_scopes(rows.text(0, 0)));
}

timeline::Event issued_event(const Principal& p, std::string_view grant, Timestamp expires, TraceId trace) {
  timeline::Event event;
  event.kind = contracts::events::kTokenIssued;
  event.actor = p.actor;
  event.resource_type = "token";
  event.resource_id = p.token_id.str();
  event.trace = trace;
  event.details = json::Value::object({{"token_id", p.token_id.str()}, {"principal_id", p.id.str()}, {"grant", grant},
                                       {"scopes", scope_array(p.scopes)}, {"until", expires.rfc3339()}});
  return event;
}

Result<void> insert_decision(pg::Tx& tx, const AuthzDecision& d) {
  STELLA_TRY_VOID(tx.query(kInsertDecision, {d.tenant, d.id, d.ts, d.effect, d.reason, d.actor, d.route, d.scope, d.trace.hex(), json::dump(d.record())}));
  return {};
}

}  // namespace

// The one place where a TenantScope comes into being.
class ScopeMaker {
 public:
  static TenantScope make(TenantId tenant, std::string actor, DecisionId decision) { return {std::move(tenant), std::move(actor), decision}; }
};

std::string tenant_scope_text(std::string_view name, const TenantId& tenant) {
  return std::string("stella:").append(name).append("#tenant/").append(tenant.str());
}
std::string platform_scope_text(std::string_view name) { return std::string("stella:").append(name).append("#platform"); }

bool Principal::has(std::string_view scope_text) const { return std::binary_search(scopes.begin(), scopes.end(), scope_text); }

json::Value AuthzDecision::record() const {
  return json::Value::object({{"decision_id", id.str()},
                              {"timestamp", ts.rfc3339()},
                              {"path", "stella/authz"},
                              {"input", json::Value::object({{"route", route}, {"method", method}, {"scope", scope}, {"tenant_id", tenant.str()}})},
                              {"result", effect},
                              {"decision_effect", effect},
                              {"decision_reason", reason},
                              {"requested_by", actor},
                              {"engine_version", STELLA_VERSION},
                              {"trace_id", trace.hex()}});
}

Authority::Authority(pg::SystemPool<pg::AuthorityRole>& pool, std::shared_ptr<const crypto::Signer> signer, Options options)
    : pool_(pool), signer_(std::move(signer)), options_(std::move(options)) {}

// What a wrong login leaves behind: the tenth from one network is told to whom it concerns. Nobody is told in a time that says whether there is such
// a login: it is an event either way.
Result<void> Authority::refused(const pg::Rows& found, const std::string& login, const std::string& network, TraceId trace) {
  if (!guard_.failed(login, network)) return {};
  const TenantId tenant = STELLA_TRY(TenantId::parse(found.empty() ? kPlatformTenant : found.text(0, 0)));
  timeline::Event event;
  event.kind = contracts::events::kLoginLocked;
  event.actor = "system:authority";
  event.resource_type = found.empty() ? "login" : "principal";
  event.resource_id = found.empty() ? "unknown" : std::string(found.text(0, 1));
  event.trace = trace;
  event.details = json::Value::object({{"failures", static_cast<std::int64_t>(SignInGuard::kFailuresOfLogin)}, {"locked_seconds", 60}});
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
  return tx.commit();
}

Result<IssuedToken> Authority::login(std::string_view login, std::string_view secret, std::string_view grant, TraceId trace, std::string_view peer) {
  const std::string name(login.size() <= kLoginBytes ? login : std::string_view());  // nobody's login is longer, nobody's is empty
  const std::string network = network_of(peer);
  STELLA_TRY_VOID(guard_.may_try(name, network));
  // No transaction is open while the secret is hashed: that takes long on purpose.
  const auto rows = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::read(
      pool_,
      "SELECT p.tenant_id, p.principal_id, p.kind, p.secret_hash, p.state = 'active' AND t.state = 'active' "
      "FROM principals p JOIN tenants t USING (tenant_id) WHERE p.login = $1",
      {name}));
  const std::string hash = rows.empty() ? decoy_hash() : std::string(rows.text(0, 3));
  const bool matches = STELLA_TRY(matches_hash(secret, hash, guard_.check(network)));
  if (rows.empty() || !matches || !rows.boolean(0, 4)) {
    STELLA_TRY_VOID(refused(rows, name, network, trace));
    return bad_credentials();
  }
  IssuedToken out;
  out.expires_in = options_.token_ttl;
  Principal& p = out.principal;
  p.tenant = STELLA_TRY(TenantId::parse(rows.text(0, 0)));
  p.id = STELLA_TRY(PrincipalId::parse(rows.text(0, 1)));
  p.actor = std::string(rows.text(0, 2)).append(":").append(p.id.str());
  p.token_id = Uuid::v7();
  // What was read before the hashing may have been changed since.
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  auto scopes = STELLA_TRY(scopes_now(tx, p, hash));
  if (!scopes) {
    STELLA_TRY_VOID(refused(rows, name, network, trace));
    return bad_credentials();
  }
  p.scopes = std::move(*scopes);
  const Timestamp now = Timestamp::now();
  const Timestamp expires = now + options_.token_ttl;
  json::Value claims = json::Value::object({{"iss", options_.issuer}, {"aud", options_.issuer}, {"sub", p.actor}, {"jti", p.token_id.str()},
                                            {"iat", now.seconds()}, {"exp", expires.seconds()}, {"kind", "tenant"},
                                            {"tenant", p.tenant.str()}, {"scope", joined(p.scopes)}});
  out.token = STELLA_TRY(crypto::jwt_sign(*signer_, claims));
  STELLA_TRY_VOID(tx.query("INSERT INTO tokens (tenant_id, token_id, principal_id, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
                           {p.tenant, p.token_id.str(), p.id, now, expires}));
  STELLA_TRY_VOID(timeline::emit(tx, p.tenant, issued_event(p, grant, expires, trace)));
  STELLA_TRY_VOID(tx.commit());
  return out;
}

Result<bool> Authority::revoked(const Uuid& token_id) {
  std::uint64_t epoch = 0;
  {
    const Lock lock(mutex_);
    epoch = revocations_;
    if (revoked_until_ && !revoked_until_->passed()) return std::binary_search(revoked_.begin(), revoked_.end(), token_id);
  }
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  const auto rows = STELLA_TRY(tx.query(kEnded));
  STELLA_TRY_VOID(tx.commit());
  std::vector<Uuid> ids;
  for (int i = 0; i < rows.size(); ++i) ids.push_back(STELLA_TRY(Uuid::parse(rows.text(i, 0))));
  std::sort(ids.begin(), ids.end());
  const bool gone = std::binary_search(ids.begin(), ids.end(), token_id);
  const Lock lock(mutex_);
  if (epoch != revocations_) return gone;  // read before a revocation that was committed meanwhile: good for nobody else
  revoked_ = std::move(ids);
  revoked_until_ = Deadline::after(kRevocationRefresh);
  return gone;
}

Result<Principal> Authority::authenticate(std::string_view bearer) {
  Principal p = STELLA_TRY(read_token(bearer));
  const bool gone = STELLA_TRY(revoked(p.token_id));
  if (gone) return bad_token("revoked");
  return p;
}

Result<Principal> Authority::recognise(std::string_view bearer) {
  Principal p = STELLA_TRY(read_token(bearer));
  const Lock lock(mutex_);
  if (std::binary_search(revoked_.begin(), revoked_.end(), p.token_id)) return bad_token("revoked");
  return p;
}

// Signature and claims. What they say of a token's end is not known here.
Result<Principal> Authority::read_token(std::string_view bearer) const {
  const crypto::PublicKey keys[] = {signer_->public_key()};
  auto claims = crypto::jwt_verify(bearer, keys);
  if (!claims) return bad_token("signature");
  crypto::ClaimExpectation expected;
  expected.issuer = options_.issuer;
  expected.audience = options_.issuer;
  expected.now = Timestamp::now();
  if (auto checked = crypto::jwt_check_claims(*claims, expected); !checked) return bad_token(std::string(checked.error().field("field")));
  if (claims->str("kind") != "tenant") return bad_token("kind");
  auto tenant = TenantId::parse(claims->str("tenant"));
  auto token_id = Uuid::parse(claims->str("jti"));
  const std::string_view subject = claims->str("sub");
  const std::size_t colon = subject.find(':');
  auto id = PrincipalId::parse(colon == std::string_view::npos ? subject : subject.substr(colon + 1));
  if (!tenant || !token_id || !id) return bad_token("claims");
  Principal p;
  p.tenant = std::move(*tenant);
  p.id = *id;
  p.actor = std::string(subject);
  p.token_id = *token_id;
  p.scopes = split_scopes(claims->str("scope"));
  return p;
}

Result<std::variant<Grant, Denial>> Authority::authorize(const Principal& principal, const Demand& demand) {
  const bool other_tenant = !demand.asked_tenant.empty() && demand.asked_tenant != principal.tenant.str();
  const std::string wanted = demand.scope.empty() ? "" : demand.platform ? platform_scope_text(demand.scope) : tenant_scope_text(demand.scope, principal.tenant);
  AuthzDecision d;
  d.id = DecisionId::generate();
  d.ts = Timestamp::now();
  d.tenant = principal.tenant;
  d.actor = principal.actor;
  d.route = std::string(demand.route);
  d.method = std::string(demand.method);
  d.scope = wanted;
  d.trace = demand.trace;
  if (!other_tenant && (wanted.empty() || principal.has(wanted))) {
    d.effect = "allow";
    d.reason = wanted.empty() ? "valid token" : "scope granted";
    if (demand.knowledge_base) d.tenant = STELLA_TRY(TenantId::parse(kGlobalTenant));
    TenantScope scope = ScopeMaker::make(d.tenant, principal.actor, d.id);
    return std::variant<Grant, Denial>(Grant{std::move(scope), std::move(d)});
  }
  d.effect = "deny";
  d.reason = other_tenant ? "token of another tenant" : "missing scope";
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  STELLA_TRY_VOID(insert_decision(tx, d));
  timeline::Event event;
  event.kind = contracts::events::kAuthzDenied;
  event.actor = d.actor;
  event.resource_type = "route";
  event.resource_id = d.route;
  event.trace = d.trace;
  event.details = json::Value::object({{"decision_id", d.id.str()}, {"route", d.route}, {"method", d.method}, {"reason", d.reason}});
  if (!other_tenant) event.details.set("missing_scope", wanted);
  STELLA_TRY_VOID(timeline::emit(tx, principal.tenant, std::move(event)));
  STELLA_TRY_VOID(tx.commit());
  return std::variant<Grant, Denial>(Denial{std::move(d), other_tenant ? "" : wanted});
}

Result<void> Authority::record(pg::TenantTx& tx, const AuthzDecision& decision) { return insert_decision(tx, decision); }

json::Value Authority::openid_configuration() const {
  return json::Value::object({{"issuer", options_.issuer},
                              {"token_endpoint", options_.issuer + "/tokens"},
                              {"jwks_uri", options_.issuer + "/.well-known/jwks.json"},
                              {"grant_types_supported", json::Value::array({"password", "client_credentials"})},
                              {"response_types_supported", json::Value::array({"token"})},
                              {"subject_types_supported", json::Value::array({"public"})},
                              {"id_token_signing_alg_values_supported", json::Value::array({"ES256"})},
                              {"token_endpoint_auth_methods_supported", json::Value::array({"client_secret_post"})},
                              {"claims_supported", json::Value::array({"iss", "aud", "sub", "jti", "iat", "exp", "tenant", "kind", "scope"})}});
}

json::Value Authority::jwks() const {
  const crypto::PublicKey keys[] = {signer_->public_key()};
  return crypto::jwk_set(keys);
}

Result<std::string> telemetry_token(const crypto::Signer& signer, std::string_view issuer, std::chrono::seconds ttl, Timestamp now) {
  const json::Value claims = json::Value::object({{"iss", issuer}, {"aud", issuer}, {"sub", "system:telemetry"}, {"jti", Uuid::v7().str()}, {"iat", now.seconds()},
                                                  {"exp", (now + ttl).seconds()}, {"kind", "platform"}, {"scope", platform_scope_text("telemetry:write")}});
  return crypto::jwt_sign(signer, claims);
}

}  // namespace stella::authority
