// The indexing transaction. Round trips: fence + rows, heads, move, heads + commit.
#include "batch.h"

#include <map>
#include <set>

#include "entry.h"
#include "queries.h"
#include "stella/base/encoding.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

using Tx = pg::SystemTx<pg::IndexerRole>;

struct Taken {
  std::string seq;
  std::string event_id;
  Logged logged;
};

std::vector<Taken> read_rows(const pg::Rows& rows) {
  std::vector<Taken> taken;
  taken.reserve(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i)
    taken.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 2)),
                     {std::string(rows.text(i, 1)), 0, rows.bytes(i, 3), std::string(rows.text(i, 4)), std::string(rows.text(i, 5))}});
  return taken;
}

// Takes out what the log or an earlier row of the batch has already.
Result<void> drop_repeats(Tx& tx, int shard, std::vector<Taken>& taken, BatchResult& result) {
  std::vector<std::string> tenants, ids;
  for (const auto& row : taken) {
    tenants.push_back(row.logged.tenant);
    ids.push_back(row.event_id);
  }
  const pg::Rows known = STELLA_TRY(tx.query(sql::kKnown, {pg::Param::text_array(tenants), pg::Param::uuid_array(ids)}));
  std::set<std::pair<std::string, std::string>> seen;
  for (int i = 0; i < known.size(); ++i) seen.emplace(known.text(i, 0), known.text(i, 1));
  std::vector<Taken> fresh;
  std::vector<std::string> repeats;
  for (auto& row : taken) {
    if (seen.emplace(row.logged.tenant, row.event_id).second) {
      fresh.push_back(std::move(row));
    } else {
      repeats.push_back(row.seq);
    }
  }
  if (!repeats.empty()) tx.defer(sql::kDrop, {int_array(repeats), shard});
  result.repeats = static_cast<int>(repeats.size());
  result.taken += result.repeats;
  taken = std::move(fresh);
  return {};
}

Result<std::map<std::string, CompactTree>> read_heads(Tx& tx, const std::vector<Taken>& taken) {
  std::map<std::string, CompactTree> trees;
  for (const auto& row : taken) trees.try_emplace(row.logged.tenant);
  std::vector<std::string> tenants;
  for (const auto& [tenant, tree] : trees) tenants.push_back(tenant);
  const pg::Rows rows = STELLA_TRY(tx.query(sql::kHeads, {pg::Param::text_array(tenants)}));
  for (int i = 0; i < rows.size(); ++i) {
    auto tree = CompactTree::from_state(rows.bytes(i, 2));
    if (!tree || tree->size() != static_cast<std::uint64_t>(rows.integer(i, 1)))
      return Error(base_errors::kInternal, "the head of a tenant's log contradicts itself").with("tenant", std::string(rows.text(i, 0)));
    trees[std::string(rows.text(i, 0))] = std::move(*tree);
  }
  return trees;
}

// The columns of a batch, one array each.
struct Columns {
  std::vector<std::string> project_ids, kinds, actors, resource_types, resource_ids, trace_ids, details;

  void add(EntryColumns entry) {
    project_ids.push_back(std::move(entry.project_id));
    kinds.push_back(std::move(entry.kind));
    actors.push_back(std::move(entry.actor));
    resource_types.push_back(std::move(entry.resource_type));
    resource_ids.push_back(std::move(entry.resource_id));
    trace_ids.push_back(std::move(entry.trace_id));
    details.push_back(std::move(entry.details));
  }
  // As $5 … of sql::kMove.
  void append_to(std::vector<pg::Param>& params) const {
    for (const auto* column : {&project_ids, &kinds, &actors, &resource_types, &resource_ids, &trace_ids}) params.push_back(pg::Param::text_array(*column));
    params.push_back(pg::Param::json_array(details));
  }
};

// Gives each event its index and leaf; moves the rows.
Result<void> move_rows(Tx& tx, int shard, std::vector<Taken>& taken, std::map<std::string, CompactTree>& trees) {
  std::vector<std::string> seqs, indexes, digests;
  Columns columns;
  for (auto& row : taken) {
    columns.add(STELLA_TRY(read_entry(row.logged.entry)));
    CompactTree& tree = trees[row.logged.tenant];
    const Sha256 leaf = leaf_hash(row.logged.entry);
    row.logged.log_index = static_cast<std::int64_t>(tree.size());
    tree.append(leaf);
    seqs.push_back(row.seq);
    indexes.push_back(std::to_string(row.logged.log_index));
    digests.emplace_back(leaf.view());
  }
  std::vector<pg::Param> params = {int_array(seqs), int_array(indexes), pg::Param::bytes_array(digests), shard};
  columns.append_to(params);
  const pg::Rows moved = STELLA_TRY(tx.query(sql::kMove, params));
  if (moved.affected() != static_cast<std::int64_t>(taken.size()))
    return Error(base_errors::kInternal, "outbox rows vanished under the lease").with("expected", taken.size());
  return {};
}

void save_heads(Tx& tx, int shard, const std::map<std::string, CompactTree>& trees) {
  std::vector<std::string> tenants, shards, sizes, states, roots;
  for (const auto& [tenant, tree] : trees) {
    tenants.push_back(tenant);
    shards.push_back(std::to_string(shard));
    sizes.push_back(std::to_string(tree.size()));
    states.push_back(tree.state());
    roots.emplace_back(tree.root().view());
  }
  tx.defer(sql::kSaveHeads, {pg::Param::text_array(tenants), int_array(shards), int_array(sizes), pg::Param::bytes_array(states),
                             pg::Param::bytes_array(roots)});
}

Result<void> append_to_log(Tx& tx, int shard, std::vector<Taken>& taken) {
  auto trees = read_heads(tx, taken);
  if (!trees) return std::move(trees.error());
  STELLA_TRY_VOID(move_rows(tx, shard, taken, *trees));
  save_heads(tx, shard, *trees);
  return {};
}

// `take` reads the rows under the lease's lock.
Result<BatchResult> index(pg::SystemPool<pg::IndexerRole>& pool, const Lease& lease, const pg::Query& take, bool repeats_possible) {
  BatchResult result;
  Tx tx = STELLA_TRY(Tx::open(pool));
  const pg::Rows fence = STELLA_TRY(tx.query(sql::kFence, {lease.shard, lease.owner, lease.fence}));
  if (fence.empty()) {
    result.lease_lost = true;
    return result;
  }
  const pg::Rows rows = STELLA_TRY(tx.query(take.sql, take.params));
  auto taken = read_rows(rows);
  if (repeats_possible && !taken.empty()) STELLA_TRY_VOID(drop_repeats(tx, lease.shard, taken, result));
  if (!taken.empty()) STELLA_TRY_VOID(append_to_log(tx, lease.shard, taken));
  STELLA_TRY_VOID(tx.commit());
  result.taken += static_cast<int>(taken.size());
  result.logged.reserve(taken.size());
  for (auto& row : taken) result.logged.push_back(std::move(row.logged));
  return result;
}

}  // namespace

std::string int_array(std::span<const std::string> items) {
  std::string out = "{";
  for (const auto& item : items) {
    if (out.size() > 1) out += ',';
    out += item;
  }
  return out + "}";
}

Result<BatchResult> index_batch(pg::SystemPool<pg::IndexerRole>& pool, const Lease& lease, int limit, bool repeats_possible, std::span<const std::string> but) {
  return index(pool, lease, {std::string(sql::kTake), {lease.shard, limit, pg::Param::text_array(but)}}, repeats_possible);
}

Result<BatchResult> index_rows(pg::SystemPool<pg::IndexerRole>& pool, const Lease& lease, std::span<const std::string> seqs) {
  return index(pool, lease, {std::string(sql::kTakeThese), {lease.shard, int_array(seqs)}}, true);
}

void link_origins(telemetry::Work& work, std::span<const Logged> events) {
  constexpr std::size_t kLinks = 32;  // as many as a span takes; a batch of thousands names its first traces
  std::set<std::string_view> linked;
  for (const Logged& event : events) {
    if (linked.size() == kLinks) break;
    if (linked.insert(event.traceparent).second) work.link(event.traceparent);
  }
}

}  // namespace stella::timeline
