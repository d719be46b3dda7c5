// Encryption at rest: what lies in the store, who can read it, and what tampering comes to. The promises of every store: conformance_test.cc.
#include "stella/platform/encrypted_objects.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/envelope.h"
#include "stella/tenancy/contents.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/shared_data.h"
#include "stella/testing/temp_dir.h"

namespace stella::objects {
namespace {

using testing::TempDir;

const TenantId kAcme = TenantId::parse("acme").value();
const TenantId kBeta = TenantId::parse("beta").value();
constexpr std::string_view kSecret = "the components of a product that is not announced yet";

std::string key_in(const TenantId& tenant, std::string_view bytes) { return object_key::object(tenant, crypto::sha256(bytes)); }

class Encrypted : public ::testing::Test {
 protected:
  void SetUp() override {
    kms_ = std::move(crypto::FileKeyring::create(dir_ / "keys", "pass", {10, 8, 1}).value());
    store_ = open(true);
    clear_ = open(false);
  }
  std::unique_ptr<Store> open(bool encrypt) {
    EncryptionOptions options;
    options.kms = kms_;
    options.rule = [](std::string_view key) -> std::optional<Encryption> {
      const auto contents = object_key::contents_of(key);
      if (!contents) return std::nullopt;
      return Encryption{object_key::wrapping_key_id(contents->tenant), contents->content};
    };
    options.encrypt = encrypt;
    options.spool_dir = dir_.path();
    return open_encrypted_store(std::move(open_posix_store(dir_ / "store").value()), std::move(options));
  }
  std::string file(const std::string& key) const { return dir_ / ("store/" + key); }
  std::string stored(const std::string& key) const { return read_file(file(key), 64 << 20).value(); }
  // As somebody who reaches the files behind our back.
  void replace(const std::string& key, std::string_view bytes) {
    ASSERT_TRUE(make_dirs(file(key).substr(0, file(key).rfind('/'))));
    ASSERT_TRUE(write_file_durable(file(key), bytes));
  }
  std::string put(const TenantId& tenant, std::string_view bytes) {
    std::string key = key_in(tenant, bytes);
    EXPECT_EQ(store_->put(key, bytes).value(), Created::kNew);
    return key;
  }
  void expect_refused(const std::string& key, std::string_view what) {
    const auto got = store_->get(key, 64 << 20);
    ASSERT_FALSE(got) << what;
    EXPECT_EQ(got.error().code(), base_errors::kInvalid) << what << ": " << got.error().describe();
    EXPECT_EQ(got.error().field("reason"), "not_authentic") << what;
    const auto opened = store_->open(key);
    ASSERT_FALSE(opened) << what;
    EXPECT_EQ(opened.error().field("reason"), "not_authentic") << what;
  }

  TempDir dir_;
  std::shared_ptr<crypto::FileKeyring> kms_;
  std::unique_ptr<Store> store_, clear_;
};

TEST_F(Encrypted, ContentsLieSealedAndProofsInTheClear) {
  const std::string key = put(kAcme, kSecret);
  EXPECT_TRUE(crypto::is_envelope(stored(key)));
  EXPECT_EQ(stored(key).find(kSecret.substr(4, 10)), std::string::npos);
  EXPECT_EQ(store_->get(key, kSecret.size()).value(), kSecret);
  EXPECT_EQ(store_->get(key, kSecret.size() - 1).error().code(), base_errors::kLimit);
  const std::string proof = object_key::evidence(kAcme, CaseId::parse("case-1").value(), BundleId::generate(), "manifest.json");
  ASSERT_TRUE(store_->put(proof, kSecret));
  EXPECT_EQ(stored(proof), kSecret);
  EXPECT_EQ(kms_->key_ids(), std::vector<std::string>{"tenant/acme"});
  put(kBeta, kSecret);
  EXPECT_EQ(kms_->key_ids(), (std::vector<std::string>{"tenant/acme", "tenant/beta"})) << "a key of its own for each tenant";
  EXPECT_EQ(store_->put(key, kSecret).value(), Created::kExisted);
}

TEST_F(Encrypted, AFileGoesInAndComesOut) {
  for (const std::size_t size : {std::size_t{0}, crypto::kEnvelopeChunkBytes, crypto::kEnvelopeChunkBytes * 5 + 1}) {
    std::string bytes(size, 'x');
    const std::string path = dir_ / "source";
    ASSERT_TRUE(write_file_durable(path, "front" + bytes));
    const Fd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::lseek(source.get(), 5, SEEK_SET), 5);
    const auto copied = store_->put_fd(source.get(), size, [](const Sha256& digest) { return object_key::object(kAcme, digest); });
    ASSERT_TRUE(copied) << copied.error().describe();
    EXPECT_EQ(copied->sha256, crypto::sha256(bytes)) << "from the descriptor's position on";
    EXPECT_EQ(copied->size, size);
    const std::string key = key_in(kAcme, bytes);
    EXPECT_TRUE(crypto::is_envelope(stored(key)));
    const Fd back = std::move(store_->open(key).value());
    EXPECT_TRUE(read_fd(back.get(), size).value() == bytes);
    struct stat st {};
    ASSERT_EQ(::fstat(back.get(), &st), 0);
    EXPECT_EQ(static_cast<std::size_t>(st.st_size), size);
    EXPECT_EQ(st.st_nlink, 0u) << "the decrypted copy has no name";
  }
}

TEST_F(Encrypted, APipeHasNoWayBackAndWorksAnyhow) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd from(ends[0]);
  std::thread writer([&ends] {
    const Fd to(ends[1]);
    EXPECT_TRUE(write_all(to.get(), kSecret));
  });
  const auto copied = store_->put_fd(from.get(), 1000, [](const Sha256& digest) { return object_key::object(kAcme, digest); });
  writer.join();
  ASSERT_TRUE(copied) << copied.error().describe();
  EXPECT_EQ(store_->get(key_in(kAcme, kSecret), 1000).value(), kSecret);
}

// A hostile writer keeps its descriptor of an output open: what is stored must be what was hashed.
TEST_F(Encrypted, ASourceThatChangesBetweenTheTwoReadsIsFoundOut) {
  const std::string path = dir_ / "source";
  ASSERT_TRUE(write_file_durable(path, kSecret));
  const Fd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  std::string key;
  const auto copied = store_->put_fd(source.get(), 1000, [&](const Sha256& digest) {
    EXPECT_EQ(::pwrite(writer.get(), "X", 1, 3), 1);
    return key = object_key::object(kAcme, digest);
  });
  EXPECT_EQ(copied.error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->stat(key).error().code(), base_errors::kNotFound);
}

TEST_F(Encrypted, EverySingleChangeIsRefused) {
  const std::string key = put(kAcme, kSecret);
  const std::string good = stored(key);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    replace(key, bad);
    const auto got = store_->get(key, 1000);
    ASSERT_FALSE(got) << at;
    EXPECT_EQ(got.error().field("reason"), "not_authentic") << at << ": " << got.error().describe();
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    replace(key, good.substr(0, size));
    ASSERT_FALSE(store_->get(key, 1000)) << size;
  }
  replace(key, good + "x");
  expect_refused(key, "longer");
  replace(key, good);
  EXPECT_EQ(store_->get(key, 1000).value(), kSecret) << "and only that was wrong";
}

TEST_F(Encrypted, ChunksKeepTheirPlaces) {
  std::string bytes;
  for (std::size_t i = 0; i < 3 * crypto::kEnvelopeChunkBytes + 100; ++i) bytes += static_cast<char>(i >> 8);
  const std::string key = put(kAcme, bytes);
  const std::string good = stored(key);
  const std::size_t header = good.size() - crypto::envelope_body_bytes(bytes.size()), chunk = crypto::kEnvelopeChunkBytes + 16;
  replace(key, good.substr(0, header + 2 * chunk));
  expect_refused(key, "cut off between chunks");
  replace(key, good.substr(0, header) + good.substr(header + chunk));
  expect_refused(key, "the first chunk is missing");
  replace(key, good.substr(0, header) + good.substr(header + chunk, chunk) + good.substr(header, chunk) + good.substr(header + 2 * chunk));
  expect_refused(key, "two chunks change places");
  replace(key, good.substr(0, header + 2 * chunk) + good.substr(header + chunk));
  expect_refused(key, "one chunk twice");
}

TEST_F(Encrypted, AnObjectOpensUnderItsOwnKeyOnly) {
  const std::string acme = put(kAcme, kSecret), other = put(kAcme, "another document"), beta = put(kBeta, kSecret);
  ASSERT_EQ(crypto::sha256(store_->get(beta, 1000).value()), crypto::sha256(kSecret));
  const std::string good = stored(acme);
  replace(acme, stored(other));
  expect_refused(acme, "another object of the tenant");
  replace(acme, stored(beta));
  expect_refused(acme, "the same bytes, of another tenant");
  const std::string bundle = object_key::evidence(kAcme, CaseId::parse("case-1").value(), BundleId::generate(), "bundle.tgz");
  replace(bundle, good);
  expect_refused(bundle, "an object in the place of a bundle");
  replace(acme, good);
  EXPECT_EQ(store_->get(acme, 1000).value(), kSecret);
}

TEST_F(Encrypted, WhatWasWrittenBeforeStaysReadableAndNothingElseInTheClear) {
  const std::string before = key_in(kAcme, "from before");
  ASSERT_TRUE(clear_->put(before, "from before"));
  EXPECT_EQ(stored(before), "from before");
  EXPECT_EQ(store_->get(before, 100).value(), "from before");
  EXPECT_EQ(read_fd(store_->open(before)->get(), 100).value(), "from before");
  const std::string key = put(kAcme, kSecret);
  EXPECT_EQ(clear_->get(key, 1000).value(), kSecret) << "encryption was turned off again";
  replace(key, "other bytes, downgraded to the clear");
  expect_refused(key, "downgraded");
}

TEST_F(Encrypted, BytesInTheClearCannotPassForAnEnvelope) {
  const std::string key = put(kAcme, kSecret);
  const std::string envelope = stored(key);
  EXPECT_EQ(clear_->put(key_in(kAcme, envelope), envelope).error().code(), base_errors::kInvalid);
  const std::vector<std::pair<std::string, std::string_view>> many{{key_in(kAcme, envelope), envelope}};
  EXPECT_EQ(clear_->put_many(many).error().code(), base_errors::kInvalid);
  ASSERT_TRUE(store_->put_many(many)) << "encrypted, anything may be stored";
  EXPECT_EQ(store_->get(key_in(kAcme, envelope), 10'000).value(), envelope);
}

TEST_F(Encrypted, ADestroyedKeyTakesTheTenantsContentsWithIt) {
  const std::string acme = put(kAcme, kSecret), beta = put(kBeta, kSecret);
  ASSERT_TRUE(kms_->destroy_key("tenant/acme"));
  const auto gone = store_->get(acme, 1000);
  EXPECT_EQ(gone.error().code(), contracts::errors::kConflict);
  EXPECT_EQ(gone.error().field("reason"), "key_destroyed");
  EXPECT_EQ(store_->open(acme).error().field("reason"), "key_destroyed");
  EXPECT_EQ(store_->put(key_in(kAcme, "new"), "new").error().field("reason"), "key_destroyed") << "no second key under the same name";
  EXPECT_EQ(store_->get(beta, 1000).value(), kSecret);
  EXPECT_EQ(testing::slurp(dir_ / "keys").find("\"tenant/acme\",\"sealed\""), std::string::npos);
}

TEST_F(Encrypted, ANewVersionOfAKeyIsForWhatComes) {
  const std::string old = put(kAcme, kSecret);
  ASSERT_TRUE(kms_->add_key("tenant/acme/2"));
  const std::string next = put(kAcme, "after the rotation"), beta = put(kBeta, kSecret);
  EXPECT_EQ(crypto::envelope_key_id(stored(old)).value(), "tenant/acme");
  EXPECT_EQ(crypto::envelope_key_id(stored(next)).value(), "tenant/acme/2");
  EXPECT_EQ(crypto::envelope_key_id(stored(beta)).value(), "tenant/beta");
  EXPECT_EQ(store_->get(old, 1000).value(), kSecret) << "what was there stays readable";
  EXPECT_EQ(store_->get(next, 1000).value(), "after the rotation");
  EXPECT_EQ(store_->put(old, kSecret).value(), Created::kExisted);
  // Another process with the same file follows.
  kms_ = std::move(crypto::FileKeyring::open(dir_ / "keys", "pass").value());
  ASSERT_TRUE(kms_->add_key("tenant/acme/3"));
  EXPECT_EQ(crypto::envelope_key_id(stored(put(kAcme, "by the third"))).value(), "tenant/acme/3");
  // No version of it: a name that only looks like one.
  ASSERT_TRUE(kms_->add_key("tenant/acme/04"));
  replace(key_in(kAcme, "forged"), crypto::envelope_seal(*kms_, "tenant/acme/04", key_in(kAcme, "forged"), "forged").value());
  expect_refused(key_in(kAcme, "forged"), "a key beside the versions");
  // Without its old version the old bytes are gone, and those alone.
  ASSERT_TRUE(kms_->destroy_key("tenant/acme"));
  EXPECT_EQ(store_->get(old, 1000).error().field("reason"), "key_destroyed");
  EXPECT_EQ(store_->get(next, 1000).value(), "after the rotation");
  EXPECT_EQ(crypto::wrapping_key_versions(*kms_, "tenant/acme").value(), (std::vector<std::string>{"tenant/acme/2", "tenant/acme/3"}));
}

TEST_F(Encrypted, AKeyStoreThatIsAwayIsUnavailable) {
  const std::string key = put(kAcme, kSecret);
  ASSERT_EQ(::rename((dir_ / "keys").c_str(), (dir_ / "away").c_str()), 0);
  for (const Error& error : {store_->get(key, 1000).error(), store_->put(key_in(kAcme, "new"), "new").error(), store_->open(key).error()}) {
    EXPECT_EQ(error.code(), contracts::errors::kUnavailable) << error.describe();
    EXPECT_EQ(error.field("part"), "keys");
  }
  ASSERT_EQ(::rename((dir_ / "away").c_str(), (dir_ / "keys").c_str()), 0);
  EXPECT_EQ(store_->get(key, 1000).value(), kSecret);
}

// Of the bytes nothing is known then, so nothing may be said of them: such a verdict is for ever.
TEST_F(Encrypted, AKeyStoreThatIsNotInOrderSaysNothingAboutTheBytes) {
  const std::string key = put(kAcme, kSecret);
  const std::string good = testing::slurp(dir_ / "keys");
  const auto away = [&](std::string_view what) {
    for (const Error& error : {store_->get(key, 1000).error(), store_->put(key_in(kAcme, "new"), "new").error(), store_->open(key).error()}) {
      EXPECT_EQ(error.code(), contracts::errors::kUnavailable) << what << ": " << error.describe();
      EXPECT_EQ(error.field("part"), "keys") << what;
    }
  };
  ASSERT_TRUE(write_file_durable(dir_ / "keys", good.substr(0, good.size() / 2)));
  away("cut off");
  ASSERT_TRUE(write_file_durable(dir_ / "keys", "{}"));
  away("no keyring");
  std::string bad = good;
  const std::size_t sealed = bad.find("\"sealed\": \"") == std::string::npos ? bad.find("\"sealed\":\"") + 15 : bad.find("\"sealed\": \"") + 16;
  bad[sealed] = bad[sealed] == 'A' ? 'B' : 'A';
  ASSERT_TRUE(write_file_durable(dir_ / "keys", bad));
  away("a damaged key");
  ASSERT_EQ(::unlink((dir_ / "keys").c_str()), 0);
  const auto other = crypto::FileKeyring::create(dir_ / "keys", "pass", {10, 8, 1}).value();
  ASSERT_TRUE(other->add_key("tenant/acme"));
  away("the keyring of somebody else");
  ASSERT_TRUE(write_file_durable(dir_ / "keys", good));
  EXPECT_EQ(store_->get(key, 1000).value(), kSecret);
}

}  // namespace
}  // namespace stella::objects
