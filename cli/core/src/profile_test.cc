// The user's files.
#include "stella/cli/profile.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "stella/base/file.h"
#include "stella/cli/trust.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

class Profiles : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-profile-XXXXXX";
    root_ = ::mkdtemp(name);
    store_.emplace(root_ + "/a/stella");
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + root_).c_str()), 0); }
  static unsigned mode(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
  }
  std::string root_;
  std::optional<ProfileStore> store_;
};

TEST_F(Profiles, NothingThereIsAnEmptyProfile) {
  EXPECT_EQ(store_->load()->url, "");
  EXPECT_FALSE(store_->credentials("http://127.0.0.1:1")->has_value());
  EXPECT_FALSE(*store_->forget_credentials("http://127.0.0.1:1"));
}

TEST_F(Profiles, WhatUpWroteIsKept) {
  ASSERT_TRUE(make_dirs(store_->directory(), 0700));
  ASSERT_TRUE(write_file_durable(store_->directory() + "/config.json", R"({"url":"http://127.0.0.1:18080","username":"admin","tenant":"demo","data_dir":"/var/lib/stella"})"));
  Profile profile = *store_->load();
  EXPECT_EQ(profile.username, "admin");
  profile.url = "https://stella.example.org";
  ASSERT_TRUE(store_->save(profile));
  EXPECT_EQ(store_->load()->url, "https://stella.example.org");
  EXPECT_NE(read_file(store_->directory() + "/config.json", 4096)->find("data_dir"), std::string::npos);  // not ours to drop
}

TEST_F(Profiles, CredentialsPerServerForTheOwnerAlone) {
  const Timestamp later = *Timestamp::parse("2030-01-01T00:00:00Z");
  ASSERT_TRUE(store_->save_credentials("http://127.0.0.1:1", {"token-one", later, "demo", "user:1", "admin"}));
  ASSERT_TRUE(store_->save_credentials("http://127.0.0.1:2", {"token-two", later, "demo", "user:1", "admin"}));
  const std::string path = store_->directory() + "/credentials.json";
  EXPECT_EQ(mode(path), 0600u);
  EXPECT_EQ(mode(store_->directory()), 0700u);
  EXPECT_EQ((*store_->credentials("http://127.0.0.1:2"))->access_token, "token-two");
  EXPECT_EQ((*store_->credentials("http://127.0.0.1:1"))->expires_at, later);
  EXPECT_TRUE(*store_->forget_credentials("http://127.0.0.1:1"));
  EXPECT_FALSE(store_->credentials("http://127.0.0.1:1")->has_value());
  EXPECT_TRUE(store_->credentials("http://127.0.0.1:2")->has_value());
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const auto exposed = store_->credentials("http://127.0.0.1:2");
  ASSERT_FALSE(exposed);
  EXPECT_EQ(exposed.error().describe().find("token-two"), std::string::npos);
}

TEST_F(Profiles, BrokenFilesAreNamedWithTheirPosition) {
  ASSERT_TRUE(make_dirs(store_->directory(), 0700));
  ASSERT_TRUE(write_file_durable(store_->directory() + "/config.json", "{\n  \"url\": ,\n}"));
  const auto profile = store_->load();
  ASSERT_FALSE(profile);
  EXPECT_EQ(profile.error().field("line"), "2");
  EXPECT_EQ(profile.error().field("document"), store_->directory() + "/config.json");
}

TEST_F(Profiles, AnotherKeyUnderAKnownNameIsRefused) {
  EXPECT_TRUE(*store_->trust_key("00112233.pub", "PEM ONE\n"));
  EXPECT_FALSE(*store_->trust_key("00112233.pub", "PEM ONE\n"));
  const auto other = store_->trust_key("00112233.pub", "PEM TWO\n");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), contracts::errors::kUntrusted);
  EXPECT_EQ(*read_file(store_->trust_directory() + "/00112233.pub", 4096), "PEM ONE\n");
  // Compromised: no pattern of trusted keys finds it any more.
  EXPECT_TRUE(*store_->distrust_key("00112233.pub"));
  EXPECT_FALSE(*store_->distrust_key("00112233.pub"));
  EXPECT_FALSE(read_file(store_->trust_directory() + "/00112233.pub", 4096).has_value());
  EXPECT_EQ(*read_file(store_->compromised_directory() + "/00112233.pub", 4096), "PEM ONE\n");
}

TEST(Urls, Normalized) {
  EXPECT_EQ(*normalized_url("HTTP://LocalHost:18080//"), "http://localhost:18080");
  EXPECT_EQ(*normalized_url("https://example.org/Base/"), "https://example.org/Base");
  for (const std::string_view bad : {"", "localhost:1", "ftp://x", "http://", "http:///x", "http://a b", "http://u:p@h/", "http://h/?q"}) EXPECT_FALSE(normalized_url(bad)) << bad;
}

TEST(Urls, TokensTravelInPrivateOnly) {
  for (const std::string_view good : {"https://example.org", "http://127.0.0.1:18080", "http://127.9.9.9", "http://localhost", "http://[::1]:80"}) EXPECT_TRUE(is_private_channel(good)) << good;
  for (const std::string_view bad : {"http://example.org", "http://10.0.0.1", "http://127.0.0.1.example.org", "http://localhost.example.org", "http://[::2]", "http://["}) EXPECT_FALSE(is_private_channel(bad)) << bad;
}

// A bundle rests on several logs, so there may be several keys.
TEST_F(Profiles, KeysOfSeveralLogsAreTakenFromAFileOrADirectory) {
  const auto one = crypto::Ed25519KeyPair::generate().value(), two = crypto::Ed25519KeyPair::generate().value();
  const std::string tenant = timeline::VerifierKey::ed25519("log.example/tenant", one.public_key())->str(), platform = timeline::VerifierKey::ed25519("log.example/platform", two.public_key())->str();
  const std::string file = root_ + "/logs.vkey";
  const auto names = [&](const std::string& path) {
    const auto logs = trusted_logs(*store_, path, "--trust-log");
    std::string out = logs ? "" : "refused";
    if (logs)
      for (const auto& key : logs->keys) out += key.name() + " ";
    return out;
  };
  const auto with = [&](const std::string& text) {
    EXPECT_TRUE(write_file_durable(file, text).has_value());
    return names(file);
  };
  EXPECT_EQ(with(tenant + "\n"), "log.example/tenant ");
  EXPECT_EQ(with(tenant + "\n" + platform + "\n"), "log.example/tenant log.example/platform ");
  EXPECT_EQ(with(tenant + "\r\n\r\n" + platform), "log.example/tenant log.example/platform ");
  for (const std::string& bad : {std::string(), std::string("\n"), tenant + "\nno key\n"}) EXPECT_EQ(with(bad), "refused") << bad;
  EXPECT_EQ(with(tenant + "\n"), "log.example/tenant ");
  ASSERT_TRUE(write_file_durable(root_ + "/a.vkey", platform + "\n"));
  EXPECT_EQ(names(root_), "log.example/platform log.example/tenant ");
}

}  // namespace
}  // namespace stella::cli
