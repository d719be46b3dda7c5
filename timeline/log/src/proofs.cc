// Proofs after RFC 9162. Verification walks the bits of the index, so it works for every 64-bit size.
#include "stella/timeline/log/proofs.h"

#include <algorithm>
#include <bit>

#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

// Largest power of two smaller than n (n ≥ 2): where a tree of n leaves splits.
std::uint64_t split_point(std::uint64_t n) { return std::bit_floor(n - 1); }

Error does_not_verify(Literal what) { return Error(base_errors::kInvalid, what); }

SubtreeRoot over(std::span<const Sha256> leaves) {
  return [leaves](std::uint64_t begin, std::uint64_t end) -> Result<Sha256> { return merkle_root(leaves.subspan(begin, end - begin)); };
}

// Sibling hashes of `index` on the last `inner` levels: below the border its side is a bit of the index.
Sha256 chain_inner(Sha256 node, std::span<const Sha256> proof, std::uint64_t index) {
  for (const auto& sibling : proof) {
    node = (index & 1) == 0 ? node_hash(node, sibling) : node_hash(sibling, node);
    index >>= 1;
  }
  return node;
}

// Only the siblings on the left: what the older tree consisted of.
Sha256 chain_inner_right(Sha256 node, std::span<const Sha256> proof, std::uint64_t index) {
  for (const auto& sibling : proof) {
    if ((index & 1) != 0) node = node_hash(sibling, node);
    index >>= 1;
  }
  return node;
}

Sha256 chain_border(Sha256 node, std::span<const Sha256> proof) {
  for (const auto& sibling : proof) node = node_hash(sibling, node);
  return node;
}

struct Shape {
  std::size_t inner;   // levels on which the path may go either way
  std::size_t border;  // levels above, along the right edge, that have a sibling
};

// Preconditions: index < size.
Shape shape_of(std::uint64_t index, std::uint64_t size) {
  const auto inner = static_cast<std::size_t>(std::bit_width(index ^ (size - 1)));
  return {inner, inner >= 64 ? 0 : static_cast<std::size_t>(std::popcount(index >> inner))};
}

}  // namespace

Result<Proof> inclusion_proof(std::uint64_t size, std::uint64_t index, const SubtreeRoot& root_of) {
  if (index >= size) return Error(base_errors::kInvalid, "no such leaf").with("index", index).with("size", size);
  Proof proof;
  for (std::uint64_t begin = 0, end = size; end - begin > 1;) {
    const std::uint64_t middle = begin + split_point(end - begin);
    if (index < middle) {
      proof.push_back(STELLA_TRY(root_of(middle, end)));
      end = middle;
    } else {
      proof.push_back(STELLA_TRY(root_of(begin, middle)));
      begin = middle;
    }
  }
  std::reverse(proof.begin(), proof.end());
  return proof;
}

// RFC 9162 §2.1.4.1 as a loop: `known` is the flag b, true while the old tree is the whole subtree looked at.
Result<Proof> consistency_proof(std::uint64_t size, std::uint64_t old_size, const SubtreeRoot& root_of) {
  if (old_size == 0 || old_size > size) return Error(base_errors::kInvalid, "no such older tree").with("old_size", old_size).with("size", size);
  Proof proof;
  bool known = true;
  std::uint64_t begin = 0, end = size;
  while (old_size != end) {
    const std::uint64_t middle = begin + split_point(end - begin);
    if (old_size <= middle) {
      proof.push_back(STELLA_TRY(root_of(middle, end)));
      end = middle;
    } else {
      proof.push_back(STELLA_TRY(root_of(begin, middle)));
      begin = middle;
      known = false;
    }
  }
  if (!known) proof.push_back(STELLA_TRY(root_of(begin, end)));
  std::reverse(proof.begin(), proof.end());
  return proof;
}

Result<Proof> inclusion_proof(std::span<const Sha256> leaves, std::uint64_t index) { return inclusion_proof(leaves.size(), index, over(leaves)); }

Result<Proof> consistency_proof(std::span<const Sha256> leaves, std::uint64_t old_size) {
  return consistency_proof(leaves.size(), old_size, over(leaves));
}

Result<void> verify_inclusion(const Sha256& leaf, std::uint64_t index, std::uint64_t size, std::span<const Sha256> proof, const Sha256& root) {
  if (index >= size) return does_not_verify("the leaf lies outside of the tree");
  const Shape shape = shape_of(index, size);
  if (proof.size() != shape.inner + shape.border) return does_not_verify("the inclusion proof has the wrong length");
  const Sha256 node = chain_border(chain_inner(leaf, proof.first(shape.inner), index), proof.subspan(shape.inner));
  if (node != root) return does_not_verify("the inclusion proof leads to another root");
  return {};
}

Result<void> verify_consistency(std::uint64_t old_size, std::uint64_t new_size, std::span<const Sha256> proof, const Sha256& old_root,
                                const Sha256& new_root) {
  if (old_size == 0 || old_size > new_size) return does_not_verify("the older tree must be smaller and not empty");
  if (old_size == new_size) {
    if (!proof.empty()) return does_not_verify("the consistency proof has the wrong length");
    if (old_root != new_root) return does_not_verify("two roots for one size");
    return {};
  }
  Shape shape = shape_of(old_size - 1, new_size);
  const auto shift = static_cast<std::size_t>(std::countr_zero(old_size));
  shape.inner -= shift;
  // Where the old tree is one perfect subtree, its root is the first hash and is not repeated in the proof.
  const bool perfect = std::has_single_bit(old_size);
  if (proof.size() != shape.inner + shape.border + (perfect ? 0 : 1)) return does_not_verify("the consistency proof has the wrong length");
  const Sha256 seed = perfect ? old_root : proof.front();
  if (!perfect) proof = proof.subspan(1);
  const std::uint64_t path = (old_size - 1) >> shift;
  const auto inner = proof.first(shape.inner);
  const auto border = proof.subspan(shape.inner);
  if (chain_border(chain_inner_right(seed, inner, path), border) != old_root) return does_not_verify("the consistency proof leads to another old root");
  if (chain_border(chain_inner(seed, inner, path), border) != new_root) return does_not_verify("the consistency proof leads to another new root");
  return {};
}

Result<void> verify_subtree_inclusion(const Sha256& leaf, std::uint64_t index, std::uint64_t begin, std::uint64_t end, std::span<const Sha256> proof,
                                      const Sha256& subtree_root) {
  if (begin >= end || index < begin || index >= end) return does_not_verify("the leaf lies outside of the subtree");
  const std::uint64_t size = end - begin;
  const bool aligned = size > (1ull << 63) ? begin == 0 : begin % std::bit_ceil(size) == 0;
  if (!aligned) return does_not_verify("no subtree has these bounds");
  return verify_inclusion(leaf, index - begin, size, proof, subtree_root);
}

}  // namespace stella::timeline
