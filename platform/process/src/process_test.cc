// Real children: environments, descriptors, directories, users, failures before exec, signals, waiting, locks.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "stella/contracts/errors.h"
#include "stella/platform/process.h"

namespace stella::process {
namespace {

std::string temp_dir() {
  char name[] = "/tmp/stella-process-test-XXXXXX";
  const std::string dir = ::mkdtemp(name);
  ::chmod(dir.c_str(), 0777);
  return dir;
}

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

struct Outcome {
  int status = -1;
  std::string out;
};

// Runs a shell script to its end.
Outcome run(const std::string& script, SpawnOptions options = {}) {
  const std::string dir = temp_dir();
  options.argv = {"/bin/sh", "-c", script};
  options.stdout_path = dir + "/out";
  auto child = Child::spawn(options);
  EXPECT_TRUE(child) << (child ? "" : child.error().describe());
  if (!child) return {};
  Outcome outcome;
  outcome.status = child->wait(soon()).value_or(-1);
  outcome.out = read_file(dir + "/out", 1 << 20).value_or("");
  return outcome;
}

TEST(Spawn, StatusIsTheExitCodeOr128PlusTheSignal) {
  EXPECT_EQ(run("exit 7").status, 7);
  EXPECT_EQ(run("kill -TERM $$").status, 128 + SIGTERM);
}

TEST(Spawn, EnvironmentIsExactlyWhatWasGiven) {
  ::setenv("STELLA_CANARY", "must not leak", 1);
  SpawnOptions options;
  options.environment = {{"A", "1"}, {"B", "two words"}};
  EXPECT_EQ(run("/usr/bin/env -u PWD -u _ -u SHLVL -u OLDPWD", options).out, "A=1\nB=two words\n");
}

TEST(Spawn, DirectoryAndArgumentsArrive) {
  SpawnOptions options;
  options.directory = "/usr/bin";
  EXPECT_EQ(run("pwd", options).out, "/usr/bin\n");
}

TEST(Spawn, OutputIsAppended) {
  const std::string path = temp_dir() + "/log";
  for (int i = 0; i < 2; ++i) {
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c", "echo out; echo err >&2"};
    options.stdout_path = path;
    options.stderr_path = path;
    EXPECT_EQ(Child::spawn(options)->wait(soon()), 0);
  }
  EXPECT_EQ(read_file(path, 1000).value(), "out\nerr\nout\nerr\n");
}

TEST(Spawn, OnlyTheGivenDescriptorsAreOpenAndUnderTheirNumbers) {
  const std::string dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir + "/one", "1"));
  ASSERT_TRUE(write_file_durable(dir + "/two", "2"));
  const Fd leaked(::open("/etc/passwd", O_RDONLY));  // no CLOEXEC on purpose
  const Fd one(::open((dir + "/one").c_str(), O_RDONLY));
  const Fd two(::open((dir + "/two").c_str(), O_RDONLY));
  SpawnOptions options;
  options.fds = {{one.get(), 9}, {two.get(), 5}};
  const auto outcome = run("cat <&5; cat <&9; for n in 3 4 5 6 7 8 9 10 11 12 13 14 15; do [ -e /proc/$$/fd/$n ] && echo \" $n\"; done; true", options);
  EXPECT_EQ(outcome.out, "21 5\n 9\n");
}

TEST(Spawn, DescriptorsMaySwapNumbers) {
  const std::string dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir + "/one", "1"));
  ASSERT_TRUE(write_file_durable(dir + "/two", "2"));
  const Fd one(::open((dir + "/one").c_str(), O_RDONLY | O_CLOEXEC));
  const Fd two(::open((dir + "/two").c_str(), O_RDONLY | O_CLOEXEC));
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "cat /dev/fd/" + std::to_string(one.get()) + " /dev/fd/" + std::to_string(two.get())};
  options.fds = {{one.get(), two.get()}, {two.get(), one.get()}};
  options.stdout_path = dir + "/out";
  EXPECT_EQ(Child::spawn(options)->wait(soon()), 0);
  EXPECT_EQ(read_file(dir + "/out", 10).value(), "21");
}

TEST(Spawn, FailuresBeforeExecNameTheStep) {
  SpawnOptions options;
  options.argv = {"/nonexistent/program"};
  auto missing = Child::spawn(options);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), base_errors::kIo);
  EXPECT_EQ(missing.error().field("program"), "/nonexistent/program");
  EXPECT_EQ(missing.error().field("step"), "program");
  EXPECT_EQ(missing.error().field("errno"), "No such file or directory");
  options.argv = {"/bin/true"};
  options.directory = "/nonexistent";
  EXPECT_EQ(Child::spawn(options).error().field("step"), "directory");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a failed start leaves no zombie";
  EXPECT_EQ(Child::spawn({}).error().code(), base_errors::kInvalid);
  options.argv = {"/bin/true", std::string("a\0b", 3)};
  EXPECT_EQ(Child::spawn(options).error().code(), base_errors::kInvalid);
}

TEST(Spawn, SignalsOfTheParentDoNotReachTheChildsSettings) {
  ::signal(SIGUSR1, SIG_IGN);
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  EXPECT_EQ(run("kill -USR1 $$; exit 3").status, 128 + SIGUSR1);
  EXPECT_EQ(run("kill -USR2 $$; exit 3").status, 128 + SIGUSR2);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Spawn, DropsToAnotherUserForGood) {
  if (::getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  SpawnOptions options;
  options.user = find_user("nobody").value();
  const auto outcome = run("id -u; id -G; cat /etc/shadow >/dev/null 2>&1 && echo root", options);
  EXPECT_EQ(outcome.out, std::to_string(options.user->uid) + "\n" + std::to_string(options.user->gid) + "\n");
}

TEST(Spawn, WorksWhileOtherThreadsAllocateAndLock) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> noise;
  for (int i = 0; i < 3; ++i) {
    noise.emplace_back([&] {
      while (!stop) std::vector<std::string>(100, std::string(100, 'x')).clear();
    });
  }
  std::vector<std::thread> spawners;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t) {
    spawners.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        SpawnOptions options;
        options.argv = {"/bin/sh", "-c", "exit " + std::to_string(i)};
        auto child = Child::spawn(options);
        if (child && child->wait(soon()) == i) ++good;
      }
    });
  }
  for (auto& thread : spawners) thread.join();
  stop = true;
  for (auto& thread : noise) thread.join();
  EXPECT_EQ(good, 100);
}

TEST(Child, WaitEndsAtTheDeadlineAndStopEscalates) {
  const std::string dir = temp_dir();
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "trap '' TERM; echo ready; exec sleep 1000"};
  options.stdout_path = dir + "/out";
  auto child = Child::spawn(options).value();
  EXPECT_EQ(child.wait(Deadline::after(std::chrono::milliseconds(1))), std::nullopt);
  while (read_file(dir + "/out", 100).value_or("") != "ready\n") std::this_thread::yield();
  EXPECT_EQ(child.stop(Deadline::after(std::chrono::milliseconds(50))), 128 + SIGKILL);
  EXPECT_EQ(child.try_wait(), 128 + SIGKILL) << "the status stays";
}

TEST(Child, StopIsGentleFirst) {
  const std::string dir = temp_dir();
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "sleep 1000 & trap 'kill $!; exit 5' TERM; echo ready; wait"};
  options.stdout_path = dir + "/out";
  auto child = Child::spawn(options).value();
  while (read_file(dir + "/out", 100).value_or("") != "ready\n") std::this_thread::yield();
  EXPECT_EQ(child.stop(soon()), 5);
}

TEST(Child, DiesWithTheThreadThatStartedIt) {
  std::optional<Child> child;
  std::thread([&] {
    SpawnOptions options;
    options.argv = {"/bin/sleep", "1000"};
    child = Child::spawn(options).value();
  }).join();
  EXPECT_EQ(child->wait(soon()), 128 + SIGKILL);
}

TEST(Users, UnknownNamesAreNotFound) {
  EXPECT_EQ(find_user("root")->uid, 0u);
  const auto nobody = find_user("no-such-user-here");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code(), base_errors::kNotFound);
}

TEST(LockFile, SecondHolderIsRefusedWithTheFirstOnesPid) {
  const std::string path = temp_dir() + "/lock";
  auto held = lock_file(path);
  ASSERT_TRUE(held);
  const auto second = lock_file(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), contracts::errors::kConflict);
  EXPECT_EQ(second.error().field("holder"), std::to_string(::getpid()));
  EXPECT_EQ(run("/usr/bin/flock -n " + path + " true").status, 1) << "other processes see it, too";
  held->reset();
  EXPECT_TRUE(lock_file(path));
}

TEST(LockFile, IsForItsOwnerAlone) {
  const std::string path = temp_dir() + "/lock";
  ASSERT_TRUE(write_file_durable(path, "", 0644));  // of an earlier version
  ASSERT_TRUE(lock_file(path));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777u, 0600u);
}

TEST(LockFile, AMomentaryLookIsNoHolder) {
  const std::string path = temp_dir() + "/lock";
  Fd look(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(look.get(), LOCK_SH), 0);
  std::thread looker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    look.reset();
  });
  EXPECT_TRUE(lock_file(path));
  looker.join();
}

TEST(StopSignals, AHangupIsAStopOnlyWhereAskedForAndNotIgnored) {
  ::signal(SIGHUP, SIG_IGN);
  stop_on_hangup();
  struct sigaction now {};
  ASSERT_EQ(::sigaction(SIGHUP, nullptr, &now), 0);
  EXPECT_EQ(now.sa_handler, SIG_IGN) << "nohup";
  ::signal(SIGHUP, SIG_DFL);
  install_stop_signals();
  ASSERT_EQ(::sigaction(SIGHUP, nullptr, &now), 0);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
  stop_on_hangup();
  struct sigaction term {};
  ASSERT_EQ(::sigaction(SIGHUP, nullptr, &now), 0);
  ASSERT_EQ(::sigaction(SIGTERM, nullptr, &term), 0);
  EXPECT_EQ(now.sa_handler, term.sa_handler);
  ::signal(SIGHUP, SIG_DFL);
}

TEST(StopSignals, ATermSignalWakesEveryWaiterAndStays) {
  install_stop_signals();
  EXPECT_EQ(run("exit 3").status, 3) << "a child begins with default actions; ours stay (ThreadSanitizer keeps them in memory)";
  EXPECT_FALSE(stop_requested());
  EXPECT_FALSE(wait_for_stop(Deadline::after(std::chrono::milliseconds(1))));
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { woken += wait_for_stop(soon()); });
  }
  ::kill(::getpid(), SIGTERM);
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(woken, 3);
  EXPECT_TRUE(stop_requested());
  EXPECT_TRUE(wait_for_stop(Deadline::after(std::chrono::hours(1))));
}

}  // namespace
}  // namespace stella::process
