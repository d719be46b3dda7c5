// ES256 tokens: round trips, and every way in which a token may lie about itself.
#include "stella/crypto/jws.h"

#include "stella/base/encoding.h"

namespace stella::crypto {
namespace {

class JwsTest : public ::testing::Test {
 protected:
  const KeyPair key_ = KeyPair::generate().value();
  const std::vector<PublicKey> keys_ = {key_.public_key()};
  const json::Value claims_ = json::Value::object({{"iss", "https://stella"}, {"sub", "u1"}, {"aud", "api"}, {"exp", 2'000}, {"iat", 1'000}});
  // Signs any header over the claims: what an attacker with the key could, what others without it cannot.
  std::string token(const json::Value& header) const {
    std::string text = base64url_encode(json::dump(header)) + "." + base64url_encode(json::dump(claims_));
    const std::string raw = ecdsa_der_to_raw(key_.sign(text).value()).value();
    return text + "." + base64url_encode(raw);
  }
};

TEST_F(JwsTest, SignAndVerify) {
  const auto signed_token = jwt_sign(key_, claims_);
  ASSERT_TRUE(signed_token.has_value());
  const auto read = jwt_verify(*signed_token, keys_);
  ASSERT_TRUE(read.has_value()) << read.error().describe();
  EXPECT_EQ(*read, claims_);
}

TEST_F(JwsTest, ExampleOfRfc7515AppendixA3) {
  const auto jwk_value = json::parse(R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})");
  const auto key = key_from_jwk(jwk_value.value());
  ASSERT_TRUE(key.has_value());
  const std::string signing_input =
      "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
  const auto sig = base64_decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
  EXPECT_TRUE(key->verify_raw(signing_input, sig.value()));
}

TEST_F(JwsTest, RefusesLies) {
  const std::string kid = key_.public_key().id().str();
  EXPECT_TRUE(jwt_verify(token(json::Value::object({{"alg", "ES256"}, {"kid", kid}})), keys_).has_value());
  const std::vector<std::pair<const char*, json::Value>> bad = {
      {"alg none", json::Value::object({{"alg", "none"}, {"kid", kid}})},
      {"alg HS256", json::Value::object({{"alg", "HS256"}, {"kid", kid}})},
      {"alg es256", json::Value::object({{"alg", "es256"}, {"kid", kid}})},
      {"no alg", json::Value::object({{"kid", kid}})},
      {"no kid", json::Value::object({{"alg", "ES256"}})},
      {"foreign kid", json::Value::object({{"alg", "ES256"}, {"kid", "SHA256:x"}})},
      {"crit", json::Value::object({{"alg", "ES256"}, {"kid", kid}, {"crit", json::Value::array({"exp"})}})},
      {"typ", json::Value::object({{"alg", "ES256"}, {"kid", kid}, {"typ", "refresh"}})},
  };
  for (const auto& [name, header] : bad) EXPECT_FALSE(jwt_verify(token(header), keys_).has_value()) << name;
}

TEST_F(JwsTest, RefusesDamage) {
  const std::string good = jwt_sign(key_, claims_).value();
  const auto dot = good.find('.');
  const auto last = good.rfind('.');
  EXPECT_FALSE(jwt_verify(good + "=", keys_).has_value());
  EXPECT_FALSE(jwt_verify(good + ".x", keys_).has_value());
  EXPECT_FALSE(jwt_verify(good.substr(0, last), keys_).has_value());
  EXPECT_FALSE(jwt_verify(good.substr(0, last + 1), keys_).has_value());
  EXPECT_FALSE(jwt_verify("", keys_).has_value());
  EXPECT_FALSE(jwt_verify(std::string(kTokenBytes + 1, 'a'), keys_).has_value());
  std::string changed = good;
  changed[dot + 5] = changed[dot + 5] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(jwt_verify(changed, keys_).has_value());
  const auto other = KeyPair::generate().value();
  EXPECT_FALSE(jwt_verify(good, std::vector<PublicKey>{other.public_key()}).has_value());
}

TEST_F(JwsTest, JwkSetRoundTrip) {
  const auto set = jwk_set(keys_);
  const auto read = keys_from_jwk_set(set);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, keys_);
  EXPECT_EQ(set.items("keys")[0].str("kid"), key_.public_key().id().str());
  EXPECT_EQ(set.items("keys")[0].find("d"), nullptr);  // never the private part
}

TEST_F(JwsTest, ClaimChecks) {
  ClaimExpectation want{.issuer = "https://stella", .audience = "api", .now = Timestamp::from_micros(1'500'000'000), .leeway = std::chrono::seconds(30)};
  EXPECT_TRUE(jwt_check_claims(claims_, want).has_value());
  want.now = Timestamp::from_micros(2'029'000'000);
  EXPECT_TRUE(jwt_check_claims(claims_, want).has_value());
  want.now = Timestamp::from_micros(2'030'000'000);
  EXPECT_EQ(jwt_check_claims(claims_, want).error().field("field"), "exp");
  want.now = Timestamp::from_micros(969'000'000);
  EXPECT_EQ(jwt_check_claims(claims_, want).error().field("field"), "iat");
  want.now = Timestamp::from_micros(1'500'000'000);
  want.audience = "other";
  EXPECT_EQ(jwt_check_claims(claims_, want).error().field("field"), "aud");
  auto several = claims_;
  several.set("aud", json::Value::array({"x", "other"}));
  EXPECT_TRUE(jwt_check_claims(several, want).has_value());
  want.issuer = "https://stell";
  EXPECT_EQ(jwt_check_claims(several, want).error().field("field"), "iss");
  EXPECT_FALSE(jwt_check_claims(json::Value::object({{"iss", "x"}}), ClaimExpectation{}).has_value());
}

}  // namespace
}  // namespace stella::crypto
