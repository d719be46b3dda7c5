// The log file: every line is in one of its files whole and once, whatever rotates it, and no file grows beyond its bound.
#include "log_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "stella/contracts/errors.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000, kStart = 1'795'000'000 * kSecond;

std::vector<std::string> files_in(const TempDir& dir) {
  std::vector<std::string> names;
  DIR* const entries = opendir(dir.path().c_str());
  while (const dirent* entry = readdir(entries)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(entries);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(LogFile, RotatesBySizeAndLosesNoLine) {
  const TempDir dir;
  RotationOptions rotation;
  rotation.max_bytes = 1000;
  const auto log = *LogFile::open(dir / "log", rotation);
  for (int i = 0; i < 500; ++i) {
    const std::string line = "line " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 90), '.') + "\n";
    ASSERT_EQ(log->write(line, kStart + i * kSecond), line.size());
  }
  std::vector<std::string> names = files_in(dir);
  ASSERT_GT(names.size(), 20u);
  std::rotate(names.begin(), names.begin() + 1, names.end());  // "log" itself is the newest
  int next = 0;
  for (const std::string& name : names) {
    EXPECT_LE(read_file(dir / name, 1 << 20)->size(), 1000u);
    for (const std::string& line : lines_of(dir / name)) EXPECT_TRUE(line.starts_with("line " + std::to_string(next++))) << line;
  }
  EXPECT_EQ(next, 500);
}

// The blocks that a busy file has ahead are no part of it: neither its size nor its lines show them, also to who appends from elsewhere.
TEST(LogFile, BlocksAheadAreNoLines) {
  const TempDir dir;
  const auto log = *LogFile::open(dir / "log", {});
  std::string expected, chunk;
  for (int i = 0; i < 40; ++i) {
    chunk.clear();
    while (chunk.size() < static_cast<std::size_t>(60'000 + 1'000 * i)) chunk += "line " + std::to_string(chunk.size()) + "\n";
    ASSERT_EQ(log->write(chunk, kStart), chunk.size());
    expected += chunk;
    ASSERT_TRUE(log->write_late("late\n"));
    expected += "late\n";
  }
  struct stat status {};
  ASSERT_EQ(stat((dir / "log").c_str(), &status), 0);
  EXPECT_EQ(static_cast<std::size_t>(status.st_size), expected.size());
  EXPECT_EQ(*read_file(dir / "log", 16 << 20), expected);
}

TEST(LogFile, RotatesByAgeAndKeepsTheNewest) {
  const TempDir dir;
  RotationOptions rotation;
  rotation.max_age = std::chrono::hours(1);
  rotation.keep_files = 3;
  const auto log = *LogFile::open(dir / "log", rotation);
  ASSERT_TRUE(write_file_durable(dir / "log.notes", "not ours"));
  for (int i = 0; i < 10; ++i) {
    log->write("a\n", kStart + i * 3600 * kSecond);
    log->write("b\n", kStart + i * 3600 * kSecond + 1800 * kSecond);
  }
  EXPECT_EQ(files_in(dir).size(), 1 + 1 + 3u);
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(read_file(dir / "log.notes", 100));
}

TEST(LogFile, DropsWhatIsTooOld) {
  const TempDir dir;
  RotationOptions rotation;
  rotation.max_age = std::chrono::hours(1);
  rotation.keep_age = std::chrono::hours(3);
  const auto log = *LogFile::open(dir / "log", rotation);
  for (int i = 0; i < 20; ++i) log->write("a\n", kStart + i * 3600 * kSecond);
  EXPECT_EQ(files_in(dir).size(), 1 + 4u);  // those of 0, 1, 2 and 3 hours
}

TEST(LogFile, IsOpenedAnewWhenSomebodyElseMovedIt) {
  const TempDir dir;
  const auto log = *LogFile::open(dir / "log", {});
  log->write("before\n", kStart);
  ASSERT_EQ(rename((dir / "log").c_str(), (dir / "moved").c_str()), 0);
  log->write("between\n", kStart);
  log->reopen();
  log->write("after\n", kStart);
  EXPECT_EQ(lines_of(dir / "moved"), (std::vector<std::string>{"before", "between"}));
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"after"}));
  struct stat status {};
  ASSERT_EQ(stat((dir / "log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u & ~static_cast<unsigned>([] { const mode_t m = umask(0); umask(m); return m; }()));
}

// No descriptor is free between the two calls: the process can open nothing.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(2);
    close(next);
    const struct rlimit none { static_cast<rlim_t>(next), before_.rlim_max };
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  struct rlimit before_ {};
};

TEST(LogFile, AFileThatCouldNotBeOpenedIsTriedAgain) {
  const TempDir dir;
  RotationOptions rotation;
  rotation.max_bytes = 10;
  const auto log = *LogFile::open(dir / "log", rotation);
  log->write("one line\n", kStart);
  {
    const NoDescriptors none;
    EXPECT_EQ(log->write("in the renamed file\n", kStart + kSecond), 20u) << "no line is lost over it";
  }
  log->write("new\n", kStart + 2 * kSecond);
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"new"}));
  EXPECT_EQ(files_in(dir).size(), 2u);
}

TEST(LogFile, AFileThatSomebodyMovedIsRotatedAllTheSame) {
  const TempDir dir;
  RotationOptions rotation;
  rotation.max_bytes = 10;
  const auto log = *LogFile::open(dir / "log", rotation);
  log->write("one line\n", kStart);
  ASSERT_EQ(rename((dir / "log").c_str(), (dir / "moved").c_str()), 0);
  log->write("next\n", kStart);
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"next"}));
  EXPECT_EQ(lines_of(dir / "moved"), (std::vector<std::string>{"one line"}));
}

TEST(LogFile, ARequestToOpenItAnewHoldsUntilThatIsDone) {
  const TempDir dir;
  const auto log = *LogFile::open(dir / "log", {});
  ASSERT_EQ(rename((dir / "log").c_str(), (dir / "moved").c_str()), 0);
  log->reopen();
  {
    const NoDescriptors none;
    log->write("before\n", kStart);
  }
  log->write("after\n", kStart);
  EXPECT_EQ(lines_of(dir / "moved"), (std::vector<std::string>{"before"}));
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"after"}));
}

// Others write to the number that they read before: it must never be free, or somebody else's, in between.
TEST(LogFile, KeepsOneDescriptorForGood) {
  const TempDir dir;
  const auto log = *LogFile::open(dir / "log", {});
  const int before = log->fd();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(rename((dir / "log").c_str(), (dir / "moved").c_str()), 0);
    log->reopen();
    log->write("line\n", kStart);
    EXPECT_EQ(log->fd(), before);
    struct stat named {}, open {};
    ASSERT_EQ(stat((dir / "log").c_str(), &named), 0);
    ASSERT_EQ(fstat(before, &open), 0);
    EXPECT_EQ(named.st_ino, open.st_ino);
  }
}

TEST(LogFile, AfterATornLineTheNextOneStandsAlone) {
  const TempDir dir;
  ASSERT_TRUE(write_file_durable(dir / "log", "whole\nto"));
  const auto log = *LogFile::open(dir / "log", {});
  log->write("next\n", kStart);
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{"whole", "to", "next"}));
}

TEST(LogFile, AFullDiskIsSaidAndLeavesNoHalfOfALine) {
  const TempDir dir;
  const auto log = *LogFile::open(dir / "log", {});
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 100, before.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string lines = std::string(49, 'a') + "\n" + std::string(59, 'b') + "\n";
  const std::size_t written = log->write(lines, kStart);
  const std::size_t none = log->write(std::string(59, 'c') + "\n", kStart);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(written, 50u);
  EXPECT_EQ(none, 0u);
  EXPECT_EQ(log->write("d\n", kStart), 2u);
  EXPECT_EQ(lines_of(dir / "log"), (std::vector<std::string>{std::string(49, 'a'), "d"}));
}

// A shell or a sibling may have made the standard error that it shares with us non-blocking.
TEST(LogFile, WaitsForTheReaderOfANonBlockingPipe) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd reader(ends[0]), writer(ends[1]), before(::dup(STDERR_FILENO));
  std::string got;
  const std::string lines(1 << 20, 'x');  // many times what a pipe holds
  ASSERT_GE(::dup2(writer.get(), STDERR_FILENO), 0);
  const auto log = *LogFile::open("", {});
  std::thread slow([&] {
    char buffer[4096];
    while (got.size() < lines.size()) {
      const ssize_t n = ::read(reader.get(), buffer, sizeof buffer);
      if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
      else std::this_thread::yield();
    }
  });
  const std::size_t written = log->write(lines, kStart);
  ::dup2(before.get(), STDERR_FILENO);
  slow.join();
  EXPECT_EQ(written, lines.size());
  EXPECT_EQ(got, lines);
}

TEST(LogFile, WhereNobodyReadsItWaitsOnce) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd reader(ends[0]), writer(ends[1]), before(::dup(STDERR_FILENO));
  ASSERT_GE(::dup2(writer.get(), STDERR_FILENO), 0);
  const auto log = *LogFile::open("", {});
  const std::string lines(1 << 20, 'x');
  EXPECT_LT(log->write(lines, kStart), lines.size());
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(log->write("y\n", kStart), 0u);
  const auto took = std::chrono::steady_clock::now() - began;
  ::dup2(before.get(), STDERR_FILENO);
  EXPECT_LT(took, std::chrono::seconds(50));  // a hundred waits would be 100 s
}

TEST(LogFile, SaysWhyItCannotBeOpened) {
  const auto log = LogFile::open("/nonexistent/dir/log", {});
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code(), contracts::errors::kIo);
}

}  // namespace
}  // namespace stella::telemetry
