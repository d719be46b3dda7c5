// Password hashes and key derivation against RFC vectors.
#include "stella/crypto/password.h"

#include "stella/base/encoding.h"
#include "stella/crypto/kdf.h"

namespace stella::crypto {
namespace {

constexpr ScryptCost kFast{.log_n = 10, .r = 8, .p = 1};

TEST(Password, RightAndWrongSecrets) {
  const auto stored = password_hash("s3cret", kFast);
  ASSERT_TRUE(stored.has_value());
  EXPECT_TRUE(stored->starts_with("$scrypt$ln=10,r=8,p=1$"));
  EXPECT_TRUE(password_verify("s3cret", *stored).value());
  EXPECT_FALSE(password_verify("s3cres", *stored).value());
  EXPECT_FALSE(password_verify("", *stored).value());
  EXPECT_NE(password_hash("s3cret", kFast).value(), *stored);  // salted
}

TEST(Password, DefaultCostNeedsMoreThanOpensslsMemoryLimit) {
  const auto stored = password_hash("x");
  ASSERT_TRUE(stored.has_value());
  EXPECT_TRUE(password_verify("x", *stored).value());
  EXPECT_FALSE(password_needs_rehash(*stored));
  EXPECT_TRUE(password_needs_rehash(password_hash("x", kFast).value()));
  EXPECT_TRUE(password_needs_rehash("garbage"));
}

// Made by an independent implementation (Python's hashlib.scrypt): N = 1024, r = 8, p = 16, "password", salt "NaClNaCl".
TEST(Password, HashOfAnotherImplementation) {
  EXPECT_TRUE(password_verify("password", "$scrypt$ln=10,r=8,p=16$TmFDbE5hQ2w$XsC2ZTdXJ4zsfzVdRtTQNNSXMToqf+tcSxiTF5U/EW4").value());
}

TEST(Password, MalformedOrTooCostly) {
  for (const char* text : {"", "$scrypt$", "$scrypt$ln=10,r=8,p=1$", "$scrypt$ln=10,r=8,p=1$TmFDbE5hQ2w$AAAA", "$scrypt$ln=x,r=8,p=1$a$b",
                           "$2b$10$abcdefghijklmnopqrstuv"})
    EXPECT_EQ(password_verify("x", text).error().code(), base_errors::kMalformed) << text;
  const std::string hash = "$TmFDbE5hQ2w$XsC2ZTdXJ4zsfzVdRtTQNNSXMToqf+tcSxiTF5U/EW4";
  for (const char* cost : {"ln=21,r=8,p=1", "ln=10,r=33,p=1", "ln=10,r=8,p=17", "ln=0,r=8,p=1", "ln=-1,r=8,p=1"})
    EXPECT_EQ(password_verify("x", "$scrypt$" + std::string(cost) + hash).error().code(), base_errors::kLimit) << cost;
}

// RFC 5869 appendix A.1–A.3.
TEST(Hkdf, RfcVectors) {
  const auto h = [](std::string_view hex) { return hex_decode(hex).value(); };
  EXPECT_EQ(hex_encode(hkdf_sha256(h("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), h("000102030405060708090a0b0c"), h("f0f1f2f3f4f5f6f7f8f9"), 42)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  std::string ikm, salt, info;
  for (int i = 0; i < 80; ++i) {
    ikm += static_cast<char>(i);
    salt += static_cast<char>(0x60 + i);
    info += static_cast<char>(0xb0 + i);
  }
  EXPECT_EQ(hex_encode(hkdf_sha256(ikm, salt, info, 82)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
  EXPECT_EQ(hex_encode(hkdf_sha256(h("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), "", "", 42)),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

}  // namespace
}  // namespace stella::crypto
