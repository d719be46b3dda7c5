// Trees against the definition of RFC 9162 §2.1.1, written down as it stands there.
#include "stella/timeline/log/merkle.h"

#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"

namespace stella::timeline {
namespace {

std::vector<Sha256> leaves_of(std::size_t n) {
  std::vector<Sha256> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(leaf_hash("entry " + std::to_string(i)));
  return out;
}

// MTH of the RFC: recursion over the largest power of two, hashing with the one-shot function only.
Sha256 by_definition(std::span<const Sha256> leaves) {
  if (leaves.empty()) return crypto::sha256("");
  if (leaves.size() == 1) return leaves[0];
  std::size_t k = 1;
  while (2 * k < leaves.size()) k *= 2;
  std::string text = "\x01";
  text += by_definition(leaves.first(k)).view();
  text += by_definition(leaves.subspan(k)).view();
  return crypto::sha256(text);
}

TEST(Merkle, PublishedValues) {
  EXPECT_EQ(empty_root().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(leaf_hash("").hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
  // The eight-entry tree of certificate-transparency's test data.
  std::vector<Sha256> leaves;
  for (const char* hex : {"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"})
    leaves.push_back(leaf_hash(hex_decode(hex).value()));
  EXPECT_EQ(merkle_root(leaves).hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
  EXPECT_EQ(merkle_root(std::span(leaves).first(3)).hex(), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
}

TEST(Merkle, BatchCompactAndDefinitionAgree) {
  const auto leaves = leaves_of(2100);  // beyond two stripes
  CompactTree tree;
  for (std::size_t n = 0; n <= leaves.size(); ++n) {
    if (n <= 260 || n % 97 == 0 || (n & (n - 1)) == 0 || n == leaves.size() || (n > 1020 && n < 1030)) {
      const Sha256 expected = by_definition(std::span(leaves).first(n));
      ASSERT_EQ(merkle_root(std::span(leaves).first(n)), expected) << n;
      ASSERT_EQ(tree.root(), expected) << n;
      ASSERT_EQ(tree.size(), n);
    }
    if (n < leaves.size()) tree.append(leaves[n]);
  }
}

TEST(Merkle, StateSurvivesARestart) {
  const auto leaves = leaves_of(77);
  for (std::size_t cut = 0; cut <= leaves.size(); ++cut) {
    CompactTree first;
    first.append_all(std::span(leaves).first(cut));
    auto second = CompactTree::from_state(first.state());
    ASSERT_TRUE(second.has_value()) << cut;
    EXPECT_EQ(*second, first);
    second->append_all(std::span(leaves).subspan(cut));
    EXPECT_EQ(second->root(), merkle_root(leaves)) << cut;
  }
}

TEST(Merkle, DamagedStatesAreRefused) {
  CompactTree tree;
  tree.append_all(leaves_of(5));
  const std::string good = tree.state();
  EXPECT_FALSE(CompactTree::from_state("").has_value());
  EXPECT_FALSE(CompactTree::from_state(good + "x").has_value());
  EXPECT_FALSE(CompactTree::from_state(good.substr(0, good.size() - 1)).has_value());
  std::string other_size = good;
  other_size[7] = 7;
  EXPECT_FALSE(CompactTree::from_state(other_size).has_value());
}

TEST(Merkle, LeafHashesInBatchesEqualSingleOnes) {
  const auto commitments = leaves_of(9);
  const auto batch = leaf_hashes(commitments);
  ASSERT_EQ(batch.size(), commitments.size());
  for (std::size_t i = 0; i < batch.size(); ++i) EXPECT_EQ(batch[i], leaf_hash(commitments[i].view()));
  EXPECT_TRUE(leaf_hashes({}).empty());
}

}  // namespace
}  // namespace stella::timeline
