// AES-GCM vectors, keyring files and envelopes: what opens, and that nothing else does.
#include "stella/crypto/envelope.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "aes_gcm.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/crypto/kdf.h"
#include "stella/crypto/keys.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

constexpr ScryptCost kCheap{.log_n = 4, .r = 8, .p = 1};

TEST(AesGcm, WycheproofOfTheSizesInUse) {
  const auto doc = json::parse(testing::slurp(STELLA_SHARED_OR_SKIP("vectors/wycheproof/aes_gcm_test.json")));
  ASSERT_TRUE(doc.has_value());
  int seen = 0;
  int other = 0;  // other key, nonce and tag sizes: this module has one of each
  for (const auto& group : doc->items("testGroups")) {
    const bool ours = group.integer("keySize") == 256 && group.integer("ivSize") == 96 && group.integer("tagSize") == 128;
    for (const auto& test : group.items("tests")) {
      const auto part = [&](std::string_view name) { return hex_decode(test.str(name)).value(); };
      auto cipher = AesGcm::create(part("key"));
      if (!ours) {
        ++other;
        EXPECT_EQ(cipher.has_value(), group.integer("keySize") == 256);
        continue;
      }
      ++seen;
      ASSERT_TRUE(cipher.has_value());
      std::string plain = "before";
      const bool opened = cipher->open(part("iv"), part("aad"), part("ct") + part("tag"), plain);
      EXPECT_EQ(opened, test.str("result") == "valid") << test.integer("tcId") << " " << test.str("comment");
      EXPECT_EQ(plain, opened ? "before" + part("msg") : "before");
      if (!opened) continue;
      std::string sealed;
      ASSERT_TRUE(cipher->seal(part("iv"), part("aad"), part("msg"), sealed).has_value());
      EXPECT_EQ(hex_encode(sealed), std::string(test.str("ct")) + std::string(test.str("tag")));
    }
  }
  EXPECT_GT(seen, 30);
  EXPECT_EQ(seen + other, doc->integer("numberOfTests"));
}

class EnvelopeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/stella_envelope_XXXXXX";
    ASSERT_NE(::mkdtemp(dir), nullptr);
    dir_ = dir;
    auto made = FileKeyring::create(path("ring"), "pass", kCheap);
    ASSERT_TRUE(made.has_value()) << made.error().describe();
    ring_ = std::move(*made);
    ASSERT_TRUE(ring_->add_key("acme/1").has_value());
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + dir_ + "'").c_str()); }
  std::string path(std::string_view name) const { return dir_ + "/" + std::string(name); }

  std::string seal(std::string_view plain) const { return envelope_seal(*ring_, "acme/1", "tenants/acme/x", plain).value(); }
  Result<std::string> open(std::string_view sealed) const { return envelope_open(*ring_, "tenants/acme/x", sealed); }
  static std::string bytes(std::size_t n) {
    std::string out(n, '\0');
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<char>((i * 2654435761u) >> 13);
    return out;
  }
  std::size_t header_size() const { return seal("").size() - kGcmTagBytes; }

  std::string dir_;
  std::unique_ptr<FileKeyring> ring_;
};

TEST_F(EnvelopeTest, KeyringFileKeepsItsKeys) {
  struct stat st {};
  ASSERT_EQ(::stat(path("ring").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  const std::string data_key(32, 'k');
  const std::string wrapped = ring_->wrap("acme/1", data_key, "c").value();
  ASSERT_TRUE(ring_->add_key("acme/2").has_value());
  const auto again = FileKeyring::open(path("ring"), "pass");
  ASSERT_TRUE(again.has_value()) << again.error().describe();
  EXPECT_EQ((*again)->key_ids(), (std::vector<std::string>{"acme/1", "acme/2"}));
  EXPECT_EQ((*again)->unwrap("acme/1", wrapped, "c")->view(), data_key);
  EXPECT_NE((*again)->wrap("acme/1", data_key, "c").value(), wrapped);
  // Another key, another context, another key id, damage.
  EXPECT_EQ((*again)->unwrap("acme/2", wrapped, "c").error().code(), base_errors::kInvalid);
  EXPECT_EQ((*again)->unwrap("acme/1", wrapped, "d").error().code(), base_errors::kInvalid);
  EXPECT_EQ((*again)->unwrap("acme/3", wrapped, "c").error().code(), base_errors::kNotFound);
  EXPECT_EQ((*again)->unwrap("acme/1", "", "c").error().code(), base_errors::kInvalid);
  EXPECT_EQ((*again)->wrap("acme/1", "short", "c").error().code(), base_errors::kInvalid);
  EXPECT_EQ(testing::slurp(path("ring")).find(base64_encode(data_key)), std::string::npos);
}

// The operator's shell is root's, the server another user: what root changes, the server reads on.
TEST_F(EnvelopeTest, AKeyringThatRootChangesStaysWithItsOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: not root";
  ASSERT_EQ(::chown(dir_.c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chown(path("ring").c_str(), 65534, 65533), 0);
  ASSERT_EQ(::unlink(path("ring.lock").c_str()), 0);
  ASSERT_TRUE(ring_->add_key("acme/2").has_value());
  for (const char* name : {"ring", "ring.lock"}) {
    struct stat info {};
    ASSERT_EQ(::lstat(path(name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_uid, 65534u) << name;
    EXPECT_EQ(info.st_gid, 65533u) << name;
    EXPECT_EQ(info.st_mode & 07777u, 0600u) << name;
  }
  ASSERT_TRUE(KeyPair::generate()->save(path("new.pem"), "pass").has_value());
  struct stat info {};
  ASSERT_EQ(::lstat(path("new.pem").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 65534u);
  // A link in the lock's place is not followed.
  ASSERT_EQ(::unlink(path("ring.lock").c_str()), 0);
  ASSERT_EQ(::symlink((dir_ + "/elsewhere").c_str(), path("ring.lock").c_str()), 0);
  EXPECT_FALSE(ring_->add_key("acme/3").has_value());
  EXPECT_NE(::access(path("elsewhere").c_str(), F_OK), 0);
}

TEST_F(EnvelopeTest, KeyringFileRefuses) {
  EXPECT_EQ(FileKeyring::create(path("ring"), "pass", kCheap).error().field("path"), path("ring"));
  EXPECT_EQ(FileKeyring::create(path("other"), "", kCheap).error().field("field"), "passphrase");
  EXPECT_EQ(FileKeyring::open(path("ring"), "wrong").error().message(), "wrong passphrase for this keyring");
  EXPECT_EQ(FileKeyring::open(path("none"), "pass").error().code(), base_errors::kNotFound);
  EXPECT_EQ(ring_->add_key("acme/1").error().code(), base_errors::kInvalid);
  for (const std::string_view id : {"", "-x", "a b", "a\nb", "ä"}) EXPECT_EQ(ring_->add_key(id).error().field("field"), "key_id") << id;
  EXPECT_FALSE(ring_->add_key(std::string(129, 'a')).has_value());
  // An entry under another name does not open: what was wrapped for one tenant would open for another.
  ASSERT_TRUE(ring_->add_key("beta/1").has_value());
  std::string text = testing::slurp(path("ring"));
  const auto swap = [&text](std::string_view from, std::string_view to) { text.replace(text.find(from), from.size(), to); };
  swap("\"acme/1\"", "\"tmp\"");
  swap("\"beta/1\"", "\"acme/1\"");
  swap("\"tmp\"", "\"beta/1\"");
  ASSERT_TRUE(write_file_durable(path("ring"), text).has_value());
  EXPECT_EQ(FileKeyring::open(path("ring"), "pass").error().message(), "a key of this keyring is damaged");
  for (const std::string_view bad : {"", "{}", R"({"format":"stella-keyring/2","scrypt":{}})", R"({"format":"stella-keyring/1","scrypt":{"log_n":99,"r":8,"p":1,"salt":""}})"}) {
    ASSERT_TRUE(write_file_durable(path("bad"), bad).has_value());
    EXPECT_FALSE(FileKeyring::open(path("bad"), "pass").has_value()) << bad;
  }
  // What cannot be stored is not used.
  ASSERT_TRUE(make_dirs(path("gone")).has_value());
  auto gone = FileKeyring::create(path("gone/ring"), "pass", kCheap);
  ASSERT_TRUE(gone.has_value());
  (void)!std::system(("rm -rf '" + path("gone") + "'").c_str());
  EXPECT_FALSE((*gone)->add_key("k").has_value());
  EXPECT_TRUE((*gone)->key_ids().empty());
}

TEST_F(EnvelopeTest, SecretFiles) {
  ASSERT_TRUE(write_file_durable(path("pin"), "1234\r\n", 0600).has_value());
  EXPECT_EQ(read_secret_file(path("pin"))->view(), "1234");
  ASSERT_TRUE(write_file_durable(path("pin"), "1234 \n\n", 0640).has_value());
  EXPECT_EQ(read_secret_file(path("pin"))->view(), "1234 \n");
  ASSERT_TRUE(write_file_durable(path("pin"), "1234", 0644).has_value());
  EXPECT_EQ(read_secret_file(path("pin")).error().message(), "everybody may read this secret");
  ASSERT_TRUE(write_file_durable(path("pin"), "\n", 0600).has_value());
  EXPECT_EQ(read_secret_file(path("pin")).error().message(), "this secret is empty");
  EXPECT_EQ(read_secret_file(path("none")).error().code(), base_errors::kNotFound);
}

TEST_F(EnvelopeTest, OpensAtEverySizeAroundAChunk) {
  constexpr std::size_t kChunk = kEnvelopeChunkBytes;
  const std::size_t header = header_size();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kChunk - 1, kChunk, kChunk + 1, 2 * kChunk, 3 * kChunk + 5}) {
    const std::string plain = bytes(size);
    const std::string sealed = seal(plain);
    EXPECT_EQ(sealed.size(), header + envelope_body_bytes(size));
    EXPECT_EQ(open(sealed).value(), plain) << size;
    EXPECT_NE(seal(plain), sealed);
  }
  EXPECT_EQ(envelope_key_id(seal("x")).value(), "acme/1");
  EXPECT_EQ(envelope_key_id(seal("x").substr(0, 256)).value(), "acme/1");
  EXPECT_TRUE(is_envelope(seal("x")));
  EXPECT_FALSE(is_envelope("{}"));
}

TEST_F(EnvelopeTest, StreamsInPiecesOfAnySize) {
  const std::string plain = bytes(2 * kEnvelopeChunkBytes + 777);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{15}, std::size_t{4096}, std::size_t{65552}, std::size_t{1} << 20}) {
    std::string sealed;
    std::size_t longest = 0;
    auto encryptor = EnvelopeEncryptor::start(*ring_, "acme/1", "c", [&](std::string_view out) -> Result<void> {
      longest = std::max(longest, out.size());
      sealed += out;
      return {};
    });
    ASSERT_TRUE(encryptor.has_value());
    for (std::size_t i = 0; i < plain.size(); i += piece) ASSERT_TRUE(encryptor->update(std::string_view(plain).substr(i, piece)).has_value());
    ASSERT_TRUE(encryptor->finish().has_value());
    EXPECT_FALSE(encryptor->finish().has_value());
    EXPECT_FALSE(encryptor->update("x").has_value());
    EXPECT_LE(longest, kEnvelopeChunkBytes + kGcmTagBytes);
    std::string out;
    EnvelopeDecryptor decryptor(*ring_, "c", [&out](std::string_view p) -> Result<void> {
      out += p;
      return {};
    });
    for (std::size_t i = 0; i < sealed.size(); i += piece) ASSERT_TRUE(decryptor.update(std::string_view(sealed).substr(i, piece)).has_value());
    ASSERT_TRUE(decryptor.finish().has_value());
    EXPECT_TRUE(out == plain) << piece;
  }
}

TEST_F(EnvelopeTest, WhatIsAlteredMovedOrCutOffDoesNotOpen) {
  const std::size_t header = header_size();
  constexpr std::size_t kSealed = kEnvelopeChunkBytes + kGcmTagBytes;
  const std::string plain = bytes(3 * kEnvelopeChunkBytes);
  const std::string sealed = seal(plain);
  const auto chunk = [&](std::size_t i) { return sealed.substr(header + i * kSealed, kSealed); };
  const std::string head = sealed.substr(0, header);
  EXPECT_EQ(open(head + chunk(0) + chunk(1) + chunk(2)).value(), plain);
  EXPECT_FALSE(open(head + chunk(0) + chunk(1)).has_value());             // the end is missing, at a chunk's edge
  EXPECT_FALSE(open(head).has_value());                                   // everything is missing
  EXPECT_FALSE(open(head + chunk(1) + chunk(0) + chunk(2)).has_value());  // another order
  EXPECT_FALSE(open(head + chunk(0) + chunk(0) + chunk(2)).has_value());  // repeated
  EXPECT_FALSE(open(head + chunk(1) + chunk(2)).has_value());             // the beginning is missing
  EXPECT_FALSE(open(sealed + chunk(2)).has_value());                      // more behind the last
  EXPECT_FALSE(open(sealed + "x").has_value());
  EXPECT_FALSE(open(sealed + std::string(kGcmTagBytes, '\0')).has_value());
  const std::string other = seal(plain);
  EXPECT_FALSE(open(head + chunk(0) + other.substr(header + kSealed, kSealed) + chunk(2)).has_value());  // from another object
  EXPECT_FALSE(open(other.substr(0, header) + sealed.substr(header)).has_value());
  const auto wrong = open(head + chunk(0) + chunk(2) + chunk(1));
  EXPECT_EQ(wrong.error().field("chunk"), "1");
  // Every bit of a short object, every length of it.
  const std::string small = seal("a secret of some length");
  for (std::size_t i = 0; i < small.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = small;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      EXPECT_FALSE(open(bad).has_value()) << i << "." << bit;
    }
  for (std::size_t n = 0; n < small.size(); ++n) EXPECT_FALSE(open(small.substr(0, n)).has_value()) << n;
}

TEST_F(EnvelopeTest, AWrongKeySaysSo) {
  const std::string sealed = seal("secret");
  auto other = FileKeyring::create(path("other"), "pass", kCheap);
  ASSERT_TRUE(other.has_value());
  const auto unknown = envelope_open(**other, "tenants/acme/x", sealed);
  EXPECT_EQ(unknown.error().code(), base_errors::kNotFound);
  EXPECT_EQ(unknown.error().field("key"), "acme/1");
  ASSERT_TRUE((*other)->add_key("acme/1").has_value());
  const auto wrong = envelope_open(**other, "tenants/acme/x", sealed);
  EXPECT_EQ(wrong.error().code(), base_errors::kInvalid);
  EXPECT_EQ(wrong.error().describe(), "the wrapped key does not open: another key, another context, or damage (key=acme/1)");
  EXPECT_EQ(envelope_open(*ring_, "tenants/beta/x", sealed).error().code(), base_errors::kInvalid);
  EXPECT_EQ(envelope_open(*ring_, "c", "STELLAE\x02rest").error().field("expected"), "version 1; this one was written by a newer release");
  EXPECT_EQ(envelope_seal(*ring_, "no key", "c", "x").error().field("field"), "key_id");
  EXPECT_EQ(envelope_seal(*ring_, "acme/9", "c", "x").error().code(), base_errors::kNotFound);
}

TEST_F(EnvelopeTest, TheSinkMayEndTheStream) {
  const auto full = [](std::string_view) -> Result<void> { return Error(base_errors::kIo, "disk full"); };
  EXPECT_EQ(EnvelopeEncryptor::start(*ring_, "acme/1", "c", full).error().message(), "disk full");
  EnvelopeDecryptor decryptor(*ring_, "tenants/acme/x", full);
  EXPECT_TRUE(decryptor.update(seal("x")).has_value());
  EXPECT_EQ(decryptor.finish().error().message(), "disk full");
  EXPECT_FALSE(decryptor.update("x").has_value());
}

// Processes share the file: none loses the key that another one added, and none goes on with one that another destroyed.
TEST_F(EnvelopeTest, KeyringsOfOneFileSeeEachOthersChanges) {
  const auto other = std::move(FileKeyring::open(path("ring"), "pass").value());
  ASSERT_TRUE(other->add_key("beta/1"));
  ASSERT_TRUE(ring_->add_key("gamma/1"));
  const std::string sealed = envelope_seal(*ring_, "beta/1", "x", "hello").value();
  EXPECT_EQ(envelope_open(*other, "x", sealed).value(), "hello");
  EXPECT_EQ(other->add_key("gamma/1").error().code(), base_errors::kInvalid);
  ASSERT_TRUE(other->destroy_key("beta/1"));
  const auto gone = envelope_open(*ring_, "x", sealed);
  EXPECT_EQ(gone.error().code(), base_errors::kNotFound);
  EXPECT_EQ(gone.error().field("reason"), "destroyed");
  EXPECT_EQ(ring_->add_key("beta/1").error().field("reason"), "destroyed") << "an id is never used twice";
  EXPECT_EQ(ring_->destroy_key("beta/1").error().code(), base_errors::kNotFound);
  EXPECT_EQ(ring_->destroy_key("never").error().code(), base_errors::kNotFound);
  const auto again = std::move(FileKeyring::open(path("ring"), "pass").value());
  EXPECT_EQ(again->key_ids(), (std::vector<std::string>{"acme/1", "gamma/1"}));
  EXPECT_EQ(envelope_open(*again, "x", sealed).error().field("reason"), "destroyed");
  // A keyring of the same name with another passphrase is another keyring.
  ASSERT_EQ(::unlink(path("ring").c_str()), 0);
  EXPECT_EQ(ring_->wrap("acme/1", std::string(32, 'k'), "c").error().code(), base_errors::kIo);
  ASSERT_TRUE(FileKeyring::create(path("ring"), "pass", kCheap));
  for (const Error& error : {ring_->wrap("acme/1", std::string(32, 'k'), "c").error(), envelope_open(*ring_, "x", sealed).error(), ring_->newest("acme/1").error(), ring_->add_key("new").error(), ring_->destroy_key("acme/1").error()}) {
    EXPECT_EQ(error.code(), base_errors::kIo) << "nothing is said about what was wrapped: " << error.describe();
    EXPECT_EQ(error.field("cause"), "another keyring took the place of this one: restart");
  }
  ASSERT_TRUE(write_file_durable(path("ring"), "not a keyring"));
  EXPECT_EQ(envelope_open(*ring_, "x", sealed).error().code(), base_errors::kIo);
}

// Written by another implementation (Python, cryptography 48): the format is fixed by these bytes.
TEST_F(EnvelopeTest, OpensWhatAnotherImplementationWrote) {
  class Known final : public Kms {
   public:
    Result<void> add_key(std::string_view) override { return {}; }
    Result<void> destroy_key(std::string_view) override { return {}; }
    Result<std::string> wrap(std::string_view, std::string_view, std::string_view) const override { return std::string("k"); }
    Result<SecretBytes> unwrap(std::string_view, std::string_view wrapped, std::string_view) const override { return SecretBytes(std::string(32, wrapped[0])); }
  };
  const std::string sealed = hex_decode("5354454c4c41450110000661636d652f3100016bec37687c3d4843773c364f4efb599e16b8cfa9b4f3").value();
  EXPECT_EQ(envelope_open(Known(), "", sealed).value(), "hello");
}

// One object has one spelling: an empty last chunk behind others is refused, even from somebody who has the key. Other chunk sizes are read.
TEST_F(EnvelopeTest, AnEmptyLastChunkIsForEmptyObjects) {
  const std::string wrapped = ring_->wrap("acme/1", std::string(32, 'k'), "c").value();
  const std::string header = std::string("STELLAE\x01\x0c", 9) + std::string("\0\x06", 2) + "acme/1" + std::string("\0", 1) + static_cast<char>(wrapped.size()) + wrapped;
  auto cipher = AesGcm::create(hkdf_sha256(std::string(32, 'k'), "", std::string("stella/envelope/v1\0", 19) + header));
  ASSERT_TRUE(cipher.has_value());
  const auto chunk = [&](char number, char last, std::string_view plain) {
    std::string out;
    EXPECT_TRUE(cipher->seal(std::string(10, '\0') + number + last, "", plain, out).has_value());
    return out;
  };
  const std::string full = bytes(4096);
  EXPECT_EQ(envelope_open(*ring_, "c", header + chunk(0, 0, full) + chunk(1, 1, "end")).value(), full + "end");
  EXPECT_EQ(envelope_open(*ring_, "c", header + chunk(0, 1, full)).value(), full);
  EXPECT_EQ(envelope_open(*ring_, "c", header + chunk(0, 1, "")).value(), "");
  EXPECT_EQ(envelope_open(*ring_, "c", header + chunk(0, 0, full) + chunk(1, 1, "")).error().field("chunk"), "1");
}

// The format is what the header file says, read by code that shares nothing with the writer but AES and HKDF.
TEST_F(EnvelopeTest, TheBytesAreAsDocumented) {
  const std::string plain = bytes(kEnvelopeChunkBytes + 3);
  const std::string sealed = seal(plain);
  const auto u8 = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(sealed[i])); };
  EXPECT_EQ(sealed.substr(0, 8), std::string("STELLAE\x01"));
  EXPECT_EQ(u8(8), 16u);
  const std::size_t id_size = u8(9) * 256 + u8(10);
  EXPECT_EQ(sealed.substr(11, id_size), "acme/1");
  const std::size_t wrapped_size = u8(11 + id_size) * 256 + u8(12 + id_size);
  const std::size_t body = 13 + id_size + wrapped_size;
  const auto data_key = ring_->unwrap("acme/1", sealed.substr(13 + id_size, wrapped_size), "tenants/acme/x");
  ASSERT_TRUE(data_key.has_value());
  auto cipher = AesGcm::create(hkdf_sha256(data_key->view(), "", std::string("stella/envelope/v1\0", 19) + sealed.substr(0, body)));
  ASSERT_TRUE(cipher.has_value());
  std::string out;
  const std::string last = std::string(10, '\0') + std::string("\x01\x01", 2);
  EXPECT_TRUE(cipher->open(std::string(12, '\0'), "", sealed.substr(body, 65552), out));
  EXPECT_TRUE(cipher->open(last, "", sealed.substr(body + 65552), out));
  EXPECT_TRUE(out == plain);
}

}  // namespace
}  // namespace stella::crypto
