// Provable omission: a copy of a bundle from which files are withheld. Their commitments stay, so that Merkle root, seal, signatures and
// proofs of the original hold for the copy, and the verdict counts what is missing and who authorised it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/time.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/stream.h"

namespace stella::evidence {

// Predicate of the statement that authorises: subject evidence/root.merkle, {authority, bundle_id, reason, redacted_at, withheld: [index…]}. `withheld`
// names everything that the copy lacks, also what it lacked before: one statement that counts has to cover all of it, they do not add up.
inline constexpr std::string_view kRedactionPredicate = "https://stellaops.dev/evidence-redaction/v1";

struct Redaction {
  std::vector<std::string> withhold;  // paths of leaves, beginnings of such paths that end in '*', or "role:" and a role of items; each must match something
  std::string reason;                 // stands in the copy for everybody to read; at most kReasonBytes
  std::string authority;              // who decided: an opaque id, may be empty
  Timestamp at;
};
inline constexpr std::size_t kReasonBytes = 1000;

struct RedactedBundle {
  BundleId bundle_id;                 // of the seal: the copy is the same bundle
  TreeHead head;
  Timestamp retain_until;             // as the seal promises it; zero where it does not
  std::vector<std::string> withheld;  // paths that went now, in order
  std::size_t withheld_before = 0;    // by earlier redactions
  std::vector<std::string> telling;   // statements in attest/ that stay and name what went now by its digest, or repeat what it says
  Sha256 tgz_sha256;
  std::uint64_t tgz_size = 0;
};

// Reads the bundle in `fd` (a regular file, read twice, its offset stays) and writes the copy to `out`. Memory does not grow with the size of
// the files. `signer` signs the statement that authorises the omission, also of what was withheld before; without one the copy is valid, but its verdict says COMPLETENESS FAIL.
// kInvalid: nothing matches a pattern, everything would go, no reason; kMalformed, kLimit: no bundle; kInvalid with `reason`: the bundle is
// not whole. On an error what was written to `out` is worthless.
Result<RedactedBundle> redact_bundle(int fd, const Redaction& redaction, const crypto::Signer* signer, ByteSink& out);

// From the text of evidence/items.jsonl: the indices that are withheld there, and those that `withhold` (as in Redaction) matches; ascending. kMalformed.
Result<std::vector<std::uint64_t>> withheld_indices(std::string_view items_jsonl, std::span<const std::string> withhold = {});

}  // namespace stella::evidence
