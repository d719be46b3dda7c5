// The keeper, part of the role `locker`: carries holds and retention to the object store, and deletes evidence and entries of logs that nothing
// keeps any more.
//
//   adopt      a sealed bundle gets its retention; clocks that start at an event start when it has happened
//   reconcile  the store's one legal-hold bit is on while the case has a hold; the lock reaches the retention; looked at again and again
//   destroy    a tenant's encryption key, asked for by a person, in the same three steps: what it encrypted is gone in every copy
//   expire     entries of a log whose retention ended, in the same three steps; their hashes stay in the tiles
//   dispose    disposition.planned, a checkpoint that covers it, the deletion, disposition.executed; seal, root and events stay
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/base/time.h"
#include "stella/crypto/kms.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

struct KeeperOptions {
  std::chrono::seconds keep = std::chrono::hours(24 * 365);  // from the base event on
  std::string base_event = "sealed";                         // "sealed", "published" (first export), "case_closed"
  bool dispose = false;                                      // plan deletions of bundles by itself
  std::chrono::days timeline_keep{0};                        // how long the entries of logs are kept; 0: for good
  std::string clock_checked;        // RFC 3339: when a person last found the clock right; ends a freeze
  std::chrono::milliseconds poll{1000};
  std::chrono::seconds look_again = std::chrono::hours(1);   // how often the store's locks of a bundle are compared although nothing changed
  std::shared_ptr<crypto::Kms> tenant_keys{};                // null: encryption was never on
  std::function<Timestamp()> now = [] { return Timestamp::now(); };
  // Time since some instant, by a clock that nobody can set and that goes on while the machine sleeps.
  std::function<std::chrono::microseconds()> elapsed;        // empty: CLOCK_BOOTTIME
};

// What became of an attempt to delete a bundle.
struct Disposition {
  enum State : std::uint8_t { kRefused, kPlanned, kWaiting, kExecuted } state = kRefused;
  std::string reason;  // where refused
};

class Keeper {
 public:
  // kInvalid for a base_event or clock_checked that is none.
  static Result<void> check(const KeeperOptions& options);
  Keeper(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store, KeeperOptions options);
  ~Keeper();
  void start();
  void stop();

  // Everything that is due; how many bundles were looked at or moved on. One thread at a time per process, any number of processes.
  Result<int> round();
  // The first step of deleting one bundle, or what a snapshot that failed left in the store: kPlanned or kRefused (kConflict where it is planned already). round() does it for each that has
  // expired, with `dispose`.
  Result<Disposition> plan(const TenantId& tenant, const BundleId& bundle);
  // The second and third: kWaiting until a checkpoint covers the plan. kNotFound where nothing is planned.
  Result<Disposition> execute(const TenantId& tenant, const BundleId& bundle);
  // The same for the key of everything that the tenant has in the store. kRefused while a hold of the tenant or the retention of one bundle needs
  // it; kNotFound where the tenant has no key (or had one); kInvalid without a purpose, which stands in the record.
  Result<Disposition> plan_key(const TenantId& tenant, std::string_view purpose);
  Result<Disposition> execute_key(const TenantId& tenant);
  // A new version of that key: what is stored from now on is encrypted under it, what is there stays readable. Its id. kNotFound where the tenant has
  // no key, kConflict where it was destroyed or is about to be. Any process may do it; the others follow within seconds.
  Result<std::string> rotate_key(const TenantId& tenant, std::string_view reason);
  // Writes down which versions there are (tenant_keys) and tells a tenant's timeline of those that are new; how many.
  Result<int> record_keys();
  // The same for entries of the tenant's log, from the first about which nothing was decided: as many as have expired, 65 536 at most. kWaiting where
  // none has. kRefused where rows and tiles differ (the second step: or search tables do, or any hold of the tenant is in force). round() does it where it is due.
  Result<Disposition> plan_timeline(const TenantId& tenant);
  Result<Disposition> execute_timeline(const TenantId& tenant);
  // Why deletions stand still; "" where they do not.
  std::string frozen() const;

 private:
  using Tx = pg::SystemTx<pg::LockerRole>;
  Result<void> believe_clock();
  Result<int> adopt();
  Result<std::int64_t> begin_at_exports(Tx& tx, const std::vector<std::string>& fresh, std::map<std::string, std::int64_t>& read);
  Result<int> reconcile();
  Result<bool> reconcile_one(const TenantId& tenant, const BundleId& bundle);
  Result<void> postpone(const TenantId& tenant, const BundleId& bundle);
  // What a round came to in one queue of dispositions.
  struct Steps {
    int done = 0;
    std::optional<Error> trouble = std::nullopt;  // the last
  };
  Result<void> note_step(Steps& steps, Result<Disposition> one, std::string_view put_off, std::vector<pg::Param> which);
  Result<int> dispose();
  Result<Disposition> plan_expired(const TenantId& tenant, const BundleId& bundle);
  Result<Disposition> plan_as(const TenantId& tenant, const BundleId& bundle, bool asked);
  struct Doomed;
  Result<void> look_at_store(Doomed& found, const std::string& bundle_key);
  Result<std::optional<Doomed>> look(Tx& tx, const TenantId& tenant, const BundleId& bundle);
  Result<std::string> key_needed(Tx& tx, const TenantId& tenant);
  Result<std::string> key_needed_in_store(const TenantId& tenant);
  Result<std::optional<Disposition>> plan_key(const TenantId& tenant, std::string_view purpose, const std::optional<std::string>& by_store);
  Result<std::optional<Disposition>> execute_key(const TenantId& tenant, const std::optional<std::string>& by_store);
  Result<int> record_keys_of(const TenantId& tenant, std::uint64_t known);
  Result<Disposition> refuse_key(Tx& tx, const TenantId& tenant, const std::string& id, std::string reason);
  Result<int> destroy_keys();
  Result<void> record_key(Tx& tx, const TenantId& tenant, const std::string& id, std::uint64_t version);
  Result<int> expire_timelines();
  Result<int> drop_partitions();
  Result<bool> destroy(Tx& tx, const Doomed& bundle);  // false: the store does not let go yet

  pg::SystemPool<pg::LockerRole>& pool_;
  objects::Store& store_;
  const KeeperOptions options_;
  struct Anchor {
    Timestamp wall;
    std::chrono::microseconds elapsed;
  };
  std::optional<Anchor> anchor_;  // a reading of this process that was believed
  bool looked_for_orphans_ = false;
  std::map<std::string, std::int64_t> exports_read_;  // of tenants whose bundles wait for their first export: how much of the log was read
  std::optional<Deadline> keys_recorded_until_;
  std::chrono::microseconds next_expiry_ = std::chrono::microseconds::min(), next_drop_ = std::chrono::microseconds::min();  // by `elapsed`
  std::string expiry_after_;  // the last tenant that was looked at, where there are more of them
  struct Looked {
    Timestamp cutoff;
    std::int64_t size;
    bool operator==(const Looked&) const = default;
  };
  std::map<std::string, Looked> nothing_expired_;  // old logs of which all stays for good: nothing new to see while these are the same
  mutable Mutex mutex_;
  std::string frozen_ STELLA_GUARDED_BY(mutex_);
  Rounds rounds_;
};

}  // namespace stella::evidence
