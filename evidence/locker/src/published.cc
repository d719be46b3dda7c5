// Retention that begins with a bundle's first export: the keeper reads of each log what is new, and asks for what lies further back once.
#include <map>
#include <string>
#include <vector>

#include "stella/evidence/locker/keeper.h"

namespace stella::evidence {
namespace {

// Tenants with bundles that were not exported yet, and how long their logs are.
constexpr std::string_view kWaiting =
    "SELECT w.tenant_id, coalesce(h.size, 0) FROM (SELECT DISTINCT tenant_id FROM evidence_retention WHERE base_event = 'published' AND base_at IS NULL) w LEFT JOIN timeline_heads h ON h.tenant_id = w.tenant_id";
// $1: tenants, $2: bundles.
constexpr std::string_view kEarlier =
    "UPDATE evidence_retention r SET base_at = e.ts, retain_until = greatest(r.retain_until, e.ts + make_interval(secs => r.keep_seconds)), wanted = r.wanted + 1 FROM (SELECT w.tenant_id, w.bundle_id, "
    "(SELECT min(t.ts) FROM timeline_events t WHERE t.tenant_id = w.tenant_id AND t.resource_type = 'bundle' AND t.resource_id = w.bundle_id::text AND t.kind = 'evidence.exported') AS ts "
    "FROM evidence_retention w WHERE w.base_event = 'published' AND w.base_at IS NULL AND (w.tenant_id = ANY($1::text[]) OR w.bundle_id = ANY($2::uuid[]))) e WHERE e.ts IS NOT NULL AND r.tenant_id = e.tenant_id AND r.bundle_id = e.bundle_id";
// Of one tenant, by the entries from $2 on and below $3.
constexpr std::string_view kSince =
    "WITH said AS MATERIALIZED (SELECT convert_from(entry, 'UTF8')::jsonb AS e FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 AND log_index < $3 AND position(convert_to('\"kind\":\"evidence.exported\"', 'UTF8') IN entry) > 0), "
    "first AS (SELECT e->>'resource_id' AS bundle, min((e->>'ts')::timestamptz) AS ts FROM said WHERE e->>'kind' = 'evidence.exported' AND e->>'resource_type' = 'bundle' GROUP BY 1) "
    "UPDATE evidence_retention r SET base_at = f.ts, retain_until = greatest(r.retain_until, f.ts + make_interval(secs => r.keep_seconds)), wanted = r.wanted + 1 FROM first f "
    "WHERE r.base_event = 'published' AND r.base_at IS NULL AND r.tenant_id = $1 AND r.bundle_id::text = f.bundle";

}  // namespace

// `fresh`: bundles whose rows are of this round. Their exports may be in what was read before there was a row.
Result<std::int64_t> Keeper::begin_at_exports(Tx& tx, const std::vector<std::string>& fresh, std::map<std::string, std::int64_t>& read) {
  const auto waiting = STELLA_TRY(tx.query(kWaiting));
  std::vector<std::string> unread;
  std::int64_t begun = 0;
  for (int i = 0; i < waiting.size(); ++i) {
    const std::string tenant(waiting.text(i, 0));
    const std::int64_t size = waiting.integer(i, 1);
    const auto before = exports_read_.find(tenant);
    if (before == exports_read_.end()) unread.push_back(tenant);
    else if (before->second < size) begun += STELLA_TRY(tx.query(kSince, {tenant, before->second, size})).affected();
    read.emplace(tenant, size);
  }
  if (unread.empty() && (fresh.empty() || waiting.empty())) return begun;
  return begun + STELLA_TRY(tx.query(kEarlier, {pg::Param::text_array(unread), pg::Param::uuid_array(fresh)})).affected();
}

}  // namespace stella::evidence
