// The supervisor with real programs: readiness, failures with their log, restarts, order of stopping.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "stella/contracts/errors.h"
#include "stella/platform/process.h"

namespace stella::process {
namespace {

std::string temp_dir() {
  char name[] = "/tmp/stella-supervisor-test-XXXXXX";
  return ::mkdtemp(name);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Service shell(std::string name, const std::string& script, const std::string& log) {
  Service service;
  service.name = std::move(name);
  service.options.argv = {"/bin/sh", "-c", script};
  service.options.environment = {{"PATH", "/usr/bin:/bin"}};
  service.options.stdout_path = log;
  service.options.stderr_path = log;
  return service;
}

TEST(Supervisor, StartReturnsWhenReady) {
  const std::string dir = temp_dir();
  Supervisor supervisor;
  auto service = shell("db", "touch " + dir + "/up; exec sleep 1000", dir + "/log");
  service.ready = [&] { return exists(dir + "/up"); };
  ASSERT_TRUE(supervisor.start(std::move(service)));
  EXPECT_TRUE(exists(dir + "/up"));
  const auto status = supervisor.status();
  ASSERT_EQ(status.size(), 1u);
  EXPECT_EQ(status[0].name, "db");
  EXPECT_EQ(::kill(status[0].pid, 0), 0);
  supervisor.stop_all();
  EXPECT_NE(::kill(status[0].pid, 0), 0) << "ended and reaped";
}

TEST(Supervisor, AWaitThatIsGivenUpStopsWhatItWaitedFor) {
  const std::string dir = temp_dir();
  Supervisor supervisor;
  auto service = shell("db", "touch " + dir + "/up; exec sleep 1000", dir + "/log");
  service.ready = [] { return false; };
  service.give_up = [&] { return exists(dir + "/up"); };
  const auto started = supervisor.start(std::move(service));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().field("cause"), "a stop was asked for");
  EXPECT_TRUE(supervisor.status().empty());
}

TEST(Supervisor, EndBeforeReadyIsAnErrorWithTheNewLogLines) {
  const std::string dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir + "/log", "from an earlier run\n"));
  Supervisor supervisor;
  auto service = shell("db", "echo 'FATAL: port in use' >&2; exit 3", dir + "/log");
  service.ready = [] { return false; };
  const auto started = supervisor.start(std::move(service));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), contracts::errors::kUnavailable);
  EXPECT_EQ(started.error().field("part"), "db");
  EXPECT_EQ(started.error().field("cause"), "it ended with status 3");
  EXPECT_EQ(started.error().field("log"), "FATAL: port in use\n");
  EXPECT_TRUE(supervisor.status().empty());
}

TEST(Supervisor, NeverReadyIsStoppedAtTheTimeout) {
  Supervisor supervisor;
  const std::string dir = temp_dir();
  auto service = shell("slow", "echo $$ > " + dir + "/pid; exec sleep 1000", dir + "/log");
  service.ready = [] { return false; };
  service.ready_timeout = std::chrono::milliseconds(50);
  const auto started = supervisor.start(std::move(service));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().field("cause"), "it was not ready in time");
  EXPECT_TRUE(supervisor.status().empty());
}

TEST(Supervisor, MissingProgramIsAnErrorAtOnce) {
  Supervisor supervisor;
  Service service;
  service.name = "ghost";
  service.options.argv = {"/nonexistent/program"};
  const auto started = supervisor.start(std::move(service));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), contracts::errors::kUnavailable);
  EXPECT_NE(started.error().field("cause").find("No such file"), std::string_view::npos) << started.error().describe();
}

TEST(Supervisor, WhatDiesComesBackAndTellsWhy) {
  const std::string dir = temp_dir();
  std::atomic<int> told{0};
  Supervisor supervisor;
  auto service = shell("worker", "echo started >> " + dir + "/starts; exec sleep 1000", dir + "/log");
  service.on_exit = [&](int status) { told = status; };
  ASSERT_TRUE(supervisor.start(std::move(service)));
  const int first = supervisor.status()[0].pid;
  ::kill(first, SIGKILL);
  int second = 0;
  while (second == 0 || second == first) {
    std::this_thread::yield();
    second = supervisor.status()[0].pid;
  }
  EXPECT_EQ(::kill(second, 0), 0);
  EXPECT_EQ(supervisor.status()[0].restarts, 1);
  EXPECT_EQ(told, 128 + SIGKILL);
}

// It dies after it said that it is ready, and before start() has seen to it.
TEST(Supervisor, WhatDiesWhileItBecomesReadyComesBackAtOnce) {
  const std::string dir = temp_dir();
  std::atomic<int> told{0};
  Supervisor supervisor;
  auto service = shell("worker", "echo $$ > " + dir + "/pid.new; mv " + dir + "/pid.new " + dir + "/pid; exec sleep 1000", dir + "/log");
  service.on_exit = [&](int status) { told = status; };
  service.ready = [&] {
    const int pid = std::atoi(read_file(dir + "/pid", 100).value_or("0").c_str());
    if (pid == 0) return false;
    ::kill(pid, SIGKILL);
    while (::kill(pid, 0) == 0) std::this_thread::yield();
    return true;
  };
  ASSERT_TRUE(supervisor.start(std::move(service)));
  const Deadline deadline = Deadline::after(std::chrono::seconds(10));
  while (supervisor.status()[0].pid == 0 && !deadline.passed()) std::this_thread::yield();
  EXPECT_NE(supervisor.status()[0].pid, 0);
  EXPECT_EQ(supervisor.status()[0].restarts, 1);
  EXPECT_EQ(told, 128 + SIGKILL);
}

TEST(Supervisor, TellsWhatStoppedNewestFirst) {
  const std::string dir = temp_dir();
  Supervisor supervisor;
  for (const char* name : {"first", "second"}) ASSERT_TRUE(supervisor.start(shell(name, "exec sleep 1000", dir + "/log")));
  std::string order;
  supervisor.stop_all([&](const std::string& name, int status) { order += name + ":" + std::to_string(status) + " "; });
  EXPECT_EQ(order, "second:143 first:143 ");
}

// A collector, started with the help of the server, takes the server's last telemetry.
TEST(Supervisor, WhatOutlivesAnOlderOneStopsAfterIt) {
  Supervisor supervisor;
  ASSERT_TRUE(supervisor.start(shell("db", "exec sleep 1000", "")));
  ASSERT_TRUE(supervisor.start(shell("server", "exec sleep 1000", "")));
  auto collector = shell("collector", "exec sleep 1000", "");
  collector.outlives = "server";
  ASSERT_TRUE(supervisor.start(std::move(collector)));
  auto other = shell("other", "exec sleep 1000", "");
  other.outlives = "nobody";
  ASSERT_TRUE(supervisor.start(std::move(other)));
  std::vector<std::string> stopped;
  supervisor.stop_all([&](const std::string& name, int) { stopped.push_back(name); });
  EXPECT_EQ(stopped, (std::vector<std::string>{"other", "server", "collector", "db"}));
}

TEST(Supervisor, StopsTheNewestFirstAndDoesNotRestart) {
  const std::string dir = temp_dir();
  {
    Supervisor supervisor;
    for (const std::string name : {"first", "second", "third"}) {
      auto service = shell(name, "sleep 1000 & trap 'echo " + name + " >> " + dir + "/order; kill $!; exit' TERM; touch " + dir + "/" + name + "; wait", dir + "/log");
      service.ready = [path = dir + "/" + name] { return exists(path); };
      ASSERT_TRUE(supervisor.start(std::move(service)));
    }
    EXPECT_EQ(supervisor.start(shell("second", "true", "")).error().code(), contracts::errors::kConflict);
    ASSERT_TRUE(supervisor.stop("second"));
    EXPECT_EQ(supervisor.stop("second").error().code(), base_errors::kNotFound);
  }
  EXPECT_EQ(read_file(dir + "/order", 1000).value(), "second\nthird\nfirst\n");
}

TEST(Supervisor, KillsWhatIgnoresItsStopSignal) {
  const std::string dir = temp_dir();
  Supervisor supervisor;
  auto service = shell("stubborn", "trap '' TERM; touch " + dir + "/up; exec sleep 1000", dir + "/log");
  service.ready = [&] { return exists(dir + "/up"); };
  service.stop_timeout = std::chrono::milliseconds(50);
  ASSERT_TRUE(supervisor.start(std::move(service)));
  const int pid = supervisor.status()[0].pid;
  supervisor.stop_all();
  EXPECT_NE(::kill(pid, 0), 0);
}

}  // namespace
}  // namespace stella::process
