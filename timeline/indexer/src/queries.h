// SQL of the indexer; its login sees all tenants of the timeline tables and nothing else.
#pragma once

#include <string_view>

namespace stella::timeline::sql {

// Free shards and our own; the fence grows whenever the owner changes. $1 shards, $2 owner, $3 milliseconds.
inline constexpr std::string_view kAcquire =
    "INSERT INTO leases AS l (name, owner, until)"
    " SELECT 'timeline/' || s, $2, clock_timestamp() + $3::bigint * interval '1 millisecond' FROM unnest($1::int[]) AS s"
    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = l.fence + 1, until = excluded.until"
    " WHERE l.until < clock_timestamp() OR l.owner = excluded.owner"
    " RETURNING substr(name, 10)::int, fence";
// $1 shards, $2 fences, $3 owner, $4 milliseconds.
inline constexpr std::string_view kRenew =
    "UPDATE leases l SET until = clock_timestamp() + $4::bigint * interval '1 millisecond'"
    " FROM unnest($1::int[], $2::bigint[]) AS mine(shard, fence)"
    " WHERE l.name = 'timeline/' || mine.shard AND l.owner = $3 AND l.fence = mine.fence RETURNING mine.shard";
inline constexpr std::string_view kRelease =
    "UPDATE leases SET until = '-infinity' WHERE owner = $1 AND name LIKE 'timeline/%'";

// Locks the lease until the commit: whoever takes over waits for this transaction and sees its rows.
inline constexpr std::string_view kFence = "SELECT 1 FROM leases WHERE name = 'timeline/' || $1::int AND owner = $2 AND fence = $3 FOR UPDATE";

inline constexpr std::string_view kNonEmpty =
    "SELECT s FROM unnest($1::int[]) AS s WHERE EXISTS (SELECT 1 FROM timeline_outbox o WHERE o.shard = s)";

// Always from the lowest row that is still there: a row with an earlier seq may have been committed later. $3: tenants to pass over.
inline constexpr std::string_view kTake =
    "SELECT seq, tenant_id, event_id, entry, traceparent, tracestate FROM timeline_outbox WHERE shard = $1 AND tenant_id <> ALL($3::text[]) ORDER BY seq LIMIT $2";

// The rows of a refused batch, and some of them again.
inline constexpr std::string_view kSeqs = "SELECT seq FROM timeline_outbox WHERE shard = $1 AND tenant_id <> ALL($3::text[]) ORDER BY seq LIMIT $2";
inline constexpr std::string_view kTakeThese =
    "SELECT seq, tenant_id, event_id, entry, traceparent, tracestate FROM timeline_outbox WHERE shard = $1 AND seq = ANY($2::bigint[]) ORDER BY seq";

inline constexpr std::string_view kHeads = "SELECT tenant_id, size, tree FROM timeline_heads WHERE tenant_id = ANY($1::text[]) FOR UPDATE";

inline constexpr std::string_view kKnown =
    "SELECT l.tenant_id, l.event_id FROM timeline_log l JOIN unnest($1::text[], $2::uuid[]) AS n(tenant_id, event_id)"
    " ON l.tenant_id = n.tenant_id AND l.event_id = n.event_id";
inline constexpr std::string_view kDrop = "DELETE FROM timeline_outbox WHERE shard = $2 AND seq = ANY($1::bigint[])";

// One statement moves a batch: out of the outbox, into the three tables. The entry's bytes never leave the server a second time.
// $1 seqs, $2 log indexes, $3 leaf hashes, $4 shard, $5 … the columns of each entry.
inline constexpr std::string_view kMove =
    "WITH gone AS (DELETE FROM timeline_outbox o USING unnest($1::bigint[], $2::bigint[], $3::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],"
    "   $10::text[], $11::jsonb[]) AS n(seq, log_index, digest, project_id, kind, actor, resource_type, resource_id, trace_id, details)"
    "  WHERE o.shard = $4 AND o.seq = n.seq RETURNING o.tenant_id, o.event_id, o.ts, o.entry, o.resources, o.traceparent, o.tracestate, n.*),"
    " logged AS (INSERT INTO timeline_log (tenant_id, log_index, event_id, entry, traceparent, tracestate)"
    "  SELECT tenant_id, log_index, event_id, entry, traceparent, tracestate FROM gone),"
    " related AS (INSERT INTO timeline_event_resources (tenant_id, resource_type, resource_id, ts, event_id)"
    "  SELECT DISTINCT tenant_id, r->>0, r->>1, ts, event_id FROM gone, jsonb_array_elements(resources) AS r)"
    " INSERT INTO timeline_events (event_id, ts, tenant_id, project_id, kind, actor, resource_type, resource_id, trace_id, digest, details_jsonb)"
    " SELECT event_id, ts, tenant_id, nullif(project_id, '')::uuid, kind, actor, resource_type, resource_id, trace_id, digest, details FROM gone";

inline constexpr std::string_view kSaveHeads =
    "INSERT INTO timeline_heads AS h (tenant_id, shard, size, tree, root)"
    " SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[])"
    " ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, tree = excluded.tree, root = excluded.root, updated_at = now()";

inline constexpr std::string_view kMonths =
    "SELECT stella_ensure_timeline_partition_of(m) FROM (SELECT DISTINCT date_trunc('month', ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS m"
    " FROM timeline_outbox WHERE shard = $1 AND seq = ANY($2::bigint[])) AS months";
inline constexpr std::string_view kEnsurePartitions = "SELECT stella_ensure_timeline_partitions(3)";

// Sets one row aside: negative shards are nobody's.
inline constexpr std::string_view kQuarantine = "UPDATE timeline_outbox SET shard = -1 - shard WHERE shard = $1 AND seq = $2::bigint";

// What waits, for the gauges: rows, age of the oldest in seconds, indexed events that are not published; what is set aside.
inline constexpr std::string_view kWaiting =
    "SELECT (SELECT count(*) FROM timeline_outbox WHERE shard >= 0), (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(ts)), 0) FROM timeline_outbox WHERE shard >= 0),"
    " (SELECT coalesce(sum(size - published), 0)::bigint FROM timeline_heads), (SELECT count(*) FROM timeline_outbox WHERE shard < 0)";

// Publication.
inline constexpr std::string_view kBehind =
    "SELECT tenant_id, published, size FROM timeline_heads WHERE shard = ANY($1::int[]) AND published < size ORDER BY tenant_id";
inline constexpr std::string_view kEntries =
    "SELECT log_index, entry, traceparent, tracestate FROM timeline_log WHERE tenant_id = $1 AND log_index >= $2 ORDER BY log_index LIMIT $3";
inline constexpr std::string_view kPublished =
    "UPDATE timeline_heads h SET published = n.published FROM unnest($1::text[], $2::bigint[]) AS n(tenant_id, published)"
    " WHERE h.tenant_id = n.tenant_id AND h.published < n.published";
inline constexpr std::string_view kConfirm =
    "UPDATE timeline_heads SET confirmed = published WHERE shard = ANY($1::int[]) AND confirmed < published";
inline constexpr std::string_view kRewind =
    "UPDATE timeline_heads SET published = confirmed WHERE shard = ANY($1::int[]) AND published > confirmed";

}  // namespace stella::timeline::sql
