// Locks of the POSIX driver: what stands on the file, what happens where it cannot, and that nobody's lock gets lost.
#include "posix_lock.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <thread>

#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"
#include "stella/testing/temp_dir.h"

namespace stella::objects {
namespace {

using std::chrono::hours;
using testing::TempDir;

Timestamp in(hours time) { return Timestamp::from_micros(Timestamp::now().seconds() * 1'000'000) + time; }

class PosixLock : public ::testing::Test {
 protected:
  std::unique_ptr<Store> open(const PosixOptions& options = {}) { return std::move(open_posix_store(root_, options).value()); }
  std::string path(const std::string& key) const { return root_ + "/" + key; }
  void set_text(const std::string& key, std::string_view text) {
    ASSERT_EQ(::chmod(path(key).c_str(), 0640), 0);
    ASSERT_EQ(::setxattr(path(key).c_str(), "user.stella.lock", text.data(), text.size(), 0), 0);
  }
  std::string text(const std::string& key) const {
    char buffer[128];
    const auto n = ::getxattr(path(key).c_str(), "user.stella.lock", buffer, sizeof buffer);
    return n < 0 ? "" : std::string(buffer, static_cast<std::size_t>(n));
  }
  bool immutable(const std::string& key) const {
    const Fd fd(::open(path(key).c_str(), O_RDONLY | O_CLOEXEC));
    int flags = 0;
    EXPECT_EQ(::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags), 0);
    return (flags & FS_IMMUTABLE_FL) != 0;
  }

  TempDir dir_;
  const std::string root_ = dir_.path() + "/store";
};

TEST_F(PosixLock, StandsOnTheFileForPeopleToRead) {
  const auto store = open();
  ASSERT_TRUE(store->put("a/b", "x", {LockMode::kCompliance, Timestamp::parse("2099-01-01T00:00:00.5Z").value(), true}));
  EXPECT_EQ(text("a/b"), "compliance 2099-01-01T00:00:01Z hold");
  ASSERT_TRUE(store->set_legal_hold("a/b", false));
  EXPECT_EQ(text("a/b"), "compliance 2099-01-01T00:00:01Z free");
  struct stat st {};
  ASSERT_EQ(::stat(path("a/b").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0440u) << "a changed lock leaves the mode as it was";
  ASSERT_TRUE(store->put("a/free", "x"));
  EXPECT_EQ(text("a/free"), "");
  EXPECT_EQ(open()->remove("a/b").error().code(), contracts::errors::kConflict) << "another process sees it, too";
}

// Killed between the two modes of a change, or before the flag came back: whoever looks at the lock next puts it right.
TEST_F(PosixLock, AChangeThatWasBrokenOffIsPutRight) {
  const auto store = open();
  ASSERT_TRUE(store->put("a/b", "x", {LockMode::kNone, {}, true}));
  const auto mode = [&] {
    struct stat st {};
    EXPECT_EQ(::stat(path("a/b").c_str(), &st), 0);
    return st.st_mode & 07777;
  };
  ASSERT_EQ(::chmod(path("a/b").c_str(), 0640), 0);
  {
    // Another process is in the middle of a change: it is left alone.
    const Fd held(::open(path("a/b").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
    EXPECT_TRUE(store->lock_state("a/b")->legal_hold);
    EXPECT_EQ(mode(), 0640u);
  }
  EXPECT_TRUE(store->lock_state("a/b")->legal_hold);
  EXPECT_EQ(mode(), 0440u);
}

TEST_F(PosixLock, ARetentionThatHasEndedHoldsNothing) {
  const auto store = open();
  ASSERT_TRUE(store->put("a/b", "x"));
  set_text("a/b", "compliance 2020-01-01T00:00:00Z free");
  ASSERT_TRUE(store->remove("a/b"));
  EXPECT_EQ(store->stat("a/b").error().code(), base_errors::kNotFound);
}

TEST_F(PosixLock, WhatCannotBeReadIsNotRemoved) {
  const auto store = open();
  ASSERT_TRUE(store->put("a/b", "x"));
  for (const std::string_view bad : {"x", "governance", "governance free", "forever 2099-01-01T00:00:00Z free", "governance tomorrow free", "governance 2099-01-01T00:00:00Z maybe", "none -"}) {
    set_text("a/b", bad);
    EXPECT_EQ(store->lock_state("a/b").error().code(), base_errors::kMalformed) << bad;
    EXPECT_EQ(store->remove("a/b").error().code(), base_errors::kMalformed) << bad;
    EXPECT_EQ(store->set_legal_hold("a/b", false).error().code(), base_errors::kMalformed) << bad;
  }
  set_text("a/b", std::string(200, 'x'));
  EXPECT_EQ(store->remove("a/b").error().code(), base_errors::kMalformed);
  EXPECT_EQ(store->get("a/b", 1).value(), "x");
}

TEST_F(PosixLock, NobodysLockGetsLost) {
  const auto one = open();
  const auto other = open();
  ASSERT_TRUE(one->put("a/b", "x"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 1; k <= 10; ++k) EXPECT_TRUE((i % 2 == 0 ? one : other)->extend_retention("a/b", in(hours(k * 10 + i))));
    });
  }
  threads.emplace_back([&] { EXPECT_TRUE(one->set_legal_hold("a/b", true)); });
  for (auto& thread : threads) thread.join();
  const auto lock = one->lock_state("a/b").value();
  EXPECT_TRUE(lock.legal_hold);
  EXPECT_GE(lock.retain_until, in(hours(107)) - std::chrono::minutes(1));
}

TEST_F(PosixLock, TheImmutableFlagStopsEvenRoot) {
  const auto store = open({{}, true});
  ASSERT_TRUE(store->put("a/b", "x", {LockMode::kNone, {}, true}));
  const std::vector<std::pair<std::string, std::string_view>> many{{"m/1", "y"}};
  ASSERT_TRUE(store->put_many(many, {LockMode::kNone, {}, true}));
  ASSERT_TRUE(store->put("a/free", "x"));
  const bool set = immutable("a/b");
  if (set) {
    EXPECT_TRUE(immutable("m/1"));
    EXPECT_FALSE(immutable("a/free"));
    EXPECT_NE(::unlink(path("a/b").c_str()), 0);
    EXPECT_EQ(errno, EPERM);
    EXPECT_FALSE(Fd(::open(path("a/b").c_str(), O_WRONLY | O_CLOEXEC)));
    EXPECT_TRUE(testing::files_below(root_ + "/.tmp", "").empty());
    ASSERT_TRUE(store->extend_retention("m/1", in(hours(1)))) << "a lock can grow all the same";
    EXPECT_TRUE(immutable("m/1"));
    const auto report = store->worm_probe();
    ASSERT_TRUE(report) << report.error().describe();
    EXPECT_NE(report->transcript.find("unlink around our process: refused"), std::string::npos) << report->transcript;
    EXPECT_EQ(report->level, WormLevel::kProcess);
    EXPECT_TRUE(testing::files_below(root_ + "/.tmp", "").empty()) << "the canary is gone";
  }
  ASSERT_TRUE(store->set_legal_hold("a/b", false));
  ASSERT_TRUE(store->remove("a/b"));
  if (set) {
    EXPECT_TRUE(immutable("m/1"));
    const Fd fd(::open(path("m/1").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(set_immutable(fd.get(), false)) << "so that the directory can be removed";
  }
  if (!set) GTEST_SKIP() << "skipped: the immutable flag cannot be set here";
}

TEST_F(PosixLock, WithoutAttributesNothingIsStoredUnlocked) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: needs root to mount a file system";
  const TempDir place;
  if (::mount("none", place.path().c_str(), "ramfs", 0, "") != 0) GTEST_SKIP() << "skipped: mount is not allowed here";
  {
    const auto store = std::move(open_posix_store(place.path()).value());
    ASSERT_TRUE(store->put("a/free", "x"));
    EXPECT_EQ(store->lock_state("a/free").value(), ObjectLock{});
    const auto put = store->put("a/b", "x", {LockMode::kNone, {}, true});
    EXPECT_EQ(put.error().code(), contracts::errors::kUnavailable) << put.error().describe();
    EXPECT_EQ(put.error().field("part"), "objects");
    EXPECT_EQ(store->stat("a/b").error().code(), base_errors::kNotFound);
    const std::vector<std::pair<std::string, std::string_view>> many{{"a/c", "y"}};
    EXPECT_EQ(store->put_many(many, {LockMode::kNone, {}, true}).error().code(), contracts::errors::kUnavailable);
    EXPECT_EQ(store->stat("a/c").error().code(), base_errors::kNotFound);
    EXPECT_EQ(store->set_legal_hold("a/free", true).error().code(), contracts::errors::kUnavailable);
    EXPECT_EQ(store->worm_probe()->level, WormLevel::kPlain);
  }
  ASSERT_EQ(::umount(place.path().c_str()), 0);
}

TEST_F(PosixLock, TheDefaultIsForNewObjects) {
  const auto store = open({{LockMode::kCompliance, hours(24)}, false});
  ASSERT_TRUE(open()->put("a/old", "x"));
  EXPECT_EQ(store->put("a/old", "x").value(), Created::kExisted);
  EXPECT_EQ(store->lock_state("a/old").value(), ObjectLock{});
  ASSERT_TRUE(store->put("a/new", "x"));
  EXPECT_EQ(store->lock_state("a/new")->mode, LockMode::kCompliance);
  EXPECT_GT(store->lock_state("a/new")->retain_until, Timestamp::now() + hours(23));
  EXPECT_EQ(store->remove("a/new").error().code(), contracts::errors::kConflict);
}

}  // namespace
}  // namespace stella::objects
