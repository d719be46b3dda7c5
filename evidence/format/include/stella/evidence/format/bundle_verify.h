// Verifying a bundle and reading files out of it, in one pass over a stream. Offline: what is trusted comes from the caller.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/crypto/key_history.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/timestamp.h"
#include "stella/evidence/format/stream.h"
#include "stella/evidence/format/tar.h"
#include "stella/evidence/format/time_renewal.h"
#include "stella/evidence/format/verdict.h"
#include "stella/timeline/log/note.h"
#include "stella/timeline/log/policy.h"
#include "stella/timeline/log/proofs.h"

namespace stella::evidence {

// A checkpoint that the verifier kept from before, and the proof that leads from the smaller of it and the enclosed one to the larger.
struct KeptCheckpoint {
  std::string note;                 // as the log served it
  timeline::Proof consistency;      // GET /timeline/proof; empty for equal sizes
  std::string_view source;          // "--checkpoint FILE"
};

// What the store says about the bundle's object now: only whoever asks the store can know it.
struct StoreState {
  Timestamp retain_until;           // zero: not locked
  bool held = false;                // a legal hold is on it
  std::string_view source;          // "the object store"
};

struct VerifyOptions {
  std::span<const crypto::PublicKey> trust;  // none: AUTHENTICITY is NOT-CHECKED
  std::span<const crypto::PublicKey> former; // compromised: they count for what a history and a trusted time say they signed before (KEY-STATUS, COMPLETENESS)
  std::string_view trust_source;             // where they came from, for the verdict: "--trust key.pub"
  std::size_t threshold = 1;                 // how many different trusted keys must have signed the seal
  const crypto::TimestampTrust* time_trust = nullptr;  // null: TIME is NOT-CHECKED
  std::string_view time_source;
  std::size_t time_threshold = 1;            // how many different authorities must have stamped a signature
  // The time of the verdict: a stamp whose authority's certificates have ended by then needs a renewal. None: each is judged at its own time, unless
  // one of its certificates was revoked.
  std::optional<Timestamp> at = {};
  std::span<const TimeRenewal> renewals = {};  // of its timestamps, which lie beside the bundle; the first one first
  std::span<const timeline::VerifierKey> log_keys;     // of logs by name; with log_signers none: INCLUSION is NOT-CHECKED
  std::span<const crypto::Ed25519PublicKey> log_signers;  // of an installation: trusted for whatever log they sign
  std::string_view log_source;
  // Who must have cosigned the deployment log's checkpoint that covers the enclosed one; null: a proof without cosignatures is enough, and a
  // bundle without proof (of before there was a deployment log) is one without.
  const timeline::LogPolicy* witnesses = nullptr;
  const KeptCheckpoint* kept = nullptr;      // null: CONSISTENCY is NOT-CHECKED
  const crypto::KeyHistory* key_history = nullptr;     // null: KEY-STATUS is NOT-CHECKED
  std::string_view key_source;
  const StoreState* store = nullptr;         // null: RETENTION-STATE is NOT-CHECKED
  TarLimits limits;
  std::function<void(std::uint64_t)> on_progress;  // uncompressed bytes so far; may be empty
  // verify_bundle_file() only: bytes of the file that were read, and its size (0: it is no regular file). May be empty.
  std::function<void(std::uint64_t read, std::uint64_t size)> on_read = {};
};

// The verdict on a .tgz stream. An Error (kMalformed, kLimit, kIo) means: no bundle at all (exit code 3).
Result<Verdict> verify_bundle(ByteSource& tgz, const VerifyOptions& options);
Result<Verdict> verify_bundle_file(const std::string& path, const VerifyOptions& options);

// A bundle inside of a bundle: a leaf of this role, data/bundles/<bundle_id>.tgz.
inline constexpr std::string_view kBundleRole = "bundle";
std::vector<std::string> nested_bundles(const Verdict& outer);

struct NestedVerdict {
  std::string path;
  Result<Verdict> verdict;  // an Error: no bundle at all
};
// The verdicts on those that `outer` names, in the order of their paths, in one pass over the outer archive again: streamed, never unpacked.
// One that the outer seal does not name as its parent, by id and root, fails INTEGRITY. One level; what the store, a kept checkpoint and renewals
// say is about the outer one and plays no part. Where the outer one's seal and its time hold, stamps inside are judged at that time: its signature
// covers them as a renewal would. An Error is about the outer archive.
Result<std::vector<NestedVerdict>> verify_nested(ByteSource& tgz, const Verdict& outer, const VerifyOptions& options);
Result<std::vector<NestedVerdict>> verify_nested_file(const std::string& path, const Verdict& outer, const VerifyOptions& options);

struct BundleFile {
  Item item;
  std::string bytes;
};
// The disclosed items for which `wanted` is true (it sees path and size only: the rest is not known yet when the file goes by), in path
// order, each compared with the digest of its item (kInvalid where it differs). For replay. Says nothing
// about the signature: verify first. kLimit over `max_bytes` in all.
Result<std::vector<BundleFile>> read_bundle_items(ByteSource& tgz, const std::function<bool(const Item&)>& wanted, std::uint64_t max_bytes);
Result<std::vector<BundleFile>> read_bundle_items_file(const std::string& path, const std::function<bool(const Item&)>& wanted,
                                                       std::uint64_t max_bytes);

// Bytes of some files of a bundle in the order of `paths`, in one pass. Else as read_bundle_member().
Result<std::vector<std::string>> read_bundle_members(ByteSource& tgz, std::span<const std::string_view> paths, std::uint64_t max_bytes);
// Bytes of one file of a bundle, whatever it is (evidence/seal.json, attest/…), unverified. kNotFound, kLimit.
Result<std::string> read_bundle_member(ByteSource& tgz, std::string_view path, std::uint64_t max_bytes);

}  // namespace stella::evidence
