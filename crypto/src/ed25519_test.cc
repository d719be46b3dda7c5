// Ed25519: published vectors, files, and signatures as the openssl program makes and checks them.
#include "stella/crypto/ed25519.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

class Ed25519Test : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/stella_ed25519_XXXXXX";
    ASSERT_NE(::mkdtemp(dir), nullptr);
    dir_ = dir;
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + dir_ + "'").c_str()); }
  std::string path(std::string_view name) const { return dir_ + "/" + std::string(name); }
  std::string shell(const std::string& command) const {
    FILE* pipe = ::popen(("cd '" + dir_ + "' && { " + command + "; } 2>&1").c_str(), "r");
    std::string out;
    std::array<char, 4096> buf;
    while (const std::size_t n = std::fread(buf.data(), 1, buf.size(), pipe)) out.append(buf.data(), n);
    ::pclose(pipe);
    return out;
  }
  std::string dir_;
};

TEST_F(Ed25519Test, Wycheproof) {
  const auto doc = json::parse(testing::slurp(STELLA_SHARED_OR_SKIP("vectors/wycheproof/ed25519_test.json")));
  ASSERT_TRUE(doc.has_value());
  std::size_t seen = 0;
  for (const auto& group : doc->items("testGroups")) {
    const auto raw = hex_decode(group.find("publicKey")->str("pk"));
    ASSERT_TRUE(raw.has_value());
    const auto key = Ed25519PublicKey::from_raw(*raw);
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(key->raw(), *raw);
    for (const auto& test : group.items("tests")) {
      const auto msg = hex_decode(test.str("msg"));
      const auto sig = hex_decode(test.str("sig"));
      ASSERT_TRUE(msg && sig);
      EXPECT_EQ(key->verify(*msg, *sig), test.str("result") == "valid") << test.integer("tcId") << " " << test.str("comment");
      ++seen;
    }
  }
  EXPECT_EQ(seen, static_cast<std::size_t>(doc->integer("numberOfTests")));
}

// RFC 8032 §7.1, TEST 1 and TEST 3.
TEST_F(Ed25519Test, RfcVectors) {
  struct Case {
    const char *seed, *key, *message, *signature;
  };
  for (const auto& c : {Case{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                             "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                             "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
                        Case{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                             "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                             "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"}}) {
    const auto key = Ed25519KeyPair::from_seed(hex_decode(c.seed).value());
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(hex_encode(key->public_key().raw()), c.key);
    const std::string message = hex_decode(c.message).value();
    EXPECT_EQ(hex_encode(key->sign(message).value()), c.signature);
    EXPECT_TRUE(key->public_key().verify(message, hex_decode(c.signature).value()));
  }
  EXPECT_FALSE(Ed25519KeyPair::from_seed("short").has_value());
}

TEST_F(Ed25519Test, SignsWhatItVerifiesAndNothingElse) {
  const auto key = Ed25519KeyPair::generate();
  const auto other = Ed25519KeyPair::generate();
  ASSERT_TRUE(key && other);
  const std::string sig = key->sign("message").value();
  EXPECT_EQ(sig, key->sign("message").value()) << "deterministic";
  EXPECT_TRUE(key->public_key().verify("message", sig));
  EXPECT_FALSE(key->public_key().verify("messagf", sig));
  EXPECT_FALSE(other->public_key().verify("message", sig));
  EXPECT_FALSE(key->public_key().verify("message", sig + '\0'));
  EXPECT_FALSE(key->public_key().verify("message", sig.substr(1)));
  EXPECT_FALSE(key->public_key().verify("message", ""));
  for (std::size_t i = 0; i < sig.size(); ++i) {
    std::string changed = sig;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(key->public_key().verify("message", changed)) << i;
  }
}

TEST_F(Ed25519Test, FilesAreEncryptedAndNeedThePassphrase) {
  const auto key = Ed25519KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  ASSERT_TRUE(key->save(path("k.pem"), "correct horse").has_value());
  struct stat st {};
  ASSERT_EQ(::stat(path("k.pem").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  const auto again = Ed25519KeyPair::load(path("k.pem"), "correct horse");
  ASSERT_TRUE(again.has_value()) << again.error().describe();
  EXPECT_EQ(again->public_key(), key->public_key());
  EXPECT_EQ(again->sign("m").value(), key->sign("m").value());
  const auto wrong = Ed25519KeyPair::load(path("k.pem"), "wrong horse");
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code(), base_errors::kInvalid);
  EXPECT_FALSE(key->to_pem("").has_value());
  shell("openssl genpkey -algorithm ED25519 -out plain.pem");
  EXPECT_FALSE(Ed25519KeyPair::load(path("plain.pem"), "x").has_value()) << "a private key that lies on disk in the clear";
}

TEST_F(Ed25519Test, EachAlgorithmRefusesTheOthersFiles) {
  const auto ed = Ed25519KeyPair::generate();
  const auto ec = KeyPair::generate();
  ASSERT_TRUE(ed && ec);
  const auto as_ed = Ed25519KeyPair::from_pem(ec->to_pem("pw", 1000).value(), "pw");
  ASSERT_FALSE(as_ed.has_value());
  EXPECT_EQ(as_ed.error().code(), base_errors::kInvalid);
  EXPECT_FALSE(KeyPair::from_pem(ed->to_pem("pw", 1000).value(), "pw").has_value());
  EXPECT_FALSE(Ed25519PublicKey::from_pem(ec->public_key().pem()).has_value());
}

TEST_F(Ed25519Test, OpensslOpensTheKeyAndBothCheckTheOthersSignature) {
  const auto key = Ed25519KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  const std::string pem = key->public_key().pem();
  ASSERT_TRUE(write_file_durable(path("k.pem"), key->to_pem("pw", 1000).value()).has_value());
  ASSERT_TRUE(write_file_durable(path("k.pub"), pem).has_value());
  EXPECT_EQ(shell("openssl pkey -in k.pem -passin pass:pw -pubout"), pem);
  ASSERT_TRUE(write_file_durable(path("m"), "the message").has_value());
  ASSERT_TRUE(write_file_durable(path("s"), key->sign("the message").value()).has_value());
  EXPECT_EQ(shell("openssl pkeyutl -verify -pubin -inkey k.pub -rawin -in m -sigfile s"), "Signature Verified Successfully\n");
  EXPECT_EQ(shell("openssl pkeyutl -sign -inkey k.pem -passin pass:pw -rawin -in m -out s2 && cmp s s2"), "");
}

TEST_F(Ed25519Test, PublicKeysHaveOneSpelling) {
  const auto key = Ed25519KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  const std::string pem = key->public_key().pem();
  const auto again = Ed25519PublicKey::from_pem(pem);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, key->public_key());
  EXPECT_FALSE(Ed25519PublicKey::from_pem(pem + "x").has_value());
  EXPECT_FALSE(Ed25519PublicKey::from_pem("").has_value());
  EXPECT_FALSE(Ed25519PublicKey::from_raw(key->public_key().raw() + "x").has_value());
  EXPECT_FALSE(Ed25519PublicKey::from_raw("").has_value());
}

}  // namespace
}  // namespace stella::crypto
