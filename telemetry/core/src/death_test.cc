// Processes that die, fork and end: each case is a child process of its own, made by running this test binary again.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "child.h"
#include "crash.h"
#include "instance.h"
#include "remains.h"
#include "line_schema.h"
#include "outlet.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/span.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

BackendOptions options(const std::string& dir) {
  BackendOptions o;
  o.resource = kTestResource;
  o.log_path = dir + "/log";
  o.dir = dir + "/rings";
  o.crash_dir = dir + "/data/crash/stellad";
  o.crash_dir_shown = "crash/stellad";
  return o;
}

// Counts of all lines, in their order, of records made by log_builder.
std::vector<std::int64_t> counts(const std::string& path) {
  std::vector<std::int64_t> out;
  for (const std::string& line : lines_of(path)) {
    const auto value = json::parse(line);
    if (!value) continue;  // the line that was being written when the process died
    if (value->str("message") == "something happened") out.push_back(value->integer("count"));
  }
  return out;
}
bool has_message(const std::string& path, std::string_view message) {
  for (const std::string& line : lines_of(path)) {
    if (const auto value = json::parse(line); value && value->str("message") == message) return true;
  }
  return false;
}

std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  DIR* const entries = opendir(dir.c_str());
  if (entries == nullptr) return names;
  while (const dirent* entry = readdir(entries)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(entries);
  return names;
}

TEST(Child, DISABLED_PushesUntilItIsKilled) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  std::vector<std::thread> threads;
  std::atomic<std::int64_t> next{0};
  // Level ERROR: never dropped, so every acknowledged one must be found.
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (true) {
        const std::int64_t n = next.fetch_add(1);
        backend->outlet().push(log_bytes(Level::kError, n, std::string(static_cast<std::size_t>(n % 700), 'x')));
        acknowledge(n);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Death, AKillLosesNothingThatWasPushed) {
  std::uint64_t recovered = 0;
  for (int round = 0; round < 8; ++round) {
    const TempDir dir;
    Child child("Child.DISABLED_PushesUntilItIsKilled", dir.path());
    std::vector<std::int64_t> acknowledged = child.acknowledged(static_cast<std::size_t>(500 + round * 371));
    kill(child.pid(), SIGKILL);
    for (const std::int64_t n : child.acknowledged()) acknowledged.push_back(n);
    EXPECT_TRUE(WIFSIGNALED(child.wait()));
    ASSERT_GE(acknowledged.size(), 500u);

    auto backend = *Backend::install(options(dir.path()));
    ASSERT_TRUE(backend->flush(soon()));
    recovered += backend->totals().recovered;
    const std::vector<std::int64_t> found = counts(dir / "log");
    const std::set<std::int64_t> unique(found.begin(), found.end());
    for (const std::int64_t n : acknowledged) ASSERT_TRUE(unique.contains(n)) << n << " of " << acknowledged.size();
    // Records in the making may be torn: one a thread, and none of them was acknowledged.
    EXPECT_LE(backend->totals().torn, 3u);
    EXPECT_EQ(names_in(dir / "rings").size(), 1u);  // the dead one's are gone
    for (const std::string& line : lines_of(dir / "log")) {
      if (line.ends_with("}")) checked_line(line);
    }
  }
  EXPECT_GT(recovered, 0u);  // at least one of the rounds met records in the rings
}

TEST(Child, DISABLED_FillsItsRingAndDies) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto o = options(dir);
  auto instance = Instance::create(o.dir, kTestResource);
  if (!instance) {
    mkdir(o.dir.c_str(), 0700);
    instance = Instance::create(o.dir, kTestResource);
  }
  // No backend drains: what is in the rings when it dies is exactly what was pushed.
  auto* outlet = new RingOutlet(std::move(*instance), {.ring_bytes = 128 * 1024});
  outlet->set_late([](std::string_view) {}, [] {});
  const std::string text(1000, 'x');
  for (int i = 0; i < 300; ++i) outlet->push(log_bytes(i % 3 == 0 ? Level::kError : i % 3 == 1 ? Level::kWarn : Level::kInfo, i, text));
  outlet->push(span_bytes({.trace = 9, .name = "unfinished"}));
  acknowledge(static_cast<std::int64_t>(outlet->ring(0).header().dropped_logs.load()));
  kill(getpid(), SIGKILL);
}

TEST(Death, RingAndSpillOfADeadProcessAreWrittenInOrderAndItsLossesCounted) {
  const TempDir dir;
  Child child("Child.DISABLED_FillsItsRingAndDies", dir.path());
  const std::int64_t lost = child.acknowledged().at(0);
  child.wait();
  ASSERT_GT(lost, 20);
  auto backend = *Backend::install(options(dir.path()));
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<std::int64_t> found = counts(dir / "log");
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
  EXPECT_EQ(static_cast<std::int64_t>(found.size()), 300 - lost);
  EXPECT_EQ(std::set<std::int64_t>(found.begin(), found.end()).size(), found.size());
  for (int i = 0; i < 300; ++i) {
    if (i % 3 == 2) continue;
    EXPECT_TRUE(std::binary_search(found.begin(), found.end(), i)) << i;
  }
  EXPECT_EQ(backend->totals().lost, 0u);
  EXPECT_EQ(backend->totals().torn, 0u);
  EXPECT_TRUE(has_message(dir / "log", "a process died before its records were written; they are now"));
}

TEST(Death, OfAnotherServiceNothingIsTaken) {
  const TempDir dir;
  Child child("Child.DISABLED_FillsItsRingAndDies", dir.path());
  child.acknowledged();
  child.wait();
  {
    auto o = options(dir.path());
    o.resource.service = "other";
    auto backend = *Backend::install(o);
    ASSERT_TRUE(backend->flush(soon()));
    EXPECT_EQ(backend->totals().recovered, 0u);
  }
  auto backend = *Backend::install(options(dir.path()));
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_GT(backend->totals().recovered, 100u);
}

TEST(Death, WhatCannotBeWrittenIsKeptForTheNextStart) {
  const TempDir dir;
  Child child("Child.DISABLED_FillsItsRingAndDies", dir.path());
  child.acknowledged();
  child.wait();
  {
    auto o = options(dir.path());
    o.log_path = "/dev/full";
    ::testing::internal::CaptureStderr();
    auto backend = *Backend::install(o);
    EXPECT_TRUE(backend->flush(soon()));
    backend.reset();
    EXPECT_NE(::testing::internal::GetCapturedStderr().find("\"level\":\"error\""), std::string::npos);
  }
  auto backend = *Backend::install(options(dir.path()));
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_GT(backend->totals().recovered, 100u);
}

TEST(Death, ATornRingIsReadAsFarAsItGoesAndTheRestCounted) {
  const TempDir dir;
  Child child("Child.DISABLED_FillsItsRingAndDies", dir.path());
  child.acknowledged();
  child.wait();
  std::string instance;
  for (const std::string& name : names_in(dir / "rings")) instance = dir / "rings" + "/" + name;
  const std::size_t record = log_bytes(Level::kInfo, 0, std::string(1000, 'x')).size();
  {
    const Fd fd(::open((instance + "/ring-0000").c_str(), O_RDWR));
    const std::uint32_t nonsense = 3;
    ASSERT_EQ(pwrite(fd.get(), &nonsense, sizeof nonsense, static_cast<off_t>(kRingHeader + 10 * record)), 4);
  }
  auto backend = *Backend::install(options(dir.path()));
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_EQ(backend->totals().torn, 1u);
  EXPECT_GT(backend->totals().lost, 50u);
  const std::vector<std::int64_t> found = counts(dir / "log");
  ASSERT_GT(found.size(), 10u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(found[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(std::binary_search(found.begin(), found.end(), 298) || std::binary_search(found.begin(), found.end(), 297));  // the spill is whole
}

TEST(Child, DISABLED_Crashes) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  for (int i = 0; i < 100; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
  std::thread([&] { backend->outlet().push(log_bytes(Level::kInfo, 1000)); }).join();
  backend->flush(soon());  // even what is in the file already is in the report
  Span outer(SpanName::api("/sboms/:id"));
  Span inner("policy.evaluate");
  { Span ended("ended"); }
  raise(SIGSEGV);
}

TEST(Child, DISABLED_CrashesInTwoThreads) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  // Rings enough that the report takes longer than the other thread needs to crash.
  std::vector<std::thread> threads;
  std::atomic<int> ready{0};
  for (int t = 0; t < 60; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) backend->outlet().push(log_bytes(Level::kInfo, i, std::string(300, 'x')));
      ++ready;
      while (true) pause();
    });
  }
  while (ready < 60) usleep(1000);
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      Span span("policy.evaluate");
      ++ready;
      while (ready < 62) {}
      raise(SIGSEGV);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Child, DISABLED_RunsOutOfStack) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  backend->outlet().push(log_bytes(Level::kInfo, 5));
  struct Deep {
    static int down(volatile char* p, int n) {
      volatile char page[4096];
      page[0] = *p;
      return n == 0 ? 0 : down(page, n + 1) + page[0];
    }
  };
  volatile char start = 1;
  acknowledge(Deep::down(&start, 1));
}

void expect_report(const TempDir& dir, int signal, std::int64_t last, const std::vector<std::string>& open_spans) {
  std::string report;
  for (const std::string& name : names_in(dir / "rings")) {
    if (name.starts_with("crash-stellad-")) report = name;
  }
  ASSERT_FALSE(report.empty());
  const std::vector<std::string> lines = lines_of(dir / "rings" + "/" + report);
  ASSERT_GT(lines.size(), 1u);
  EXPECT_EQ(json::parse(lines[0])->integer("signal"), signal);
  EXPECT_NE(json::parse(lines[0])->str("thread_name"), "");
  // A fault of the kernel has an address, a signal that somebody sent has none.
  EXPECT_EQ(json::parse(lines[0])->find("fault_address") != nullptr, json::parse(lines[0])->integer("code") > 0);
  int calls = 0, of_this_program = 0;
  std::vector<std::int64_t> found;
  std::vector<std::string> spans;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const auto value = json::parse(lines[i]);
    ASSERT_TRUE(value) << lines[i];
    if (value->find("open_span") != nullptr) {
      spans.emplace_back(value->str("open_span"));
      EXPECT_TRUE(TraceId::parse(value->str("trace_id")) && SpanId::parse(value->str("span_id")) && value->integer("start_ns") > 0) << lines[i];
    }
    if (value->find("call") != nullptr) {
      ++calls;
      of_this_program += (value->str("file").ends_with("_test") || value->str("file") == "exe") && value->str("offset").starts_with("0x") ? 1 : 0;
    }
    if (value->str("message") == "ended") {
      EXPECT_EQ(value->str("record"), "span") << "no line of a log";
    }
    if (value->str("message") == "something happened") {
      checked_line(lines[i]);
      found.push_back(value->integer("count"));
    }
  }
  EXPECT_NE(std::find(found.begin(), found.end(), last), found.end());
  EXPECT_EQ(spans, open_spans);
  EXPECT_GT(calls, 2);
  EXPECT_GT(of_this_program, 2);
  for (int round = 0; round < 2; ++round) {
    auto backend = *Backend::install(options(dir.path()));
    ASSERT_TRUE(backend->flush(soon()));
    ASSERT_TRUE(backend->flush(soon()));  // what the backend itself says comes a round later
  }
  int said = 0;
  for (const std::string& line : lines_of(dir / "log")) {
    const auto value = json::parse(line);
    if (value && value->str("message") == "an earlier process crashed; its report lies below the data directory") {
      ++said;
      EXPECT_EQ(value->integer("signal"), signal);
      EXPECT_EQ(value->str("path"), "crash/stellad/" + report);  // as it is, so that somebody finds it
    }
  }
  EXPECT_EQ(said, 1);
  EXPECT_EQ(lines_of(dir / "data/crash/stellad/" + report), lines);
  struct stat status {};
  EXPECT_EQ(stat((dir / "data/crash/stellad").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  for (const std::string& name : names_in(dir / "rings")) EXPECT_EQ(name.find("crash-"), std::string::npos) << name;
}

TEST(CrashReports, GoToTheDiskWithTheirTimeAndTheNewestStay) {
  const TempDir disk;
  char memory[] = "/dev/shm/stella-crash-test-XXXXXX";
  ASSERT_NE(mkdtemp(memory), nullptr);
  const std::string rings = memory;
  for (int i = 0; i < 20; ++i) {
    // Two that an earlier start told of and could not move.
    const std::string path = rings + (i < 2 ? "/reported-" : "/") + "crash-stella_runner-7-" + std::to_string(i) + ".ndjson";
    ASSERT_TRUE(write_file_durable(path, "{\"signal\":11}\n" + std::to_string(i)));
    const timespec times[] = {{.tv_sec = 1'800'000'000 + i, .tv_nsec = 0}, {.tv_sec = 1'800'000'000 + i, .tv_nsec = 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  ASSERT_TRUE(write_file_durable(rings + "/crash-stellad-7-1.ndjson", "another's"));
  announce_crash_reports(rings, "stella-runner", {disk / "data/crash/stella-runner", "crash/stella-runner"});
  EXPECT_EQ(names_in(rings), std::vector<std::string>{"crash-stellad-7-1.ndjson"});
  std::vector<std::string> kept = names_in(disk / "data/crash/stella-runner");
  ASSERT_EQ(kept.size(), 16u);
  for (int i = 4; i < 20; ++i) {
    const std::string path = disk / "data/crash/stella-runner/crash-stella_runner-7-" + std::to_string(i) + ".ndjson";
    EXPECT_EQ(*read_file(path, 1000), "{\"signal\":11}\n" + std::to_string(i));
    struct stat status {};
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 1'800'000'000 + i);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  // Where nothing can be made, it stays.
  ASSERT_TRUE(write_file_durable(disk / "file", ""));
  announce_crash_reports(rings, "stellad", {disk / "file/crash", "crash"});
  EXPECT_EQ(names_in(rings), std::vector<std::string>{"reported-crash-stellad-7-1.ndjson"});
  unlink((rings + "/reported-crash-stellad-7-1.ndjson").c_str());
  rmdir(memory);
}

TEST(Death, ACrashLeavesAReportAndTheNextStartSaysSo) {
  const TempDir dir;
  Child child("Child.DISABLED_Crashes", dir.path());
  const int status = child.wait();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
#else
  EXPECT_NE(status, 0);
#endif
  expect_report(dir, SIGSEGV, 99, {"policy.evaluate", "api./sboms/:id"});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Death, OfTwoThreadsThatCrashAtOnceTheReportIsComplete) {
  for (int round = 0; round < 5; ++round) {
    const TempDir dir;
    Child child("Child.DISABLED_CrashesInTwoThreads", dir.path());
    const int status = child.wait();
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
    expect_report(dir, SIGSEGV, 199, {"policy.evaluate"});
  }
}

TEST(Death, AThreadWithoutStackLeavesAReportToo) {
  const TempDir dir;
  Child child("Child.DISABLED_RunsOutOfStack", dir.path());
  const int status = child.wait();
  ASSERT_TRUE(WIFSIGNALED(status));
  expect_report(dir, SIGSEGV, 5, {});
}
#endif

TEST(Child, DISABLED_Forks) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  for (int i = 0; i < 100; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
  [[maybe_unused]] Outlet& backend_outlet = backend->outlet();
  const pid_t pid = fork();
  if (pid == 0) {
    for (int i = 100; i < 200; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
    const bool flushed = backend->flush(Deadline::after(std::chrono::seconds(1)));
    backend.reset();
// In the child of a process with threads TSan lets no thread begin, and ASan's allocator may be locked for ever.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    // A child that goes on makes its own.
    auto own = *Backend::install(options(dir));
    for (int i = 200; i < 300; ++i) own->outlet().push(log_bytes(Level::kInfo, i));
    own.reset();
#else
    for (int i = 200; i < 300; ++i) backend_outlet.push(log_bytes(Level::kInfo, i));
#endif
    _exit(flushed ? 1 : 0);
  }
  for (int i = 300; i < 400; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
  int status = 0;
  waitpid(pid, &status, 0);
  acknowledge(status);
  for (int i = 400; i < 500; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
}

TEST(Death, AForkHarmsNeitherSide) {
  const TempDir dir;
  Child child("Child.DISABLED_Forks", dir.path());
  EXPECT_EQ(child.acknowledged(), std::vector<std::int64_t>{0});
  EXPECT_EQ(child.wait(), 0);
  std::vector<std::int64_t> found = counts(dir / "log");
  std::sort(found.begin(), found.end());
  std::vector<std::int64_t> all(500);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  EXPECT_EQ(found, all);
  EXPECT_TRUE(names_in(dir / "rings").empty());
}

Outlet* g_outlet = nullptr;
struct AtTheEnd {
  ~AtTheEnd() {
    if (g_outlet != nullptr) g_outlet->push(log_bytes(Level::kInfo, 999));
  }
};
AtTheEnd g_at_the_end;

TEST(Child, DISABLED_Exits) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir));
  g_outlet = &backend->outlet();
  std::atomic<bool> stop{false}, begun{false};
  std::thread busy([&] {
    for (int i = 0; !stop.load(); ++i) {
      g_outlet->push(log_bytes(Level::kInfo, i % 1000));
      begun.store(true);
      begun.notify_one();
    }
  });
  begun.wait(false);
  backend->outlet().push(log_bytes(Level::kInfo, 998));
  backend.reset();
  stop.store(true);
  busy.join();
  g_outlet->push(log_bytes(Level::kInfo, 997));
  exit(0);
}

TEST(Death, WhatIsPushedAfterTheEndIsStillWritten) {
  const TempDir dir;
  Child child("Child.DISABLED_Exits", dir.path());
  EXPECT_EQ(child.wait(), 0);
  const std::vector<std::int64_t> found = counts(dir / "log");
  ASSERT_GT(found.size(), 3u);
  EXPECT_EQ(found.back(), 999);
  EXPECT_EQ(found[found.size() - 2], 997);
  EXPECT_NE(std::find(found.begin(), found.end(), 998), found.end());
  EXPECT_TRUE(names_in(dir / "rings").empty());
}

}  // namespace
}  // namespace stella::telemetry
