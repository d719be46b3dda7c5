// What sealing a bundle and redacting one have in common: a file to write to, how long the result is kept, which keys count. Private to the
// role `locker`.
#pragma once

#include <optional>
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
Result<Published> publish_bundle(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const Publication& what);

// Digest and size of a file; its offset stays.
struct FileDigest {
  Sha256 sha256;
  std::uint64_t size = 0;
};
Result<FileDigest> digest_of(int fd);

}  // namespace stella::evidence
