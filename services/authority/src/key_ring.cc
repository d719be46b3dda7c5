// Key events: each change is one transaction of signed rows and events of the platform's timeline; files follow the commit.
#include "stella/services/key_ring.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/key_log.h"
#include "stella/services/authority.h"
#include "stella/timeline/emit.h"

namespace stella::authority {
namespace {

using Tx = pg::SystemTx<pg::AuthorityRole>;

// One change at a time in the whole deployment, for an event is judged by those above it.
constexpr std::string_view kAlone = "SELECT pg_advisory_xact_lock(hashtextextended('key_events', 7))";

struct Rows {
  std::vector<crypto::KeyLogEntry> entries;
  std::set<KeyId> roots;
};

Result<Rows> read_rows(Tx& tx) {
  const auto rows = STELLA_TRY(tx.query("SELECT key_id, root, at, envelope FROM key_events ORDER BY seq"));
  Rows out;
  for (int i = 0; i < rows.size(); ++i) {
    auto envelope = STELLA_TRY(crypto::dsse_parse(rows.text(i, 3)));
    out.entries.push_back({rows.timestamp(i, 2), std::move(envelope)});
    if (rows.boolean(i, 1)) out.roots.insert(STELLA_TRY(KeyId::parse(rows.text(i, 0))));
  }
  return out;
}

Result<std::shared_ptr<crypto::KeyPair>> load(const std::string& path, const std::string& passphrase) {
  auto key = STELLA_TRY(crypto::KeyPair::load(path, passphrase));
  return std::make_shared<crypto::KeyPair>(std::move(key));
}

struct Kind {
  std::string_view column;
  std::string_view event;
};
Kind kind_of(crypto::KeyEventKind kind) {
  namespace e = contracts::events;
  switch (kind) {
    case crypto::KeyEventKind::kIntroduced: return {"introduced", e::kKeyIntroduced};
    case crypto::KeyEventKind::kActivated: return {"activated", e::kKeyActivated};
    case crypto::KeyEventKind::kRotated: return {"rotated", e::kKeyRotated};
    case crypto::KeyEventKind::kRetired: return {"retired", e::kKeyRetired};
    case crypto::KeyEventKind::kCompromised: return {"compromised", e::kKeyCompromised};
  }
  return {};
}

// Whoever holds the stolen key goes on as long as the server believes it, and only a start puts another in its place.
Error rotate_first(const KeyId& key, std::string_view purpose) {
  return Error(contracts::errors::kConflict, "this key signs now: rotate it first, then call it compromised")
      .with("key", key.str())
      .with("purpose", std::string(purpose))
      .with("remedy", std::string("Stop the server, stellad --config FILE --rotate-key ").append(purpose).append(" (a key in a token: the next one in its place, stellad --init), start it, and say this again."));
}

}  // namespace

Result<std::string> key_log(pg::SystemPool<pg::AuthorityRole>& pool) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const Rows rows = STELLA_TRY(read_rows(tx));
  STELLA_TRY_VOID(tx.commit());
  std::string out;
  for (const auto& entry : rows.entries) out += crypto::key_log_line(entry.at, entry.event);
  return out;
}

Result<std::optional<crypto::KeyHistory>> key_history(pg::SystemPool<pg::AuthorityRole>& pool) {
  auto tx = STELLA_TRY(Tx::open(pool));
  const Rows rows = STELLA_TRY(read_rows(tx));
  STELLA_TRY_VOID(tx.commit());
  if (rows.entries.empty()) return std::optional<crypto::KeyHistory>();
  auto history = crypto::key_history_of(rows.entries, rows.roots);
  if (!history) return Error(history.error());
  return std::optional<crypto::KeyHistory>(std::move(*history));
}

Result<std::string> Provisioner::key_log() { return authority::key_log(pool_); }
Result<std::optional<crypto::KeyHistory>> Provisioner::key_history() { return authority::key_history(pool_); }

// A transaction that is alone, the key that signs, and what is known of all keys.
struct KeyRing::Open {
  Tx tx;
  std::shared_ptr<const crypto::Signer> signer;
  Rows rows;
  std::optional<crypto::KeyHistory> history;  // nullopt: no event yet
  Timestamp at;                               // of the events to come
};

Result<KeyRing::Open> KeyRing::open() {
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query(kAlone));
  Open out{std::move(tx), nullptr, {}, std::nullopt, Timestamp::now()};
  out.signer = options_.signer;
  if (!out.signer) out.signer = STELLA_TRY(load(path("evidence.pem"), options_.passphrase));
  out.rows = STELLA_TRY(read_rows(out.tx));
  if (out.rows.entries.empty()) return out;
  auto history = crypto::key_history_of(out.rows.entries, out.rows.roots);
  if (!history) return Error(history.error());
  out.history = std::move(*history);
  out.at = std::max(out.at, out.rows.entries.back().at);
  return out;
}

Result<void> KeyRing::append(Open& open, const crypto::KeyEvent& event, std::span<const crypto::Signer* const> signers, bool root, json::Value details, std::string_view actor, TraceId trace) {
  const auto envelope = STELLA_TRY(crypto::sign_key_event(event, signers));
  open.rows.entries.push_back({open.at, envelope});
  if (root) open.rows.roots.insert(event.key);
  // Judged as everybody will judge it, before it stands for ever.
  auto history = crypto::key_history_of(open.rows.entries, open.rows.roots);
  if (!history) return Error(history.error());
  open.history = std::move(*history);
  const std::string text = envelope.json();
  const Kind kind = kind_of(event.kind);
  STELLA_TRY_VOID(open.tx.query("INSERT INTO key_events (key_id, kind, root, at, envelope) VALUES ($1, $2, $3, $4, $5)", {event.key.str(), kind.column, root, open.at, text}));
  details.set("key_id", event.successor.empty() ? event.key.str() : event.successor.str());
  if (!event.successor.empty()) details.set("previous_key_id", event.key.str());
  details.set("envelope_sha256", crypto::sha256(text).hex());
  timeline::Event record;
  record.kind = kind.event;
  record.actor = std::string(actor);
  record.resource_type = "key";
  record.resource_id = event.key.str();
  record.trace = trace;
  record.details = std::move(details);
  if (!event.successor.empty()) record.resources.emplace_back("key", event.successor.str());
  const TenantId platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
  STELLA_TRY_VOID(timeline::emit(open.tx, platform, std::move(record)));
  return {};
}

Result<void> KeyRing::begin(TraceId trace, const crypto::Signer* previous) {
  const Lock lock(mutex_);
  Open now = STELLA_TRY(open());
  if (now.history && now.history->state_at(now.signer->public_key().id(), now.at) != crypto::KeyState::kUnknown) return {};
  if (now.history) {
    if (previous == nullptr)
      return Error(contracts::errors::kConflict, "the evidence key is not in the history of this deployment: name the one before it in keys.evidence_previous, so that it signs this one in").with("key", now.signer->public_key().id().str());
    STELLA_TRY_VOID(succeed(now, *now.signer, *previous, "system:authority", trace));
    return now.tx.commit();
  }
  const crypto::Signer* self[] = {now.signer.get()};
  const KeyId id = now.signer->public_key().id();
  // The timeline has heard of it by introduce_key() already: the row alone.
  const auto introduced = STELLA_TRY(crypto::sign_key_event({.kind = crypto::KeyEventKind::kIntroduced, .key = id, .public_key = now.signer->public_key()}, self));
  now.rows.entries.push_back({now.at, introduced});
  STELLA_TRY_VOID(now.tx.query("INSERT INTO key_events (key_id, kind, at, envelope) VALUES ($1, 'introduced', $2, $3)", {id.str(), now.at, introduced.json()}));
  STELLA_TRY_VOID(append(now, {.kind = crypto::KeyEventKind::kActivated, .key = id}, self, true, json::Value::object({{"purpose", "evidence"}}), "system:authority", trace));
  return now.tx.commit();
}

// Another process that saw the same record may have done it, or be doing it now.
Result<void> KeyRing::switch_files(const std::string& old8, const crypto::PublicKey& next) {
  const std::string kept = path("evidence-" + old8 + ".pem");
  if (::link(path("evidence.pem").c_str(), kept.c_str()) != 0 && errno != EEXIST) return io_error("cannot keep the key before under its own name", kept);
  const int renamed = ::rename(path("evidence.next.pem").c_str(), path("evidence.pem").c_str());
  if (renamed != 0 && errno != ENOENT) return io_error("cannot put the new key in its place", path("evidence.pem"));
  const auto key = STELLA_TRY(load(path("evidence.pem"), options_.passphrase));
  if (key->public_key() != next) return Error(base_errors::kNotFound, "the new key is not there to be put in its place").with("path", path("evidence.next.pem")).with("key", next.id().str());
  // Makes the directory durable as well.
  return write_file_durable(path("evidence.pub"), next.pem(), 0644);
}

// A key that cannot be read now (another passphrase, a disk that fails) may be the one that the record calls active, and this file its only copy:
// nothing happens to it before it was read and the record does not know it. Nobody puts another in its place meanwhile: that happens alone, too.
Result<void> KeyRing::settle() {
  const Lock lock(mutex_);
  if (options_.signer) return {};
  const std::string coming = path("evidence.next.pem");
  if (::access(coming.c_str(), F_OK) != 0) return {};
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(tx.query(kAlone));
  if (::access(coming.c_str(), F_OK) != 0) return {};
  const auto next = STELLA_TRY(load(coming, options_.passphrase));
  const crypto::PublicKey& key = next->public_key();
  const bool known = !STELLA_TRY(tx.query("SELECT FROM key_events WHERE key_id = $1", {key.id().str()})).empty();
  if (known) {
    const auto before = STELLA_TRY(load(path("evidence.pem"), options_.passphrase));
    if (before->public_key() != key) STELLA_TRY_VOID(switch_files(before->public_key().keyid8(), key));
  } else {
    // Its events were never committed: nobody has heard of this key. Kept all the same, for a record may come back from a backup.
    const std::string aside = path("evidence-" + key.keyid8() + ".unused.pem");
    if (::rename(coming.c_str(), aside.c_str()) != 0) return io_error("cannot set a key aside that was never used", coming);
  }
  return tx.commit();
}

// The events of a key that takes the place of another; a root where that one is not good enough to say so.
Result<void> KeyRing::succeed(Open& now, const crypto::Signer& next, const crypto::Signer& old, std::string_view actor, TraceId trace) {
  const crypto::PublicKey& key = next.public_key();
  const KeyId before = old.public_key().id();
  if (now.history->state_at(before, now.at) == crypto::KeyState::kUnknown) return Error(contracts::errors::kConflict, "the key before is not in the history of this deployment").with("key", before.str());
  const crypto::Signer* self[] = {&next};
  const crypto::Signer* both[] = {&old, &next};
  STELLA_TRY_VOID(append(now, {.kind = crypto::KeyEventKind::kIntroduced, .key = key.id(), .public_key = key}, self, false, json::Value::object({{"algorithm", "ecdsa-p256-sha256"}, {"purpose", "evidence"}}), actor, trace));
  const bool handed_on = now.history->state_at(before, now.at) == crypto::KeyState::kActive;
  if (handed_on) STELLA_TRY_VOID(append(now, {.kind = crypto::KeyEventKind::kRotated, .key = before, .successor = key.id()}, both, false, json::Value::object({{"purpose", "evidence"}}), actor, trace));
  else STELLA_TRY_VOID(append(now, {.kind = crypto::KeyEventKind::kActivated, .key = key.id()}, self, true, json::Value::object({{"purpose", "evidence"}}), actor, trace));
  STELLA_TRY_VOID(now.tx.query("UPDATE signing_keys SET state = 'retired' WHERE key_id = $1 AND state = 'active'", {before.str()}));
  return {};
}

Result<KeyId> KeyRing::rotate(std::string_view actor, TraceId trace) {
  if (options_.signer)
    return Error(contracts::errors::kConflict, "the evidence key is kept elsewhere: make a new one there, name it in keys.evidence and this one in keys.evidence_previous, run stellad --init and restart").with("key", options_.signer->public_key().id().str());
  STELLA_TRY_VOID(settle());
  const Lock lock(mutex_);
  Open now = STELLA_TRY(open());
  const crypto::PublicKey old = now.signer->public_key();
  if (!now.history) return Error(contracts::errors::kConflict, "the key that signs has no history yet: run stellad --init").with("key", old.id().str());
  auto fresh = STELLA_TRY(crypto::KeyPair::generate());
  const auto next = std::make_shared<crypto::KeyPair>(std::move(fresh));
  const crypto::PublicKey& key = next->public_key();
  STELLA_TRY_VOID(next->save(path("evidence.next.pem"), options_.passphrase));
  STELLA_TRY_VOID(now.tx.query("INSERT INTO signing_keys (key_id, purpose, algorithm, public_pem) VALUES ($1, 'evidence', 'ecdsa-p256-sha256', $2)", {key.id().str(), key.pem()}));
  STELLA_TRY_VOID(succeed(now, *next, *now.signer, actor, trace));
  STELLA_TRY_VOID(now.tx.commit());
  // On record: whoever signs with the old one from here on signs nothing that counts, whatever becomes of the files.
  if (options_.use) options_.use(next);
  STELLA_TRY_VOID(switch_files(old.keyid8(), key));
  return key.id();
}

// A key for tokens or logs: no history of signed events, its state is what the deployment says. False where it has that state already.
Result<bool> KeyRing::mark_other(Open& now, const KeyId& key, std::string_view state, json::Value details, std::string_view actor, TraceId trace) {
  const auto rows = STELLA_TRY(now.tx.query("SELECT purpose, state FROM signing_keys WHERE key_id = $1 AND purpose <> 'evidence' FOR UPDATE", {key.str()}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such key");
  const bool retires = state == "retired";
  if (retires && rows.text(0, 1) == "active") return Error(contracts::errors::kConflict, "this key signs: rotate it, which retires it").with("key", key.str());
  if (retires) return Error(contracts::errors::kConflict, "this key signs no more already").with("state", std::string(rows.text(0, 1)));
  if (rows.text(0, 1) == state) return false;
  if (rows.text(0, 1) == "active") return rotate_first(key, rows.text(0, 0));
  STELLA_TRY_VOID(now.tx.query("UPDATE signing_keys SET state = $2 WHERE key_id = $1", {key.str(), state}));
  details.set("key_id", key.str());
  timeline::Event record;
  record.kind = contracts::events::kKeyCompromised;
  record.actor = std::string(actor);
  record.resource_type = "key";
  record.resource_id = key.str();
  record.trace = trace;
  record.details = std::move(details);
  const TenantId platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
  STELLA_TRY_VOID(timeline::emit(now.tx, platform, std::move(record)));
  STELLA_TRY_VOID(now.tx.commit());
  return true;
}

Result<void> KeyRing::retire(const KeyId& key, std::string_view reason, std::string_view actor, TraceId trace) {
  const Lock lock(mutex_);
  Open now = STELLA_TRY(open());
  const crypto::KeyState state = now.history ? now.history->state_at(key, now.at) : crypto::KeyState::kUnknown;
  if (state == crypto::KeyState::kUnknown) {
    STELLA_TRY_VOID(mark_other(now, key, "retired", json::Value::object(), actor, trace));
    return {};
  }
  if (key == now.signer->public_key().id()) return Error(contracts::errors::kConflict, "this key signs: rotate it, which retires it").with("key", key.str());
  if (state == crypto::KeyState::kRetired || state == crypto::KeyState::kCompromised) return Error(contracts::errors::kConflict, "this key signs no more already").with("state", std::string(crypto::name_of(state)));
  const crypto::Signer* self[] = {now.signer.get()};
  json::Value details = json::Value::object({{"purpose", "evidence"}});
  if (!reason.empty()) details.set("reason", reason);
  STELLA_TRY_VOID(append(now, {.kind = crypto::KeyEventKind::kRetired, .key = key}, self, false, std::move(details), actor, trace));
  STELLA_TRY_VOID(now.tx.query("UPDATE signing_keys SET state = 'retired' WHERE key_id = $1 AND state = 'active'", {key.str()}));
  return now.tx.commit();
}

Result<bool> KeyRing::compromise(const KeyId& key, Timestamp since, std::string_view reason, std::string_view actor, TraceId trace) {
  const Lock lock(mutex_);
  Open now = STELLA_TRY(open());
  if (since > now.at) return Error(base_errors::kInvalid, "a compromise cannot lie ahead").with("field", std::string("since")).with("expected", std::string("a time not after now"));
  json::Value details = json::Value::object({{"since", since.rfc3339()}});
  if (!reason.empty()) details.set("reason", reason);
  if (!now.history || now.history->state_at(key, now.at) == crypto::KeyState::kUnknown) return mark_other(now, key, "compromised", std::move(details), actor, trace);
  if (now.history->state_at(key, since) == crypto::KeyState::kCompromised) return false;
  const crypto::Signer* self[] = {now.signer.get()};
  auto done = append(now, {.kind = crypto::KeyEventKind::kCompromised, .key = key, .since = since}, self, false, std::move(details), actor, trace);
  if (!done && done.error().code() == base_errors::kInvalid)
    return Error(contracts::errors::kConflict, "the key that signs is not good enough to say this: rotate it first, then say it again").with("key", now.signer->public_key().id().str());
  if (!done) return Error(done.error());
  STELLA_TRY_VOID(now.tx.query("UPDATE signing_keys SET state = 'compromised' WHERE key_id = $1", {key.str()}));
  STELLA_TRY_VOID(now.tx.commit());
  return true;
}

}  // namespace stella::authority
