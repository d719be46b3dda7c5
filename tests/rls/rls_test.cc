// Proof of tenant isolation in the database: a matrix generated from the catalogue (every table with tenant_id × every command ×
// every login), the flags and policies behind it, and a committed list of all policies and grants.
//
// After a wanted change: STELLA_REGENERATE=1 ctest -R tests_rls rewrites expected_policies.txt; read the difference, then commit it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <set>

#include "stella/base/file.h"
#include "stella/testing/postgres.h"
#include "stella/testing/shared_data.h"

namespace stella {
namespace {

using testing::TestScope;

// Rows that every tenant may read: the public knowledge base.
const std::set<std::string> kKnowledge = {"source_documents", "advisory_observations", "advisory_current", "advisory_segments", "advisory_linksets", "advisory_linkset_members",
                                          "vex_observations", "vex_current", "vex_statement_ids"};

struct Isolation : ::testing::Test {
  testing::TestDatabase db;
  pg::Pool super{db.options("stella_super")};

  pg::Rows rows(std::string_view sql, std::initializer_list<pg::Param> params = {}) {
    auto found = pg::detail::read(super, nullptr, sql, params);
    EXPECT_TRUE(found.has_value()) << found.error().describe();
    return found ? std::move(*found) : pg::Rows();
  }
  std::vector<std::string> column(std::string_view sql, std::initializer_list<pg::Param> params = {}) {
    const pg::Rows found = rows(sql, params);
    std::vector<std::string> out;
    for (int i = 0; i < found.size(); ++i) out.emplace_back(found.text(i, 0));
    return out;
  }
  std::string one(std::string_view sql) {
    const pg::Rows found = rows(sql);
    return found.empty() ? std::string() : std::string(found.text(0, 0));
  }
  // Tables with tenant_id, without partitions.
  std::vector<std::string> tables() {
    return column("SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped"
                  " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace ORDER BY 1");
  }
};

TEST_F(Isolation, EveryTenantTableIsForcedAndHasItsPolicies) {
  const auto all = tables();
  EXPECT_GE(all.size(), 30u);
  for (const auto& table : all) {
    SCOPED_TRACE(table);
    const auto flags = rows("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = $1::regclass", {table});
    EXPECT_TRUE(flags.boolean(0, 0));
    EXPECT_TRUE(flags.boolean(0, 1));
    const auto tenant = rows("SELECT qual, with_check, cmd, permissive, roles::text FROM pg_policies WHERE tablename = $1 AND policyname = 'tenant'", {table});
    ASSERT_EQ(tenant.size(), 1);
    EXPECT_EQ(tenant.text(0, 0), "(tenant_id = stella_tenant())");
    EXPECT_EQ(tenant.text(0, 1), "(tenant_id = stella_tenant())");
    EXPECT_EQ(tenant.text(0, 2), "ALL");
    EXPECT_EQ(tenant.text(0, 4), "{stella_web}");
    // Each policy that lets rows in says which.
    EXPECT_EQ(one("SELECT count(*) FROM pg_policies WHERE tablename = '" + table + "' AND cmd IN ('ALL', 'INSERT', 'UPDATE') AND with_check IS NULL"), "0");
    EXPECT_EQ(one("SELECT count(*) FROM pg_policies WHERE tablename = '" + table + "' AND 'public' = ANY(roles)"), "0");
  }
}

TEST_F(Isolation, PartitionsAreIsolatedAndUnreachable) {
  db.sql("SELECT stella_ensure_timeline_partitions(12)");
  const auto partitions = column("SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p') ORDER BY 1");
  EXPECT_GE(partitions.size(), 16u);
  for (const auto& partition : partitions) {
    SCOPED_TRACE(partition);
    EXPECT_EQ(one("SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = '" + partition + "'"), "t");
    for (auto login : pg::logins()) {
      if (login == "stella_owner") continue;
      EXPECT_EQ(one("SELECT has_table_privilege('" + std::string(login) + "', '" + partition + "', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
                       " OR has_any_column_privilege('" + std::string(login) + "', '" + partition + "', 'SELECT, INSERT, UPDATE, REFERENCES')"), "f")
          << login;
    }
  }
}

TEST_F(Isolation, NoLoginIsOwnerOrAboveTheLaw) {
  for (auto view : pg::logins()) {
    const std::string login(view);
    SCOPED_TRACE(login);
    EXPECT_EQ(one("SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication FROM pg_roles WHERE rolname = '" + login + "'"), "f");
    EXPECT_EQ(one("SELECT count(*) FROM pg_auth_members WHERE member = '" + login + "'::regrole OR roleid = '" + login + "'::regrole"), "0");
    if (login == "stella_owner") continue;
    EXPECT_EQ(one("SELECT count(*) FROM pg_class WHERE relowner = '" + login + "'::regrole"), "0");
    EXPECT_EQ(one("SELECT count(*) FROM pg_proc WHERE proowner = '" + login + "'::regrole"), "0");
    EXPECT_EQ(one("SELECT has_schema_privilege('" + login + "', 'public', 'CREATE') OR has_database_privilege('" + login + "', current_database(), 'CREATE, TEMPORARY')"), "f");
    EXPECT_EQ(one("SELECT count(*) FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND has_table_privilege('" +
                     login + "', c.oid, 'TRUNCATE, REFERENCES, TRIGGER')"), "0");
  }
  // Functions that run as the owner: each is known and cannot be led astray by a search path.
  EXPECT_EQ(column("SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY 1"),
            (std::vector<std::string>{"stella_drop_timeline_partitions", "stella_ensure_timeline_partition_of", "stella_ensure_timeline_partitions"}));
  // With pg_temp last, for it comes first where it is not named; the helper that they call has a path of its own.
  EXPECT_EQ(column("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND (prosecdef OR proconfig::text LIKE '%search_path%')"
                   " AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp'], false) ORDER BY 1"), std::vector<std::string>());
  // No view hides a table's policies, and no sequence or large object is shared.
  EXPECT_EQ(one("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm', 'f')"), "0");
}

// Also where a login had temporary objects: they never stand for what the owner's functions name.
TEST_F(Isolation, TemporaryObjectsDoNotRunAsTheOwner) {
  const std::string make = "CREATE FUNCTION pg_temp.evil() RETURNS oid LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;";
  struct Case {
    std::string login, object, call;
  };
  for (const Case& c : {Case{"stella_locker", "CREATE VIEW pg_temp.pg_inherits AS SELECT pg_temp.evil() AS inhrelid, 'public.timeline_events'::regclass::oid AS inhparent", "SELECT stella_drop_timeline_partitions(now())"},
                        Case{"stella_locker", "CREATE VIEW pg_temp.timeline_events AS SELECT pg_temp.evil()::text::timestamptz AS ts", "SELECT stella_drop_timeline_partitions(now())"},
                        Case{"stella_indexer", "CREATE DOMAIN pg_temp.date AS pg_catalog.date CHECK (pg_temp.evil() IS NOT NULL)", "SELECT stella_ensure_timeline_partitions(3)"},
                        Case{"stella_indexer", "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.evil() IS NOT NULL)", "SELECT stella_ensure_timeline_partition_of(now())"}}) {
    SCOPED_TRACE(c.object);
    db.sql("SELECT stella_ensure_timeline_partition_of(now() - interval '200 days'); GRANT TEMPORARY ON DATABASE " + db.name + " TO " + c.login);
    pg::SystemPool<pg::IndexerRole> pool(db.options(c.login));
    auto tx = pg::SystemTx<pg::IndexerRole>::open(pool);
    for (const std::string& sql : {make, c.object}) {
      auto made = tx->query(sql);
      ASSERT_TRUE(made.has_value()) << made.error().describe();
    }
    if (c.object.starts_with("CREATE VIEW")) {
      ASSERT_TRUE(tx->query("GRANT SELECT ON " + c.object.substr(12, c.object.find(" AS") - 12) + " TO PUBLIC").has_value());
    }
    auto called = tx->query(c.call);
    EXPECT_TRUE(called.has_value()) << called.error().describe();
  }
}

// Logins, tokens and keys come from the authority alone, and what a secret is checked against is for nobody else.
TEST_F(Isolation, OnlyTheAuthorityMakesLoginsAndSeesWhatTheirSecretsAre) {
  for (auto view : pg::logins()) {
    const std::string login(view);
    if (login == "stella_owner" || login == "stella_authority") continue;
    SCOPED_TRACE(login);
    for (const std::string table : {"tenants", "projects", "principals", "tokens", "signing_keys"})
      EXPECT_EQ(one("SELECT has_any_column_privilege('" + login + "', '" + table + "', 'INSERT')"), "f") << table;
    EXPECT_EQ(one("SELECT has_column_privilege('" + login + "', 'principals', 'secret_hash', 'SELECT, UPDATE')"), "f");
    EXPECT_EQ(one("SELECT has_any_column_privilege('" + login + "', 'tenants', 'UPDATE')"), "f");
  }
}

TEST_F(Isolation, PoliciesAndGrantsEqualTheCommittedList) {
  std::string actual = "# Policies and grants of the database, sorted; see rls_test.cc for how to write it anew.\n";
  for (const auto& line : column(
           "SELECT line FROM ("
           " SELECT format('policy %s.%s %s to %s using %s check %s', tablename, policyname, cmd, array_to_string(roles, ','), coalesce(qual, '-'), coalesce(with_check, '-')) AS line"
           "  FROM pg_policies WHERE schemaname = 'public'"
           " UNION ALL SELECT format('grant %s on %s to %s', string_agg(privilege_type, ',' ORDER BY privilege_type), table_name, grantee)"
           "  FROM information_schema.role_table_grants WHERE table_schema = 'public' AND grantee <> 'stella_owner' GROUP BY table_name, grantee"
           " UNION ALL SELECT format('grant %s(%s) on %s to %s', p.privilege_type, string_agg(p.column_name, ',' ORDER BY p.column_name), p.table_name, p.grantee)"
           "  FROM information_schema.column_privileges p WHERE p.table_schema = 'public' AND p.grantee <> 'stella_owner'"
           "  AND NOT EXISTS (SELECT 1 FROM information_schema.role_table_grants t WHERE t.table_schema = 'public' AND t.table_name = p.table_name"
           "   AND t.grantee = p.grantee AND t.privilege_type = p.privilege_type) GROUP BY p.privilege_type, p.table_name, p.grantee"
           " UNION ALL SELECT format('grant EXECUTE on %s to %s', p.oid::regprocedure, coalesce(nullif(a.grantee, 0)::regrole::text, 'public'))"
           "  FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE p.pronamespace = 'public'::regnamespace AND a.grantee <> p.proowner"
           ") AS lines ORDER BY line COLLATE \"C\""))
    actual += line + "\n";
  const std::string path = testing::source_path("tests/rls/expected_policies.txt");
  if (std::getenv("STELLA_REGENERATE") != nullptr) {
    ASSERT_TRUE(write_file_durable(path, actual).has_value());
  }
  EXPECT_EQ(testing::slurp(path), actual);
}

// The matrix. One row of tenants a and b (and `global`) in every table, made as superuser; then everything that stella_web may try.
struct Matrix : Isolation {
  struct Table {
    std::string name;
    std::string columns;                // of a generated row
    std::vector<std::string> values;    // SQL expressions; the tenant stands as %T
    std::vector<std::string> updatable; // by stella_web
    bool selectable = false;
  };
  std::vector<Table> all;
  std::unique_ptr<pg::Pool> web;

  Matrix() {
    pg::PoolOptions o = db.options("stella_web");
    o.max_connections = 1;  // every statement runs on the connection that the one before used
    web = std::make_unique<pg::Pool>(o);
    for (auto t : {"a", "b"}) db.tenant(t);
    for (const auto& name : tables()) all.push_back(describe(name));
    for (const auto& table : all)
      for (auto tenant : {"a", "b", "global"})
        if (table.name != "tenants") insert_as_superuser(table, tenant);
  }

  // A literal that satisfies a column's checks: the first one of IN (…), else text that fits our slug pattern.
  std::string literal(const std::string& table, const std::string& name, const std::string& type) {
    if (name == "tenant_id") return "'%T'";
    if (type == "text") {
      const auto check = column("SELECT (regexp_match(pg_get_constraintdef(c.oid), '''([a-z_]+)''::text'))[1] FROM pg_constraint c"
                                " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)"
                                " WHERE c.contype = 'c' AND c.conrelid = $1::regclass AND a.attname = $2 AND pg_get_constraintdef(c.oid) LIKE '%ARRAY%'",
                                {table, name});
      return check.empty() ? "md5('" + name + "%T')" : "'" + check.front() + "'";
    }
    if (type == "uuid") return "gen_random_uuid()";
    if (type.starts_with("timestamp")) return "now()";
    if (type == "bytea") return "sha256('" + name + "%T')";
    if (type == "jsonb") return "'{}'";
    if (type == "text[]") return "'{}'";
    if (type == "boolean") return "false";
    return "1";
  }
  Table describe(const std::string& name) {
    Table t{name, {}, {}, {}, one("SELECT has_any_column_privilege('stella_web', '" + name + "', 'SELECT')") == "t"};
    const auto found = rows("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute a WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
                            " AND attidentity = '' AND (attname = 'tenant_id' OR (attnotnull AND NOT atthasdef)) ORDER BY attnum", {name});
    for (int i = 0; i < found.size(); ++i) {
      t.columns += (i > 0 ? ", " : "") + std::string(found.text(i, 0));
      t.values.push_back(literal(name, std::string(found.text(i, 0)), std::string(found.text(i, 1))));
    }
    t.updatable = column("SELECT column_name FROM information_schema.column_privileges WHERE grantee = 'stella_web' AND privilege_type = 'UPDATE' AND table_name = $1 ORDER BY 1", {name});
    return t;
  }
  static std::string insert_sql(const Table& t, const std::string& tenant) {
    std::string values;
    for (const auto& v : t.values) values += (values.empty() ? "" : ", ") + v;
    for (std::size_t at; (at = values.find("%T")) != values.npos;) values.replace(at, 2, tenant);
    return "INSERT INTO " + t.name + " (" + t.columns + ") VALUES (" + values + ")";
  }
  void insert_as_superuser(const Table& t, const std::string& tenant) {
    db.sql("SET session_replication_role = replica; " + insert_sql(t, tenant));  // foreign keys are not what is tested here
  }
  std::string stored(const Table& t) { return one("SELECT md5(string_agg(r::text, '|' ORDER BY r::text)) FROM " + t.name + " r"); }

  // In a transaction of tenant "a" that commits where it can.
  Result<pg::Rows> as_a(const std::string& sql) {
    auto tx = pg::TenantTx::open(*web, TestScope::make("a"));
    if (!tx) return std::move(tx.error());
    auto found = tx->query(sql);
    if (found) {
      auto done = tx->commit();
      if (!done) return std::move(done.error());
    }
    return found;
  }
  static bool denied(const Result<pg::Rows>& r) { return !r && r.error().field("sqlstate") == "42501"; }
};

TEST_F(Matrix, TenantASeesAndChangesNothingOfB) {
  for (const auto& t : all) {
    SCOPED_TRACE(t.name);
    const std::string before = stored(t);
    // Read: own rows, and the knowledge base where the table belongs to it; never b, neither by filter nor by count.
    auto seen = as_a("SELECT count(*), count(*) FILTER (WHERE tenant_id = 'b'), count(*) FILTER (WHERE tenant_id = 'a') FROM " + t.name);
    if (t.selectable) {
      ASSERT_TRUE(seen.has_value()) << seen.error().describe();
      EXPECT_EQ(seen->integer(0, 0), kKnowledge.contains(t.name) ? 2 : 1);
      EXPECT_EQ(seen->integer(0, 1), 0);
      EXPECT_EQ(seen->integer(0, 2), 1);
    } else {
      EXPECT_TRUE(denied(seen));
    }
    // Write a row of b, of the knowledge base, of the platform.
    for (auto tenant : {"b", "global", "platform"}) EXPECT_TRUE(denied(as_a(insert_sql(t, tenant)))) << tenant;
    // Delete: refused, or nothing is there.
    if (auto gone = as_a("DELETE FROM " + t.name + " WHERE tenant_id = 'b'"); !denied(gone)) {
      ASSERT_TRUE(gone.has_value()) << gone.error().describe();
      EXPECT_EQ(gone->affected(), 0);
    }
    // Give a row away, or take one.
    EXPECT_TRUE(denied(as_a("UPDATE " + t.name + " SET tenant_id = 'b'")));
    for (const auto& name : t.updatable) {
      EXPECT_NE(name, "tenant_id");
      auto touched = as_a("UPDATE " + t.name + " SET " + name + " = " + name + " WHERE tenant_id = 'b'");
      ASSERT_TRUE(touched.has_value()) << touched.error().describe();
      EXPECT_EQ(touched->affected(), 0) << name;
      auto own = as_a("UPDATE " + t.name + " SET " + name + " = " + name);
      ASSERT_TRUE(own.has_value()) << own.error().describe();
      EXPECT_EQ(own->affected(), 1) << name;  // its own, never the knowledge base's
    }
    if (t.updatable.empty()) {
      EXPECT_TRUE(denied(as_a("UPDATE " + t.name + " SET " + t.columns.substr(0, t.columns.find(',')) + " = NULL")));
    }
    EXPECT_TRUE(denied(as_a("TRUNCATE " + t.name)));
    EXPECT_EQ(stored(t), before);
  }
}

TEST_F(Matrix, WithoutATenantThereIsNothingAlsoAfterPoolReuse) {
  pg::PoolOptions o = db.options("stella_web");
  o.max_connections = 1;
  pg::SystemPool<pg::IndexerRole> bare(o);  // stella_web's login without a tenant, as a forgotten setting would have it
  auto without = [&](const std::string& sql) {
    // The same connection had a tenant a moment ago: committed, and rolled back.
    auto before = pg::TenantTx::open(bare.pool(), TestScope::make("a"));
    EXPECT_TRUE(before->query("SELECT count(*) FROM projects").has_value());
    EXPECT_TRUE(before->commit().has_value());
    {
      auto undone = pg::TenantTx::open(bare.pool(), TestScope::make("b"));
      EXPECT_TRUE(undone->query("SELECT 1").has_value());
    }
    EXPECT_TRUE(pg::TenantTx::read(bare.pool(), TestScope::make("b"), "SELECT 1", {}).has_value());
    auto tx = pg::SystemTx<pg::IndexerRole>::open(bare);
    auto found = tx->query(sql);
    if (found) {
      EXPECT_TRUE(tx->commit().has_value());
    }
    return found;
  };
  for (const auto& t : all) {
    SCOPED_TRACE(t.name);
    const std::string before = stored(t);
    if (t.selectable) {
      auto seen = without("SELECT count(*) FROM " + t.name);
      ASSERT_TRUE(seen.has_value()) << seen.error().describe();
      EXPECT_EQ(seen->integer(0, 0), kKnowledge.contains(t.name) ? 1 : 0);
    }
    for (auto tenant : {"a", "global"}) EXPECT_TRUE(denied(without(insert_sql(t, tenant)))) << tenant;
    if (auto gone = without("DELETE FROM " + t.name); gone) {
      EXPECT_EQ(gone->affected(), 0);
    } else {
      EXPECT_TRUE(denied(gone));
    }
    for (const auto& name : t.updatable) EXPECT_EQ(without("UPDATE " + t.name + " SET " + name + " = " + name)->affected(), 0) << name;
    EXPECT_EQ(stored(t), before);
  }
}

TEST_F(Matrix, BackgroundRolesReachTheirTablesOnly) {
  const std::map<std::string, std::string> kFor = {{"SELECT", "SELECT count(*) FROM %"}, {"DELETE", "DELETE FROM % WHERE false"}};
  for (auto view : pg::logins()) {
    const std::string login(view);
    if (login == "stella_owner" || login == "stella_web") continue;
    SCOPED_TRACE(login);
    pg::SystemPool<pg::IndexerRole> pool(db.options(login));
    for (const auto& t : all) {
      SCOPED_TRACE(t.name);
      for (const auto& [command, pattern] : kFor) {
        std::string sql = pattern;
        sql.replace(sql.find('%'), 1, t.name);
        auto tx = pg::SystemTx<pg::IndexerRole>::open(pool);
        auto found = tx->query(sql);
        // Whoever may read some columns only may count rows as well.
        const std::string may = command == "SELECT" ? "has_any_column_privilege" : "has_table_privilege";
        const bool granted = one("SELECT " + may + "('" + login + "', '" + t.name + "', '" + command + "')") == "t";
        EXPECT_EQ(found.has_value(), granted) << command;
        if (found && command == "SELECT") {
          // A grant comes with a policy for all tenants, else the role would silently see nothing.
          const auto total = one("SELECT count(*) FROM " + t.name);
          EXPECT_EQ(std::to_string(found->integer(0, 0)), total);
        }
      }
    }
  }
}

TEST_F(Matrix, ALoginCannotBecomeAnother) {
  for (auto view : pg::logins()) {
    const std::string login(view);
    pg::SystemPool<pg::IndexerRole> pool(db.options(login));
    for (const std::string sql : {"SET ROLE stella_super", "SET ROLE stella_owner", "SET SESSION AUTHORIZATION stella_super", "SET ROLE stella_web"}) {
      if (sql.ends_with(login)) continue;
      auto tx = pg::SystemTx<pg::IndexerRole>::open(pool);
      EXPECT_TRUE(denied(tx->query(sql))) << login << ": " << sql;
    }
    auto off = pg::SystemTx<pg::IndexerRole>::open(pool);
    // row_security = off makes filtered queries fail instead of showing more.
    ASSERT_TRUE(off->query("SET LOCAL row_security = off").has_value());
    if (login == "stella_web") {
      EXPECT_TRUE(denied(off->query("SELECT count(*) FROM projects")));
    }
  }
}

}  // namespace
}  // namespace stella
