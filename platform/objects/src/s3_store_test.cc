// What only the S3 driver can do wrong: addressing, credentials, lost answers, slow and full servers, forged bytes, versions made by others.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>

#include "s3_leftovers.h"
#include "s3_test_support.h"
#include "s3_upload.h"
#include "s3_versions.h"
#include "s3_worm.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"

namespace stella::objects {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::Fault;
using testing::FaultProxy;
using testing::S3Server;
using testing::TempDir;

std::string content_key(const Sha256& digest) { return "objects/" + digest.hex(); }
std::string key_of(std::string_view bytes) { return content_key(crypto::sha256(bytes)); }
bool starts(std::string_view line, std::string_view method) { return line.starts_with(std::string(method) + " "); }

class S3 : public ::testing::Test {
 protected:
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    if (program_.empty() && why_.empty()) program_ = testing::versitygw(why_);
    if (program_.empty()) GTEST_SKIP() << "skipped: no S3 server could be built: " << why_;
    if (!server_) server_ = std::make_unique<S3Server>(program_, S3Server::Options{});
    static int number = 0;
    bucket_ = "driver-" + std::to_string(++number);
    server_->make_bucket(bucket_, true);
  }
  std::unique_ptr<Store> open(const S3Options& options) { return std::move(open_s3_store(options).value()); }
  std::unique_ptr<Store> direct() { return open(server_->options(bucket_)); }
  S3Options through(const FaultProxy& proxy) {
    auto options = server_->options(bucket_);
    options.endpoint = proxy.endpoint();
    return options;
  }
  Fd file_of(std::string_view bytes) {
    Fd fd(::open(dir_.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_TRUE(write_all(fd.get(), bytes));
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
    return fd;
  }
  std::size_t uploads_left() {
    S3Call call;
    call.query = {{"uploads", ""}};
    const auto reply = server_->client(bucket_)->call(call).value();
    EXPECT_TRUE(reply.ok()) << reply.body;
    const auto document = parse_xml(reply.body).value();
    return static_cast<std::size_t>(std::count_if(document.children.begin(), document.children.end(), [](const auto& node) { return node.name == "Upload"; }));
  }
  // `fault` for the first `times` requests that `wanted` names; the canary of create-only detection is left alone.
  FaultProxy proxy(std::string method, std::string part, Fault fault, int times) {
    left_ = times;
    return FaultProxy(server_->port(), [this, method, part, fault](std::string_view line, std::string_view) {
      if (!starts(line, method) || line.find(part) == std::string_view::npos || line.find(".canary") != std::string_view::npos) return Fault::kNone;
      return left_-- > 0 ? fault : Fault::kNone;
    });
  }

  static inline std::string program_;
  static inline std::string why_;
  static inline std::unique_ptr<S3Server> server_;
  TempDir dir_;
  std::string bucket_;
  std::atomic<int> left_{0};
};

void expect_unavailable(const Error& error, std::string_view reason = "") {
  EXPECT_EQ(error.code(), contracts::errors::kUnavailable) << error.describe();
  EXPECT_EQ(error.field("part"), "objects") << error.describe();
  if (!reason.empty()) {
    EXPECT_EQ(error.field("reason"), reason) << error.describe();
  }
  for (const std::string_view secret : {"stella-secret", "AWS4-HMAC", "Signature="}) EXPECT_EQ(error.describe().find(secret), std::string::npos) << error.describe();
}

TEST_F(S3, ABusyServerIsAskedAgain) {
  auto busy = proxy("PUT", "", Fault::kSlowDown, 3);
  const auto store = open(through(busy));
  EXPECT_EQ(store->put("a/b", "x").value(), Created::kNew);
  EXPECT_EQ(direct()->get("a/b", 1).value(), "x");
}

TEST_F(S3, AServerThatStaysBusyIsUnavailable) {
  auto busy = proxy("PUT", "", Fault::kSlowDown, 1000);
  const auto store = open(through(busy));
  const auto put = store->put("a/b", "x");
  expect_unavailable(put.error(), "overloaded or out of order");
  EXPECT_EQ(put.error().field("status"), "503");
  EXPECT_EQ(direct()->stat("a/b").error().code(), base_errors::kNotFound);
}

TEST_F(S3, AResetInTheMiddleOfAPutLosesAndShowsNothing) {
  const std::string bytes(3 << 20, 'x');
  auto once = proxy("PUT", "", Fault::kResetInBody, 1);
  EXPECT_EQ(open(through(once))->put("a/once", bytes).value(), Created::kNew);
  EXPECT_TRUE(direct()->get("a/once", bytes.size()).value() == bytes);
  auto always = proxy("PUT", "", Fault::kResetInBody, 1000);
  expect_unavailable(open(through(always))->put("a/never", bytes).error());
  EXPECT_EQ(direct()->stat("a/never").error().code(), base_errors::kNotFound);
  EXPECT_EQ(direct()->list("", "", 10)->size(), 1u);
}

TEST_F(S3, ALostAnswerIsStillOurOwnWork) {
  auto lost = proxy("PUT", "", Fault::kDropAnswer, 1);
  const auto store = open(through(lost));
  EXPECT_EQ(store->put("a/b", "x").value(), Created::kNew) << "the first attempt created it";
  EXPECT_EQ(store->put("a/b", "y").value(), Created::kExisted);
  EXPECT_EQ(versions_of(*server_->client(bucket_), "a/b")->size(), 1u);
}

TEST_F(S3, ALostAnswerToTheLastStepOfALargeObject) {
  const std::string bytes(11 << 20, 'y');
  auto lost = proxy("POST", "uploadId=", Fault::kDropAnswer, 1);
  const auto copied = open(through(lost))->put_fd(file_of(bytes).get(), bytes.size(), content_key);
  ASSERT_TRUE(copied) << copied.error().describe();
  EXPECT_TRUE(direct()->get(key_of(bytes), bytes.size()).value() == bytes);
  EXPECT_EQ(versions_of(*server_->client(bucket_), key_of(bytes))->size(), 1u);
}

TEST_F(S3, ALargeObjectSurvivesAResetPartAndLeavesNoPartsWhereItFails) {
  const std::string bytes(11 << 20, 'z');
  auto once = proxy("PUT", "partNumber=2", Fault::kResetInBody, 1);
  ASSERT_TRUE(open(through(once))->put_fd(file_of(bytes).get(), bytes.size(), content_key));
  EXPECT_TRUE(direct()->get(key_of(bytes), bytes.size()).value() == bytes);
  const std::string other(11 << 20, 'w');
  auto always = proxy("PUT", "partNumber=2", Fault::kResetInBody, 1000);
  expect_unavailable(open(through(always))->put_fd(file_of(other).get(), other.size(), content_key).error());
  EXPECT_EQ(direct()->stat(key_of(other)).error().code(), base_errors::kNotFound);
  EXPECT_EQ(uploads_left(), 0u) << "the failed upload was aborted";
}

// Kilobytes of the peak of this process since it was last reset.
std::uint64_t peak_kib() {
  const std::string text = read_fd(Fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC)).get(), 1 << 16).value();
  return std::strtoull(text.c_str() + text.find("VmHWM:") + 6, nullptr, 10);
}

TEST_F(S3, WhatACrashLeftIsAbortedWhenItIsOld) {
  const auto client = server_->client(bucket_);
  for (const std::string key : {"tenants/acme/objects/one", "tenants/acme/objects/two", ".not/ours"}) {
    S3Call begin;  // and then nothing more: the process is gone
    begin.method = "POST";
    begin.key = key;
    begin.query = {{"uploads", ""}};
    ASSERT_TRUE(client->call(begin)->ok());
  }
  ASSERT_EQ(uploads_left(), 3u);
  EXPECT_EQ(abort_stale_uploads(*client, Timestamp::now() - kUploadIsStale).value(), 0) << "they may be under way";
  ASSERT_TRUE(direct()->worm_probe());
  EXPECT_EQ(uploads_left(), 3u);
  EXPECT_EQ(abort_stale_uploads(*client, Timestamp::now() + std::chrono::hours(1)).value(), 2);
  EXPECT_EQ(uploads_left(), 1u) << "what is not ours stays";
  EXPECT_EQ(abort_stale_uploads(*client, Timestamp::now() + std::chrono::hours(1)).value(), 0);
}

TEST_F(S3, MemoryDoesNotGrowWithTheObject) {
  constexpr std::uint64_t kSize = 128u << 20;
  Fd source(::open(dir_.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(source.get(), kSize), 0);
  const auto store = direct();
  ASSERT_TRUE(store->put("warm", "up"));
  const Fd reset(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
  if (!reset || ::write(reset.get(), "5", 1) != 1) GTEST_SKIP() << "skipped: the kernel does not reset the peak";
  const auto before = peak_kib();
  std::string key;
  ASSERT_TRUE(store->put_fd(source.get(), kSize, [&](const Sha256& digest) { return key = content_key(digest); }));
  const auto back = store->open(key);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_LT(peak_kib() - before, kSize >> 12);  // a quarter of it: the rest is what libraries (and sanitizers) keep
  EXPECT_EQ(::lseek(back->get(), 0, SEEK_END), static_cast<off_t>(kSize));
}

TEST_F(S3, ASilentServerEndsAtTheDeadline) {
  auto silent = proxy("GET", "a/b", Fault::kStall, 1000);
  auto options = through(silent);
  options.timeout = milliseconds(300);
  expect_unavailable(open(options)->get("a/b", 1).error());
}

// However long an object might be: whoever says nothing for the whole time is not asked again.
TEST_F(S3, ASilentServerIsAskedOnceForALargeObject) {
  std::atomic<int> asked{0};
  FaultProxy silent(server_->port(), [&](std::string_view line, std::string_view) {
    if (line.find("a/b") == std::string_view::npos) return Fault::kNone;
    ++asked;
    return Fault::kStall;
  });
  auto options = through(silent);
  options.timeout = milliseconds(1000);
  expect_unavailable(open(options)->open("a/b").error());
  EXPECT_EQ(asked, 1);
}

TEST_F(S3, NobodyListening) {
  auto options = server_->options(bucket_);
  options.endpoint = "http://127.0.0.1:1";
  const auto store = open(options);
  expect_unavailable(store->put("a/b", "x").error());
  expect_unavailable(store->get("a/b", 1).error());
  expect_unavailable(store->probe().error());
}

TEST_F(S3, AStoreInTroubleIsNotFilledWithCanaries) {
  std::atomic<int> written{0};
  FaultProxy brown(server_->port(), [&](std::string_view line, std::string_view) {
    if (line.find(kReadyCanaries) == std::string_view::npos) return Fault::kNone;
    written += starts(line, "PUT") ? 1 : 0;
    return starts(line, "GET") ? Fault::kSlowDown : Fault::kNone;
  });
  const auto store = open(through(brown));
  for (int i = 0; i < 5; ++i) expect_unavailable(store->probe().error(), "overloaded or out of order");
  EXPECT_EQ(written, 1);
  // What was left goes with the next probe of the locks, unless it is so young that another process may be at it.
  const auto client = server_->client(bucket_);
  const auto left = [&] {
    S3Call list;
    list.query = {{"versions", ""}, {"prefix", std::string(kReadyCanaries)}};
    std::vector<std::string> out;
    const auto document = parse_xml(client->call(list).value().body).value();
    for (const auto& node : document.children)
      if (node.name == "Version") out.emplace_back(node.str("Key"));
    return out;
  };
  const auto young = left();
  ASSERT_EQ(young.size(), 1u);
  S3Call old;
  old.method = "PUT";
  old.key = std::string(kReadyCanaries) + "01900000-0000-7000-8000-000000000000";
  old.body = "x";
  old.checksum = true;
  ASSERT_TRUE(client->call(old)->ok());
  ASSERT_EQ(left().size(), 2u);
  ASSERT_TRUE(direct()->worm_probe());
  EXPECT_EQ(left(), young);
}

TEST_F(S3, AKilledServerKeepsWhatItConfirmedAndShowsNothingElse) {
  S3Server own(program_, {});
  own.make_bucket(bucket_, true);
  auto options = own.options(bucket_);
  options.attempts = 1;
  const auto store = open(options);
  std::vector<std::string> confirmed;
  const std::string bytes(1 << 20, 'k');
  std::atomic<int> done{0};
  std::thread writer([&] {
    for (int i = 0; store->put("k/" + std::to_string(i), bytes); ++i) {
      confirmed.push_back("k/" + std::to_string(i));
      ++done;
    }
    done = 5;  // also where it failed early: the test goes on and fails
  });
  while (done < 5) std::this_thread::yield();
  own.kill();
  writer.join();
  own.restart();
  EXPECT_GE(confirmed.size(), 5u);
  for (const auto& key : confirmed) EXPECT_TRUE(store->get(key, bytes.size()).value() == bytes) << key;
  const auto all = store->list("", "", 1000);
  ASSERT_TRUE(all) << all.error().describe();
  for (const auto& entry : *all) EXPECT_TRUE(store->get(entry.key, bytes.size()).value() == bytes) << entry.key;
  EXPECT_LE(all->size(), confirmed.size() + 1);
}

TEST_F(S3, AFullServerSaysSo) {
  auto full = proxy("PUT", "", Fault::kDiskFull, 1000);
  const auto put = open(through(full))->put("a/b", "x");
  expect_unavailable(put.error(), "disk_full");
}

TEST_F(S3, AFullDiskUnderTheServerLosesAndShowsNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: needs root to mount a small file system";
  const TempDir place;
  if (::mount("none", place.path().c_str(), "tmpfs", 0, "size=8m") != 0) GTEST_SKIP() << "skipped: mount is not allowed here";
  {
    S3Server::Options options;
    options.data = place.path();
    S3Server small(program_, options);
    small.make_bucket(bucket_, true);
    auto how = small.options(bucket_);
    how.attempts = 2;
    const auto store = open(how);
    ASSERT_TRUE(store->put("a/small", "x"));
    expect_unavailable(store->put("a/big", std::string(16 << 20, 'x')).error());
    EXPECT_EQ(store->stat("a/big").error().code(), base_errors::kNotFound);
    const std::string parts(20 << 20, 'p');
    expect_unavailable(store->put_fd(file_of(parts).get(), parts.size(), content_key).error());
    EXPECT_EQ(store->stat(key_of(parts)).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store->get("a/small", 1).value(), "x");
    EXPECT_TRUE(store->put("a/after", "space is free again")) << "what failed left nothing behind";
  }
  ASSERT_EQ(::umount(place.path().c_str()), 0);
}

TEST_F(S3, AFullSpoolSaysSo) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: needs root to mount a small file system";
  const TempDir place;
  if (::mount("none", place.path().c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "skipped: mount is not allowed here";
  const std::string bytes(4 << 20, 'x');
  ASSERT_EQ(direct()->put("big", bytes).value(), Created::kNew);
  auto options = server_->options(bucket_);
  options.spool_dir = place.path();
  {
    const auto store = open(options);
    expect_unavailable(store->put_fd(file_of(bytes).get(), bytes.size(), content_key).error(), "disk_full");
    expect_unavailable(store->open("big").error(), "disk_full");
    EXPECT_EQ(store->stat(key_of(bytes)).error().code(), base_errors::kNotFound);
  }
  ASSERT_EQ(::umount(place.path().c_str()), 0);
}

TEST_F(S3, OtherBytesThanWereStoredAreAnError) {
  ASSERT_TRUE(direct()->put("a/b", "true"));
  auto forged = proxy("GET", "a/b", Fault::kTamper, 1000);
  const auto store = open(through(forged));
  EXPECT_EQ(store->get("a/b", 10).error().code(), base_errors::kMalformed);
  EXPECT_EQ(store->get("a/b", 10).error().field("expected"), crypto::sha256("true").hex());
  EXPECT_EQ(store->open("a/b").error().code(), base_errors::kMalformed);
}

TEST_F(S3, AStoreThatIgnoresTheConditionIsLookedAtFirst) {
  // The canary of the detection is answered by 501; all else reaches the server.
  std::atomic<int> conditions{0};
  FaultProxy old(server_->port(), [&](std::string_view line, std::string_view head) {
    if (line.find(".canary/create-only") != std::string_view::npos) return Fault::kNotImplemented;
    if (head.find("If-None-Match") != std::string_view::npos) ++conditions;
    return Fault::kNone;
  });
  const auto store = open(through(old));
  EXPECT_EQ(store->put("a/b", "first").value(), Created::kNew);
  EXPECT_EQ(store->put("a/b", "second").value(), Created::kExisted);
  EXPECT_EQ(store->get("a/b", 100).value(), "first");
  EXPECT_EQ(conditions, 0);
  const auto report = store->worm_probe();
  ASSERT_TRUE(report) << report.error().describe();
  EXPECT_FALSE(report->create_only);
  EXPECT_NE(report->transcript.find("creating a key twice: NOT refused"), std::string::npos) << report->transcript;
}

TEST_F(S3, EveryVersionIsLockedHeldAndRemoved) {
  const auto client = server_->client(bucket_);
  ASSERT_TRUE(direct()->put("a/b", "ours"));
  S3Call other;  // somebody with the same credentials and no manners
  other.method = "PUT";
  other.key = "a/b";
  other.body = "theirs";
  other.checksum = true;
  ASSERT_TRUE(client->call(other)->ok());
  ASSERT_EQ(versions_of(*client, "a/b")->size(), 2u);
  const auto store = direct();
  const auto until = Timestamp::from_micros((Timestamp::now().seconds() + 3600) * 1'000'000);
  ASSERT_TRUE(store->set_legal_hold("a/b", true));
  ASSERT_TRUE(store->extend_retention("a/b", until));
  const auto versions = versions_of(*client, "a/b").value();
  for (const auto& version : versions) {
    EXPECT_EQ(lock_of(*client, "a/b", version.id).value(), (ObjectLock{LockMode::kGovernance, until, true}));
    const auto tried = delete_version(*client, "a/b", version.id).value();
    EXPECT_EQ(tried.status, 403) << "the store itself refuses";
  }
  EXPECT_EQ(store->remove("a/b").error().code(), contracts::errors::kConflict);
  ASSERT_TRUE(store->set_legal_hold("a/b", false));
  EXPECT_EQ(store->remove("a/b").error().field("legal_hold"), "off");
  // One version freed by an administrator, the other still locked: nothing is removed.
  ASSERT_TRUE(put_retention(*client, "a/b", versions[0].id, {LockMode::kGovernance, Timestamp::now() + std::chrono::seconds(30), false}, true)->ok());
  EXPECT_EQ(store->remove("a/b").error().field("retain_until"), until.rfc3339_seconds());
  EXPECT_EQ(versions_of(*client, "a/b")->size(), 2u);
}

TEST_F(S3, ADeleteMarkerHidesNothing) {
  const auto store = direct();
  const auto client = server_->client(bucket_);
  ASSERT_TRUE(store->put("a/b", "x", {LockMode::kNone, {}, true}));
  ASSERT_TRUE(delete_version(*client, "a/b", "")->ok());
  ASSERT_EQ(versions_of(*client, "a/b")->size(), 2u);
  EXPECT_EQ(store->get("a/b", 1).value(), "x");
  EXPECT_EQ(store->stat("a/b")->size, 1u);
  EXPECT_EQ(read_fd(store->open("a/b")->get(), 1).value(), "x");
  EXPECT_TRUE(store->lock_state("a/b")->legal_hold);
  EXPECT_EQ(store->remove("a/b").error().code(), contracts::errors::kConflict);
  ASSERT_TRUE(store->set_legal_hold("a/b", false));
  ASSERT_TRUE(store->remove("a/b"));
  EXPECT_TRUE(versions_of(*client, "a/b")->empty()) << "marker and version are gone";
}

TEST_F(S3, TheDefaultLockIsForNewObjectsWithoutOneOfTheirOwn) {
  auto options = server_->options(bucket_);
  options.lock = {LockMode::kGovernance, hours(24)};
  const auto store = open(options);
  const auto before = Timestamp::now();
  ASSERT_TRUE(store->put("a/b", "x"));
  const auto lock = store->lock_state("a/b").value();
  EXPECT_EQ(lock.mode, LockMode::kGovernance);
  EXPECT_GE(lock.retain_until, before + hours(24));
  EXPECT_LT(lock.retain_until, before + hours(25));
  ASSERT_TRUE(direct()->put("a/old", "x"));
  EXPECT_EQ(store->put("a/old", "x").value(), Created::kExisted);
  EXPECT_EQ(store->lock_state("a/old").value(), ObjectLock{});
}

TEST_F(S3, WithoutObjectLockNothingIsLockedAndTheProbeSaysSo) {
  const std::string plain = bucket_ + "-plain";
  server_->make_bucket(plain, false);
  const auto store = open(server_->options(plain));
  ASSERT_TRUE(store->put("a/b", "x"));
  EXPECT_EQ(store->lock_state("a/b").value(), ObjectLock{});
  expect_unavailable(store->put("a/c", "x", {LockMode::kGovernance, Timestamp::now() + hours(1), false}).error());
  EXPECT_EQ(store->stat("a/c").error().code(), base_errors::kNotFound) << "never stored without the lock that was asked for";
  const auto report = store->worm_probe();
  ASSERT_TRUE(report) << report.error().describe();
  EXPECT_EQ(to_string(report->level), "W0") << report->transcript;
  ASSERT_TRUE(store->remove("a/b"));
  EXPECT_EQ(store->stat("a/b").error().code(), base_errors::kNotFound);
}

TEST_F(S3, TheProbeTellsGovernanceFromComplianceAndASecondDomain) {
  auto options = server_->options(bucket_);
  options.lock = {LockMode::kGovernance, hours(1)};
  EXPECT_EQ(to_string(open(options)->worm_probe()->level), "W2");
  options.lock = {};
  options.second_domain = "copy held by the notary";
  const auto report = open(options)->worm_probe();
  EXPECT_EQ(to_string(report->level), "W4");
  EXPECT_NE(report->transcript.find("copy held by the notary"), std::string::npos);
}

TEST_F(S3, CredentialsAreReadAgainWhenTheyChangeAndNeverFromAnOpenFile) {
  auto options = server_->options(bucket_);
  options.credentials_file = dir_ / "credentials";
  const auto write = [&](std::string_view secret, unsigned mode) { ASSERT_TRUE(write_file_durable(options.credentials_file, "[default]\naws_access_key_id=stella\naws_secret_access_key=" + std::string(secret) + "\n", mode)); };
  const auto store = open(options);
  EXPECT_EQ(store->stat("a").error().code(), base_errors::kIo) << "no such file yet";
  write("wrong", 0600);
  const auto refused = store->get("a/b", 1);
  expect_unavailable(refused.error(), "the credentials are not accepted: see objects.s3.credentials_file");
  EXPECT_EQ(refused.error().field("code"), "SignatureDoesNotMatch");
  write("stella-secret", 0600);
  EXPECT_EQ(store->get("a/b", 1).error().code(), base_errors::kNotFound);
  write("stella-secret", 0644);
  EXPECT_EQ(open(options)->get("a/b", 1).error().code(), base_errors::kInvalid) << "at the start";
  expect_unavailable(store->get("a/b", 1).error());
  ASSERT_TRUE(write_file_durable(options.credentials_file, "[default]\n", 0600));
  const auto half = store->get("a/b", 1);
  expect_unavailable(half.error());
  EXPECT_EQ(half.error().field("field"), "objects.s3.credentials_file") << "a rotation under way fails nothing for good";
  write("stella-secret", 0600);
  EXPECT_EQ(store->get("a/b", 1).error().code(), base_errors::kNotFound);
}

TEST_F(S3, CredentialsOfTheEnvironment) {
  auto options = server_->options(bucket_);
  options.credentials_file.clear();
  ::unsetenv("AWS_ACCESS_KEY_ID");
  EXPECT_EQ(open(options)->get("a/b", 1).error().code(), base_errors::kInvalid);
  ::setenv("AWS_ACCESS_KEY_ID", "stella", 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", "stella-secret", 1);
  EXPECT_EQ(open(options)->get("a/b", 1).error().code(), base_errors::kNotFound);
  ::unsetenv("AWS_ACCESS_KEY_ID");
  ::unsetenv("AWS_SECRET_ACCESS_KEY");
}

TEST_F(S3, AMissingBucketIsNamed) {
  const auto store = open(server_->options("nobody-made-it"));
  EXPECT_EQ(store->put("a/b", "x").error().field("code"), "NoSuchBucket");
  expect_unavailable(store->probe().error(), "no such bucket: create it with Object Lock, see objects.s3.bucket");
}

TEST_F(S3, VirtualHosts) {
  S3Server::Options options;
  options.arguments = {"--virtual-domain", "localhost"};
  S3Server own(program_, options);
  own.make_bucket(bucket_, true);
  auto how = own.options(bucket_);
  how.endpoint = "http://localhost:" + std::to_string(own.port());
  how.path_style = false;
  const auto store = open(how);
  ASSERT_EQ(store->put("a/b", "x").value(), Created::kNew);
  EXPECT_EQ(store->get("a/b", 1).value(), "x");
  EXPECT_EQ(store->list("", "", 10)->size(), 1u);
  EXPECT_EQ(open(own.options(bucket_))->get("a/b", 1).value(), "x") << "the same object by its path";
}

TEST_F(S3, TlsWithACertificateOfOurOwnAuthority) {
  const std::string make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=s3 -addext subjectAltName=IP:127.0.0.1 -keyout " + (dir_ / "key.pem") + " -out " + (dir_ / "cert.pem") + " 2>/dev/null";
  ASSERT_EQ(std::system(make.c_str()), 0);
  S3Server::Options options;
  options.arguments = {"--cert", dir_ / "cert.pem", "--key", dir_ / "key.pem"};
  options.scheme = "http";
  S3Server own(program_, options);
  auto how = own.options(bucket_);
  how.endpoint = "https://127.0.0.1:" + std::to_string(own.port());
  expect_unavailable(open(how)->probe().error());
  how.ca_file = dir_ / "cert.pem";
  S3Call make_bucket;
  make_bucket.method = "PUT";
  make_bucket.headers = {{"x-amz-bucket-object-lock-enabled", "true"}};
  const auto client = std::move(S3Client::create(how).value());
  ASSERT_TRUE(client->call(make_bucket)->ok());
  const auto store = open(how);
  EXPECT_EQ(store->put("a/b", "x").value(), Created::kNew);
  EXPECT_EQ(store->get("a/b", 1).value(), "x");
}

TEST(S3Options, WhatCannotBeUsedIsRefusedAtOnce) {
  objects::S3Options good;
  good.endpoint = "https://s3.example.org";
  good.bucket = "evidence";
  ASSERT_TRUE(open_s3_store(good));
  const auto field = [&](auto change) {
    auto options = good;
    change(options);
    const auto opened = open_s3_store(options);
    return opened ? std::string("accepted") : std::string(opened.error().field("field"));
  };
  for (const std::string endpoint : {"", "s3.example.org", "ftp://s3.example.org", "https://", "https://key:secret@s3.example.org", "https://s3.example.org/path", "https://s3.example.org?x"}) {
    EXPECT_EQ(field([&](auto& o) { o.endpoint = endpoint; }), "objects.s3.endpoint") << endpoint;
  }
  for (const auto& bucket : std::vector<std::string>{"", "ab", "Evidence", "a/b", "a..b", std::string(64, 'a')}) EXPECT_EQ(field([&](auto& o) { o.bucket = bucket; }), "objects.s3.bucket") << bucket;
  EXPECT_EQ(field([](auto& o) { o.region = "eu central"; }), "objects.s3.region");
  EXPECT_EQ(field([](auto& o) { o.part_bytes = 1 << 20; }), "part_bytes");
}

TEST(S3Options, AddressesByPathAndByHost) {
  objects::S3Options options;
  options.endpoint = "https://s3.example.org:443/";
  options.bucket = "evidence";
  S3Call call;
  call.key = "a/b c";
  call.query = {{"versionId", "x/y"}};
  EXPECT_EQ(S3Client::create(options).value()->url_of(call), "https://s3.example.org/evidence/a/b%20c?versionId=x%2Fy");
  options.path_style = false;
  EXPECT_EQ(S3Client::create(options).value()->url_of(call), "https://evidence.s3.example.org/a/b%20c?versionId=x%2Fy");
  call = {};
  EXPECT_EQ(S3Client::create(options).value()->url_of(call), "https://evidence.s3.example.org/");
}

}  // namespace
}  // namespace stella::objects
