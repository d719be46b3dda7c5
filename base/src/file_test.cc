// Durable writes, limits and errors of the file helpers.
#include "stella/base/file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "stella/base/file_owner.h"
#include "stella/base/unnamed_file.h"

namespace stella {
namespace {

std::string temp_dir() {
  char name[] = "/tmp/stella-file-test-XXXXXX";
  return ::mkdtemp(name);
}

TEST(File, DurableWriteReplacesWhole) {
  const std::string path = temp_dir() + "/x";
  ASSERT_TRUE(write_file_durable(path, "one"));
  ASSERT_TRUE(write_file_durable(path, "two"));
  EXPECT_EQ(read_file(path, 10).value(), "two");
}

TEST(File, WhatRootReplacesStaysWithItsOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: not root";
  const std::string dir = temp_dir(), path = dir + "/x";
  const auto owner_of = [](const std::string& file) {
    struct stat info {};
    EXPECT_EQ(::lstat(file.c_str(), &info), 0);
    return std::pair(info.st_uid, info.st_gid);
  };
  ASSERT_TRUE(replace_file(path, "one", 0600));
  EXPECT_EQ(owner_of(path), std::pair(0u, 0u));
  ASSERT_EQ(::chown(path.c_str(), 65534, 65533), 0);
  ASSERT_TRUE(replace_file(path, "two", 0640));
  EXPECT_EQ(owner_of(path), std::pair(65534u, 65533u));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777u, 0640u);
  EXPECT_EQ(read_file(path, 10).value(), "two");
  // A new file belongs to whom the directory belongs.
  ASSERT_EQ(::chown(dir.c_str(), 65532, 65531), 0);
  ASSERT_TRUE(replace_file(dir + "/new", "", 0600));
  EXPECT_EQ(owner_of(dir + "/new"), std::pair(65532u, 65531u));
}

TEST(File, ErrorsNameThePathAndTheReason) {
  const auto missing = read_file("/nonexistent/x", 10);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), base_errors::kNotFound);
  EXPECT_EQ(missing.error().field("path"), "/nonexistent/x");
  const std::string path = temp_dir() + "/x";
  ASSERT_TRUE(write_file_durable(path, "12345"));
  EXPECT_TRUE(read_file(path, 5));
  EXPECT_EQ(read_file(path, 4).error().code(), base_errors::kLimit);
}

TEST(File, AnUnnamedOneIsOursAloneAndLeavesNothing) {
  const std::string dir = temp_dir();
  auto file = unnamed_file(dir);
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_all(file->get(), "bytes"));
  ASSERT_EQ(::lseek(file->get(), 0, SEEK_SET), 0);
  EXPECT_EQ(read_fd(file->get(), 10).value(), "bytes");
  struct stat info {};
  ASSERT_EQ(::fstat(file->get(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777u, 0600u);
  EXPECT_TRUE(std::filesystem::is_empty(dir));
  const auto missing = unnamed_file(dir + "/absent");
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(missing.error().field("path"), dir + "/absent");
}

TEST(File, MakesDirectories) {
  const std::string path = temp_dir() + "/a/b/c";
  ASSERT_TRUE(make_dirs(path));
  ASSERT_TRUE(make_dirs(path));
  EXPECT_TRUE(write_file_durable(path + "/f", ""));
}

}  // namespace
}  // namespace stella
