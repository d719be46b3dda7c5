// The object store's promises: create-only, whole or absent, honest about a full disk, closed to keys that are none.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/platform/objects.h"
#include "stella/testing/shared_data.h"
#include "stella/testing/temp_dir.h"

namespace stella::objects {
namespace {

using testing::TempDir;

std::string key_of(std::string_view bytes) { return "tenants/acme/objects/" + crypto::sha256(bytes).hex(); }

mode_t mode_of(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
  return st.st_mode & 07777;
}

class Objects : public ::testing::Test {
 protected:
  void SetUp() override { store_ = open_posix_store(dir_.path() + "/store").value(); }
  std::string root() const { return dir_.path() + "/store"; }
  std::size_t leftovers() const { return testing::files_below(root() + "/.tmp", "").size(); }

  TempDir dir_;
  std::unique_ptr<Store> store_;
};

TEST_F(Objects, PutGetStatOpen) {
  const std::string bytes("a\0b", 3);
  const auto key = key_of(bytes);
  EXPECT_EQ(store_->put(key, bytes).value(), Created::kNew);
  EXPECT_EQ(store_->get(key, 3).value(), bytes);
  EXPECT_EQ(store_->get(key, 2).error().code(), base_errors::kLimit);
  EXPECT_EQ(store_->stat(key)->size, 3u);
  const Fd fd = std::move(*store_->open(key));
  EXPECT_EQ(read_fd(fd.get(), 10).value(), bytes);
  EXPECT_EQ(mode_of(root() + "/" + key), 0440u);
  EXPECT_EQ(mode_of(root() + "/tenants/acme"), 0750u);
  EXPECT_EQ(leftovers(), 0u);
}

TEST_F(Objects, AnObjectIsNeverReplaced) {
  EXPECT_EQ(store_->put("a/b", "first").value(), Created::kNew);
  EXPECT_EQ(store_->put("a/b", "second").value(), Created::kExisted);
  const std::vector<std::pair<std::string, std::string_view>> many{{"a/b", "third"}, {"a/c", "new"}, {"a/c", "again"}};
  ASSERT_TRUE(store_->put_many(many));
  EXPECT_EQ(store_->get("a/b", 100).value(), "first");
  EXPECT_EQ(store_->get("a/c", 100).value(), "new");
  EXPECT_EQ(leftovers(), 0u);
}

TEST_F(Objects, AbsentIsNotFound) {
  for (const std::string key : {"a", "a/b/c"}) {
    EXPECT_EQ(store_->get(key, 1).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->stat(key).error().code(), base_errors::kNotFound);
    EXPECT_EQ(store_->open(key).error().code(), base_errors::kNotFound);
  }
  ASSERT_TRUE(store_->put("a/b", "x"));
  EXPECT_EQ(store_->get("a", 1).error().code(), base_errors::kNotFound) << "a directory is no object";
  EXPECT_EQ(store_->get("a/b/c", 1).error().code(), base_errors::kNotFound) << "an object is no directory";
}

TEST_F(Objects, KeysThatAreNoneAreRefusedEverywhere) {
  for (const std::string key : {"", "/", "/etc/passwd", "a/", "a//b", "..", "a/../b", "a..b", ".tmp/x", "a/.b", "a b", "a\nb", "ü"}) {
    EXPECT_EQ(store_->put(key, "x").error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->get(key, 1).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->stat(key).error().code(), base_errors::kInvalid) << key;
    EXPECT_EQ(store_->open(key).error().code(), base_errors::kInvalid) << key;
    const std::vector<std::pair<std::string, std::string_view>> many{{"good", "x"}, {key, "x"}};
    EXPECT_EQ(store_->put_many(many).error().code(), base_errors::kInvalid) << key;
  }
  EXPECT_EQ(store_->put(std::string("a\0b", 3), "x").error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->put(std::string(513, 'a'), "x").error().code(), base_errors::kInvalid);
  EXPECT_EQ(store_->stat("good").error().code(), base_errors::kNotFound) << "a batch with a bad key writes nothing";
  EXPECT_TRUE(store_->put("A/b_c-1.2/d.json", "x"));
}

TEST_F(Objects, LinksAreNotFollowed) {
  ASSERT_TRUE(store_->put("a/b", "x"));
  ASSERT_EQ(::symlink("/etc/passwd", (root() + "/a/link").c_str()), 0);
  EXPECT_EQ(store_->get("a/link", 1 << 20).error().code(), base_errors::kNotFound);
  EXPECT_EQ(store_->put("a/link", "y").error().code(), contracts::errors::kConflict) << "what could not be read back does not exist already";
}

TEST_F(Objects, CopiesFromADescriptorWhileHashing) {
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += std::to_string(i);
  const std::string source = dir_.path() + "/source";
  ASSERT_TRUE(write_file_durable(source, bytes));
  const auto open_source = [&] { return Fd(::open(source.c_str(), O_RDONLY)); };
  const auto digest = crypto::sha256(bytes);
  const auto copied = store_->put_fd(open_source().get(), bytes.size(), [](const Sha256& sha256) { return "tenants/acme/objects/" + sha256.hex(); });
  ASSERT_TRUE(copied);
  EXPECT_EQ(copied->sha256, digest);
  EXPECT_EQ(copied->size, bytes.size());
  EXPECT_EQ(store_->get(key_of(bytes), bytes.size()).value(), bytes);

  EXPECT_EQ(store_->put_fd(open_source().get(), bytes.size() - 1, [](const Sha256&) { return std::string("too/big"); }).error().code(), base_errors::kLimit);
  EXPECT_EQ(store_->stat("too/big").error().code(), base_errors::kNotFound);
  const auto other = store_->put_fd(open_source().get(), bytes.size(), [](const Sha256&) { return std::string(); });
  EXPECT_EQ(other.error().code(), base_errors::kInvalid);
  EXPECT_EQ(other.error().field("actual"), digest.hex());
  EXPECT_EQ(leftovers(), 0u);
}

TEST_F(Objects, ManyObjectsInOneGroup) {
  std::vector<std::string> bodies;
  for (int i = 0; i < 500; ++i) bodies.push_back("document " + std::to_string(i));
  std::vector<std::pair<std::string, std::string_view>> objects;
  for (const auto& body : bodies) objects.emplace_back(key_of(body), body);
  ASSERT_TRUE(store_->put_many(objects));
  for (const auto& body : bodies) EXPECT_EQ(store_->get(key_of(body), 100).value(), body);
  EXPECT_TRUE(store_->put_many({}));
  EXPECT_EQ(leftovers(), 0u);
}

TEST_F(Objects, OneWriterWinsAndAllSeeItsBytes) {
  for (int round = 0; round < 20; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::atomic<int> created{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const auto put = store_->put(key, std::string(1000, static_cast<char>('a' + i)));
        if (put && *put == Created::kNew) ++created;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(created, 1);
    const auto bytes = store_->get(key, 1000).value();
    EXPECT_EQ(bytes, std::string(1000, bytes[0]));
  }
}

// A writer killed at any point leaves whole objects or none. Each reported object is there.
TEST_F(Objects, KilledWriterLeavesOnlyWholeObjects) {
  const std::string bytes(300'000, 'x');
  for (int round = 0; round < 10; ++round) {
    int reports[2];
    ASSERT_EQ(::pipe(reports), 0);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      for (int i = 0;; ++i) {
        const std::string key = "kill/" + std::to_string(round) + "-" + std::to_string(i);
        if (!store_->put(key, bytes)) ::_exit(1);
        if (::write(reports[1], &i, sizeof i) != sizeof i) ::_exit(1);
      }
    }
    ::close(reports[1]);
    int last = -1;
    for (int i = 0; i <= round; ++i) ASSERT_EQ(::read(reports[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    while (::read(reports[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
    }
    ::close(reports[0]);
    for (int i = 0; i <= last; ++i) EXPECT_EQ(store_->stat("kill/" + std::to_string(round) + "-" + std::to_string(i))->size, bytes.size());
  }
  for (const auto& path : testing::files_below(root() + "/kill", "")) EXPECT_EQ(testing::slurp(path), bytes) << path;
}

TEST_F(Objects, OldLeftoversAreRemovedFreshOnesStay) {
  for (const std::string name : {"old", "fresh"}) ASSERT_TRUE(write_file_durable(root() + "/.tmp/" + name, "x"));
  const timespec times[2] = {{1'000'000, 0}, {1'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (root() + "/.tmp/old").c_str(), times, 0), 0);
  ASSERT_TRUE(open_posix_store(root()));
  EXPECT_EQ(testing::files_below(root() + "/.tmp", ""), std::vector<std::string>{root() + "/.tmp/fresh"});
}

// As a writer leaves it that was killed between the two names of an object: the second would outlive a removal.
TEST_F(Objects, ASecondNameOfAnObjectIsRemovedAtOnce) {
  ASSERT_TRUE(store_->put("a/b", "bytes"));
  const auto left = [&] { ASSERT_EQ(::link((root() + "/a/b").c_str(), (root() + "/.tmp/left").c_str()), 0); };
  left();
  ASSERT_TRUE(open_posix_store(root()));
  EXPECT_EQ(leftovers(), 0u);
  left();
  ASSERT_TRUE(store_->worm_probe());
  for (const auto& path : testing::files_below(root() + "/.tmp", "")) EXPECT_FALSE(path.ends_with("/left")) << "also while the server runs";
  EXPECT_EQ(*store_->get("a/b", 64), "bytes");
}

TEST_F(Objects, ProbeWritesAndReadsBack) {
  EXPECT_TRUE(store_->probe());
  EXPECT_EQ(leftovers(), 0u);
  ASSERT_EQ(::rename(root().c_str(), (root() + "-moved").c_str()), 0);
  EXPECT_EQ(store_->probe().error().code(), contracts::errors::kUnavailable) << "the path leads elsewhere now";
}

TEST(ObjectsOpen, UnusableRootIsAnError) {
  EXPECT_EQ(open_posix_store("/proc/none").error().code(), base_errors::kIo);
}

TEST(ObjectsFull, FullDiskIsUnavailableAndNothingIsVisible) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: needs root to mount a small file system";
  const TempDir dir;
  if (::mount("none", dir.path().c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "skipped: mount is not allowed here";
  {
    const auto store = open_posix_store(dir.path()).value();
    ASSERT_TRUE(store->put("a/small", "x"));
    const std::string big(4 << 20, 'x');
    const auto expect_full = [](const Error& error) {
      EXPECT_EQ(error.code(), contracts::errors::kUnavailable) << error.describe();
      EXPECT_EQ(error.field("reason"), "disk_full");
      EXPECT_EQ(error.field("part"), "objects");
    };
    expect_full(store->put("a/big", big).error());
    const std::vector<std::pair<std::string, std::string_view>> many{{"a/one", "x"}, {"a/big", big}};
    expect_full(store->put_many(many).error());
    EXPECT_EQ(store->stat("a/big").error().code(), base_errors::kNotFound);
    const std::string source = "/tmp/stella-objects-source-" + std::to_string(::getpid());
    ASSERT_TRUE(write_file_durable(source, big));
    const Fd fd(::open(source.c_str(), O_RDONLY));
    ::unlink(source.c_str());
    expect_full(store->put_fd(fd.get(), big.size(), [](const Sha256&) { return std::string("a/big"); }).error());
    EXPECT_TRUE(store->put("a/after", "space is free again")) << "what failed left nothing behind";
  }
  ASSERT_EQ(::umount(dir.path().c_str()), 0);
}

}  // namespace
}  // namespace stella::objects
