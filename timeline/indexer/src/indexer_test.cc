// The log under concurrency and death: gap-free, each event once, ordered per resource, tamper-evident.
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "batch.h"
#include "testkit.h"

extern char** environ;

namespace stella::timeline {
namespace {

IndexerOptions quick(std::string instance) {
  IndexerOptions o;
  o.instance = std::move(instance);
  o.batch = 7;
  o.poll = std::chrono::milliseconds(20);
  o.lease = std::chrono::milliseconds(300);
  return o;
}

TEST(Indexer, GapFreeUnderConcurrentEmittersAndTwoIndexers) {
  Timeline t;
  constexpr int kThreads = 4, kEach = 120;
  std::map<std::string, std::set<std::string>> emitted;
  Mutex mutex;
  {
    Running a(t, nullptr, quick("a"));
    Running b(t, nullptr, quick("b"));
    std::vector<std::thread> emitters;
    for (int n = 0; n < kThreads; ++n)
      emitters.emplace_back([&, n] {
        for (int i = 0; i < kEach; ++i) {
          const std::string tenant = std::array{"acme", "rival", "third"}[static_cast<std::size_t>(i + n) % 3];
          auto tx = pg::TenantTx::open(t.web, testing::TestScope::make(tenant));
          ASSERT_TRUE(tx.has_value()) << tx.error().describe();
          std::vector<std::string> ids;
          for (int k = 0; k <= i % 3; ++k) ids.push_back(emit(*tx, Timeline::event(i))->str());
          if (i % 5 == 4) continue;  // rolled back: no event
          ASSERT_TRUE(tx->commit().has_value());
          Lock lock(mutex);
          emitted[tenant].insert(ids.begin(), ids.end());
        }
      });
    for (auto& e : emitters) e.join();
    EXPECT_TRUE(eventually([&] { return t.drained(); }));
    const auto sa = a.indexer.stats(), sb = b.indexer.stats();
    EXPECT_EQ(sa.quarantined + sb.quarantined, 0u);
  }
  for (const auto& [tenant, ids] : emitted) {
    const auto logged = t.check_log(tenant);
    EXPECT_EQ(std::set<std::string>(logged.begin(), logged.end()), ids) << tenant;
  }
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_event_resources"), t.sql("SELECT count(*) FROM timeline_log"));
}

TEST(Indexer, OrderPerResourceFollowsItsRowLock) {
  Timeline t;
  t.sql("INSERT INTO principals (tenant_id, principal_id, kind, login, display_name, secret_hash)"
        " SELECT 'acme', gen_random_uuid(), 'user', 'u' || i, '0', '' FROM generate_series(1, 3) i");
  {
    Running running(t, nullptr, quick("a"));
    std::vector<std::thread> emitters;
    for (int n = 0; n < 4; ++n)
      emitters.emplace_back([&t, n] {
        for (int i = 0; i < 60; ++i) {
          auto tx = pg::TenantTx::open(t.web, testing::TestScope::make("acme"));
          auto row = tx->query("UPDATE principals SET display_name = (display_name::int + 1)::text WHERE login = $1 RETURNING principal_id, display_name",
                               {"u" + std::to_string((i + n) % 3 + 1)});
          ASSERT_TRUE(row.has_value()) << row.error().describe();
          Event e{.kind = contracts::events::kPrincipalChanged, .resource_type = "principal", .resource_id = std::string(row->text(0, 0))};
          e.details = json::Value::object({{"principal_id", row->text(0, 0)}, {"field", row->text(0, 1)}});
          ASSERT_TRUE(emit(*tx, e).has_value());
          ASSERT_TRUE(tx->commit().has_value());
        }
      });
    for (auto& e : emitters) e.join();
    EXPECT_TRUE(eventually([&] { return t.drained(); }));
  }
  EXPECT_EQ(t.check_log("acme").size(), 240u);
  EXPECT_EQ(t.sql("SELECT count(*) FROM (SELECT (e.details_jsonb->>'field')::int AS n, row_number() OVER (PARTITION BY e.resource_id ORDER BY l.log_index) AS nth"
                  " FROM timeline_log l JOIN timeline_events e USING (tenant_id, event_id)) x WHERE n <> nth"), "0");
}

// Not a test: what KilledAgainAndAgain starts as a process of its own.
TEST(IndexerChild, DISABLED_RunsUntilKilled) {
  const char* conninfo = std::getenv("STELLA_TEST_CONNINFO");
  if (conninfo == nullptr) GTEST_SKIP() << "skipped: only as a child";
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pg::PoolOptions o;
  o.conninfo = conninfo;
  o.password = std::getenv("STELLA_TEST_PASSWORD");
  pg::SystemPool<pg::IndexerRole> pool(o);
  Indexer indexer(pool, nullptr, quick(std::to_string(getpid())));
  indexer.run(std::stop_token());
}

pid_t start_child(const pg::PoolOptions& o) {
  setenv("STELLA_TEST_CONNINFO", o.conninfo.c_str(), 1);
  setenv("STELLA_TEST_PASSWORD", o.password.c_str(), 1);
  const char* argv[] = {"/proc/self/exe", "--gtest_also_run_disabled_tests", "--gtest_filter=IndexerChild.*", "--gtest_brief=1", nullptr};
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, argv[0], nullptr, nullptr, const_cast<char**>(argv), environ), 0);
  return pid;
}

TEST(Indexer, KilledAgainAndAgainLosesAndDoublesNothing) {
  Timeline t;
  const auto options = t.db.options("stella_indexer");
  std::atomic<bool> done = false;
  std::atomic<int> emitted = 0;
  std::thread emitter([&] {
    while (!done) {
      const int n = emitted++;
      t.emit_one(n % 2 == 0 ? "acme" : "rival", Timeline::event(n));
    }
  });
  std::mt19937 random(7);
  auto logged = [&] { return std::stoi(t.sql("SELECT count(*) FROM timeline_log")); };
  for (int round = 0; round < 6; ++round) {
    const pid_t a = start_child(options), b = start_child(options);
    // At some progress, wherever it then is in its work.
    const int target = logged() + 1 + static_cast<int>(random() % 40);
    EXPECT_TRUE(eventually([&] { return logged() >= target; })) << round;
    for (const pid_t pid : {a, b}) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
  done = true;
  emitter.join();
  Running last(t, nullptr, quick("last"));
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size() + t.check_log("rival").size(), static_cast<std::size_t>(emitted));
}

TEST(Indexer, BackendsTerminatedAtAnyPoint) {
  Timeline t;
  Running running(t, nullptr, quick("a"));
  int emitted = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10; ++i) t.emit_one("acme", Timeline::event(emitted++));
    t.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'stella_indexer' AND datname = current_database()");
  }
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size(), static_cast<std::size_t>(emitted));
  EXPECT_TRUE(eventually([&] { return !running.indexer.trouble(); }));
}

struct Steps : ::testing::Test {
  Timeline t;
  int shard = shard_of(*TenantId::parse("acme"));
  Lease lease{shard, 1, "me"};
  Steps() { t.sql("INSERT INTO leases (name, owner, until) VALUES ('timeline/" + std::to_string(shard) + "', 'me', now() + interval '1 hour')"); }
};

TEST_F(Steps, AStaleLeaseIndexesNothing) {
  t.emit_one("acme", Timeline::event(1));
  t.sql("UPDATE leases SET owner = 'other', fence = 2");
  auto done = index_batch(t.indexer_pool, lease, 10, false);
  ASSERT_TRUE(done.has_value());
  EXPECT_TRUE(done->lease_lost);
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox"), "1");
  lease = {shard, 2, "other"};
  EXPECT_EQ(index_batch(t.indexer_pool, lease, 10, false)->taken, 1);
}

TEST_F(Steps, ARepeatSpendsNoIndex) {
  t.emit_one("acme", Timeline::event(1));
  t.sql("CREATE TABLE kept AS SELECT * FROM timeline_outbox");
  ASSERT_EQ(index_batch(t.indexer_pool, lease, 10, false)->taken, 1);
  t.sql("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry, resources)"
        " SELECT shard, tenant_id, event_id, ts, entry, resources FROM kept, generate_series(1, 2)");
  t.emit_one("acme", Timeline::event(2));
  auto conflict = index_batch(t.indexer_pool, lease, 10, false);
  ASSERT_FALSE(conflict.has_value());
  EXPECT_EQ(conflict.error().code().value, 7);
  auto done = index_batch(t.indexer_pool, lease, 10, true);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->taken, 3);
  EXPECT_EQ(done->repeats, 2);
  EXPECT_EQ(t.check_log("acme").size(), 2u);
  EXPECT_TRUE(t.drained());
}

TEST(Indexer, RowsTheDatabaseRefusesAreSetAsideAndCounted) {
  Timeline t;
  const std::string shard = std::to_string(shard_of(*TenantId::parse("acme")));
  t.emit_one("acme", Timeline::event(1));
  t.sql("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES (" + shard + ", 'acme', gen_random_uuid(), now(), 'no json')");
  t.emit_one("acme", Timeline::event(2));
  t.sql("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry, resources) SELECT shard, tenant_id, event_id, ts, entry, resources"
        " FROM timeline_outbox ORDER BY seq LIMIT 1");
  Running running(t, nullptr, quick("a"));
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size(), 2u);
  EXPECT_EQ(running.indexer.stats().quarantined, 1u);
  EXPECT_EQ(running.indexer.stats().repeats, 1u);
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox WHERE shard < 0 AND entry = 'no json'"), "1");
  EXPECT_TRUE(eventually([&] { return running.indexer.stats().set_aside == 1; }));
  // Mended and brought back, it enters the log like any other.
  const std::string entry = *encode_entry(EventId::generate(), Timestamp::now(), *TenantId::parse("acme"), Timeline::event(3));
  t.sql("UPDATE timeline_outbox SET entry = convert_to('" + entry + "', 'UTF8'), shard = -1 - shard WHERE shard < 0");
  EXPECT_TRUE(eventually([&] { return t.sql("SELECT count(*) FROM timeline_log") == "3"; }));
  EXPECT_TRUE(eventually([&] { return running.indexer.stats().set_aside == 0; }));
}

// A row as an emitter with another clock would write it.
void insert_row(Timeline& t, std::string_view tenant_name, std::string_view ts) {
  const auto tenant = *TenantId::parse(tenant_name);
  const EventId id = EventId::generate();
  const auto instant = Timestamp::parse(ts);
  const std::string entry = *encode_entry(id, instant ? *instant : Timestamp::now(), tenant, Timeline::event(0));
  auto tx = pg::TenantTx::open(t.web, testing::TestScope::make(tenant_name));
  ASSERT_TRUE(tx->query("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES ($1, $2, $3, $4::text::timestamptz, $5)",
                        {shard_of(tenant), tenant, id, std::string(ts), pg::Param::bytes(entry)}).has_value());
  ASSERT_TRUE(tx->commit().has_value());
}

// Nobody's clock stops the timeline: neither that of the tenant nor, through the order of the shards, that of others.
TEST(Indexer, AClockThatIsWrongIsSetAsideAndStopsNobody) {
  Timeline t;
  const std::vector<std::string> tenants = {"acme", "rival", "third"};
  for (const auto& tenant : tenants) {
    t.emit_one(tenant, Timeline::event(1));
    for (const char* ts : {"2100-01-01T00:00:00Z", "infinity", "1970-01-01T00:00:00Z", "2031-02-03T00:00:00Z"}) insert_row(t, tenant, ts);
    t.emit_one(tenant, Timeline::event(2));
  }
  Running running(t, nullptr, quick("a"));
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  for (const auto& tenant : tenants) EXPECT_EQ(t.check_log(tenant).size(), 3u) << "its own two, and the one whose month can be made";
  EXPECT_EQ(running.indexer.stats().quarantined, 9u);
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox WHERE shard < 0"), "9");
  EXPECT_TRUE(eventually([&] { return !running.indexer.trouble(); }));
}

TEST(Indexer, AShardThatCannotGoOnStopsNoOther) {
  Timeline t;
  std::map<int, std::string> by_shard;
  for (int i = 0; by_shard.size() < 2; ++i) {
    const std::string tenant = "tenant" + std::to_string(i);
    if (by_shard.emplace(shard_of(*TenantId::parse(tenant)), tenant).second) t.db.tenant(tenant);
  }
  const std::string stuck = by_shard.begin()->second, free = by_shard.rbegin()->second;  // the lower one is worked first
  const std::string shard = std::to_string(by_shard.begin()->first);
  // Refused for a reason that is none of the row's: nothing may be set aside, and all of it comes when the reason is gone.
  t.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.tenant_id = '" + stuck +
        "' THEN RAISE EXCEPTION 'no' USING ERRCODE = '58030'; END IF; RETURN NEW; END $$; CREATE TRIGGER refuse BEFORE INSERT ON timeline_log FOR EACH ROW EXECUTE FUNCTION refuse()");
  for (int i = 0; i < 20; ++i) {
    t.emit_one(stuck, Timeline::event(i));
    t.emit_one(free, Timeline::event(i));
  }
  Running running(t, nullptr, quick("a"));
  EXPECT_TRUE(eventually([&] { return t.sql("SELECT count(*) FROM timeline_log") == "20"; }));
  EXPECT_TRUE(eventually([&] { return running.indexer.trouble().has_value(); }));
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox WHERE shard = " + shard), "20");
  t.sql("DROP TRIGGER refuse ON timeline_log");  // one lock: it cannot be the victim of a deadlock
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log(stuck).size(), 20u);
  EXPECT_EQ(t.check_log(free).size(), 20u);
  EXPECT_EQ(running.indexer.stats().quarantined, 0u);
}

// Nothing is wrong with the events: none is set aside, and those of other tenants in the shard pass them.
TEST(Indexer, AHeadThatContradictsItselfStopsItsTenantAlone) {
  Timeline t;
  const int shard = shard_of(*TenantId::parse("acme"));
  std::string beside;
  for (int i = 0; beside.empty(); ++i)
    if (const std::string tenant = "tenant" + std::to_string(i); shard_of(*TenantId::parse(tenant)) == shard) beside = tenant;
  t.db.tenant(beside);
  t.emit_one("acme", Timeline::event(0));
  IndexerOptions options = quick("a");
  options.batch = 5;
  Running running(t, nullptr, options);
  ASSERT_TRUE(eventually([&] { return t.drained(); }));
  t.sql("UPDATE timeline_heads SET size = size + 1 WHERE tenant_id = 'acme'");
  for (int i = 1; i <= 12; ++i) t.emit_one("acme", Timeline::event(i));  // more than a batch
  for (int i = 0; i < 7; ++i) t.emit_one(beside, Timeline::event(i));
  EXPECT_TRUE(eventually([&] { return t.sql("SELECT count(*) FROM timeline_log WHERE tenant_id = '" + beside + "'") == "7"; }));
  EXPECT_TRUE(eventually([&] { return running.indexer.trouble() && running.indexer.trouble()->field("tenant") == "acme"; }));
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox WHERE shard >= 0 AND tenant_id = 'acme'"), "12");
  EXPECT_EQ(running.indexer.stats().quarantined, 0u);
  t.sql("UPDATE timeline_heads SET size = size - 1 WHERE tenant_id = 'acme'");
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size(), 13u);
  EXPECT_EQ(t.check_log(beside).size(), 7u);
}

// All of them in the first round: the next one is further away than this test has patience.
TEST(Indexer, ManyRefusedRowsTakeNoRoundEach) {
  Timeline t;
  const std::string shard = std::to_string(shard_of(*TenantId::parse("acme")));
  for (int i = 0; i < 60; ++i) {
    t.emit_one("acme", Timeline::event(i));
    t.sql("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES (" + shard + ", 'acme', gen_random_uuid(), now(), 'no json')");
  }
  IndexerOptions options = quick("a");
  options.poll = std::chrono::minutes(5);
  options.batch = 50;
  Running running(t, nullptr, options);
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size(), 60u);
  EXPECT_EQ(running.indexer.stats().quarantined, 60u);
}

TEST_F(Steps, RowsByNumberLeaveTheOthersWhereTheyAre) {
  for (int i = 0; i < 4; ++i) t.emit_one("acme", Timeline::event(i));
  const std::vector<std::string> some = {t.sql("SELECT min(seq) + 1 FROM timeline_outbox"), t.sql("SELECT max(seq) FROM timeline_outbox"), "9000000"};
  auto done = index_rows(t.indexer_pool, lease, some);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->taken, 2);
  EXPECT_EQ(t.sql("SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM timeline_outbox"), t.sql("SELECT min(seq) || ' ' || max(seq) FROM timeline_outbox"));
  EXPECT_EQ(t.sql("SELECT count(*) FROM timeline_outbox"), "2");
}

TEST(Indexer, NulInDetailsAndMonthsWithoutAPartition) {
  Timeline t;
  Event e = Timeline::event(1);
  e.details.set("reason", std::string("a\0b\\u0000", 9));
  t.emit_one("acme", e);
  const auto far = *Timestamp::parse("2031-02-03T04:05:06.000007Z");
  const auto tenant = *TenantId::parse("acme");
  const EventId id = EventId::generate();
  Event future = Timeline::event(2);
  const std::string entry = *encode_entry(id, far, tenant, future);
  const std::vector<pg::Query> insert = {{"SELECT 1", {}}};
  {
    auto tx = pg::TenantTx::open(t.web, testing::TestScope::make("acme"));
    ASSERT_TRUE(tx->query("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES ($1, $2, $3, $4, $5)",
                          {shard_of(tenant), tenant, id, far, pg::Param::bytes(entry)}).has_value());
    ASSERT_TRUE(tx->commit().has_value());
  }
  t.emit_one("acme", Timeline::event(3));
  Running running(t, nullptr, quick("a"));
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_EQ(t.check_log("acme").size(), 3u);
  EXPECT_EQ(running.indexer.stats().quarantined, 0u);
  EXPECT_EQ(t.sql("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'timeline_events_2031_02'"), "t");
}

TEST(Indexer, TamperingShowsInDigestOrRoot) {
  Timeline t;
  for (int i = 0; i < 5; ++i) t.emit_one("acme", Timeline::event(i));
  {
    Running running(t, nullptr, quick("a"));
    ASSERT_TRUE(eventually([&] { return t.drained(); }));
  }
  auto mismatches = [&] {
    return t.sql("SELECT count(*) FROM timeline_log l JOIN timeline_events e USING (tenant_id, event_id) WHERE sha256('\\x00'::bytea || l.entry) <> e.digest");
  };
  EXPECT_EQ(mismatches(), "0");
  t.sql("UPDATE timeline_log SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'test', 'tost'), 'UTF8') WHERE log_index = 3");
  EXPECT_EQ(mismatches(), "1");
  // Whoever also mends the digest still has the root against them.
  t.sql("UPDATE timeline_events e SET digest = sha256('\\x00'::bytea || l.entry) FROM timeline_log l WHERE l.event_id = e.event_id");
  EXPECT_EQ(mismatches(), "0");
  auto rows = pg::detail::read(t.other, nullptr, "SELECT entry FROM timeline_log ORDER BY log_index", {});
  CompactTree tree;
  for (int i = 0; i < rows->size(); ++i) tree.append_entry(rows->bytes(i, 0));
  auto head = pg::detail::read(t.other, nullptr, "SELECT root FROM timeline_heads", {});
  EXPECT_NE(head->bytes(0, 0), tree.root().view());
}

}  // namespace
}  // namespace stella::timeline
