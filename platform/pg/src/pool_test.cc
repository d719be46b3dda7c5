// The pool: bounded, healing after the server is gone, never handing a connection on that is not clean.
#include <gtest/gtest.h>

#include <thread>

#include "stella/testing/postgres.h"

namespace stella::pg {
namespace {

using testing::TestScope;

TEST(Pool, ExhaustedIsUnavailableAndFreedAgain) {
  PoolOptions o = testing::Postgres::shared().options("stella_web");
  o.max_connections = 1;
  o.acquire_timeout = std::chrono::milliseconds(20);
  Pool pool(o);
  {
    auto tx = TenantTx::open(pool, TestScope::make("acme"));
    ASSERT_TRUE(tx.has_value());
    EXPECT_EQ(pool.in_use(), 1);
    auto second = TenantTx::open(pool, TestScope::make("acme"));
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code().value, 10);
    EXPECT_EQ(second.error().field("part"), "postgresql");
  }
  EXPECT_EQ(pool.in_use(), 0);
  EXPECT_TRUE(pool.ping().has_value());
}

TEST(Pool, HealsAfterTheServerWasKilled) {
  auto cluster = testing::Postgres::start({.migrate = false});
  Pool pool(cluster->options("stella_web"));
  const TenantScope scope = TestScope::make("acme");
  ASSERT_TRUE(TenantTx::read(pool, scope, "SELECT 1", {}).has_value());
  auto open = TenantTx::open(pool, scope);
  ASSERT_TRUE(open.has_value());
  ASSERT_TRUE(open->query("SELECT 1").has_value());
  cluster->kill9();
  auto lost = open->query("SELECT 1");
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code().value, 10);
  EXPECT_FALSE(open->commit().has_value());
  auto away = TenantTx::read(pool, scope, "SELECT 1", {});
  ASSERT_FALSE(away.has_value());
  EXPECT_EQ(away.error().code().value, 10);
  cluster->restart();
  auto back = TenantTx::read(pool, scope, "SELECT 1", {});
  EXPECT_TRUE(back.has_value()) << back.error().describe();
  EXPECT_EQ(pool.in_use(), 1);
  { auto drop = std::move(*open); }
  EXPECT_EQ(pool.in_use(), 0);
}

TEST(Pool, BackendsTerminatedWhileIdleAreNotHandedOut) {
  testing::TestDatabase db;
  Pool pool(db.options("stella_web"));
  const TenantScope scope = TestScope::make("acme");
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(TenantTx::read(pool, scope, "SELECT 1", {}).has_value()) << round;
    db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'stella_web' AND datname = current_database()");
    auto tx = TenantTx::open(pool, scope);
    ASSERT_TRUE(tx.has_value());
    auto rows = tx->query("SELECT current_setting('stella.tenant')");
    ASSERT_TRUE(rows.has_value()) << rows.error().describe();
    EXPECT_EQ(rows->text(0, 0), "acme");
    ASSERT_TRUE(tx->commit().has_value());
  }
}

// Each of them left a last message before its end; the read that is repeated once must not get two such in a row.
TEST(Pool, OfManyTerminatedWhileIdleNoneIsHandedOut) {
  testing::TestDatabase db;
  Pool pool(db.options("stella_web"));
  const TenantScope scope = TestScope::make("acme");
  for (int round = 0; round < 3; ++round) {
    {
      std::vector<TenantTx> open;
      for (int i = 0; i < 4; ++i) {
        auto tx = TenantTx::open(pool, scope);
        ASSERT_TRUE(tx && tx->query("SELECT 1")) << round;
        open.push_back(std::move(*tx));
      }
    }
    db.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'stella_web' AND datname = current_database()");
    auto rows = TenantTx::read(pool, scope, "SELECT 1", {});
    ASSERT_TRUE(rows.has_value()) << round << " " << rows.error().describe();
  }
}

TEST(Pool, ManyThreadsKeepTheirTenants) {
  testing::TestDatabase db;
  PoolOptions o = db.options("stella_web");
  o.max_connections = 3;
  o.acquire_timeout = std::chrono::seconds(60);
  Pool pool(o);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&pool, t] {
      const std::string tenant = "tenant-" + std::to_string(t);
      const TenantScope scope = TestScope::make(tenant);
      for (int i = 0; i < 100; ++i) {
        auto rows = TenantTx::read(pool, scope, "SELECT stella_tenant(), $1::int", {i});
        ASSERT_TRUE(rows.has_value()) << rows.error().describe();
        ASSERT_EQ(rows->text(0, 0), tenant);
        ASSERT_EQ(rows->integer(0, 1), i);
      }
    });
  for (auto& thread : threads) thread.join();
  // Nothing of a tenant stays on a pooled connection.
  auto system = Pool(db.options("stella_web")).ping();
  EXPECT_TRUE(system.has_value());
}

}  // namespace
}  // namespace stella::pg
