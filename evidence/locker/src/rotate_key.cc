// Versions of the tenants' keys for encryption at rest: a new one on demand, and the record of those that there are.
#include "doomed.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/holds.h"
#include "stella/tenancy/contents.h"

namespace stella::evidence {
namespace {

constexpr std::chrono::seconds kRecordAgain(15);
constexpr std::string_view kPurpose = "encryption";

timeline::Event key_event(std::string_view kind, const std::string& id, json::Value details) {
  details.set("purpose", kPurpose);
  return locker_event(kind, "key", id, std::move(details));
}

}  // namespace

// One row; older versions read from then on. The caller emits.
Result<void> Keeper::record_key(Tx& tx, const TenantId& tenant, const std::string& id, std::uint64_t version) {
  STELLA_TRY_VOID(tx.query("UPDATE tenant_keys SET state = 'retired', ended_at = $3 WHERE tenant_id = $1 AND state = 'active' AND version < $2", {tenant, version, options_.now()}));
  STELLA_TRY_VOID(tx.query("INSERT INTO tenant_keys (tenant_id, key_id, version, provider, state, created_at) VALUES ($1, $2, $3, $4, 'active', $5)", {tenant, id, version, options_.tenant_keys->provider(), options_.now()}));
  return {};
}

Result<std::string> Keeper::rotate_key(const TenantId& tenant, std::string_view reason) {
  if (reason.size() > kHoldReasonBytes) return Error(base_errors::kInvalid, "the reason is too long").with("field", std::string("reason")).with("expected", std::string("at most 2000 bytes"));
  const std::string base = object_key::wrapping_key_id(tenant);
  const Error no_key(base_errors::kNotFound, "the tenant has no key that could be rotated: one is made with its first encrypted object");
  if (!options_.tenant_keys) return Error(no_key);
  const auto known = STELLA_TRY(Tx::read(pool_, "SELECT coalesce(max(version), 0) FROM tenant_keys WHERE tenant_id = $1 HAVING NOT coalesce(bool_or(state = 'destroyed'), false)", {tenant}));
  if (!known.empty()) STELLA_TRY_VOID(record_keys_of(tenant, static_cast<std::uint64_t>(known.integer(0, 0))));
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT key_id, version, EXISTS (SELECT FROM key_dispositions d WHERE d.tenant_id = $1 AND d.state IN ('planned', 'destroying')) FROM tenant_keys WHERE tenant_id = $1 AND state = 'active' FOR UPDATE", {tenant}));
  if (rows.empty()) {
    const bool destroyed = !STELLA_TRY(tx.query("SELECT FROM tenant_keys WHERE tenant_id = $1 AND state = 'destroyed' LIMIT 1", {tenant})).empty();
    if (destroyed) return Error(contracts::errors::kConflict, "the tenant's key was destroyed, and takes no successor");
    return Error(no_key);
  }
  if (rows.boolean(0, 2)) return Error(contracts::errors::kConflict, "the destruction of this key is planned");
  const std::string old(rows.text(0, 0));
  const std::uint64_t version = static_cast<std::uint64_t>(rows.integer(0, 1)) + 1;
  const std::string next = crypto::wrapping_key_version(base, version);
  // The key first: a record without a key would be worse than a key that record_keys() finds.
  STELLA_TRY_VOID(options_.tenant_keys->add_key(next));
  STELLA_TRY_VOID(record_key(tx, tenant, next, version));
  auto event = key_event(contracts::events::kKeyRotated, old, json::Value::object({{"key_id", next}, {"previous_key_id", old}}));
  event.resources.emplace_back("key", next);
  STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
  // Why, in the event that has a place for it: nothing more is wrapped under the old one.
  if (!reason.empty()) STELLA_TRY_VOID(timeline::emit(tx, tenant, key_event(contracts::events::kKeyRetired, old, json::Value::object({{"key_id", old}, {"reason", reason}}))));
  STELLA_TRY_VOID(tx.commit());
  return next;
}

Result<int> Keeper::record_keys() {
  if (!options_.tenant_keys || (keys_recorded_until_ && !keys_recorded_until_->passed())) return 0;
  const auto tenants = STELLA_TRY(Tx::read(pool_, "SELECT t.tenant_id, coalesce(max(k.version), 0) FROM tenants t LEFT JOIN tenant_keys k USING (tenant_id) GROUP BY t.tenant_id HAVING NOT coalesce(bool_or(k.state = 'destroyed'), false) ORDER BY t.tenant_id"));
  int found = 0;
  std::optional<Error> trouble;
  for (int i = 0; i < tenants.size() && !rounds_.stopping(); ++i) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(tenants.text(i, 0)));
    auto recorded = record_keys_of(tenant, static_cast<std::uint64_t>(tenants.integer(i, 1)));
    if (recorded) found += *recorded;
    else trouble = std::move(recorded.error());  // of one tenant: the keys of the others are recorded
  }
  keys_recorded_until_ = Deadline::after(kRecordAgain);
  if (trouble) return std::move(*trouble);
  return found;
}

// `known`: the newest version that has a row.
Result<int> Keeper::record_keys_of(const TenantId& tenant, std::uint64_t known) {
  const std::string base = object_key::wrapping_key_id(tenant);
  const std::string newest = STELLA_TRY(options_.tenant_keys->newest(base));
  int found = 0;
  if (crypto::version_of_wrapping_key(base, newest).value_or(1) <= known) return found;
  for (const std::string& id : STELLA_TRY(crypto::wrapping_key_versions(*options_.tenant_keys, base))) {
    const std::uint64_t version = crypto::version_of_wrapping_key(base, id).value_or(1);
    if (version <= known) continue;
    auto tx = STELLA_TRY(Tx::open(pool_));
    STELLA_TRY_VOID(record_key(tx, tenant, id, version));
    STELLA_TRY_VOID(timeline::emit(tx, tenant, key_event(contracts::events::kKeyIntroduced, id, json::Value::object({{"key_id", id}, {"algorithm", "aes-256-gcm"}}))));
    STELLA_TRY_VOID(tx.commit());
    ++found;
  }
  return found;
}

}  // namespace stella::evidence
