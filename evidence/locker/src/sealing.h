// What sealing a bundle and redacting one have in common: a file to write to, how long the result is kept, which keys count. Private to the
// role `locker`.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/seal.h"
#include "stella/evidence/locker/locker.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "worm_watch.h"

namespace stella::evidence {

// Jobs of equal inputs reuse each other's outputs; the payload of this bundle is not taken for a result again. $1 and $2: tenant and bundle.
inline constexpr std::string_view kForgetResult =
    "UPDATE jobs j SET idempotency_sha256 = '' FROM evidence_snapshots s, evidence_snapshots o WHERE s.tenant_id = $1 AND s.bundle_id = $2 AND o.tenant_id = s.tenant_id AND o.payload_sha256 = s.payload_sha256 "
    "AND j.tenant_id = o.tenant_id AND j.job_id = o.job_id";

// Largest file of a bundle that is read as a whole.
inline constexpr std::uint64_t kSmallFile = 16u << 20;

// A temporary file that is gone when the object is.
class TempFile {
 public:
  static Result<TempFile> make(const std::string& dir);
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};

// How long a bundle that comes into the store now is kept, and its case's hold.
struct Terms {
  bool held = false;
  Timestamp retain_until;  // zero: nothing says so yet
};
Result<Terms> terms_of(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const CaseId& case_id, const LockerOptions& options, Timestamp sealed_at);

// What comes into a held case is held from its first moment, and what has a retention is locked from its first moment; holds and retention of
// later reach it by the keeper. A store that does not keep locks is not asked for one: some refuse the object then.
objects::ObjectLock lock_for(const Terms& terms, const LockerOptions& options, const std::optional<WormWatch::Seen>& worm, Timestamp now);

// The keys whose statements count for bundles of ours.
Result<std::vector<crypto::PublicKey>> evidence_keys(pg::SystemTx<pg::LockerRole>& tx);

// A bundle that lies in the store becomes one of the locker's: its commitments as objects of their own, its rows. Whether it was made just now or
// before a crash: what is stored counts, since ECDSA is randomised and a second one would differ.
struct Publication {
  TenantId tenant;
  BundleId bundle;
  CaseId case_id;
  std::string kind;
  json::Value labels;
  objects::ObjectLock lock;
  std::optional<Timestamp> sealed_at;  // nullopt: as the seal says
};
struct Published {
  Seal seal;
  Sha256 seal_sha256, sha256;  // of the seal's bytes, of bundle.tgz
  std::uint64_t size = 0;
  std::string signer;          // the first key that the seal names; a bundle of before a crash may have another one than the next gets
};
// kIntegrity, with the digest of what lies there in field sha256, where it is not the bundle that the row is about: its seal names another bundle, tenant
// or case (a redacted copy: has another seal than what it was made from), is not the one that was signed first, or no key of ours signed it. Nothing
// is written then.
Result<Published> publish_bundle(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const Publication& what);

// A bundle that lay in the store already when it was to be made. What is stored before a crash counts, where it verifies; kIntegrity where not.
Result<void> expect_whole(objects::Store& store, const std::string& key, std::span<const crypto::PublicKey> trust);

// Tells the timeline of a bundle that was refused with such an error.
Result<void> tell_refused(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const BundleId& bundle, const CaseId& case_id, const Error& error);

// Digest and size of a file; its offset stays.
struct FileDigest {
  Sha256 sha256;
  std::uint64_t size = 0;
};
Result<FileDigest> digest_of(int fd);

}  // namespace stella::evidence
