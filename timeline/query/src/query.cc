// Pages and single events: one pipeline for the rows and the log's head, then a check of each entry against its digest.
#include "stella/timeline/query.h"

#include <algorithm>
#include <limits>

#include "searches.h"
#include "statement.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kHead = "SELECT size, root FROM timeline_heads WHERE tenant_id = stella_tenant()";
constexpr std::string_view kSigned = "SELECT origin, size, root FROM timeline_logs WHERE tenant_id = stella_tenant() AND size > 0";
constexpr std::string_view kOne =
    "SELECT l.event_id, e.ts, e.kind, e.digest, l.log_index, l.entry FROM timeline_log l LEFT JOIN timeline_events e"
    " ON e.tenant_id = stella_tenant() AND e.event_id = l.event_id WHERE l.tenant_id = stella_tenant() AND l.event_id = $1";
constexpr std::string_view kWaiting = "SELECT shard, ts, entry FROM timeline_outbox WHERE tenant_id = stella_tenant() AND event_id = $1";
// Runs of entries that dispositions deleted, from an index on. Each gives an entry at least, so the limit is above every page's.
constexpr std::string_view kGone =
    "SELECT lower(r), upper(r) FROM timeline_dispositions d, unnest(d.gone) r WHERE d.tenant_id = stella_tenant() AND d.state = 'executed' AND d.below_index > $1"
    " AND upper(r) > $1 ORDER BY d.below_index, lower(r) LIMIT 501";
constexpr std::string_view kDeleted = "SELECT EXISTS (SELECT FROM timeline_dispositions WHERE tenant_id = stella_tenant() AND state = 'executed' AND gone @> $1::int8)";

Item read_item(const pg::Rows& rows, int i) {
  Item item;
  if (auto id = EventId::parse(rows.text(i, 0))) item.event_id = *id;
  item.ts = rows.timestamp(i, 1);
  item.kind = rows.text(i, 2);
  item.entry = rows.bytes(i, 5);
  if (rows.is_null(i, 4)) {
    item.state = "MISSING";
  } else {
    item.log_index = rows.integer(i, 4);
  }
  // The log has it and the search tables have not: what it is, its own bytes say. `state` says that something is gone.
  if (item.log_index && rows.is_null(i, 3)) {
    item.state = "MISSING";
    item.digest = leaf_hash(item.entry);
    if (const auto entry = json::parse(item.entry); entry && entry->is_object()) {
      item.kind = entry->str("kind");
      item.ts = Timestamp::parse(entry->str("ts")).value_or(Timestamp());
    }
    return item;
  }
  const auto digest = rows.sha256(i, 3);
  if (digest) item.digest = *digest;
  if (item.log_index && (!digest || leaf_hash(item.entry) != *digest)) item.state = "INVALID";
  return item;
}

Head read_head(const pg::Rows& rows) {
  if (rows.empty()) return {0, empty_root().hex()};
  const auto root = rows.sha256(0, 1);
  return {rows.integer(0, 0), root ? root->hex() : std::string()};
}

Position next_position(const Item& last, Order order) {
  Position p;
  if (order == Order::kLog) {
    p.index = *last.log_index + 1;
  } else {
    p.after = {last.ts, last.event_id};
  }
  return p;
}

Item expired_item(std::int64_t index) {
  Item item;
  item.log_index = index;
  item.state = "EXPIRED";
  return item;
}

// The page's rows with the deleted entries in their places, at most `most` of both. A row that is there counts, whatever a disposition says.
std::vector<Item> with_gone(std::vector<Item> rows, const pg::Rows& gone, std::int64_t from, std::size_t most) {
  std::vector<Item> out;
  auto row = rows.begin();
  const auto rows_below = [&](std::int64_t index) {
    for (; row != rows.end() && *row->log_index < index && out.size() < most; ++row) out.push_back(std::move(*row));
  };
  for (int i = 0; i < gone.size() && out.size() < most; ++i) {
    for (std::int64_t index = std::max(from, gone.integer(i, 0)); index < gone.integer(i, 1) && out.size() < most; ++index) {
      rows_below(index);
      if (out.size() < most && (row == rows.end() || *row->log_index != index)) out.push_back(expired_item(index));
    }
  }
  rows_below(std::numeric_limits<std::int64_t>::max());
  return out;
}

Result<void> add_digests(std::vector<Item>& items, const Leaves& leaves) {
  std::vector<std::uint64_t> indexes;
  for (const Item& item : items)
    if (item.state == "EXPIRED") indexes.push_back(static_cast<std::uint64_t>(*item.log_index));
  if (indexes.empty()) return {};
  const std::vector<Sha256> digests = STELLA_TRY(leaves(indexes));
  std::size_t next = 0;
  for (Item& item : items)
    if (item.state == "EXPIRED") item.digest = digests[next++];
  return {};
}

}  // namespace

std::string Item::json() const {
  std::string out = "{\"log_index\":" + (log_index ? std::to_string(*log_index) : "null") + ",\"digest\":\"" + digest.hex() + "\",\"state\":\"" + std::string(state) + '"';
  // The entry's own bytes, never encoded again: the log's content is what the reader gets. A tampered one may be no JSON, and so may one that
  // the indexer has not looked at.
  const bool sound = entry.size() > 2 && (state == "ok" || ((state == "pending" || state == "MISSING") && entry.front() == '{' && json::parse(entry)));
  if (sound) return out + "," + entry.substr(1);
  if (state == "EXPIRED") return out + "}";
  out += ",\"event_id\":\"" + event_id.str() + "\",\"ts\":\"" + ts.rfc3339() + "\",\"kind\":";
  json::append_quoted(out, kind);
  return out + "}";
}

std::string Page::json() const {
  std::string out = "{\"items\":[";
  for (const auto& item : items) {
    if (out.back() == '}') out += ',';
    out += item.json();
  }
  out += "],\"next_cursor\":" + (next_cursor ? "\"" + *next_cursor + "\"" : "null");
  out += ",\"order\":\"" + std::string(order == Order::kLog ? "log" : "time") + "\",\"head\":{\"size\":" + std::to_string(head.size) + ",\"root\":\"" + head.root + "\"}";
  if (checkpoint.size > 0) {
    out += ",\"checkpoint\":{\"origin\":\"" + checkpoint.origin + "\",\"size\":" + std::to_string(checkpoint.size) + ",\"root\":\"" + checkpoint.root + "\"}";
  } else {
    out += ",\"checkpoint\":null";
  }
  out += ",\"left_out\":" + std::to_string(left_out());
  // A contiguous index range with every entry: only then can an omission be seen.
  out += ",\"contiguous\":" + std::string(order == Order::kLog && !filtered ? "true" : "false");
  if (searched_from) out += ",\"searched_from\":\"" + searched_from->rfc3339() + "\"";
  return out + "}";
}

std::int64_t Page::left_out() const {
  std::optional<std::int64_t> first, last;
  std::int64_t shown = 0;
  for (const auto& item : items) {
    if (!item.log_index) continue;
    ++shown;
    first = std::min(first.value_or(*item.log_index), *item.log_index);
    last = std::max(last.value_or(*item.log_index), *item.log_index);
  }
  return first ? *last - *first + 1 - shown : 0;
}

Result<Page> list(pg::Pool& web_pool, const TenantScope& scope, const Filter& filter, const Leaves& expired) {
  if (filter.limit < 1 || filter.limit > kPageMax)
    return Error(base_errors::kInvalid, "not an acceptable filter").with("field", "limit").with("expected", "1 to 500");
  Position position;
  position.index = filter.from_index;
  if (!filter.cursor.empty()) position = STELLA_TRY(decode_cursor(filter.cursor, filter.order));
  Page page;
  page.order = filter.order;
  page.filtered = filter.filtered();
  std::optional<Timestamp> from = filter.from;
  const std::shared_ptr<void> search = filter.q.empty() ? nullptr : take_search(scope.tenant());
  if (!filter.q.empty() && !search) return Error(contracts::errors::kRateLimited, "too many searches by text at once").with("limit", kSearchesPerTenant).with("retry_after", 1);
  // Each event of the window is read for `q`: what is asked for beyond that is left out, and said.
  if (const Timestamp earliest = filter.to.value_or(Timestamp::now()) - kSearchWindow; !filter.q.empty() && (!from || *from < earliest)) {
    from = earliest;
    page.searched_from = from;
  }
  std::vector<pg::Query> queries = {page_statement(filter, position, from), {kHead, {}}, {kSigned, {}}};
  // After the rows: what is deleted in between is then in both and counts as a row.
  const bool whole = expired && filter.order == Order::kLog && !page.filtered;
  if (whole) queries.push_back({kGone, {position.index.value_or(0)}});
  const auto rows = STELLA_TRY(pg::TenantTx::read_many(web_pool, scope, queries));
  const pg::Rows& found = rows[0];
  const auto limit = static_cast<std::size_t>(filter.limit);
  page.items.reserve(limit + 1);
  for (int i = 0; i < found.size() && page.items.size() <= limit; ++i) page.items.push_back(read_item(found, i));
  if (whole) page.items = with_gone(std::move(page.items), rows[3], position.index.value_or(0), limit + 1);
  const bool more = page.items.size() > limit;
  if (more) page.items.pop_back();
  if (whole) STELLA_TRY_VOID(add_digests(page.items, expired));
  if (more) page.next_cursor = encode_cursor(next_position(page.items.back(), filter.order));
  page.head = read_head(rows[1]);
  if (!rows[2].empty()) page.checkpoint = {std::string(rows[2].text(0, 0)), rows[2].integer(0, 1), STELLA_TRY(rows[2].sha256(0, 2)).hex()};
  return page;
}

Result<Item> get(pg::Pool& web_pool, const TenantScope& scope, const EventId& id) {
  // The outbox first: a row leaves it and enters the log in one commit.
  const std::vector<pg::Query> queries = {{kWaiting, {id}}, {kOne, {id}}};
  const auto rows = STELLA_TRY(pg::TenantTx::read_many(web_pool, scope, queries));
  if (!rows[1].empty()) return read_item(rows[1], 0);
  if (rows[0].empty()) return Error(base_errors::kNotFound, "no such event");
  Item item;
  item.event_id = id;
  item.ts = rows[0].timestamp(0, 1);
  item.entry = rows[0].bytes(0, 2);
  item.digest = leaf_hash(item.entry);
  item.state = rows[0].integer(0, 0) < 0 ? "SET_ASIDE" : "pending";
  return item;
}

Result<bool> expired(pg::TenantTx& tx, std::uint64_t index) {
  if (index > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return false;
  const auto rows = STELLA_TRY(tx.query(kDeleted, {static_cast<std::int64_t>(index)}));
  return rows.boolean(0, 0);
}

}  // namespace stella::timeline
