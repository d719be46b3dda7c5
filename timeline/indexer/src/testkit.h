// What the indexer's tests share: a database with tenants, emitters, a running indexer, and an independent check of the log.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "stella/base/json.h"
#include "stella/base/sync.h"
#include "stella/contracts/events.h"
#include "stella/testing/postgres.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {

// Polls until it holds; false after a minute.
template <class Predicate>
bool eventually(Predicate holds) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(60));
  while (!holds()) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

struct Timeline {
  testing::TestDatabase db;
  pg::Pool web;
  pg::SystemPool<pg::IndexerRole> indexer_pool;
  pg::Pool other;  // reads for the checks

  Timeline() : web(db.options("stella_web")), indexer_pool(patient(db.options("stella_indexer"))), other(db.options("stella_super")) {
    for (auto id : {"acme", "rival", "third"}) db.tenant(id);
  }
  static pg::PoolOptions patient(pg::PoolOptions o) {
    o.acquire_timeout = std::chrono::seconds(20);
    return o;
  }
  static Event event(int number, std::string service = "scanner") {
    Event e{.kind = contracts::events::kServiceDegraded, .resource_type = "service", .resource_id = service};
    e.details = json::Value::object({{"service", service}, {"part", std::to_string(number)}, {"reason", "test"}});
    e.resources = {{"trace", "t" + std::to_string(number % 3)}};
    e.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    return e;
  }
  EventId emit_one(std::string_view tenant, Event e) {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make(tenant));
    EXPECT_TRUE(tx.has_value()) << tx.error().describe();
    auto id = emit(*tx, std::move(e));
    EXPECT_TRUE(id.has_value()) << id.error().describe();
    auto done = tx->commit();
    EXPECT_TRUE(done.has_value()) << done.error().describe();
    return id.value_or(EventId());
  }
  std::string sql(std::string_view text) { return db.sql(text); }
  bool drained() { return sql("SELECT count(*) FROM timeline_outbox WHERE shard >= 0") == "0"; }

  // Every event once, indexes without a gap, leaves and roots as an independent computation has them. Returns ids in log order.
  std::vector<std::string> check_log(const std::string& tenant) {
    auto id = *TenantId::parse(tenant);
    auto rows = pg::detail::read(other, &id,
                                 "SELECT l.log_index, l.event_id, l.entry, e.digest, e.kind, e.details_jsonb->>'part', e.ts FROM timeline_log l"
                                 " LEFT JOIN timeline_events e ON e.tenant_id = l.tenant_id AND e.event_id = l.event_id"
                                 " WHERE l.tenant_id = $1 ORDER BY l.log_index", {tenant});
    EXPECT_TRUE(rows.has_value()) << rows.error().describe();
    std::vector<std::string> ids;
    std::vector<Sha256> leaves;
    for (int i = 0; i < rows->size(); ++i) {
      EXPECT_EQ(rows->integer(i, 0), i) << tenant;
      const std::string entry = rows->bytes(i, 2);
      auto value = json::parse(entry);
      EXPECT_TRUE(value.has_value());
      EXPECT_EQ(value->str("event_id"), rows->text(i, 1));
      EXPECT_EQ(value->str("tenant_id"), tenant);
      EXPECT_EQ(value->str("kind"), rows->text(i, 4));
      EXPECT_EQ(Timestamp::parse(value->str("ts")).value_or(Timestamp()), rows->timestamp(i, 6));
      leaves.push_back(leaf_hash(entry));
      EXPECT_EQ(rows->bytes(i, 3), leaves.back().view()) << "row " << i;
      ids.emplace_back(rows->text(i, 1));
    }
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
    auto head = pg::detail::read(other, &id, "SELECT size, root, tree FROM timeline_heads WHERE tenant_id = $1", {tenant});
    EXPECT_EQ(head->empty() ? 0 : head->integer(0, 0), static_cast<std::int64_t>(ids.size()));
    if (!head->empty()) {
      EXPECT_EQ(head->bytes(0, 1), merkle_root(leaves).view());
      EXPECT_EQ(CompactTree::from_state(head->bytes(0, 2))->root(), merkle_root(leaves));
    }
    return ids;
  }
};

// An indexer on a thread of its own.
class Running {
 public:
  Running(Timeline& timeline, bus::Connection* bus, IndexerOptions options)
      : indexer(timeline.indexer_pool, bus, std::move(options)), thread_([this](std::stop_token stop) { indexer.run(stop); }) {}
  Indexer indexer;

 private:
  std::jthread thread_;  // joined before the indexer goes
};

}  // namespace stella::timeline
