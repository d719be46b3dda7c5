// The promises of a Store, checked in the same words on every driver: the POSIX directory and a real S3 server with Object Lock.
#include <fcntl.h>

#include <atomic>

#include "s3_test_support.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/envelope.h"
#include "stella/platform/encrypted_objects.h"
#include "stella/platform/objects.h"

namespace stella::objects {
namespace {

using testing::S3Server;
using testing::TempDir;
using std::chrono::hours;

std::string key_of(std::string_view bytes) { return "tenants/acme/objects/" + crypto::sha256(bytes).hex(); }
std::string content_key(const Sha256& digest) { return "tenants/acme/objects/" + digest.hex(); }

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  static void TearDownTestSuite() { server_.reset(); }

  void SetUp() override {
    open_driver();
    if (!encrypted() || !store_) return;
    EncryptionOptions options;
    options.kms = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
    options.rule = [](std::string_view) { return Encryption{"tenant/acme"}; };
    options.spool_dir = dir_.path();
    store_ = open_encrypted_store(std::move(store_), std::move(options));
  }

  void open_driver() {
    if (posix()) {
      store_ = std::move(open_posix_store(dir_.path() + "/store").value());
      return;
    }
    if (!server_ && why_.empty()) {
      const std::string program = testing::versitygw(why_);
      if (!program.empty()) server_ = std::make_unique<S3Server>(program, S3Server::Options{});
    }
    if (!server_) GTEST_SKIP() << "skipped: no S3 server could be built: " << why_;
    static int number = 0;
    bucket_ = "conformance-" + std::to_string(++number);
    server_->make_bucket(bucket_, true);
    store_ = std::move(open_s3_store(server_->options(bucket_)).value());
  }

  static bool posix() { return GetParam().starts_with("posix"); }
  static bool encrypted() { return GetParam().ends_with("encrypted"); }
  // What stat() and list() say of so many bytes: their number, or that of the envelope.
  static std::uint64_t stored(std::uint64_t plain) { return encrypted() ? crypto::envelope_body_bytes(plain) + kHeader : plain; }

  Fd file_of(std::string_view bytes) {
    Fd fd(::open(dir_.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_TRUE(write_all(fd.get(), bytes));
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
    return fd;
  }
  static Timestamp in(hours time) { return Timestamp::from_micros(Timestamp::now().seconds() * 1'000'000) + time; }
  std::vector<std::string> keys(const std::string& prefix, const std::string& after = "", std::size_t limit = 1000) {
    std::vector<std::string> out;
    const auto listed = store_->list(prefix, after, limit);
    EXPECT_TRUE(listed) << listed.error().describe();
    for (const auto& entry : listed.value_or(std::vector<Entry>())) out.push_back(entry.key);
    return out;
  }

  // Magic, version and chunk, key id, a data key wrapped with nonce and tag.
  static constexpr std::uint64_t kHeader = 9 + 2 + sizeof "tenant/acme" - 1 + 2 + 12 + 32 + 16;
  static inline std::unique_ptr<S3Server> server_;
  static inline std::string why_;
  TempDir dir_;
  std::string bucket_;
  std::unique_ptr<Store> store_;
};

TEST_P(Conformance, AnObjectComesBackAsItWent) {
  const std::string bytes("a\0b\r\n", 5);
  ASSERT_EQ(store_->put("a/b.json", bytes).value(), Created::kNew);
  EXPECT_EQ(store_->get("a/b.json", 5).value(), bytes);
  EXPECT_EQ(store_->get("a/b.json", 4).error().code(), base_errors::kLimit);
  EXPECT_EQ(store_->stat("a/b.json")->size, stored(5));
  const Fd fd = std::move(store_->open("a/b.json").value());
  EXPECT_EQ(read_fd(fd.get(), 10).value(), bytes);
  ASSERT_EQ(store_->put("a/empty", "").value(), Created::kNew);
  EXPECT_EQ(store_->get("a/empty", 0).value(), "");
  EXPECT_EQ(store_->stat("a/empty")->size, stored(0));
}

TEST_P(Conformance, AnObjectIsNeverReplaced) {
  EXPECT_EQ(store_->put("a/b", "first").value(), Created::kNew);
  EXPECT_EQ(store_->put("a/b", "second").value(), Created::kExisted);
  const std::vector<std::pair<std::string, std::string_view>> many{{"a/b", "third"}, {"a/c", "new"}, {"a/c", "again"}};
  ASSERT_TRUE(store_->put_many(many));
  EXPECT_EQ(store_->get("a/b", 100).value(), "first");
  EXPECT_EQ(store_->get("a/c", 100).value(), "new");
}

// No two of our keys are such a pair. Where one were, its bytes are stored or that is an error; "it is there already" would lose them.
TEST_P(Conformance, AKeyThatAnotherBeginsWithIsStoredOrRefused) {
  ASSERT_TRUE(store_->put("a/b", "below"));
  const auto put = store_->put("a", "above");
  const std::vector<std::pair<std::string, std::string_view>> many{{"a", "above"}};
  const auto group = store_->put_many(many);
  const auto copied = store_->put_fd(file_of("above").get(), 100, [](const Sha256&) { return std::string("a"); });
  if (posix()) {
    for (const Error* error : {&put.error(), &group.error(), &copied.error()}) EXPECT_EQ(error->code(), contracts::errors::kConflict) << error->describe();
    EXPECT_EQ(store_->stat("a").error().code(), base_errors::kNotFound);
  } else if (put) {
    EXPECT_EQ(store_->get("a", 100).value(), "above");
  }
  EXPECT_EQ(store_->get("a/b", 100).value(), "below");
}

TEST_P(Conformance, AbsentIsNotFound) {
  for (const std::string key : {"a", "a/b/c"}) {
    EXPECT_EQ(store_->get(key, 1).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->stat(key).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->open(key).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->lock_state(key).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->remove(key).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->set_legal_hold(key, true).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->extend_retention(key, in(hours(1))).error().code(), base_errors::kNotFound);
  }
}

TEST_P(Conformance, KeysThatAreNoneAreRefusedEverywhere) {
  for (const std::string key : {"", "/", "/etc/passwd", "a/", "a//b", "..", "a/../b", "a..b", ".tmp/x", ".canary/x", "a/.b", "a b", "a\nb", "ü", "a?versionId=1", "a%2fb"}) {
    EXPECT_EQ(store_->put(key, "x").error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->get(key, 1).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->stat(key).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->open(key).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->remove(key).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->lock_state(key).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->set_legal_hold(key, true).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->extend_retention(key, in(hours(1))).error().code(), base_errors::kInvalid) << key;
    const std::vector<std::pair<std::string, std::string_view>> many{{"good", "x"}, {key, "x"}};
    EXPECT_EQ(store_->put_many(many).error().code(), base_errors::kInvalid) << key;
  }
  EXPECT_EQ(store_->stat("good").error().code(), base_errors::kNotFound) << "a batch with a bad key writes nothing";
}

// 12 MiB: three parts on S3.
TEST_P(Conformance, CopiesFromADescriptorWhileHashing) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1000}, std::size_t{12 << 20}}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 1000);
    const auto digest = crypto::sha256(bytes);
    const auto copied = store_->put_fd(file_of(bytes).get(), size, content_key);
    ASSERT_TRUE(copied) << copied.error().describe();
    EXPECT_EQ(copied->sha256, digest);
    EXPECT_EQ(copied->size, size);
    EXPECT_EQ(store_->stat(key_of(bytes))->size, stored(size));
    EXPECT_TRUE(store_->get(key_of(bytes), size).value() == bytes);
    const Fd back = std::move(store_->open(key_of(bytes)).value());
    EXPECT_TRUE(read_fd(back.get(), size).value() == bytes);
    EXPECT_TRUE(store_->put_fd(file_of(bytes).get(), size, content_key)) << "again is no error";
    if (size == 0) continue;
    EXPECT_EQ(store_->put_fd(file_of(bytes).get(), size - 1, [](const Sha256&) { return std::string("too/big"); }).error().code(), base_errors::kLimit);
    const auto other = store_->put_fd(file_of(bytes).get(), size, [](const Sha256&) { return std::string(); });
    EXPECT_EQ(other.error().code(), base_errors::kInvalid);
    EXPECT_EQ(other.error().field("actual"), digest.hex());
  }
  EXPECT_EQ(keys("").size(), 3u);
}

TEST_P(Conformance, ManyObjects) {
  std::vector<std::string> bodies;
  for (int i = 0; i < 120; ++i) bodies.push_back("document " + std::to_string(i));
  std::vector<std::pair<std::string, std::string_view>> objects;
  for (const auto& body : bodies) objects.emplace_back(key_of(body), body);
  ASSERT_TRUE(store_->put_many(objects));
  for (const auto& body : bodies) EXPECT_EQ(store_->get(key_of(body), 100).value(), body);
  EXPECT_TRUE(store_->put_many({}));
}

TEST_P(Conformance, OneWriterWinsAndAllSeeItsBytes) {
  for (int round = 0; round < 5; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::atomic<int> created{0};
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const auto put = store_->put(key, std::string(1000, static_cast<char>('a' + i)));
        if (!put) ++failed;
        if (put && *put == Created::kNew) ++created;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(created, 1);
    const auto bytes = store_->get(key, 1000).value();
    EXPECT_EQ(bytes, std::string(1000, bytes[0]));
  }
}

TEST_P(Conformance, ListsInTheOrderOfKeys) {
  const std::vector<std::string> all{"a", "b-c/x", "b.d", "b/a", "b/c/1", "b/c/2", "b/d", "b0", "c/x"};
  for (const auto& key : all) ASSERT_TRUE(store_->put(key, key));
  ASSERT_TRUE(store_->probe());
  EXPECT_EQ(keys(""), all);
  EXPECT_EQ(keys("b/"), (std::vector<std::string>{"b/a", "b/c/1", "b/c/2", "b/d"}));
  EXPECT_EQ(keys("b/c"), (std::vector<std::string>{"b/c/1", "b/c/2"}));
  EXPECT_EQ(keys("b/", "b/c/1"), (std::vector<std::string>{"b/c/2", "b/d"}));
  EXPECT_EQ(keys("", "b/c"), (std::vector<std::string>{"b/c/1", "b/c/2", "b/d", "b0", "c/x"}));
  EXPECT_EQ(keys("", "b/d", 1), (std::vector<std::string>{"b0"}));
  EXPECT_EQ(keys("", "", 3), (std::vector<std::string>{"a", "b-c/x", "b.d"}));
  EXPECT_TRUE(keys("", "z").empty());
  EXPECT_TRUE(keys("none/").empty());
  EXPECT_TRUE(keys("", "", 0).empty());
  EXPECT_EQ(store_->list("", "", 1)->at(0).size, stored(1));
  EXPECT_EQ(store_->list("../", "", 1).error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->list("", "a b", 1).error().code(), base_errors::kInvalid);
}

TEST_P(Conformance, RemovesWhatNoLockHolds) {
  ASSERT_TRUE(store_->put("a/b", "x"));
  EXPECT_EQ(store_->lock_state("a/b").value(), ObjectLock{});
  ASSERT_TRUE(store_->remove("a/b"));
  EXPECT_EQ(store_->stat("a/b").error().code(), base_errors::kNotFound);
  EXPECT_EQ(store_->remove("a/b").error().code(), base_errors::kNotFound);
  EXPECT_EQ(store_->put("a/b", "y").value(), Created::kNew);
  EXPECT_EQ(store_->get("a/b", 1).value(), "y");
}

TEST_P(Conformance, ALockAtPutHolds) {
  const ObjectLock lock{LockMode::kGovernance, in(hours(1)), false};
  ASSERT_EQ(store_->put("a/b", "x", lock).value(), Created::kNew);
  EXPECT_EQ(store_->lock_state("a/b").value(), lock);
  const auto refused = store_->remove("a/b");
  EXPECT_EQ(refused.error().code(), contracts::errors::kConflict);
  EXPECT_EQ(refused.error().field("reason"), "locked");
  EXPECT_EQ(refused.error().field("retain_until"), lock.retain_until.rfc3339_seconds());
  EXPECT_EQ(refused.error().field("legal_hold"), "off");
  EXPECT_EQ(store_->get("a/b", 1).value(), "x");
  const std::vector<std::pair<std::string, std::string_view>> many{{"m/1", "x"}, {"m/2", "y"}};
  ASSERT_TRUE(store_->put_many(many, lock));
  ASSERT_TRUE(store_->put_fd(file_of("z").get(), 1, content_key, lock));
  for (const std::string& key : {std::string("m/1"), std::string("m/2"), key_of("z")}) EXPECT_EQ(store_->lock_state(key).value(), lock) << key;
}

TEST_P(Conformance, ALargeObjectIsLockedFromItsFirstMoment) {
  const std::string bytes(6 << 20, 'x');
  const ObjectLock lock{LockMode::kGovernance, in(hours(1)), true};
  ASSERT_TRUE(store_->put_fd(file_of(bytes).get(), bytes.size(), content_key, lock));
  EXPECT_EQ(store_->lock_state(key_of(bytes)).value(), lock);
  EXPECT_EQ(store_->remove(key_of(bytes)).error().code(), contracts::errors::kConflict);
}

TEST_P(Conformance, AHoldHoldsUntilItIsLifted) {
  ASSERT_TRUE(store_->put("a/b", "x", {LockMode::kNone, {}, true}));
  EXPECT_TRUE(store_->lock_state("a/b")->legal_hold);
  EXPECT_EQ(store_->remove("a/b").error().field("legal_hold"), "on");
  ASSERT_TRUE(store_->set_legal_hold("a/b", false));
  EXPECT_EQ(store_->lock_state("a/b").value(), ObjectLock{});
  ASSERT_TRUE(store_->set_legal_hold("a/b", true));
  EXPECT_EQ(store_->remove("a/b").error().code(), contracts::errors::kConflict);
  ASSERT_TRUE(store_->set_legal_hold("a/b", true)) << "twice is no error";
  ASSERT_TRUE(store_->set_legal_hold("a/b", false));
  ASSERT_TRUE(store_->remove("a/b"));
}

TEST_P(Conformance, RetentionOnlyGrows) {
  ASSERT_TRUE(store_->put("a/b", "x", {LockMode::kGovernance, in(hours(2)), true}));
  const auto before = store_->lock_state("a/b").value();
  ASSERT_TRUE(store_->extend_retention("a/b", in(hours(1))));
  EXPECT_EQ(store_->lock_state("a/b").value(), before) << "an earlier end changes nothing";
  const auto later = in(hours(3));
  ASSERT_TRUE(store_->extend_retention("a/b", later + std::chrono::microseconds(1)));
  EXPECT_EQ(store_->lock_state("a/b").value(), (ObjectLock{LockMode::kGovernance, later + std::chrono::seconds(1), true})) << "rounded up";
  ASSERT_TRUE(store_->put("free", "x"));
  ASSERT_TRUE(store_->extend_retention("free", later));
  EXPECT_EQ(store_->lock_state("free").value(), (ObjectLock{LockMode::kGovernance, later, false}));
  EXPECT_EQ(store_->extend_retention("free", Timestamp::now() - hours(1)).error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->extend_retention("free", Timestamp::now() + hours(24 * 366 * 100)).error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->put("never", "x", {LockMode::kCompliance, Timestamp::now() - hours(1), false}).error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->stat("never").error().code(), base_errors::kNotFound);
}

TEST_P(Conformance, AnExistingObjectIsRaisedToTheLockThatIsAskedFor) {
  ASSERT_TRUE(store_->put("a/b", "x"));
  const ObjectLock lock{LockMode::kGovernance, in(hours(1)), false};
  EXPECT_EQ(store_->put("a/b", "x", lock).value(), Created::kExisted);
  EXPECT_EQ(store_->lock_state("a/b").value(), lock);
  const std::vector<std::pair<std::string, std::string_view>> many{{"a/b", "x"}};
  ASSERT_TRUE(store_->put_many(many, {LockMode::kCompliance, in(hours(2)), true}));
  EXPECT_EQ(store_->lock_state("a/b").value(), (ObjectLock{LockMode::kCompliance, in(hours(2)), true}));
  EXPECT_EQ(store_->put("a/b", "x", lock).value(), Created::kExisted);
  EXPECT_EQ(store_->lock_state("a/b")->mode, LockMode::kCompliance) << "never weaker";
}

TEST_P(Conformance, ProbeWritesAndReadsBack) {
  EXPECT_TRUE(store_->probe());
  EXPECT_TRUE(store_->probe());
  EXPECT_TRUE(keys("").empty());
}

TEST_P(Conformance, TheWormProbeSaysWhatItSaw) {
  const auto report = store_->worm_probe();
  ASSERT_TRUE(report) << report.error().describe();
  EXPECT_EQ(to_string(report->level), posix() ? "W1" : "W3") << report->transcript;
  EXPECT_TRUE(report->create_only);
  EXPECT_EQ(report->digest, crypto::sha256(report->transcript));
  EXPECT_EQ(report->transcript.find("NOT refused"), std::string::npos) << report->transcript;
  EXPECT_TRUE(keys("").empty()) << "a canary is no object";
  ASSERT_TRUE(store_->worm_probe()) << "again, with the first canary still there";
}

INSTANTIATE_TEST_SUITE_P(Posix, Conformance, ::testing::Values("posix", "posix_encrypted"));
INSTANTIATE_TEST_SUITE_P(S3, Conformance, ::testing::Values("s3", "s3_encrypted"));

}  // namespace
}  // namespace stella::objects
