// For tests: a process of its own that runs one (disabled) test of this binary, and may be killed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"

extern char** environ;

namespace stella::telemetry {

// Runs one disabled test of this binary in a child, with `dir` and a pipe as its standard output.
class Child {
 public:
  Child(const std::string& test, const std::string& dir) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out_ = Fd(ends[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);  // its cases are not cases of this run
    const std::string filter = "--gtest_filter=" + test;
    std::string variable = "STELLA_TEST_DIR=" + dir;
    // A child that forks loses the stacks of its other threads: what they held would be called leaked.
    const char* const sanitizer = getenv("ASAN_OPTIONS");
    std::string leaks = std::string("ASAN_OPTIONS=").append(sanitizer == nullptr ? "" : sanitizer).append(":detect_leaks=0");
    std::vector<char*> env;
    for (char** e = environ; *e != nullptr; ++e)
      if (!std::string_view(*e).starts_with("ASAN_OPTIONS=")) env.push_back(*e);
    env.push_back(leaks.data());
    env.push_back(variable.data());
    env.push_back(nullptr);
    char self[] = "/proc/self/exe", also[] = "--gtest_also_run_disabled_tests";
    char* const argv[] = {self, const_cast<char*>(filter.c_str()), also, nullptr};
    EXPECT_EQ(posix_spawn(&pid_, self, &actions, nullptr, argv, env.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
  }
  pid_t pid() const { return pid_; }
  // Numbers that the child wrote, up to `most` of them or its end.
  std::vector<std::int64_t> acknowledged(std::size_t most = SIZE_MAX) {
    std::vector<std::int64_t> numbers;
    std::int64_t number = 0;
    while (numbers.size() < most && read(out_.get(), &number, sizeof number) == static_cast<ssize_t>(sizeof number)) numbers.push_back(number);
    return numbers;
  }
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    return status;
  }

 private:
  pid_t pid_ = 0;
  Fd out_;
};

inline std::string child_dir() {
  const char* const dir = getenv("STELLA_TEST_DIR");
  return dir == nullptr ? "" : dir;
}
inline void acknowledge(std::int64_t n) { [[maybe_unused]] const ssize_t written = write(3, &n, sizeof n); }

}  // namespace stella::telemetry
