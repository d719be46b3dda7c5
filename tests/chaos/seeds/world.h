// What every run begins with, made once: a database and a store in which an evaluation waits to become evidence and old entries wait to expire.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"
#include "stella/platform/objects.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"

namespace stella::chaos {

inline constexpr int kLogKeys = 4;

// Tenants: acme has evidence and a few old entries, beta has more of them than a tile holds, platform is the platform's own.
struct Start {
  Start();
  std::string database;
  testing::TempDir dir;  // objects/, as the store had them
  std::string evaluation, job;
  std::map<std::string, std::vector<std::string>> old;  // tenant → the entries its log begins with
  std::shared_ptr<const crypto::Signer> evidence_key;
  std::vector<std::shared_ptr<const crypto::Ed25519KeyPair>> log_keys;

 private:
  void documents();
  void old_entries(const std::string& tenant, int count, int first_seq);
};

// A copy of the database. Making one takes half a second, bringing its rows back to the beginning a tenth of that: it serves some seeds in a row.
class Copy {
 public:
  Copy(const Start& start, std::string name);
  ~Copy();
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  void reset();
  // The dead do not renew their leases; nobody waits here until they have run out.
  void end_leases();
  // Until what the dead have sent is done: a COMMIT that was under way comes first.
  void await_the_dead();
  const std::string& name() const { return name_; }

 private:
  void run(std::string_view sql);
  const std::string name_;
  pg::SystemPool<pg::IndexerRole> superuser_;  // of this process alone
};

// A real S3 server (bucket.cc), whose buckets are directories.
class Buckets {
 public:
  // null where tools/build-versitygw has built none.
  static std::unique_ptr<Buckets> find();
  virtual ~Buckets() = default;
  // A new bucket with object lock; its directory.
  virtual std::string make(const std::string& name) = 0;
  virtual std::unique_ptr<objects::Store> open(const std::string& name) const = 0;
  // SIGKILL, and a start on the same port.
  virtual void crash() = 0;
};

// What a seed works on: the database as it was in the beginning, and a store of its own: a directory, or a bucket where `buckets` is given.
class World {
 public:
  World(const Start& start, std::string database, Buckets* buckets, std::uint64_t seed);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  std::unique_ptr<objects::Store> open_store() const;

  pg::PoolOptions login(std::string_view role) const { return testing::Postgres::shared().options(role, database); }
  const std::string& objects() const { return objects_; }  // where they lie
  std::string scratch() const { return dir.path() + "/files/tmp"; }
  std::string files() const { return dir.path() + "/files"; }
  std::string told() const { return dir.path() + "/told"; }  // what a client was told, one line each
  std::string log() const { return dir.path() + "/log"; }    // stderr of the processes

  const Start& start;
  const std::string database;
  testing::TempDir dir;
  Buckets* const buckets;

 private:
  std::string bucket_, objects_;
};

}  // namespace stella::chaos
