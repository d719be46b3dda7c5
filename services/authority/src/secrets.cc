// A new secret, by its holder: whoever made the login, or found the old one, has it no more.
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/password.h"
#include "stella/services/authority.h"
#include "stella/timeline/emit.h"
#include "token_events.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;

Error wrong_secret() { return Error(errors::kForbidden, "the old secret is not the one in force").with("field", "old_secret"); }

}  // namespace

Result<int> Authority::change_secret(const Principal& by, std::string_view old_secret, std::string_view new_secret, TraceId trace, std::string_view peer) {
  if (new_secret.size() < kLeastSecretBytes) return Error(base_errors::kInvalid, "the secret is too short").with("field", "new_secret").with("expected", "at least 12 characters");
  if (new_secret == old_secret) return Error(base_errors::kInvalid, "the secret is the old one").with("field", "new_secret").with("expected", "another secret");
  const auto rows = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::read(pool_, "SELECT tenant_id, principal_id, login, secret_hash FROM principals WHERE tenant_id = $1 AND principal_id = $2", {by.tenant, by.id}));
  if (rows.empty()) return wrong_secret();
  const std::string login(rows.text(0, 2)), hash(rows.text(0, 3)), network = network_of(peer);
  // A stolen token is no way around the limit of guesses. No transaction is open while secrets are hashed.
  STELLA_TRY_VOID(guard_.may_try(login, network));
  std::string fresh;
  {
    const SignInGuard::Check check = STELLA_TRY(guard_.check(network));
    const bool matches = STELLA_TRY(crypto::password_verify(old_secret, hash));
    if (matches) fresh = STELLA_TRY(crypto::password_hash(new_secret));
  }
  if (fresh.empty()) {
    STELLA_TRY_VOID(refused(rows, login, network, trace));
    return wrong_secret();
  }
  auto tx = STELLA_TRY(pg::SystemTx<pg::AuthorityRole>::open(pool_));
  const auto changed = STELLA_TRY(tx.query("UPDATE principals SET secret_hash = $4 WHERE tenant_id = $1 AND principal_id = $2 AND secret_hash = $3 AND state = 'active' RETURNING principal_id", {by.tenant, by.id, hash, fresh}));
  if (changed.empty()) return wrong_secret();  // changed meanwhile, or disabled
  const auto ended = STELLA_TRY(tx.query("UPDATE tokens SET revoked_at = now() WHERE tenant_id = $1 AND principal_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING token_id, principal_id", {by.tenant, by.id}));
  timeline::Event event = timeline::event_of(contracts::events::kPrincipalChanged, "principal", by.id.str(), trace, json::Value::object({{"principal_id", by.id.str()}, {"field", "secret"}}));
  event.actor = by.actor;
  STELLA_TRY_VOID(timeline::emit(tx, by.tenant, std::move(event)));
  if (!ended.empty()) STELLA_TRY_VOID(timeline::emit_many(tx, by.tenant, ended_events(ended, by.actor, "secret changed", trace)));
  tx.on_commit(forget_revocations());
  STELLA_TRY_VOID(tx.commit());
  return ended.size();
}

}  // namespace stella::authority
