// DSSE against the published vectors, and the mistakes other verifiers made.
#include "stella/crypto/dsse.h"

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

TEST(Dsse, PublishedVectors) {
  const auto path = STELLA_SHARED_OR_SKIP("vectors/dsse/vectors.json");
  const auto doc = json::parse(testing::slurp(path));
  ASSERT_TRUE(doc.has_value());
  const auto key = PublicKey::from_pem(doc->str("public_key_pem"));
  ASSERT_TRUE(key.has_value());
  for (const auto& c : doc->items("pae")) {
    const std::string pae = dsse_pae(c.str("payload_type"), base64_decode(c.str("payload_base64")).value());
    EXPECT_EQ(base64_encode(pae), c.str("pae_base64"));
    EXPECT_EQ(static_cast<std::int64_t>(pae.size()), c.integer("pae_length"));
  }
  std::size_t valid = 0, refused = 0;
  for (const auto& c : doc->items("envelopes")) {
    const auto envelope = dsse_parse(json::dump(*c.find("envelope")));
    const bool ok = envelope && dsse_verify(*envelope, std::span(&*key, 1), static_cast<std::size_t>(c.integer("threshold"))).has_value();
    EXPECT_EQ(ok, c.str("verdict") == "valid") << c.str("id") << ": " << c.str("why");
    ++(ok ? valid : refused);
  }
  EXPECT_GE(valid, 6u);
  EXPECT_GE(refused, 6u);
}

TEST(Dsse, RoundTripKeepsEveryByte) {
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  std::string payload;
  for (int i = 0; i < 256; ++i) payload += static_cast<char>(i);
  const auto made = dsse_sign("application/octet-stream", payload, *key);
  ASSERT_TRUE(made.has_value());
  const auto read = dsse_parse(made->json());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->payload, payload);
  ASSERT_EQ(read->signatures.size(), 1u);
  EXPECT_EQ(read->signatures[0].keyid, key->public_key().id().str());
  const auto signers = dsse_verify(*read, std::span(&key->public_key(), 1));
  ASSERT_TRUE(signers.has_value());
  EXPECT_EQ(signers->size(), 1u);
}

TEST(Dsse, ThresholdCountsKeysNotSignatures) {
  const auto a = KeyPair::generate();
  const auto b = KeyPair::generate();
  ASSERT_TRUE(a && b);
  auto envelope = dsse_sign("t", "body", *a).value();
  const auto again = dsse_sign("t", "body", *a).value();  // randomised: another signature of the same key
  envelope.signatures.push_back(again.signatures[0]);
  envelope.signatures.back().keyid = b->public_key().id().str();  // and a lie about whose it is
  const std::vector<PublicKey> keys = {a->public_key(), b->public_key(), a->public_key()};
  EXPECT_FALSE(dsse_verify(envelope, keys, 2).has_value());
  EXPECT_EQ(dsse_verify(envelope, keys, 1).value(), std::vector{a->public_key()}) << "the key whose id was borrowed has signed nothing";
  const std::vector<const Signer*> both = {&*a, &*b};
  const auto two = dsse_sign("t", "body", both);
  ASSERT_TRUE(two.has_value());
  EXPECT_EQ(dsse_verify(*two, keys, 2)->size(), 2u);
  EXPECT_FALSE(dsse_verify(*two, keys, 3).has_value());
  EXPECT_FALSE(dsse_verify(*two, keys, 0).has_value());
  EXPECT_FALSE(dsse_verify(*two, {}, 1).has_value());
}

// The bytes of one signature again and again, as they are and under other names, are one signature of one key.
TEST(Dsse, ADuplicatedSignatureCountsOnce) {
  const auto a = KeyPair::generate();
  const auto b = KeyPair::generate();
  ASSERT_TRUE(a && b);
  const std::vector<PublicKey> keys = {b->public_key(), a->public_key(), a->public_key()};
  auto envelope = dsse_sign("t", "body", *a).value();
  for (const std::string& keyid : {a->public_key().id().str(), std::string(), std::string("another name"), b->public_key().id().str()}) {
    envelope.signatures.push_back({.keyid = keyid, .sig = envelope.signatures[0].sig});
    const auto read = dsse_parse(envelope.json());
    ASSERT_TRUE(read.has_value());
    EXPECT_FALSE(dsse_verify(*read, keys, 2).has_value()) << keyid;
    EXPECT_EQ(dsse_verify(*read, keys, 1).value(), std::vector{a->public_key()}) << keyid;
  }
}

// What no trusted key made is left out of the signers, and does not spoil what a trusted key did make.
TEST(Dsse, OnlyKeysWhoseSignatureHoldsAreSigners) {
  const auto a = KeyPair::generate();
  const auto b = KeyPair::generate();
  const auto stranger = KeyPair::generate();
  ASSERT_TRUE(a && b && stranger);
  const std::vector<PublicKey> keys = {b->public_key(), a->public_key()};
  auto envelope = dsse_sign("t", "body", *stranger).value();
  envelope.signatures[0].keyid = b->public_key().id().str();
  EXPECT_TRUE(dsse_signers(envelope, keys).empty());
  EXPECT_FALSE(dsse_verify(envelope, keys, 1).has_value());
  envelope.signatures.push_back(dsse_sign("t", "other body", *b).value().signatures[0]);  // a good key, over other bytes
  envelope.signatures.push_back({.keyid = b->public_key().id().str(), .sig = ""});
  EXPECT_FALSE(dsse_verify(envelope, keys, 1).has_value());
  envelope.signatures.push_back(dsse_sign("t", "body", *a).value().signatures[0]);
  EXPECT_EQ(dsse_verify(envelope, keys, 1).value(), std::vector{a->public_key()});
  EXPECT_FALSE(dsse_verify(envelope, keys, 2).has_value());
}

TEST(Dsse, SignatureEncodedTwiceIsRefused) {
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  auto envelope = dsse_sign("t", "body", *key).value();
  const std::string once = envelope.signatures[0].sig;
  for (const std::string& sig : {base64_encode(once), base64_encode(base64_encode(once)), hex_encode(once)}) {
    envelope.signatures[0].sig = sig;
    const auto read = dsse_parse(envelope.json());
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->signatures[0].sig, sig) << "decoded once";
    EXPECT_FALSE(dsse_verify(*read, std::span(&key->public_key(), 1)).has_value());
  }
}

TEST(Dsse, MalformedEnvelopes) {
  for (const char* text : {"", "[]", "{}", R"({"payload":"","payloadType":""})", R"({"payload":"","payloadType":"","signatures":{}})",
                           R"({"payload":1,"payloadType":"","signatures":[]})", R"({"payload":"","payloadType":"","signatures":[{}]})",
                           R"({"payload":"","payloadType":"","signatures":["x"]})", R"({"payload":"","payload":"","payloadType":"","signatures":[]})"})
    EXPECT_FALSE(dsse_parse(text).has_value()) << text;
  std::string many = R"({"payload":"","payloadType":"","signatures":[{"sig":""})";
  for (std::size_t i = 0; i < kDsseMaxSignatures; ++i) many += R"(,{"sig":""})";
  EXPECT_EQ(dsse_parse(many + "]}").error().code(), base_errors::kLimit);
  EXPECT_TRUE(dsse_parse(R"({"payload":"","payloadType":"","signatures":[],"unknown":{"a":1}})").has_value());
}

}  // namespace
}  // namespace stella::crypto
