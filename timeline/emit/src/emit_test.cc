// Emission against a real database: catalogue, canonical bytes, one transaction, idempotent submission, wake-up after commit only.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "stella/base/json.h"
#include "stella/contracts/events.h"
#include "stella/testing/postgres.h"
#include "stella/timeline/emit.h"

namespace stella::timeline {
namespace {

using testing::TestScope;
namespace events = contracts::events;

struct Emit : ::testing::Test {
  testing::TestDatabase db;
  TenantId acme = db.tenant("acme");
  pg::Pool web{db.options("stella_web")};
  TenantScope scope = TestScope::make("acme");

  static Event degraded(std::string part = "nats") {
    Event e{.kind = events::kServiceDegraded, .resource_type = "service", .resource_id = "scanner"};
    e.details = json::Value::object({{"service", "scanner"}, {"part", std::move(part)}, {"reason", "no answer"}});
    e.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    return e;
  }
  std::string count() { return db.sql("SELECT count(*) FROM timeline_outbox"); }
};

TEST_F(Emit, EntryIsCanonicalAndComplete) {
  auto tx = pg::TenantTx::open(web, scope);
  Event e = degraded();
  e.resources = {{"trace", "x\"y"}};
  e.project = ProjectId::generate();
  auto id = emit(*tx, e);
  ASSERT_TRUE(id.has_value()) << id.error().describe();
  EXPECT_EQ(count(), "0");
  ASSERT_TRUE(tx->commit().has_value());
  const std::string entry = db.sql("SELECT convert_from(entry, 'UTF8') FROM timeline_outbox");
  auto value = json::parse(entry);
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(*json::canonical(*value), entry);
  EXPECT_EQ(value->as_object().size(), 10u);
  EXPECT_EQ(value->str("event_id"), id->str());
  EXPECT_EQ(value->str("tenant_id"), "acme");
  EXPECT_EQ(value->str("actor"), scope.actor());
  EXPECT_EQ(value->str("kind"), "service.degraded");
  EXPECT_EQ(value->str("project_id"), e.project->str());
  EXPECT_EQ(value->str("trace_id"), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(value->find("details")->str("part"), "nats");
  EXPECT_TRUE(Timestamp::parse(value->str("ts")).has_value());
  EXPECT_EQ(db.sql("SELECT shard FROM timeline_outbox"), std::to_string(shard_of(acme)));
  EXPECT_EQ(db.sql("SELECT resources->0->>1 FROM timeline_outbox"), "x\"y");
}

TEST_F(Emit, RollsBackWithTheState) {
  {
    auto tx = pg::TenantTx::open(web, scope);
    ASSERT_TRUE(emit(*tx, degraded()).has_value());
    ASSERT_TRUE(tx->query("SELECT 1").has_value());
  }
  EXPECT_EQ(count(), "0");
}

TEST_F(Emit, RefusesWhatTheCatalogueDoesNotKnow) {
  auto refused = [&](Event e, std::string_view field) {
    auto tx = pg::TenantTx::open(web, scope);
    auto id = emit(*tx, std::move(e));
    ASSERT_FALSE(id.has_value()) << field;
    EXPECT_EQ(id.error().code(), base_errors::kInternal);
    EXPECT_EQ(id.error().field("field"), field);
  };
  Event e = degraded();
  e.kind = "service.exploded";
  refused(e, "kind");
  e = degraded();
  e.details.set("surprise", 1);
  refused(e, "details.surprise");
  e = degraded();
  e.details = json::Value::object({{"service", "s"}, {"part", 7}, {"reason", "r"}});
  refused(e, "details.part");
  e = degraded();
  e.details = json::Value::object({{"service", "s"}});
  refused(e, "details.part");
  e = degraded();
  e.resource_id.clear();
  refused(e, "resource");
  e = degraded();
  e.resources.resize(kMaxResources + 1, {"a", "b"});
  refused(e, "resources");
}

TEST_F(Emit, SizeLimitAtTheEdge) {
  const EventId id = EventId::generate();
  Event e = degraded("");
  const std::size_t base = encode_entry(id, Timestamp(), acme, e)->size();
  EXPECT_TRUE(encode_entry(id, Timestamp(), acme, degraded(std::string(65'535 - base, 'x'))).has_value());
  auto over = encode_entry(id, Timestamp(), acme, degraded(std::string(65'536 - base, 'x')));
  ASSERT_FALSE(over.has_value());
  EXPECT_EQ(over.error().code(), base_errors::kLimit);
}

TEST_F(Emit, KnowledgeBaseEventsBelongToThePlatform) {
  auto tx = pg::TenantTx::open(web, TestScope::make("global"));
  ASSERT_TRUE(emit(*tx, degraded()).has_value());
  auto done = tx->commit();
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(db.sql("SELECT tenant_id FROM timeline_outbox"), "platform");
  // Nobody else writes there.
  auto foreign = pg::TenantTx::open(web, scope);
  ASSERT_FALSE(foreign->query("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES (0, 'platform', gen_random_uuid(), now(), '')").has_value());
}

TEST_F(Emit, BackgroundRolesNameTheTenant) {
  pg::SystemPool<pg::OrchestratorRole> pool(db.options("stella_orchestrator"));
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool);
  ASSERT_TRUE(emit(*tx, acme, degraded()).has_value());
  auto done = tx->commit();
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(db.sql("SELECT convert_from(entry, 'UTF8')::jsonb->>'actor' FROM timeline_outbox"), "service:orchestrator");
}

TEST_F(Emit, ManyInOneGoKeepTheirOrder) {
  auto tx = pg::TenantTx::open(web, scope);
  std::vector<Event> many;
  for (int i = 0; i < 1500; ++i) {
    many.push_back(degraded(std::to_string(i) + "\"\\{},NULL"));
    many.back().resources = {{"trace", "x\"y"}};
  }
  auto ids = emit_many(*tx, many);
  ASSERT_TRUE(ids.has_value()) << ids.error().describe();
  auto done = tx->commit();
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(db.sql("SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY seq) - 1 AS nth, (regexp_match(convert_from(entry, 'UTF8')::jsonb->'details'->>'part', '^[0-9]+'))[1]::int AS n"
                   " FROM timeline_outbox WHERE resources->0->>1 = 'x\"y') x WHERE nth = n"), "1500");
  many.back().kind = "x.y";
  auto bad = pg::TenantTx::open(web, scope);
  EXPECT_EQ(emit_many(*bad, many).error().code(), base_errors::kInternal);
  EXPECT_TRUE(emit_many(*bad, {})->empty());
}

TEST_F(Emit, SubmissionIsIdempotent) {
  const EventId id = EventId::generate();
  auto send = [&](Event e) {
    auto tx = pg::TenantTx::open(web, scope);
    auto done = submit(*tx, {id, std::move(e)});
    if (done) {
      EXPECT_TRUE(tx->commit().has_value());
    }
    return done;
  };
  auto first = send(degraded());
  ASSERT_TRUE(first.has_value()) << first.error().describe();
  EXPECT_FALSE(first->existed);
  auto again = send(degraded());
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->existed);
  auto other = send(degraded("pg"));
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code().value, 7);
  EXPECT_EQ(count(), "1");
  // The same when the row has gone to the log.
  db.sql("INSERT INTO timeline_log SELECT tenant_id, 0, event_id, entry FROM timeline_outbox; DELETE FROM timeline_outbox");
  EXPECT_TRUE(send(degraded())->existed);
  EXPECT_EQ(send(degraded("pg")).error().code().value, 7);
}

TEST_F(Emit, ConcurrentSubmissionsOfOneIdGiveOneRow) {
  const EventId id = EventId::generate();
  std::atomic<int> fresh = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      auto tx = pg::TenantTx::open(web, scope);
      auto done = submit(*tx, {id, degraded()});
      ASSERT_TRUE(done.has_value()) << done.error().describe();
      ASSERT_TRUE(tx->commit().has_value());
      fresh += done->existed ? 0 : 1;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(fresh, 1);
  EXPECT_EQ(count(), "1");
}

TEST_F(Emit, SubmissionsAreCheckedAsInput) {
  auto refused = [&](External external, std::string_view field) {
    auto tx = pg::TenantTx::open(web, scope);
    auto done = submit(*tx, std::move(external));
    ASSERT_FALSE(done.has_value()) << field;
    EXPECT_EQ(done.error().code(), base_errors::kInvalid);
    EXPECT_EQ(done.error().field("field"), field);
  };
  Event internal{.kind = events::kPolicyActivated, .resource_type = "policy", .resource_id = "p"};
  refused({EventId::generate(), internal}, "details.policy_version");
  internal.kind = events::kEvidenceRead;
  Event job = degraded();
  job.resource_type = "job";
  refused({EventId::generate(), job}, "resource_type");
  refused({EventId(*Uuid::parse("0af76519-16cd-43dd-8448-eb211c80319c")), degraded()}, "event_id");
  refused({EventId(), degraded()}, "event_id");
  Event unknown = degraded();
  unknown.kind = "x.y";
  refused({EventId::generate(), unknown}, "kind");
  EXPECT_EQ(count(), "0");
}

TEST_F(Emit, WakesAfterCommitOnly) {
  static std::atomic<int> woken;
  static std::atomic<int> shard;
  woken = 0;
  set_wake_hook([](int s) {
    ++woken;
    shard = s;
  });
  {
    auto tx = pg::TenantTx::open(web, scope);
    ASSERT_TRUE(emit(*tx, degraded()).has_value());
    EXPECT_EQ(woken, 0);
  }
  EXPECT_EQ(woken, 0);
  auto tx = pg::TenantTx::open(web, scope);
  ASSERT_TRUE(emit(*tx, degraded()).has_value());
  ASSERT_TRUE(tx->commit().has_value());
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(shard, shard_of(acme));
  set_wake_hook([](int) {});
}

}  // namespace
}  // namespace stella::timeline
