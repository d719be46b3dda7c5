// Batches: every statement verifies by its own document, and no document vouches for anything else.
#include "stella/evidence/format/batch.h"

#include <gtest/gtest.h>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/statement.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/proofs.h"

namespace stella::evidence {
namespace {

class BatchTest : public ::testing::Test {
 protected:
  static std::string statement(int n) {
    const Subject subject{.name = "artifact-" + std::to_string(n), .sha256 = crypto::sha256("artifact " + std::to_string(n))};
    return make_statement(std::span(&subject, 1), "https://example.com/p/v1", json::Value::object({{"n", n}})).value();
  }
  static std::vector<std::string> statements(int count) {
    std::vector<std::string> out;
    for (int i = 0; i < count; ++i) out.push_back(statement(i));
    return out;
  }
  SignedBatch sign(const std::vector<std::string>& all) const {
    std::vector<Sha256> digests;
    for (const auto& s : all) digests.push_back(crypto::sha256(s));
    return SignedBatch::sign(key_, std::move(digests)).value();
  }
  Result<VerifiedStatement> verify(const std::string& document) const { return verify_statement(document, {.trust = trust_}); }
  // The document with one member replaced.
  static std::string with(const std::string& document, std::string_view member, json::Value value) {
    json::Value doc = json::parse(document).value();
    doc.set(std::string(member), std::move(value));
    return json::dump(doc);
  }
  const crypto::KeyPair key_ = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> trust_ = {key_.public_key()};
};

TEST_F(BatchTest, EveryStatementOfEverySizeVerifies) {
  for (const int count : {1, 2, 3, 7, 8, 9, 100}) {
    const auto all = statements(count);
    const SignedBatch batch = sign(all);
    for (int i = 0; i < count; ++i) {
      const auto verified = verify(batch.document(static_cast<std::size_t>(i), all[static_cast<std::size_t>(i)]).value());
      ASSERT_TRUE(verified.has_value()) << count << "/" << i << " " << verified.error().describe();
      EXPECT_EQ(verified->bytes, all[static_cast<std::size_t>(i)]);
      EXPECT_EQ(verified->signers.front(), key_.public_key());
    }
  }
}

// The kept tree gives the root and the proofs that the log's own code computes from the leaves.
TEST_F(BatchTest, ProofsAreThoseOfTheLog) {
  for (int count = 1; count <= 70; ++count) {
    const auto all = statements(count);
    const SignedBatch batch = sign(all);
    std::vector<Sha256> digests;
    for (const auto& s : all) digests.push_back(crypto::sha256(s));
    const auto leaves = timeline::leaf_hashes(digests);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const json::Value doc = json::parse(batch.document(i, all[i]).value()).value();
      const auto expected = timeline::inclusion_proof(leaves, i).value();
      std::vector<std::string> hashes, wanted;
      for (const auto& hash : doc.find("proof")->items("hashes")) hashes.emplace_back(hash.as_string());
      for (const Sha256& hash : expected) wanted.push_back(hash.hex());
      ASSERT_EQ(hashes, wanted) << count << "/" << i;
    }
  }
}

TEST_F(BatchTest, VouchesForNothingElse) {
  const auto all = statements(5);
  const SignedBatch batch = sign(all);
  const std::string good = batch.document(2, all[2]).value();
  const json::Value doc = json::parse(good).value();
  const auto refused = [&](std::string_view what, const std::string& document) { EXPECT_FALSE(verify(document).has_value()) << what; };

  refused("another statement", with(good, "statement", base64_encode(statement(6))));
  refused("a statement of another place", with(good, "statement", base64_encode(all[3])));
  json::Value proof = *doc.find("proof");
  for (const std::int64_t index : {-1, 0, 3, 4, 5}) {
    proof.set("index", index);
    refused("another index", with(good, "proof", proof));
  }
  proof = *doc.find("proof");
  json::Array hashes = proof.find("hashes")->as_array();
  hashes.pop_back();
  proof.set("hashes", hashes);
  refused("a short proof", with(good, "proof", proof));
  hashes.push_back(json::Value(crypto::sha256("x").hex()));
  proof.set("hashes", hashes);
  refused("another sibling", with(good, "proof", proof));
  refused("the batch of another key", with(good, "batch", json::parse(SignedBatch::sign(crypto::KeyPair::generate().value(), {crypto::sha256(all[0])})->envelope_json()).value()));
  const SignedBatch other = sign(statements(4));
  refused("another batch of the same key", with(good, "batch", json::parse(other.envelope_json()).value()));
  // A statement that was signed, but is no batch, must not be taken for one: its predicate could be anybody's text.
  const Subject subject{.name = "statements.merkle", .sha256 = crypto::sha256("x")};
  const auto fake = make_statement(std::span(&subject, 1), "https://example.com/p/v1", json::Value::object({{"root", crypto::sha256("x").hex()}, {"size", 5}})).value();
  refused("no batch at all", with(good, "batch", json::parse(crypto::dsse_sign(kInTotoPayloadType, fake, key_)->json()).value()));
  EXPECT_TRUE(verify(good).has_value());

  EXPECT_FALSE(batch.document(2, all[3]).has_value());
  EXPECT_FALSE(batch.document(5, all[2]).has_value());
  EXPECT_FALSE(SignedBatch::sign(key_, {}).has_value());
}

// The batch statement itself is no attestation about a member: its subject is the tree.
TEST_F(BatchTest, TheEnvelopeAloneSaysNothingAboutMembers) {
  const auto all = statements(3);
  const Sha256 subject = crypto::sha256("artifact 1");
  const SignedBatch batch = sign(all);
  EXPECT_TRUE(verify_statement(batch.document(1, all[1]).value(), {.trust = trust_, .subject = &subject}).has_value());
  EXPECT_FALSE(verify_statement(batch.document(0, all[0]).value(), {.trust = trust_, .subject = &subject}).has_value());
  EXPECT_FALSE(verify_statement(batch.envelope_json(), {.trust = trust_, .subject = &subject}).has_value());
}

}  // namespace
}  // namespace stella::evidence
