// Pages against brute force over the same rows: every filter alone and in pairs, keyset while inserts go on, isolation, tampering.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/testing/postgres.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/query.h"

namespace stella::timeline {
namespace {

using testing::TestScope;
namespace events = contracts::events;

const char* const kProjects[] = {"01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"};
const char* const kTraces[] = {"0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"};

struct Queries : ::testing::Test {
  testing::TestDatabase db;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> indexer_pool{db.options("stella_indexer")};
  TenantScope scope = TestScope::make("acme");
  std::vector<Event> emitted;
  std::vector<EventId> ids;

  Queries() {
    db.tenant("acme");
    db.tenant("rival");
  }

  static Event event(int n) {
    Event e{.kind = n % 3 == 0 ? events::kServiceRestored : events::kServiceDegraded, .resource_type = "service"};
    e.resource_id = "s" + std::to_string(n % 5);
    e.details = json::Value::object({{"service", e.resource_id}, {"part", n % 4 == 0 ? "Red part" : "other"}});
    if (e.kind == events::kServiceDegraded) e.details.set("reason", std::to_string(n));
    if (n % 7 == 0) {
      e.kind = events::kPolicyPublished;
      e.resource_type = "policy";
      e.resource_id = "p/" + std::to_string(n);
      const auto* kind = contracts::find_event(e.kind);
      e.details = json::Value::object();
      for (const auto& field : kind->details)
        if (field.required)
          e.details.set(std::string(field.name), field.type == contracts::DetailType::kInt       ? json::Value(n)
                                                 : field.type == contracts::DetailType::kSha256 ? json::Value(std::string(64, 'a'))
                                                                                                : json::Value("red"));
    }
    if (n % 2 == 0) e.project = *ProjectId::parse(kProjects[n % 4 == 0 ? 0 : 1]);
    if (n % 6 == 5) e.actor = "user:special";
    e.trace = *TraceId::parse(kTraces[n % 3]);
    if (n % 4 == 1) e.resources = {{"sbom", "x" + std::to_string(n % 8)}, {"service", "s9"}};
    return e;
  }
  void fill(int count, std::string_view tenant = "acme") {
    for (int n = 0; n < count; ++n) {
      auto tx = pg::TenantTx::open(web, TestScope::make(tenant));
      auto id = emit(*tx, event(n));
      ASSERT_TRUE(id.has_value()) << id.error().describe();
      ASSERT_TRUE(tx->commit().has_value());
      if (tenant != "acme") continue;
      emitted.push_back(event(n));
      ids.push_back(*id);
    }
    index();
  }
  void index() {
    Indexer indexer(indexer_pool, nullptr, {.poll = std::chrono::milliseconds(5)});
    std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (db.sql("SELECT count(*) FROM timeline_outbox") != "0") ASSERT_FALSE(deadline.passed());
  }
  Page page(const Filter& f) {
    auto p = list(web, scope, f);
    EXPECT_TRUE(p.has_value()) << p.error().describe();
    return p ? std::move(*p) : Page();
  }
  // All pages of `f` by its cursor.
  std::vector<std::string> walk(Filter f) {
    std::vector<std::string> out;
    for (int guard = 0; guard < 1000; ++guard) {
      const Page p = page(f);
      for (const auto& item : p.items) out.push_back(item.event_id.str());
      if (!p.next_cursor) return out;
      EXPECT_EQ(p.items.size(), static_cast<std::size_t>(f.limit));
      f.cursor = *p.next_cursor;
    }
    ADD_FAILURE() << "pages without end";
    return out;
  }
  static bool matches(const Event& e, const Filter& f) {
    auto in = [](const auto& list, const auto& x) { return std::find(list.begin(), list.end(), x) != list.end(); };
    if (!f.kinds.empty() && !in(f.kinds, e.kind)) return false;
    if (f.project && e.project != f.project) return false;
    if (!f.actor.empty() && e.actor != f.actor) return false;
    if (!f.trace.empty() && e.trace.hex() != f.trace) return false;
    if (!f.q.empty()) {
      std::string text = json::dump(e.details);
      for (char& c : text) c = static_cast<char>(std::tolower(c));
      if (text.find(f.q) == text.npos) return false;
    }
    if (f.resources.empty()) return true;
    auto all = e.resources;
    all.emplace_back(e.resource_type, e.resource_id);
    for (const auto& r : f.resources)
      for (const auto& [type, id] : all)
        if (type == r.type && (r.prefix ? id.starts_with(r.id) : id == r.id)) return true;
    return false;
  }
  void compare(Filter f, int limit = 7) {
    f.limit = limit;
    std::vector<std::string> expected;
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (matches(emitted[i], f)) expected.push_back(ids[i].str());
    f.order = Order::kLog;
    EXPECT_EQ(walk(f), expected);
    f.order = Order::kTime;
    std::reverse(expected.begin(), expected.end());
    EXPECT_EQ(walk(f), expected);
  }
};

TEST_F(Queries, FiltersAloneAndInPairsAgainstBruteForce) {
  fill(90);
  fill(20, "rival");
  using Set = std::function<void(Filter&)>;
  const std::vector<Set> sets = {
      [](Filter&) {},
      [](Filter& f) { f.kinds = {"service.restored"}; },
      [](Filter& f) { f.kinds = {"policy.published", "service.degraded"}; },
      [](Filter& f) { f.kinds = parse_filter({{"kind", "job.*,policy.*,evidence.*"}})->kinds; },  // more than get an arm each
      [](Filter& f) { f.resources = {{"service", "s3", false}}; },
      [](Filter& f) { f.resources = {{"service", "", true}, {"sbom", "x5", false}}; },
      [](Filter& f) { f.resources = {{"policy", "p/1", true}}; },
      [](Filter& f) { f.resources = {{"service", "s9", false}}; },
      [](Filter& f) { f.project = *ProjectId::parse(kProjects[1]); },
      [](Filter& f) { f.actor = "user:special"; },
      [](Filter& f) { f.trace = kTraces[1]; },
      [](Filter& f) { f.q = "red"; },
      [](Filter& f) { f.q = "nowhere"; },
  };
  for (std::size_t a = 0; a < sets.size(); ++a)
    for (std::size_t b = a; b < sets.size(); ++b) {
      SCOPED_TRACE(std::to_string(a) + "+" + std::to_string(b));
      Filter f;
      sets[a](f);
      sets[b](f);
      compare(f);
    }
}

// An event may name many resources under one prefix: it counts once toward the limit, or a page would end the walk before the last event.
TEST_F(Queries, APrefixThatAnEventMatchesManyTimesLosesNothing) {
  for (int n = 0; n < 36; ++n) {
    Event e = event(1);
    e.resources.clear();
    for (int r = 0; r < 32 - n % 7; ++r) e.resources.emplace_back("advisory", "GHSA-" + std::to_string(n) + "/" + std::to_string(r));
    auto tx = pg::TenantTx::open(web, scope);
    const auto id = emit(*tx, e);
    ASSERT_TRUE(id.has_value()) << id.error().describe();
    ASSERT_TRUE(tx->commit().has_value());
    emitted.push_back(e);
    ids.push_back(*id);
  }
  index();
  for (const auto& [id, prefix] : std::vector<std::pair<std::string, bool>>{{"", true}, {"GHSA-1", true}, {"GHSA-3/3", true}, {"GHSA-7/1", false}})
    for (const int limit : {1, 2, 7, 10, 30, 36, 50, 500}) {
      SCOPED_TRACE(id + " by " + std::to_string(limit));
      compare({.resources = {{"advisory", id, prefix}, {"service", "s9", false}}}, limit);
      compare({.resources = {{"advisory", id, prefix}}}, limit);
    }
}

TEST_F(Queries, WindowIsHalfOpen) {
  fill(20);
  const auto at = [&](std::size_t i) { return get(web, scope, ids[i])->ts; };
  Filter f;
  f.from = at(5);
  f.to = at(12);
  EXPECT_EQ(page(f).items.size(), 7u);
  f.order = Order::kLog;
  EXPECT_EQ(page(f).items.front().event_id, ids[5]);
  f.from_index = 8;
  EXPECT_EQ(page(f).items.size(), 4u);
}

TEST_F(Queries, ASearchLooksAtItsWindowOnlyAndSaysSo) {
  fill(20);
  const Timestamp now = Timestamp::now();
  db.sql("UPDATE timeline_events SET ts = ts - interval '8 days' WHERE event_id IN (SELECT event_id FROM timeline_log WHERE log_index < 8)");
  for (const auto order : {Order::kTime, Order::kLog}) {
    Filter f;
    f.order = order;
    f.q = "red";
    const auto found = [&] {
      std::vector<EventId> out;
      const Page p = page(f);
      for (const Item& item : p.items) out.push_back(item.event_id);
      return std::pair(out.size(), p.searched_from);
    };
    const auto all = found();
    ASSERT_GT(all.first, 0u);
    ASSERT_TRUE(all.second.has_value());
    for (const char* from : {"1970-01-01T00:00:00Z", "2020-01-01T00:00:00Z"}) {
      f.from = *Timestamp::parse(from);
      const auto some = found();
      EXPECT_EQ(some.first, all.first) << from;
      ASSERT_TRUE(some.second.has_value());
      EXPECT_GE(*some.second, now - kSearchWindow);
      EXPECT_LE(*some.second, Timestamp::now() - kSearchWindow);
    }
    f.from = now - kSearchWindow + std::chrono::hours(1);
    EXPECT_FALSE(found().second.has_value()) << "as asked for";
    // An earlier window is asked for by its end.
    f.from = {};
    f.to = now - std::chrono::hours(24 * 7);
    const auto before = found();
    EXPECT_GT(before.first, 0u);
    EXPECT_EQ(*before.second, *f.to - kSearchWindow);
    // Without a text nothing is bounded.
    f = {.from = *Timestamp::parse("1970-01-01T00:00:00Z"), .order = order};
    EXPECT_EQ(found().first, 20u);
  }
}

TEST_F(Queries, SearchesByTextAreFewPerTenant) {
  fill(5);
  std::jthread holder([&] { db.sql("BEGIN; LOCK TABLE timeline_events; SELECT pg_sleep(3); COMMIT"); });
  const auto waiting = [&](const std::string& what) { return db.sql("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database() WHERE l.relation = 'timeline_events'::regclass AND " + what); };
  const Deadline deadline = Deadline::after(std::chrono::seconds(60));
  while (waiting("mode = 'AccessExclusiveLock' AND granted") != "1") ASSERT_FALSE(deadline.passed());
  Filter f;
  f.q = "red";
  std::vector<std::jthread> both;
  for (int i = 0; i < 2; ++i) both.emplace_back([&] { EXPECT_TRUE(list(web, scope, f).has_value()); });
  while (waiting("NOT granted") != "2") ASSERT_FALSE(deadline.passed());
  const auto third = list(web, scope, f);
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().code(), contracts::errors::kRateLimited);
  EXPECT_EQ(third.error().field("retry_after"), "1");
  std::jthread rival([&] { EXPECT_TRUE(list(web, TestScope::make("rival"), f).has_value()) << "another tenant's are its own"; });
  std::jthread other([&] { EXPECT_TRUE(list(web, scope, Filter()).has_value()) << "only searches are"; });
  both.clear();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(list(web, scope, f).has_value()) << "each gives its place back";
}

TEST_F(Queries, LogOrderIsContiguousAndBoundToTheHead) {
  fill(30);
  Filter f;
  f.order = Order::kLog;
  f.from_index = 10;
  f.limit = 15;
  const Page p = page(f);
  ASSERT_EQ(p.items.size(), 15u);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(p.items[static_cast<std::size_t>(i)].log_index, 10 + i);
  EXPECT_EQ(p.head.size, 30);
  auto value = json::parse(p.json());
  ASSERT_TRUE(value.has_value()) << p.json();
  EXPECT_TRUE(value->boolean("contiguous"));
  EXPECT_EQ(value->items("items").size(), 15u);
  EXPECT_EQ(value->items("items")[0].integer("log_index"), 10);
  EXPECT_EQ(value->items("items")[0].str("event_id"), ids[10].str());
  EXPECT_EQ(value->find("head")->str("root"), db.sql("SELECT encode(root, 'hex') FROM timeline_heads WHERE tenant_id = 'acme'"));
  // Bound to what is signed, where something is; and a filtered page says how much of its range it leaves out.
  EXPECT_TRUE(value->find("checkpoint")->is_null());
  EXPECT_EQ(value->integer("left_out", -1), 0);
  db.sql("INSERT INTO timeline_logs (tenant_id, origin, size, root) VALUES ('acme', 'log/1', 20, decode(repeat('ab', 32), 'hex'))");
  const auto bound = json::parse(page(f).json());
  ASSERT_TRUE(bound.has_value());
  EXPECT_EQ(bound->find("checkpoint")->integer("size"), 20);
  EXPECT_EQ(bound->find("checkpoint")->str("origin"), "log/1");
  Filter degraded;
  degraded.kinds = {std::string(events::kServiceDegraded)};
  const Page some = page(degraded);
  ASSERT_GT(some.items.size(), 1u);
  EXPECT_EQ(some.left_out(), *some.items.front().log_index - *some.items.back().log_index + 1 - static_cast<std::int64_t>(some.items.size()));
  EXPECT_GT(some.left_out(), 0);
  Filter none;
  none.q = "nowhere";
  const auto empty = json::parse(page(none).json());
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE(empty->find("next_cursor")->is_null());
  EXPECT_NE(empty->str("searched_from"), "");
}

TEST_F(Queries, PagesAreCompleteAndWithoutDoublesWhileInsertsGoOn) {
  fill(120);
  const std::set<std::string> before = [&] {
    std::set<std::string> s;
    for (const auto& id : ids) s.insert(id.str());
    return s;
  }();
  Indexer indexer(indexer_pool, nullptr, {.poll = std::chrono::milliseconds(5)});
  std::jthread running([&](std::stop_token stop) { indexer.run(stop); });
  std::jthread inserting([&](std::stop_token stop) {
    for (int n = 0; !stop.stop_requested(); ++n) {
      auto tx = pg::TenantTx::open(web, scope);
      if (tx && emit(*tx, event(n))) (void)tx->commit();
    }
  });
  for (const auto order : {Order::kTime, Order::kLog}) {
    Filter f;
    f.order = order;
    f.limit = 9;
    if (order == Order::kLog) f.to = get(web, scope, ids.back())->ts + std::chrono::microseconds(1);
    const auto seen = walk(f);
    const std::set<std::string> unique(seen.begin(), seen.end());
    EXPECT_EQ(unique.size(), seen.size());
    EXPECT_TRUE(std::includes(unique.begin(), unique.end(), before.begin(), before.end()));
  }
}

TEST_F(Queries, OneEventPendingThenLogged) {
  auto tx = pg::TenantTx::open(web, scope);
  const auto id = *emit(*tx, event(1));
  ASSERT_TRUE(tx->commit().has_value());
  auto pending = get(web, scope, id);
  ASSERT_TRUE(pending.has_value()) << pending.error().describe();
  EXPECT_EQ(pending->state, "pending");
  EXPECT_FALSE(pending->log_index.has_value());
  EXPECT_TRUE(json::parse(pending->json()).has_value()) << pending->json();
  index();
  auto logged = get(web, scope, id);
  EXPECT_EQ(logged->state, "ok");
  EXPECT_EQ(logged->log_index, 0);
  EXPECT_EQ(logged->entry, pending->entry);
  EXPECT_EQ(logged->digest, pending->digest);
  auto value = json::parse(logged->json());
  ASSERT_TRUE(value.has_value()) << logged->json();
  EXPECT_EQ(value->str("kind"), "service.degraded");
  EXPECT_EQ(value->str("digest"), logged->digest.hex());
  // Unknown, and another tenant's: the same.
  EXPECT_EQ(get(web, scope, EventId::generate()).error().describe(), get(web, TestScope::make("rival"), id).error().describe());
  EXPECT_EQ(get(web, TestScope::make("rival"), id).error().code(), base_errors::kNotFound);
}

// What waits is not looked at yet: whatever its bytes are, the answer is JSON and says how it stands.
TEST_F(Queries, WhatTheDatabaseRefusesSaysSo) {
  const std::string id = EventId::generate().str();
  for (const char* entry : {"no json", "", "12345", "{\"kind\":\"x\""}) {
    db.sql("DELETE FROM timeline_outbox; INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES (" + std::to_string(shard_of(scope.tenant())) + ", 'acme', '" + id + "', now(), '" + entry + "')");
    const auto waits = get(web, scope, *EventId::parse(id));
    ASSERT_TRUE(waits.has_value()) << waits.error().describe();
    EXPECT_EQ(waits->state, "pending");
    EXPECT_EQ(json::parse(waits->json())->str("event_id"), id) << entry;
    db.sql("UPDATE timeline_outbox SET shard = -1 - shard, ts = 'infinity'");
    const auto refused = get(web, scope, *EventId::parse(id));
    EXPECT_EQ(refused->state, "SET_ASIDE");
    const auto value = json::parse(refused->json());
    ASSERT_TRUE(value.has_value()) << refused->json();
    EXPECT_EQ(value->str("event_id"), id);
    EXPECT_EQ(value->str("state"), "SET_ASIDE");
    EXPECT_TRUE(value->find("log_index")->is_null());
  }
}

TEST_F(Queries, AnotherTenantSeesNothingWhateverTheFilter) {
  fill(20);
  const TenantScope rival = TestScope::make("rival");
  for (const auto order : {Order::kTime, Order::kLog})
    for (int n = 0; n < 3; ++n) {
      Filter f;
      f.order = order;
      if (n == 1) f.resources = {{"service", "", true}};
      if (n == 2) f.trace = kTraces[0];
      auto p = list(web, rival, f);
      ASSERT_TRUE(p.has_value());
      EXPECT_TRUE(p->items.empty());
      EXPECT_EQ(p->head.size, 0);
    }
}

TEST_F(Queries, TamperedRowsAreShownAsWhatTheyAre) {
  fill(6);
  db.sql("UPDATE timeline_log SET entry = 'no json \"' WHERE log_index = 2");
  db.sql("UPDATE timeline_events SET digest = decode(repeat('00', 32), 'hex') WHERE event_id = '" + ids[3].str() + "'");
  db.sql("DELETE FROM timeline_log WHERE log_index = 4");
  EXPECT_EQ(get(web, scope, ids[1])->state, "ok");
  EXPECT_EQ(get(web, scope, ids[2])->state, "INVALID");
  EXPECT_EQ(get(web, scope, ids[3])->state, "INVALID");
  const Page p = page(Filter());
  ASSERT_EQ(p.items.size(), 6u);
  EXPECT_EQ(p.items[1].state, "MISSING");
  EXPECT_EQ(p.items[1].event_id, ids[4]);
  auto value = json::parse(p.json());
  ASSERT_TRUE(value.has_value()) << p.json();
  EXPECT_EQ(value->items("items")[3].str("state"), "INVALID");
  EXPECT_EQ(value->items("items")[3].find("details"), nullptr);  // what was not proven is not shown as content
}

// Nobody finds it by a filter any more; the log has it, and says what it is.
TEST_F(Queries, ADeletedSearchRowIsMissing) {
  fill(6);
  db.sql("DELETE FROM timeline_event_resources WHERE event_id = '" + ids[3].str() + "'; DELETE FROM timeline_events WHERE event_id = '" + ids[3].str() + "'");
  const auto item = get(web, scope, ids[3]);
  ASSERT_TRUE(item.has_value());
  EXPECT_EQ(item->state, "MISSING");
  EXPECT_EQ(item->log_index, 3);
  EXPECT_NE(item->kind, "");
  EXPECT_GT(item->ts.micros(), 0);
  Filter f;
  f.order = Order::kLog;
  const Page p = page(f);
  ASSERT_EQ(p.items.size(), 6u);
  EXPECT_EQ(p.items[3].state, "MISSING");
  const auto value = json::parse(p.json());
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(value->items("items")[3].str("event_id"), ids[3].str());
  EXPECT_EQ(value->items("items")[3].str("digest"), leaf_hash(p.items[3].entry).hex());
  EXPECT_NE(value->items("items")[3].find("details"), nullptr) << "its bytes are those that the log signed";
}

TEST_F(Queries, WhatDispositionsDeletedStandsInItsPlace) {
  fill(40);
  db.sql("CREATE TABLE old AS SELECT log_index, event_id FROM timeline_log WHERE log_index IN (0,1,2,3,4,6,7,20,39) OR log_index = 30");
  db.sql("DELETE FROM timeline_events e USING old o WHERE e.event_id = o.event_id; DELETE FROM timeline_log l USING old o WHERE l.event_id = o.event_id");
  // Index 10 is there although a disposition has it; 30 is gone although none has it.
  db.sql("INSERT INTO timeline_dispositions (tenant_id, disposition_id, from_index, below_index, state, gone, planned_at, planned_event) VALUES"
         " ('acme', gen_random_uuid(), 0, 15, 'executed', '{[0,5),[6,8),[10,11)}', now(), gen_random_uuid()), ('acme', gen_random_uuid(), 15, 40, 'executed', '{[20,21),[39,40)}', now(), gen_random_uuid()),"
         " ('acme', gen_random_uuid(), 15, 40, 'refused', '{[30,31)}', now(), gen_random_uuid()), ('rival', gen_random_uuid(), 0, 40, 'executed', '{[0,40)}', now(), gen_random_uuid())");
  const Leaves leaves = [](std::span<const std::uint64_t> indexes) -> Result<std::vector<Sha256>> {
    std::vector<Sha256> out;
    for (const std::uint64_t index : indexes) out.push_back(leaf_hash(std::to_string(index)));
    return out;
  };
  {
    auto tx = std::move(pg::TenantTx::open(web, scope).value());
    for (const std::uint64_t index : {0u, 4u, 7u, 39u}) EXPECT_TRUE(expired(tx, index).value()) << index;
    for (const std::uint64_t index : {5u, 30u, 40u, 1000u}) EXPECT_FALSE(expired(tx, index).value()) << index;
    EXPECT_FALSE(expired(tx, ~std::uint64_t{0}).value());
  }
  for (const int limit : {1, 3, 7, 40, 500}) {
    Filter f;
    f.order = Order::kLog;
    f.limit = limit;
    std::vector<std::int64_t> seen;
    for (int guard = 0; guard < 100; ++guard) {
      const auto p = list(web, scope, f, leaves);
      ASSERT_TRUE(p.has_value()) << p.error().describe();
      EXPECT_LE(p->items.size(), static_cast<std::size_t>(limit));
      for (const Item& item : p->items) {
        const std::int64_t index = *item.log_index;
        const bool gone = index < 5 || index == 6 || index == 7 || index == 20 || index == 39;
        EXPECT_EQ(item.state, gone ? "EXPIRED" : "ok") << index;
        if (gone) {
          EXPECT_EQ(item.json(), "{\"log_index\":" + std::to_string(index) + ",\"digest\":\"" + leaf_hash(std::to_string(index)).hex() + "\",\"state\":\"EXPIRED\"}");
        }
        seen.push_back(index);
      }
      if (!p->next_cursor) break;
      f.cursor = *p->next_cursor;
    }
    std::vector<std::int64_t> expected;
    for (std::int64_t i = 0; i < 40; ++i)
      if (i != 30) expected.push_back(i);
    EXPECT_EQ(seen, expected) << "limit " << limit;
  }
  Filter from;
  from.order = Order::kLog;
  from.from_index = 7;
  EXPECT_EQ(*list(web, scope, from, leaves)->items.front().log_index, 7);
  EXPECT_EQ(*list(web, scope, from)->items.front().log_index, 8) << "without the hashes they are left out";
  from.actor = "user:special";
  const auto filtered = list(web, scope, from, leaves);
  ASSERT_TRUE(filtered.has_value());
  for (const Item& item : filtered->items) EXPECT_EQ(item.state, "ok");
  const auto lost = list(web, scope, {.order = Order::kLog}, [](std::span<const std::uint64_t>) -> Result<std::vector<Sha256>> { return Error(base_errors::kNotFound, "a tile is lost"); });
  EXPECT_FALSE(lost.has_value());
}

}  // namespace
}  // namespace stella::timeline
