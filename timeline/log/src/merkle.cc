// Roots by pair-and-promote, level by level in place, and the compact range of a growing log.
#include "stella/timeline/log/merkle.h"

#include <bit>

#include "stella/crypto/digest.h"
#include "stella/crypto/digest_batch.h"

namespace stella::timeline {
namespace {

constexpr unsigned char kLeafPrefix = 0x00;
constexpr unsigned char kNodePrefix = 0x01;
constexpr std::size_t kStripe = 1024;  // leaves folded while they are in the first-level cache: 32 KiB

// Replaces the level in `nodes` by the next one; an odd last node moves up as it is. Returns the new count.
std::size_t fold_once(Sha256* nodes, std::size_t count) {
  crypto::sha256_prefixed(kNodePrefix, nodes->bytes().data(), 2 * Sha256::kSize, count / 2, nodes);
  if (count % 2 != 0) nodes[count / 2] = nodes[count - 1];
  return (count + 1) / 2;
}

Sha256 fold(Sha256* nodes, std::size_t count) {
  while (count > 1) count = fold_once(nodes, count);
  return nodes[0];
}

}  // namespace

Sha256 leaf_hash(std::string_view entry) { return crypto::sha256(std::string_view("\0", 1), entry); }

Sha256 node_hash(const Sha256& left, const Sha256& right) {
  const Sha256 pair[2] = {left, right};
  Sha256 out;
  crypto::sha256_prefixed(kNodePrefix, pair[0].bytes().data(), 2 * Sha256::kSize, 1, &out);
  return out;
}

Sha256 empty_root() { return crypto::sha256(""); }

// Stripes of a power of two are perfect subtrees (the last may be short): their roots are the leaves of the tree above.
Sha256 merkle_root_in_place(std::span<Sha256> leaves) {
  if (leaves.empty()) return empty_root();
  std::size_t stripes = 0;
  for (std::size_t begin = 0; begin < leaves.size(); begin += kStripe)
    leaves[stripes++] = fold(leaves.data() + begin, std::min(kStripe, leaves.size() - begin));
  return fold(leaves.data(), stripes);
}

Sha256 merkle_root(std::span<const Sha256> leaves) {
  std::vector<Sha256> copy(leaves.begin(), leaves.end());
  return merkle_root_in_place(copy);
}

std::vector<Sha256> leaf_hashes(std::span<const Sha256> entries) {
  std::vector<Sha256> out(entries.size());
  if (!entries.empty()) crypto::sha256_prefixed(kLeafPrefix, entries.data()->bytes().data(), Sha256::kSize, entries.size(), out.data());
  return out;
}

void CompactTree::append(const Sha256& leaf) {
  Sha256 node = leaf;
  for (std::uint64_t rest = size_; rest & 1; rest >>= 1) {
    node = node_hash(peaks_.back(), node);
    peaks_.pop_back();
  }
  peaks_.push_back(node);
  ++size_;
}

void CompactTree::append_all(std::span<const Sha256> leaves) {
  for (const auto& leaf : leaves) append(leaf);
}

Sha256 CompactTree::root() const {
  if (peaks_.empty()) return empty_root();
  Sha256 node = peaks_.back();
  for (std::size_t i = peaks_.size() - 1; i-- > 0;) node = node_hash(peaks_[i], node);
  return node;
}

std::string CompactTree::state() const {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>((size_ >> shift) & 0xff);
  for (const auto& peak : peaks_) out += peak.view();
  return out;
}

Result<CompactTree> CompactTree::from_state(std::string_view state) {
  if (state.size() < 8) return Error(base_errors::kMalformed, "not the state of a Merkle tree").with("actual", state.size());
  CompactTree tree;
  for (int i = 0; i < 8; ++i) tree.size_ = (tree.size_ << 8) | static_cast<unsigned char>(state[static_cast<std::size_t>(i)]);
  state.remove_prefix(8);
  const auto peaks = static_cast<std::size_t>(std::popcount(tree.size_));
  if (state.size() != peaks * Sha256::kSize)
    return Error(base_errors::kMalformed, "not the state of a Merkle tree").with("expected", peaks * Sha256::kSize).with("actual", state.size());
  for (; !state.empty(); state.remove_prefix(Sha256::kSize)) tree.peaks_.push_back(STELLA_TRY(Sha256::from_bytes(state.substr(0, Sha256::kSize))));
  return tree;
}

}  // namespace stella::timeline
