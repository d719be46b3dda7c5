// RFC 6962 / 9162 §2.1 Merkle trees: hashing, roots of known leaves, and the compact state of a growing log. Pure; no I/O.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::timeline {

// SHA-256(0x00 || entry).
Sha256 leaf_hash(std::string_view entry);
// SHA-256(0x01 || left || right).
Sha256 node_hash(const Sha256& left, const Sha256& right);
// SHA-256 of nothing: the root of the empty tree.
Sha256 empty_root();

// Root over leaf hashes, in order. O(n) hashes in batches; one copy of the leaves is made.
Sha256 merkle_root(std::span<const Sha256> leaves);
// The same, overwriting `leaves` (which is left in an unspecified state): no copy.
Sha256 merkle_root_in_place(std::span<Sha256> leaves);
// Leaf hashes of entries of 32 bytes (commitments), in batches.
std::vector<Sha256> leaf_hashes(std::span<const Sha256> entries);

// A log that grows: its size and the roots of its perfect subtrees, largest first (one per one-bit of the size; at most 64).
// Appending costs two hashes on average. A value; not thread-safe.
class CompactTree {
 public:
  void append(const Sha256& leaf);
  void append_entry(std::string_view entry) { append(leaf_hash(entry)); }
  // Precondition: size() + leaves.size() < 2^63.
  void append_all(std::span<const Sha256> leaves);

  std::uint64_t size() const { return size_; }
  Sha256 root() const;
  const std::vector<Sha256>& peaks() const { return peaks_; }

  // 8 bytes of big-endian size, then the peaks: what a database row keeps.
  std::string state() const;
  // kMalformed where the length does not fit the size.
  static Result<CompactTree> from_state(std::string_view state);

  friend bool operator==(const CompactTree&, const CompactTree&) = default;

 private:
  std::uint64_t size_ = 0;
  std::vector<Sha256> peaks_;
};

}  // namespace stella::timeline
