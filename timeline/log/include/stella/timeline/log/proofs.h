// Inclusion and consistency proofs of RFC 9162 §2.1.3 and §2.1.4: made from leaf hashes, verified against roots. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::timeline {

// A proof is the list of sibling hashes, from the leaf upwards; at most 64 (inclusion) or 65 (consistency).
using Proof = std::vector<Sha256>;

// Proof that leaf `index` is in the tree over `leaves`. kInvalid where index ≥ leaves.size(). O(n).
Result<Proof> inclusion_proof(std::span<const Sha256> leaves, std::uint64_t index);
// Proof that the tree over the first `old_size` leaves is a prefix of the tree over all. kInvalid unless 0 < old_size ≤ leaves.size(). O(n).
Result<Proof> consistency_proof(std::span<const Sha256> leaves, std::uint64_t old_size);

// Root of the complete subtree [begin, end): lets stores that keep inner nodes make proofs without the leaves.
using SubtreeRoot = std::function<Result<Sha256>(std::uint64_t begin, std::uint64_t end)>;
Result<Proof> inclusion_proof(std::uint64_t size, std::uint64_t index, const SubtreeRoot& root_of);
Result<Proof> consistency_proof(std::uint64_t size, std::uint64_t old_size, const SubtreeRoot& root_of);

// kInvalid where the proof does not show what it should; its length must be exact. All sizes up to 2^64 - 1.
Result<void> verify_inclusion(const Sha256& leaf, std::uint64_t index, std::uint64_t size, std::span<const Sha256> proof, const Sha256& root);
// Equal sizes need an empty proof and equal roots; old_size = 0 is an error (nothing can be shown about an empty tree).
Result<void> verify_consistency(std::uint64_t old_size, std::uint64_t new_size, std::span<const Sha256> proof, const Sha256& old_root,
                                const Sha256& new_root);
// Inclusion in the subtree [begin, end) of a larger tree: valid where begin is a multiple of the smallest power of two ≥ end - begin.
Result<void> verify_subtree_inclusion(const Sha256& leaf, std::uint64_t index, std::uint64_t begin, std::uint64_t end, std::span<const Sha256> proof,
                                      const Sha256& subtree_root);

}  // namespace stella::timeline
