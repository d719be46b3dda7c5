// Verifying a bundle and reading files out of it, in one pass over a stream. Offline: what is trusted comes from the caller.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/crypto/keys.h"
#include "stella/evidence/format/stream.h"
#include "stella/evidence/format/tar.h"
#include "stella/evidence/format/verdict.h"

namespace stella::evidence {

struct VerifyOptions {
  std::span<const crypto::PublicKey> trust;  // none: AUTHENTICITY is NOT-CHECKED
  std::string_view trust_source;             // where they came from, for the verdict: "--trust key.pub"
  std::size_t threshold = 1;                 // how many different trusted keys must have signed the seal
  TarLimits limits;
  std::function<void(std::uint64_t)> on_progress;  // uncompressed bytes so far; may be empty
};

// The verdict on a .tgz stream. An Error (kMalformed, kLimit, kIo) means: no bundle at all (exit code 3).
Result<Verdict> verify_bundle(ByteSource& tgz, const VerifyOptions& options);
Result<Verdict> verify_bundle_file(const std::string& path, const VerifyOptions& options);

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

// Bytes of one file of a bundle, whatever it is (evidence/seal.json, attest/…), unverified. kNotFound, kLimit.
Result<std::string> read_bundle_member(ByteSource& tgz, std::string_view path, std::uint64_t max_bytes);

}  // namespace stella::evidence
