// A private PostgreSQL cluster for one test binary: started at first use, bootstrapped, migrated, removed at exit.
// Runs as a user that is not root; listens on a Unix socket in a short directory (and on a free TCP port where asked).
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/platform/pg.h"
#include "stella/tenancy/scope.h"

namespace stella::testing {

class Postgres {
 public:
  struct Options {
    bool durable = false;  // fsync and synchronous commits as in production: for kill tests
    bool tcp = false;      // also listen on 127.0.0.1:port()
    bool migrate = true;
    std::vector<std::pair<std::string, std::string>> settings = {};  // postgresql.conf
  };

  // The cluster of this process; aborts with the server's log where it cannot start.
  static Postgres& shared();
  static std::unique_ptr<Postgres> start(const Options& options);
  static std::unique_ptr<Postgres> start() { return start(Options()); }
  ~Postgres();
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;

  // A fresh database with the migrated schema, copied from a template; its name. Milliseconds.
  std::string create_database();
  // How `login` ("stella_web", "stella_owner", … or superuser()) connects to `database` ("" = the default database `stella`).
  pg::PoolOptions options(std::string_view login, std::string_view database = {}) const;
  static constexpr std::string_view superuser() { return "stella_super"; }
  std::string password(std::string_view login) const;
  const std::string& socket_dir() const { return socket_dir_; }
  int port() const { return port_; }

  // SQL as superuser (several statements allowed); fails the test on an error. First column of the last row, "" where none.
  std::string sql(std::string_view text, std::string_view database = {});

  // Kills the postmaster and all backends with SIGKILL and waits for them; the data directory stays.
  void kill9();
  // Starts again after kill9(); waits until it answers.
  void restart();

 private:
  Postgres() = default;
  void init(const Options& options);
  void launch();
  void stop(int signal);

  Options options_;
  std::string dir_;
  std::string socket_dir_;
  std::string template_;
  std::string secret_;
  int port_ = 5432;
  pid_t pid_ = -1;
  int databases_ = 0;
};

// A fresh migrated database of the shared cluster with the tenants that tests use, and pools on it.
struct TestDatabase {
  TestDatabase();
  std::string name;
  pg::PoolOptions options(std::string_view login) const { return Postgres::shared().options(login, name); }
  // Adds a tenant row; tests of tables that reference tenants need it.
  TenantId tenant(std::string_view id);
  std::string sql(std::string_view text) { return Postgres::shared().sql(text, name); }
};

// The tests' own maker of scopes: the production code has one maker, services/authority.
class TestScope {
 public:
  static TenantScope make(std::string_view tenant, std::string actor = "user:00000000-0000-7000-8000-000000000001");
};

}  // namespace stella::testing
