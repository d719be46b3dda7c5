// Policy sets: published once and immutable, activated as a separate, audited step.
#include "common.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/policy/policy_set.h"

namespace stella::ledger {
namespace {

// Whether the log lost the event that says where a set came from: it expired in installations of before policy.published stayed for good. A set of
// today may not be in the log yet.
Result<bool> publication_expired(pg::TenantTx& tx, std::string_view version) {
  const auto rows = STELLA_TRY(tx.query("SELECT FROM policies p WHERE p.tenant_id = $1 AND p.policy_version = $2 AND p.published_at < now() - interval '1 day' AND NOT EXISTS (SELECT FROM timeline_events e "
                                        "WHERE e.tenant_id = $1 AND e.resource_type = 'policy' AND e.resource_id = $2 AND e.kind = 'policy.published')",
                                        {tx.tenant(), version}));
  return !rows.empty();
}

}  // namespace

Result<PublishedPolicy> publish_policy(pg::TenantTx& tx, objects::Store& store, std::string_view yaml, const Trace& trace) {
  const auto set = STELLA_TRY(pipeline::parse_policy_set(yaml));
  const Sha256 source = crypto::sha256(yaml);
  STELLA_TRY_VOID(store.put(object_key::object(tx.tenant(), source), yaml));
  STELLA_TRY_VOID(store.put(object_key::object(tx.tenant(), set.sha256), set.canonical));
  PublishedPolicy out;
  out.version = set.version;
  const auto rows = STELLA_TRY(tx.query(
      "INSERT INTO policies (tenant_id, policy_version, label, sha256, source_sha256, description, rules, published_by, trace_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
      "ON CONFLICT (tenant_id, policy_version) DO NOTHING RETURNING policy_version",
      {tx.tenant(), set.version, set.label, set.sha256, source, set.description, set.rules.size(), tx.actor(), trace.id.hex()}));
  out.existed = rows.empty();
  // The same set again is no transition; but without the event of the first time no bundle can say where the set came from.
  if (out.existed && !STELLA_TRY(publication_expired(tx, set.version))) return out;
  json::Value details = json::Value::object({{"policy_version", set.version}, {"policy_sha256", set.sha256.hex()}, {"label", set.label}, {"rule_count", set.rules.size()},
                                             {"inputs", json::Value::array({digest_entry("policy.yaml", source)})},
                                             {"outputs", json::Value::array({digest_entry("policy", set.sha256)})}});
  STELLA_TRY_VOID(timeline::emit(tx, make_event(contracts::events::kPolicyPublished, tx.actor(), "policy", set.version, trace, std::move(details))));
  return out;
}

Result<void> activate_policy(pg::TenantTx& tx, std::string_view version, const Trace& trace) {
  const auto policy = STELLA_TRY(tx.query("SELECT sha256 FROM policies WHERE tenant_id = $1 AND policy_version = $2", {tx.tenant(), version}));
  if (policy.empty()) return Error(base_errors::kNotFound, "no such policy version");
  const Sha256 sha256 = STELLA_TRY(policy.sha256(0, 0));
  // One activation at a time per tenant: "previous" must be what was really in force.
  STELLA_TRY_VOID(tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", {tx.tenant().str()}));
  const auto before = STELLA_TRY(tx.query("SELECT a.policy_version, p.sha256 FROM policy_activations a JOIN policies p USING (tenant_id, policy_version) WHERE a.tenant_id = $1 "
                                          "ORDER BY a.activated_at DESC, a.activation_id DESC LIMIT 1",
                                          {tx.tenant()}));
  if (!before.empty() && before.text(0, 0) == version) return {};
  STELLA_TRY_VOID(tx.query("INSERT INTO policy_activations (tenant_id, activation_id, policy_version, activated_by, activated_at, trace_id) VALUES ($1, $2, $3, $4, clock_timestamp(), $5)",
                           {tx.tenant(), Uuid::v7().str(), version, tx.actor(), trace.id.hex()}));
  json::Value details = json::Value::object({{"policy_version", version}, {"policy_sha256", sha256.hex()}, {"inputs", json::Value::array({digest_entry("policy", sha256)})}});
  if (!before.empty()) {
    const Sha256 previous = STELLA_TRY(before.sha256(0, 1));
    details.set("previous_version", before.text(0, 0));
    details.set("previous_sha256", previous.hex());
  }
  STELLA_TRY_VOID(timeline::emit(tx, make_event(contracts::events::kPolicyActivated, tx.actor(), "policy", std::string(version), trace, std::move(details))));
  return {};
}

}  // namespace stella::ledger
