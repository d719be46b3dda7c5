// Migrations: once each, never changed, one at a time; bootstrap: logins without rights they must not have.
#include <gtest/gtest.h>

#include <thread>

#include "stella/base/sync.h"
#include "stella/testing/postgres.h"

namespace stella::pg {
namespace {

using testing::Postgres;

TEST(Migrate, AppliesOnceAndThenFindsThemPresent) {
  testing::TestDatabase db;
  auto again = migrate(db.options("stella_owner"));
  ASSERT_TRUE(again.has_value()) << again.error().describe();
  EXPECT_EQ(again->applied, 0);
  EXPECT_GE(again->present, 3);
}

TEST(Migrate, FreshDatabaseByTwoMigratorsAtOnce) {
  Postgres& cluster = Postgres::shared();
  cluster.sql("CREATE DATABASE twice OWNER stella_owner TEMPLATE template0", "postgres");
  int applied = 0;
  Mutex mutex;
  auto work = [&] {
    auto report = migrate(cluster.options("stella_owner", "twice"));
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    Lock lock(mutex);
    applied += report->applied;
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
  EXPECT_EQ(std::to_string(applied), cluster.sql("SELECT count(*) FROM schema_migrations", "twice"));
}

TEST(Migrate, RefusesAChangedOrUnknownOne) {
  testing::TestDatabase db;
  db.sql("UPDATE schema_migrations SET sha256 = 'x' WHERE name = '0002_isolation'");
  auto changed = migrate(db.options("stella_owner"));
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(changed.error().field("migration"), "0002_isolation");
  testing::TestDatabase newer;
  newer.sql("INSERT INTO schema_migrations VALUES ('9999_future', 'x')");
  auto unknown = migrate(newer.options("stella_owner"));
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().field("migration"), "9999_future");
}

TEST(Migrate, ADatabaseOfBeforeLosesTemporaryObjects) {
  testing::TestDatabase db;
  db.sql("GRANT TEMPORARY ON DATABASE " + db.name + " TO PUBLIC, stella_web, stella_locker; DELETE FROM schema_migrations WHERE name = '0048_definer_paths'");
  auto made = migrate(db.options("stella_owner"));
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  EXPECT_EQ(made->applied, 1);
  for (auto login : logins())
    EXPECT_EQ(db.sql("SELECT has_database_privilege('" + std::string(login) + "', current_database(), 'TEMPORARY')"), login == "stella_owner" ? "t" : "f") << login;
}

TEST(Migrate, WhoMadeAPrincipalIsTakenFromTheTimeline) {
  testing::TestDatabase db;
  db.tenant("acme");
  const std::string ada = "00000000-0000-7000-8000-00000000000a", bob = "00000000-0000-7000-8000-00000000000b";
  db.sql("ALTER TABLE principals DROP COLUMN created_by; DELETE FROM schema_migrations WHERE name = '0057_creators'");
  for (const auto& [id, actor] : {std::pair<std::string, std::string>{ada, "system:init"}, {bob, "user:" + ada}})
    db.sql("INSERT INTO principals (tenant_id, principal_id, kind, login, secret_hash) VALUES ('acme', '" + id + "', 'user', '" + id + "', 'x');"
           "INSERT INTO timeline_events VALUES (gen_random_uuid(), now(), 'acme', NULL, 'principal.created', '" + actor + "', 'principal', '" + id + "', '', sha256('x'), '{}')");
  auto made = migrate(db.options("stella_owner"));
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  EXPECT_EQ(db.sql("SELECT string_agg(login || ' by ' || coalesce(created_by::text, 'nobody'), ', ' ORDER BY login) FROM principals"), ada + " by nobody, " + bob + " by " + ada);
}

TEST(Bootstrap, TakesAwayRightsThatALoginMustNotHave) {
  Postgres& cluster = Postgres::shared();
  cluster.sql("ALTER ROLE stella_web BYPASSRLS CREATEROLE; GRANT TEMPORARY ON DATABASE stella TO stella_web", "postgres");
  std::vector<std::pair<std::string, std::string>> passwords;
  for (auto login : logins()) passwords.emplace_back(login, cluster.password(login));
  auto made = bootstrap(cluster.options(Postgres::superuser(), "postgres"), passwords);
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  EXPECT_EQ(cluster.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'stella\\_%' AND rolname <> 'stella_super'"
                        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)", "postgres"), "0");
  EXPECT_EQ(cluster.sql("SELECT has_database_privilege('stella_web', 'stella', 'TEMPORARY') OR NOT has_database_privilege('stella_web', 'stella', 'CONNECT')", "postgres"), "f");
  // Verifiers only: the server never saw a password.
  EXPECT_EQ(cluster.sql("SELECT count(*) FROM pg_authid WHERE rolname LIKE 'stella\\_%' AND rolpassword NOT LIKE 'SCRAM-SHA-256$%'", "postgres"), "0");
  passwords.pop_back();
  EXPECT_FALSE(bootstrap(cluster.options(Postgres::superuser(), "postgres"), passwords).has_value());
}

TEST(Bootstrap, WrongPasswordIsUnavailableAndSaysNothing) {
  PoolOptions o = Postgres::shared().options("stella_web");
  o.password = "hunter2-canary";
  Pool pool(o);
  auto pinged = pool.ping();
  ASSERT_FALSE(pinged.has_value());
  EXPECT_EQ(pinged.error().code().value, 10);
  EXPECT_EQ(pinged.error().describe().find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace stella::pg
