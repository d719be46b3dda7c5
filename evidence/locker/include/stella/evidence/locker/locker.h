// The evidence locker: snapshots become bundles, bundles are read, verified and exported, each step on the timeline.
//
//   request (web)  the closure over digests is written down as objects, a job builds the payload in the sandbox
//   built          orchestrator's handler
//   sealed         role `locker`: hashes the payload itself, builds the tree, signs, stores; the only holder of the evidence key
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/key_history.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/timestamp.h"
#include "stella/evidence/format/verdict.h"
#include "stella/evidence/locker/stamper.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/jobs.h"

namespace stella::telemetry {
class Work;
}

namespace stella::evidence {

// ── Requests ───────────────────────────────────────────────────────────────────────────────────────────────────────

struct SnapshotRequest {
  std::string kind;         // "eval", "job", "export"
  std::string resource_id;  // evaluation, job or export id
  CaseId case_id;
  bool again = false;       // a new bundle although one of this request exists
  bool embed_evaluation = false;  // kind export: the sealed bundle of its evaluation, of the same case, becomes a leaf
  TraceId trace;
  std::string traceparent;
  std::string temp_dir = "/tmp";  // for texts of any length on their way into the store
};
struct Snapshot {
  BundleId bundle_id;
  bool existed = false;
};
// kNotFound, kNotReady (the thing has not ended; there is no bundle to embed), kInvalid (kind). Idempotent on (kind, resource_id, case_id) and on
// the bundle that is embedded.
Result<Snapshot> request_snapshot(pg::TenantTx& tx, objects::Store& store, const SnapshotRequest& request);

struct RedactionRequest {
  BundleId bundle;                    // sealed; may be a redacted copy itself
  std::vector<std::string> withhold;  // as in format/redact.h: paths, beginnings of paths and '*', "role:" and a role
  std::string reason;                 // stands in the copy
  TraceId trace;
  std::string traceparent;
};
// Asks for a redacted copy: another bundle of the same case, which role `locker` makes and signs the authorisation of. Idempotent on bundle,
// withhold (in any order) and reason. kNotFound, kNotReady, kInvalid; that a path matches nothing is seen later: the copy has failed then.
Result<Snapshot> request_redaction(pg::TenantTx& tx, const RedactionRequest& request);

// What GET /evidence/:bundle_id returns: seal, items, signatures, verdict, renewals of its timestamps. Appends evidence.read. kNotFound, kNotReady with state.
struct Trust {
  std::vector<crypto::PublicKey> keys;
  std::vector<crypto::Ed25519PublicKey> log_signers = {};  // none: INCLUSION and CUSTODY are NOT-CHECKED
  std::vector<crypto::PublicKey> former = {};       // compromised: they count for what `history` and `time` say they signed before
  std::optional<crypto::KeyHistory> history = {};   // none: KEY-STATUS is NOT-CHECKED
  std::optional<crypto::TimestampTrust> time = {};  // none: TIME is NOT-CHECKED
  std::size_t time_threshold = 1;                   // how many different authorities must have stamped the seal
  std::optional<Timestamp> at = {};                 // when the authorities' certificates are judged; none: now
};
Result<json::Value> read_bundle(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& bundle, TraceId trace);

// What GET /evidence/:bundle_id/custody returns: who made what from what, as the events that the bundle encloses tell it, each link that leads
// nowhere by name. Says nothing about the log: that is INCLUSION of the verdict. Appends evidence.read. kNotFound, kNotReady, kIntegrity.
Result<json::Value> read_custody(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& bundle, TraceId trace);

// The bytes of a bundle, verified before they leave; evidence.exported names the recipient and is committed by the caller before
// the first byte is sent.
struct ExportedBundle {
  Fd file;
  std::uint64_t size = 0;
  Sha256 sha256;
  std::size_t renewals = 0;  // of its timestamps, which lie beside it: read_bundle has them
};
Result<ExportedBundle> export_bundle(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& bundle, std::string_view recipient, TraceId trace);

// Verdict on a stored bundle or on an uploaded file; appends evidence.verified. An upload whose timestamps have ended is judged with the renewals
// that the tenant has of the bundle it says it is.
Result<json::Value> verify_stored(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& bundle, TraceId trace);
Result<json::Value> verify_upload(pg::TenantTx& tx, objects::Store& store, int fd, const Trust& trust, TraceId trace);

// Handler of evidence.snapshot. `wake` is called after a built snapshot was committed.
std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers(std::function<void()> wake);

// ── Role locker ────────────────────────────────────────────────────────────────────────────────────────────────────

struct LockerOptions {
  std::string temp_dir;         // on the store's file system: a bundle is written there first
  std::string tenant_secret;    // root secret of salts; per tenant by derivation
  std::chrono::milliseconds poll{250};
  // What seals and the first lock of a bundle say about retention; the keeper (keeper.h) has the same two, and goes on from there.
  std::chrono::seconds keep = std::chrono::hours(24 * 365);
  std::string keep_from = "sealed";      // "sealed", or an event that has not happened when the bundle is sealed
  objects::LockDefault lock{};           // of the store's driver: a bundle is never locked for less
  std::string store_name = "posix";      // in store.probed
  std::chrono::seconds probe_every = std::chrono::hours(24);
  std::shared_ptr<Stamper> stamper{};    // null: seals without timestamps
  std::chrono::seconds witness_patience{};  // how long a seal waits for witnesses of the checkpoint that it encloses; then it does without
  std::chrono::seconds renew_before = std::chrono::hours(24 * 90);  // timestamps are stamped again so long before a certificate ends that they rest on
  std::chrono::seconds renew_every = std::chrono::hours(1);         // from the end of one pass over the bundles to the next
  std::chrono::seconds retry{1};  // how long a bundle waits after an error that may pass; twice as long after each further one, up to 60 times
};

class WormWatch;

class Locker {
 public:
  Locker(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store, std::shared_ptr<const crypto::Signer> signer, LockerOptions options);
  ~Locker();
  void start();
  void stop();
  void wake();
  // Signs with this key from the next seal on. Thread-safe.
  void use(std::shared_ptr<const crypto::Signer> signer);
  // Seals what is built, makes the redacted copies that were asked for; how many, failed ones among them. Of each tenant in turn, the
  // oldest first; one that could not be made is put off for a second, two, four … a minute. Looks first at what the store keeps, where that is due.
  // One thread at a time per process, any number of processes.
  Result<int> round();
  // A step of a pass over the bundles whose timestamps end soon: stamps a few of them again. How many it looked at; 0: the pass is over, the next
  // call begins another one. Does nothing without a stamper. From the thread of round().
  Result<int> renew_round();

 private:
  std::chrono::milliseconds turn();
  Result<bool> seal_one(const TenantId& tenant, const BundleId& bundle);
  Result<bool> renew_one(const TenantId& tenant, const BundleId& bundle, Timestamp now, telemetry::Work& work);  // renew.cc; false: no authority offers more time
  Result<bool> renewals_are_there(const TenantId& tenant, const BundleId& bundle);
  Result<void> postpone(const TenantId& tenant, const BundleId& bundle);
  Result<bool> redact_one(const TenantId& tenant, const BundleId& copy);  // redactions.cc

  // How far a pass has come. Each bundle is looked at once in it: one that cannot be renewed does not hold up those behind it.
  struct RenewalPass {
    Timestamp unseen_at, due_at;
    BundleId unseen, due;
    bool nobody_offers = false;  // more time than the bundles have
  };

  pg::SystemPool<pg::LockerRole>& pool_;
  objects::Store& store_;
  LockerOptions options_;
  std::unique_ptr<WormWatch> worm_;
  RenewalPass renewal_;
  Deadline renewal_due_ = Deadline::after(std::chrono::milliseconds(0));  // the thread's
  Mutex mutex_;
  std::shared_ptr<const crypto::Signer> signer_ STELLA_GUARDED_BY(mutex_);
  Rounds rounds_;
};

}  // namespace stella::evidence
