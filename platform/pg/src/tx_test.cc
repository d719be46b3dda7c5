// Transactions against a real server: tenants, roll-back, deferral, errors without values, COPY, reuse.
#include <gtest/gtest.h>

#include "stella/testing/postgres.h"

namespace stella::pg {
namespace {

using testing::TestScope;

struct Transactions : ::testing::Test {
  testing::TestDatabase db;
  TenantId acme = db.tenant("acme");
  TenantId rival = db.tenant("rival");
  Pool web{db.options("stella_web")};
  TenantScope scope = TestScope::make("acme");
  Transactions() { db.sql("GRANT INSERT ON projects TO stella_web"); }  // a small table to write to; requests make projects through the authority

  static constexpr std::string_view kInsert = "INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ($1, $2, $3, $4)";
  Result<Rows> insert(Tx& tx, std::string_view tenant, std::string_view slug) {
    return tx.query(kInsert, {tenant, ProjectId::generate(), slug, "name"});
  }
  std::int64_t count(std::string_view tenant = "acme") {
    auto rows = TenantTx::read(web, TestScope::make(tenant), "SELECT count(*) FROM projects", {});
    EXPECT_TRUE(rows.has_value()) << rows.error().describe();
    return rows ? rows->integer(0, 0) : -1;
  }
};

TEST_F(Transactions, CommitKeepsAndDestructionUndoes) {
  {
    auto tx = TenantTx::open(web, scope);
    ASSERT_TRUE(insert(*tx, "acme", "one").has_value());
    EXPECT_EQ(tx->tenant().str(), "acme");
    int told = 0;
    tx->on_commit([&told] { ++told; });
    EXPECT_EQ(told, 0);
    ASSERT_TRUE(tx->commit().has_value());
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(tx->query("SELECT 1").has_value());
    EXPECT_FALSE(tx->commit().has_value());
  }
  {
    auto tx = TenantTx::open(web, scope);
    ASSERT_TRUE(insert(*tx, "acme", "two").has_value());
  }
  EXPECT_EQ(count(), 1);
  EXPECT_EQ(count("rival"), 0);
}

TEST_F(Transactions, AnotherTenantsRowIsRefused) {
  auto tx = TenantTx::open(web, scope);
  auto foreign = insert(*tx, "rival", "x");
  ASSERT_FALSE(foreign.has_value());
  EXPECT_EQ(foreign.error().field("sqlstate"), "42501");
  EXPECT_FALSE(tx->query("SELECT 1").has_value());  // failed: only rollback is left
  EXPECT_FALSE(tx->commit().has_value());
  EXPECT_EQ(count("rival"), 0);
}

TEST_F(Transactions, DeferredStatementsTravelWithCommitAndFailThere) {
  auto good = TenantTx::open(web, scope);
  good->defer(kInsert, {"acme", ProjectId::generate(), "deferred", "n"});
  good->defer(kInsert, {"acme", ProjectId::generate(), "deferred-2", "n"});
  ASSERT_TRUE(good->commit().has_value());
  EXPECT_EQ(count(), 2);
  auto bad = TenantTx::open(web, scope);
  bool told = false;
  bad->on_commit([&] { told = true; });
  bad->defer(kInsert, {"acme", ProjectId::generate(), "deferred-3", "n"});
  bad->defer(kInsert, {"acme", ProjectId::generate(), "deferred", "n"});
  auto failed = bad->commit();
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code().value, 7);
  EXPECT_EQ(failed.error().field("constraint"), "projects_tenant_id_slug_key");
  EXPECT_EQ(failed.error().field("outcome"), "");
  EXPECT_FALSE(told);
  EXPECT_EQ(count(), 2);
  auto mixed = TenantTx::open(web, scope);
  mixed->defer(kInsert, {"acme", ProjectId::generate(), "deferred-4", "n"});
  auto seen = mixed->query("SELECT count(*) FROM projects");
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->integer(0, 0), 3);
}

TEST_F(Transactions, ErrorsNeverCarryValues) {
  const std::string canary = "canary-4111111111111111";
  for (std::string_view sql : {"SELECT $1::text::uuid", "SELECT $1::text::int", "SELECT 1 / length($1::text) * 0 + ($1::text)::bigint"}) {
    auto tx = TenantTx::open(web, scope);
    auto failed = tx->query(sql, {canary});
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().describe().find("canary"), std::string::npos) << failed.error().describe();
  }
  auto tx = TenantTx::open(web, scope);
  auto invalid = tx->query(kInsert, {"acme", ProjectId::generate(), canary + "!", "n"});
  ASSERT_FALSE(invalid.has_value());
  EXPECT_EQ(invalid.error().code().value, 7);
  EXPECT_EQ(invalid.error().describe().find("canary"), std::string::npos);
  auto missing = TenantTx::read(web, scope, "SELECT nothing FROM projects", {});
  EXPECT_EQ(missing.error().code().value, 1);
}

TEST_F(Transactions, AFailedPreparationIsForgotten) {
  constexpr std::string_view kSql = "SELECT count(*) FROM later_table";
  PoolOptions one = db.options("stella_web");
  one.max_connections = 1;
  Pool pool(one);
  EXPECT_FALSE(TenantTx::read(pool, scope, kSql, {}).has_value());
  db.sql("CREATE TABLE later_table (x int); GRANT SELECT ON later_table TO stella_web");
  auto rows = TenantTx::read(pool, scope, kSql, {});
  EXPECT_TRUE(rows.has_value()) << rows.error().describe();
}

TEST_F(Transactions, ReadsAreReadOnly) {
  auto written = TenantTx::read(web, scope, kInsert, {"acme", ProjectId::generate(), "r", "n"});
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().field("sqlstate"), "25006");
  EXPECT_EQ(written.error().code().value, 1);  // a bug of ours, not an outage
  auto tx = TenantTx::open(web, scope);        // and the setting does not stay on the connection
  ASSERT_TRUE(insert(*tx, "acme", "w").has_value());
  ASSERT_TRUE(tx->commit().has_value());
}

TEST_F(Transactions, MoreStatementTextsThanAConnectionKeeps) {
  PoolOptions one = db.options("stella_web");
  one.max_connections = 1;
  Pool pool(one);
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 700; ++i) {
      auto rows = TenantTx::read(pool, scope, "SELECT $1::int + " + std::to_string(i), {round});
      ASSERT_TRUE(rows.has_value()) << rows.error().describe();
      ASSERT_EQ(rows->integer(0, 0), round + i);
    }
  auto kept = TenantTx::read(pool, scope, "SELECT count(*) FROM pg_prepared_statements", {});
  EXPECT_LE(kept->integer(0, 0), 501);
}

TEST_F(Transactions, SeveralReadsInOneRoundTrip) {
  const std::vector<Query> queries = {{"SELECT stella_tenant()", {}}, {"SELECT $1::int + 1", {41}}, {"SELECT 1 WHERE false", {}}};
  auto rows = TenantTx::read_many(web, scope, queries);
  ASSERT_TRUE(rows.has_value()) << rows.error().describe();
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].text(0, 0), "acme");
  EXPECT_EQ((*rows)[1].integer(0, 0), 42);
  EXPECT_TRUE((*rows)[2].empty());
}

TEST_F(Transactions, ManyRowsInOnePipeline) {
  std::vector<std::vector<Param>> rows;
  for (int i = 0; i < 1200; ++i) rows.push_back({"acme", ProjectId::generate(), "p" + std::to_string(i), std::string(2000, 'x')});
  auto tx = TenantTx::open(web, scope);
  auto affected = tx->query_many(kInsert, rows);
  ASSERT_TRUE(affected.has_value()) << affected.error().describe();
  EXPECT_EQ(*affected, 1200);
  ASSERT_TRUE(tx->commit().has_value());
  EXPECT_EQ(count(), 1200);
  rows.resize(3);
  auto again = TenantTx::open(web, scope);
  EXPECT_EQ(again->query_many(kInsert, rows).error().code().value, 7);
}

TEST_F(Transactions, CopyIntoATemporaryTableThenInsertUnderTheRole) {
  db.sql("GRANT TEMPORARY ON DATABASE " + db.name + " TO stella_web");  // of this test: no login has it
  auto tx = TenantTx::open(web, scope);
  ASSERT_TRUE(tx->query("CREATE TEMPORARY TABLE staged (slug text) ON COMMIT DROP").has_value());
  std::string data;
  for (int i = 0; i < 50'000; ++i) data += "c" + std::to_string(i) + "\n";
  auto copied = tx->copy_in("COPY staged FROM STDIN", data);
  ASSERT_TRUE(copied.has_value()) << copied.error().describe();
  auto moved = tx->query("INSERT INTO projects SELECT stella_tenant(), gen_random_uuid(), slug, slug FROM staged");
  ASSERT_TRUE(moved.has_value()) << moved.error().describe();
  EXPECT_EQ(moved->affected(), 50'000);
  ASSERT_TRUE(tx->commit().has_value());
  auto bad = TenantTx::open(web, scope);
  ASSERT_FALSE(bad->copy_in("COPY projects FROM STDIN", "x\n").has_value());  // PostgreSQL refuses COPY under row security
  EXPECT_EQ(count(), 50'000);
}

TEST_F(Transactions, StatementTimeoutIsATimeoutAndTheConnectionStaysUsable) {
  PoolOptions o = db.options("stella_web");
  o.statement_timeout = std::chrono::milliseconds(30);
  o.max_connections = 1;
  Pool pool(o);
  auto slow = TenantTx::read(pool, scope, "SELECT count(*) FROM generate_series(1, 1000000000)", {});
  ASSERT_FALSE(slow.has_value());
  EXPECT_EQ(slow.error().code().value, 15);
  EXPECT_TRUE(pool.ping().has_value());
}

TEST_F(Transactions, LockConflictsSayRetry) {
  ASSERT_EQ(count(), 0);
  auto a = TenantTx::open(web, scope);
  ASSERT_TRUE(insert(*a, "acme", "one").has_value());
  PoolOptions o = db.options("stella_web");
  o.lock_timeout = std::chrono::milliseconds(20);
  Pool pool(o);
  auto b = TenantTx::open(pool, scope);
  auto blocked = insert(*b, "acme", "one");
  ASSERT_FALSE(blocked.has_value());
  EXPECT_EQ(blocked.error().code().value, 7);
  EXPECT_EQ(blocked.error().field("retry"), "yes");
}

TEST_F(Transactions, SystemTransactionsSeeAllTenantsOfTheirTables) {
  auto tx = TenantTx::open(web, scope);
  ASSERT_TRUE(insert(*tx, "acme", "one").has_value());
  ASSERT_TRUE(tx->commit().has_value());
  SystemPool<AuthorityRole> authority(db.options("stella_authority"));
  auto system = SystemTx<AuthorityRole>::open(authority);
  ASSERT_TRUE(system.has_value());
  auto rows = system->query("SELECT count(*) FROM projects");
  ASSERT_TRUE(rows.has_value()) << rows.error().describe();
  EXPECT_EQ(rows->integer(0, 0), 1);
  EXPECT_FALSE(system->query("SELECT count(*) FROM findings").has_value());
}

}  // namespace
}  // namespace stella::pg
