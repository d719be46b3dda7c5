// Proofs: the published vectors, and every proof of every small tree with every single change to it.
#include "stella/timeline/log/proofs.h"

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/testing/shared_data.h"
#include "stella/timeline/log/merkle.h"

namespace stella::timeline {
namespace {

// Sizes are unsigned 64-bit numbers in the vectors; our JSON keeps those beyond int64 as doubles, so such a number is read again as text.
std::uint64_t number(const json::Value& doc, std::string_view text, std::string_view name) {
  const json::Value* v = doc.find(name);
  if (v == nullptr) return 0;
  if (v->is_int()) return static_cast<std::uint64_t>(v->as_int());
  const auto at = text.find("\"" + std::string(name) + "\":");
  return std::strtoull(text.data() + at + name.size() + 3, nullptr, 10);
}

// Our type holds 32 bytes. No bytes at all: the vector has failed already, as it must. Short texts ("don't care") stand for some hash:
// they are mapped to one, equal texts to equal hashes.
bool read_hash(std::string_view base64, Sha256& out) {
  const auto bytes = base64_decode(base64);
  if (!bytes || bytes->empty()) return false;
  out = bytes->size() == Sha256::kSize ? Sha256::from_bytes(*bytes).value() : leaf_hash(*bytes);
  return true;
}

bool read_proof(const json::Value& doc, Proof& out) {
  for (const auto& entry : doc.items("proof")) {
    Sha256 hash;
    if (!read_hash(entry.as_string(), hash)) return false;
    out.push_back(hash);
  }
  return true;
}

struct Counts {
  std::size_t valid = 0, refused = 0, left_out = 0;
};

template <class Verify>
Counts run_vectors(const std::string& dir, const Verify& verify) {
  Counts counts;
  for (const auto& file : testing::files_below(dir, ".json")) {
    const std::string text = testing::slurp(file);
    const auto doc = json::parse(text);
    EXPECT_TRUE(doc.has_value()) << file;
    if (!doc) continue;
    const std::optional<bool> ok = verify(*doc, text);
    if (!ok) {
      ++counts.left_out;
      continue;
    }
    EXPECT_EQ(*ok, !doc->boolean("wantErr")) << file << ": " << doc->str("desc");
    ++(*ok ? counts.valid : counts.refused);
  }
  return counts;
}

TEST(ProofVectors, Inclusion) {
  const auto counts = run_vectors(STELLA_SHARED_OR_SKIP("vectors/rfc6962-proofs/inclusion"), [](const json::Value& doc, std::string_view text) {
    Sha256 leaf, root;
    Proof proof;
    const bool read = read_hash(doc.str("leafHash"), leaf) && read_hash(doc.str("root"), root) && read_proof(doc, proof);
    return std::optional(read && verify_inclusion(leaf, number(doc, text, "leafIdx"), number(doc, text, "treeSize"), proof, root).has_value());
  });
  EXPECT_EQ(counts.valid, 3u);
  EXPECT_EQ(counts.refused, 46u);
}

TEST(ProofVectors, Consistency) {
  const auto counts = run_vectors(STELLA_SHARED_OR_SKIP("vectors/rfc6962-proofs/consistency"), [](const json::Value& doc, std::string_view text) {
    Sha256 old_root, new_root;
    Proof proof;
    const bool read = read_hash(doc.str("root1"), old_root) && read_hash(doc.str("root2"), new_root) && read_proof(doc, proof);
    return std::optional(read &&
                         verify_consistency(number(doc, text, "size1"), number(doc, text, "size2"), proof, old_root, new_root).has_value());
  });
  EXPECT_EQ(counts.valid, 3u);
  EXPECT_EQ(counts.refused, 46u);
}

TEST(ProofVectors, SubtreeInclusion) {
  const auto counts = run_vectors(STELLA_SHARED_OR_SKIP("vectors/rfc6962-proofs/subtreeinclusion"), [](const json::Value& doc, std::string_view text) {
    Sha256 leaf, root;
    Proof proof;
    const bool read = read_hash(doc.str("leafHash"), leaf) && read_hash(doc.str("root"), root) && read_proof(doc, proof);
    return std::optional(read && verify_subtree_inclusion(leaf, number(doc, text, "leafIdx"), number(doc, text, "start"), number(doc, text, "end"),
                                                          proof, root)
                                     .has_value());
  });
  EXPECT_GE(counts.valid, 5u);
  EXPECT_GE(counts.refused, 90u);
}

// A subtree that begins at 0 is an older tree. Left out: subtrees that begin elsewhere (Merkle Tree Certificates; nothing of ours makes them)
// and empty ones, which we refuse as RFC 9162 refuses empty trees.
TEST(ProofVectors, SubtreeConsistencyFromTheBeginning) {
  const auto counts =
      run_vectors(STELLA_SHARED_OR_SKIP("vectors/rfc6962-proofs/subtreeconsistency"), [](const json::Value& doc, std::string_view text) -> std::optional<bool> {
        if (number(doc, text, "start") != 0) return std::nullopt;
        Sha256 old_root, new_root;
        Proof proof;
        const bool read = read_hash(doc.str("root1"), old_root) && read_hash(doc.str("root2"), new_root) && read_proof(doc, proof);
        return read && verify_consistency(number(doc, text, "end"), number(doc, text, "size"), proof, old_root, new_root).has_value();
      });
  EXPECT_GE(counts.valid, 3u);
  EXPECT_GE(counts.refused, 40u);
  EXPECT_LE(counts.left_out, 9u);
}

std::vector<Sha256> leaves_of(std::size_t n) {
  std::vector<Sha256> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(leaf_hash(std::to_string(i)));
  return out;
}

// The proof as given verifies; with any hash changed, removed or added it does not.
template <class Verify>
void expect_exact(const Proof& proof, const Verify& verify) {
  ASSERT_TRUE(verify(proof));
  Proof longer = proof;
  longer.push_back(empty_root());
  EXPECT_FALSE(verify(longer));
  for (std::size_t i = 0; i < proof.size(); ++i) {
    Proof changed = proof;
    changed[i].mutable_bytes()[i % 32] ^= 1;
    EXPECT_FALSE(verify(changed));
    Proof shorter = proof;
    shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_FALSE(verify(shorter));
  }
}

TEST(Proofs, EveryLeafOfEverySmallTree) {
  const auto all = leaves_of(33);
  for (std::size_t size = 1; size <= all.size(); ++size) {
    const auto leaves = std::span(all).first(size);
    const Sha256 root = merkle_root(leaves);
    for (std::size_t i = 0; i < size; ++i) {
      const auto proof = inclusion_proof(leaves, i);
      ASSERT_TRUE(proof.has_value());
      expect_exact(*proof, [&](const Proof& p) { return verify_inclusion(leaves[i], i, size, p, root).has_value(); });
      for (std::size_t other = 0; other <= size; ++other) {
        if (other == i) continue;
        EXPECT_FALSE(verify_inclusion(leaves[i], other, size, *proof, root).has_value()) << i << " as " << other << " of " << size;
      }
    }
    EXPECT_FALSE(inclusion_proof(leaves, size).has_value());
  }
}

TEST(Proofs, EveryPairOfSmallTrees) {
  const auto all = leaves_of(33);
  for (std::size_t size = 1; size <= all.size(); ++size) {
    const auto leaves = std::span(all).first(size);
    const Sha256 root = merkle_root(leaves);
    for (std::size_t old = 1; old <= size; ++old) {
      const Sha256 old_root = merkle_root(leaves.first(old));
      const auto proof = consistency_proof(leaves, old);
      ASSERT_TRUE(proof.has_value());
      expect_exact(*proof, [&](const Proof& p) { return verify_consistency(old, size, p, old_root, root).has_value(); });
      if (old != size) {
        EXPECT_FALSE(verify_consistency(old, size, *proof, root, old_root).has_value()) << "swapped roots";
        EXPECT_FALSE(verify_consistency(old, size, *proof, empty_root(), root).has_value()) << "another history";
      }
    }
    EXPECT_FALSE(consistency_proof(leaves, 0).has_value());
    EXPECT_FALSE(consistency_proof(leaves, size + 1).has_value());
  }
}

}  // namespace
}  // namespace stella::timeline
