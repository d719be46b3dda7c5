// P-256 keys: published vectors, files, fingerprints as ssh-keygen prints them, signatures as openssl checks them.
#include "stella/crypto/keys.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

class KeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/stella_keys_XXXXXX";
    ASSERT_NE(::mkdtemp(dir), nullptr);
    dir_ = dir;
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + dir_ + "'").c_str()); }
  std::string path(std::string_view name) const { return dir_ + "/" + std::string(name); }
  // Output of a shell command run in the test's directory.
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

void wycheproof(const std::string& path, bool raw) {
  const auto doc = json::parse(testing::slurp(path));
  ASSERT_TRUE(doc.has_value());
  std::size_t seen = 0;
  for (const auto& group : doc->items("testGroups")) {
    const auto der = hex_decode(group.str("publicKeyDer"));
    ASSERT_TRUE(der.has_value());
    const auto key = PublicKey::from_spki_der(*der);
    ASSERT_TRUE(key.has_value()) << group.str("publicKeyDer");
    const auto same = PublicKey::from_pem(group.str("publicKeyPem"));
    ASSERT_TRUE(same.has_value());
    EXPECT_EQ(*same, *key);
    for (const auto& test : group.items("tests")) {
      const auto msg = hex_decode(test.str("msg"));
      const auto sig = hex_decode(test.str("sig"));
      ASSERT_TRUE(msg && sig);
      const bool valid = raw ? key->verify_raw(*msg, *sig) : key->verify_der(*msg, *sig);
      EXPECT_EQ(valid, test.str("result") == "valid") << test.integer("tcId") << " " << test.str("comment");
      ++seen;
    }
  }
  EXPECT_EQ(seen, static_cast<std::size_t>(doc->integer("numberOfTests")));
}

TEST_F(KeysTest, WycheproofDer) { wycheproof(STELLA_SHARED_OR_SKIP("vectors/wycheproof/ecdsa_secp256r1_sha256_test.json"), false); }
TEST_F(KeysTest, WycheproofRaw) { wycheproof(STELLA_SHARED_OR_SKIP("vectors/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json"), true); }

TEST_F(KeysTest, SignsWhatItVerifiesAndNothingElse) {
  const auto key = KeyPair::generate();
  const auto other = KeyPair::generate();
  ASSERT_TRUE(key && other);
  const auto sig = key->sign("message");
  ASSERT_TRUE(sig.has_value());
  const auto raw = ecdsa_der_to_raw(*sig);
  ASSERT_TRUE(raw.has_value());
  const PublicKey& pub = key->public_key();
  EXPECT_TRUE(pub.verify("message", *sig));
  EXPECT_TRUE(pub.verify("message", *raw));
  EXPECT_FALSE(pub.verify_der("message", *raw));
  EXPECT_FALSE(pub.verify("messagf", *sig));
  EXPECT_FALSE(other->public_key().verify("message", *sig));
  EXPECT_FALSE(pub.verify("message", *sig + '\0'));
  EXPECT_FALSE(pub.verify("message", ""));
  EXPECT_EQ(ecdsa_raw_to_der(*raw).value(), *sig);
}

TEST_F(KeysTest, FilesAreEncryptedAndNeedThePassphrase) {
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  ASSERT_TRUE(key->save(path("k.pem"), "correct horse").has_value());
  struct stat st {};
  ASSERT_EQ(::stat(path("k.pem").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  const auto again = KeyPair::load(path("k.pem"), "correct horse");
  ASSERT_TRUE(again.has_value()) << again.error().describe();
  EXPECT_EQ(again->public_key(), key->public_key());
  EXPECT_TRUE(key->public_key().verify("m", again->sign("m").value()));
  const auto wrong = KeyPair::load(path("k.pem"), "wrong horse");
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code(), base_errors::kInvalid);
  EXPECT_FALSE(key->to_pem("").has_value());
  // What is sealed opens: the longest passphrase does, a longer one is refused before it is too late.
  const std::string longest(1024, 'p');
  EXPECT_TRUE(KeyPair::from_pem(key->to_pem(longest, 1000).value(), longest).has_value());
  EXPECT_EQ(key->save(path("long.pem"), longest + "p").error().field("field"), "passphrase");
  EXPECT_NE(::access(path("long.pem").c_str(), F_OK), 0);
  // Iterations as written, seen by an independent reader of the file.
  EXPECT_NE(shell("openssl asn1parse -in k.pem").find("INTEGER           :0927C0"), std::string::npos) << shell("openssl asn1parse -in k.pem");
  // A private key that lies on disk in the clear is refused.
  shell("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem");
  EXPECT_FALSE(KeyPair::load(path("plain.pem"), "x").has_value());
}

TEST_F(KeysTest, OpensslOpensTheKeyAndChecksTheSignature) {
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  ASSERT_TRUE(write_file_durable(path("k.pem"), key->to_pem("pw", 1000).value()).has_value());
  ASSERT_TRUE(write_file_durable(path("k.pub"), key->public_key().pem()).has_value());
  EXPECT_EQ(shell("openssl pkey -in k.pem -passin pass:pw -pubout"), key->public_key().pem());
  ASSERT_TRUE(write_file_durable(path("m"), "the message").has_value());
  ASSERT_TRUE(write_file_durable(path("s"), key->sign("the message").value()).has_value());
  EXPECT_EQ(shell("openssl dgst -sha256 -verify k.pub -signature s m"), "Verified OK\n");
  ASSERT_TRUE(write_file_durable(path("m"), "the messagf").has_value());
  EXPECT_NE(shell("openssl dgst -sha256 -verify k.pub -signature s m"), "Verified OK\n");
}

TEST_F(KeysTest, KeyIdIsTheOpenSshFingerprint) {
  if (shell("command -v ssh-keygen").empty()) GTEST_SKIP() << "skipped: no ssh-keygen";
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  ASSERT_TRUE(write_file_durable(path("k.pub"), key->public_key().pem()).has_value());
  const std::string line = shell("ssh-keygen -i -m PKCS8 -f k.pub > k.ssh && ssh-keygen -l -f k.ssh");
  EXPECT_NE(line.find(" " + key->public_key().id().str() + " "), std::string::npos) << line;
  EXPECT_EQ(key->public_key().keyid8(), sha256(key->public_key().spki_der()).hex().substr(0, 8));
}

TEST_F(KeysTest, RefusesOtherKeys) {
  shell("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 | openssl pkey -pubout -out p384.pub");
  shell("openssl genpkey -algorithm ED25519 | openssl pkey -pubout -out ed.pub");
  shell("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl ec -pubout -conv_form compressed -out compressed.pub");
  for (const char* name : {"p384.pub", "ed.pub", "compressed.pub"}) {
    const auto key = PublicKey::from_pem(testing::slurp(path(name)));
    ASSERT_FALSE(key.has_value()) << name;
    EXPECT_EQ(key.error().code(), base_errors::kMalformed) << name;
  }
  const auto good = KeyPair::generate();
  ASSERT_TRUE(good.has_value());
  EXPECT_FALSE(PublicKey::from_pem(good->public_key().pem() + "x").has_value());
  EXPECT_FALSE(PublicKey::from_pem("").has_value());
  EXPECT_FALSE(PublicKey::from_spki_der(good->public_key().spki_der() + "x").has_value());
  std::string off_curve = good->public_key().spki_der();
  off_curve.back() = static_cast<char>(off_curve.back() ^ 1);
  EXPECT_FALSE(PublicKey::from_spki_der(off_curve).has_value());
}

TEST_F(KeysTest, LoadsFilesAndDirectories) {
  const auto a = KeyPair::generate();
  const auto b = KeyPair::generate();
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(write_file_durable(path("a.pub"), a->public_key().pem()).has_value());
  ASSERT_TRUE(write_file_durable(path("both.pem"), a->public_key().pem() + "\n" + b->public_key().pem()).has_value());
  ASSERT_TRUE(write_file_durable(path("note.txt"), "no key").has_value());
  EXPECT_EQ(load_public_keys(path("a.pub"))->size(), 1u);
  const auto all = load_public_keys(dir_);
  ASSERT_TRUE(all.has_value());
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0], a->public_key());
  EXPECT_EQ((*all)[1], b->public_key());
  EXPECT_EQ(load_public_keys(path("none")).error().code(), base_errors::kNotFound);
  EXPECT_EQ(load_public_keys(path("note.txt")).error().code(), base_errors::kMalformed);
}

TEST_F(KeysTest, DerIsStrict) {
  const auto bad = [](std::string_view hex) { return !ecdsa_der_to_raw(hex_decode(hex).value()).has_value(); };
  EXPECT_FALSE(bad("3006020101020101"));
  EXPECT_TRUE(bad("30060201ff020101"));      // negative
  EXPECT_TRUE(bad("300702020001020101"));    // padded
  EXPECT_TRUE(bad("308106020101020101"));    // long length where short fits
  EXPECT_TRUE(bad("300602010102010100"));    // trailing byte
  EXPECT_TRUE(bad(""));
}

}  // namespace
}  // namespace stella::crypto
