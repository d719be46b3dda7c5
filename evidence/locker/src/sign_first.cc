// Signing before writing. While a seal is signed no key event can be written, so the history that it names is the one that it will be judged by.
#include "sign_first.h"

#include "locker_event.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {
namespace {

using Tx = pg::SystemTx<pg::LockerRole>;

// Shared: seals do not wait for each other, and key events for both.
constexpr std::string_view kNoKeyEvents = "SELECT pg_advisory_xact_lock_shared(hashtextextended('key_events', 7))";

}  // namespace

Result<std::optional<FirstSignature>> first_signature(Tx& tx, const TenantId& tenant, const BundleId& bundle) {
  std::optional<FirstSignature> none;
  const auto rows = STELLA_TRY(tx.query("SELECT seal_envelope, signed_event FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2 AND signed_event IS NOT NULL", {tenant, bundle}));
  if (rows.empty()) return none;
  FirstSignature out;
  out.envelope = std::string(rows.text(0, 0));
  out.logged.event = STELLA_TRY(EventId::parse(rows.text(0, 1)));
  const auto envelope = STELLA_TRY(crypto::dsse_parse(out.envelope));
  out.facts = STELLA_TRY(parse_seal(envelope.payload)).facts;
  out.logged.key_events = out.facts.key_events;
  for (const auto& signature : envelope.signatures) {
    const auto keys = STELLA_TRY(tx.query("SELECT public_pem FROM signing_keys WHERE key_id = $1 AND purpose = 'evidence' AND state = 'active'", {signature.keyid}));
    if (keys.empty()) return none;  // stamps of now would date it after the end of its key
    out.signed_by.push_back(STELLA_TRY(crypto::PublicKey::from_pem(keys.text(0, 0))));
  }
  return std::optional<FirstSignature>(std::move(out));
}

Result<bool> keeps_key_history(Tx& tx) { return !STELLA_TRY(tx.query("SELECT FROM key_events LIMIT 1")).empty(); }

Result<void> check_signs(Tx& tx, const std::string& key_id) {
  if (!STELLA_TRY(tx.query("SELECT FROM signing_keys WHERE key_id = $1 AND state = 'active'", {key_id})).empty()) return {};
  if (STELLA_TRY(tx.query("SELECT FROM signing_keys WHERE purpose = 'evidence' AND state = 'active'", {})).empty())
    return Error(contracts::errors::kConflict, "no evidence key signs now: it was called compromised and none took its place; rotate it: stella keys rotate").with("key", key_id);
  return Error(contracts::errors::kConflict, "the key of this process signs no more, another one was made active elsewhere; restart the process").with("key", key_id);
}

Result<bool> sign_first(Tx& tx, const ToSign& what, const SealInput& input) {
  const timeline::SignedHead head = STELLA_TRY(timeline::signed_head(tx, what.tenant));
  if (head.size == 0) {
    STELLA_TRY_VOID(timeline::want_checkpoint(tx, what.tenant, 1));
    return false;
  }
  const std::string platform = STELLA_TRY(timeline::signed_head(tx, STELLA_TRY(TenantId::parse(kPlatformTenant)))).origin;
  const std::string key_id = input.signers.front()->public_key().id().str();
  const std::string envelope = STELLA_TRY(sign_payload(input, [&](SealFacts& facts) -> Result<void> {
    STELLA_TRY_VOID(tx.query(kNoKeyEvents));
    STELLA_TRY_VOID(check_signs(tx, key_id));
    const KeyLines lines = STELLA_TRY(key_lines(tx, std::nullopt));
    // The log's times must tell the two apart.
    if (Timestamp::now() <= lines.last) return Error(contracts::errors::kNotReady, "the clock is behind the last key event").with("last", lines.last.rfc3339());
    facts.log_origin = head.origin;
    facts.log_size = head.size;
    facts.platform_origin = platform;  // "" before its first checkpoint
    facts.key_events = lines.digests.size();
    facts.key_history_sha256 = crypto::sha256(lines.text).hex();
    return {};
  }));
  const auto seal = STELLA_TRY(crypto::dsse_parse(envelope)).payload;
  timeline::Event event = locker_event(contracts::events::kEvidenceSigned, "bundle", what.bundle.str(),
                                       json::Value::object({{"bundle_id", what.bundle.str()}, {"seal_sha256", crypto::sha256(seal).hex()}, {"envelope_sha256", crypto::sha256(envelope).hex()}, {"signer_key_id", key_id}}));
  event.project = what.project;
  event.trace = what.trace;
  event.traceparent = std::string(what.traceparent);
  const EventId id = STELLA_TRY(timeline::emit(tx, what.tenant, std::move(event)));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET seal_envelope = $3, signed_event = $4 WHERE tenant_id = $1 AND bundle_id = $2", {what.tenant, what.bundle, envelope, id}));
  STELLA_TRY_VOID(timeline::want_checkpoint(tx, what.tenant, head.size + 1));
  return true;
}

}  // namespace stella::evidence
