// Deaths in the middle: of a process whose lines are being written, of one that recovers another, and of services and platforms that nobody
// starts again. Each case is a child process, made by running this test binary again.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <thread>

#include "child.h"
#include "crash.h"
#include "installations.h"
#include "instance.h"
#include "outlet.h"
#include "remains.h"
#include "stella/telemetry/backend.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

constexpr int kRecords = 900;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

BackendOptions options(const std::string& dir) {
  BackendOptions o;
  o.resource = kTestResource;
  o.log_path = dir + "/log";
  o.dir = dir + "/rings";
  o.crash_handler = false;
  o.spill_bytes = 16u << 20;
  return o;
}

// How often each count is there, in all files of the log.
std::map<std::int64_t, int> lines_by_count(const std::string& dir) {
  std::map<std::int64_t, int> out;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (!entry.path().filename().string().starts_with("log")) continue;
    for (const std::string& line : lines_of(entry.path())) {
      const auto value = json::parse(line);
      if (value && value->str("message") == "something happened") ++out[value->integer("count")];
    }
  }
  return out;
}
void expect_each_once(const std::map<std::int64_t, int>& lines, std::int64_t count) {
  EXPECT_EQ(static_cast<std::int64_t>(lines.size()), count);
  for (const auto& [n, times] : lines) EXPECT_EQ(times, 1) << n;
}
bool says(const std::string& path, std::string_view message, std::string_view part = "") {
  for (const std::string& line : lines_of(path)) {
    const auto value = json::parse(line);
    if (value && value->str("message") == message && line.find(part) != line.npos) return true;
  }
  return false;
}

// Instances in `dir`, dead or alive.
std::size_t instances(const std::string& dir) {
  std::size_t n = 0;
  for (const std::string& name : names_in(dir)) n += InstanceName::parse(name) ? 1 : 0;
  return n;
}

// A process that leaves what nobody wrote: two threads' rings, full, and their spill. All of it is an error, so nothing may be missing.
TEST(Child, DISABLED_LeavesFullRings) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  mkdir((dir + "/rings").c_str(), 0700);
  auto* outlet = new RingOutlet(*Instance::create(dir + "/rings", kTestResource, "somewhere"), {.ring_bytes = 128 * 1024});
  outlet->set_late([](std::string_view) {}, [] {});
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int n; (n = next.fetch_add(1)) < kRecords;) outlet->push(log_bytes(Level::kError, n, std::string(700, 'x')));
    });
  }
  for (std::thread& thread : threads) thread.join();
  acknowledge(1);
  kill(getpid(), SIGKILL);
}

// Batches that the exporter was given; kills its process at one of them, before anybody knows that it has it.
class Deadly final : public Exporter {
 public:
  explicit Deadly(int at) : at_(at) {}
  bool offer(Batch batch) noexcept override {
    if (batch.signal == Signal::kLogs && ++logs_ == at_) kill(getpid(), SIGKILL);
    return true;
  }
  bool flush(Deadline) override { return true; }
  ExportStats stats() const override { return {}; }

 private:
  const int at_;
  int logs_ = 0;
};

TEST(Child, DISABLED_RecoversUntilItsExporterKills) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto o = options(dir);
  o.exporter = std::make_shared<Deadly>(3);
  auto backend = *Backend::install(o);
  backend->flush(soon());
  _exit(0);
}

void leave_full_rings(const TempDir& dir) {
  Child left("Child.DISABLED_LeavesFullRings", dir.path());
  left.acknowledged();
  left.wait();
}

TEST(Recovery, ADeathWhileItExportsDoublesNoLine) {
  const TempDir dir;
  leave_full_rings(dir);
  int deaths = 0;
  for (; deaths < 20; ++deaths) {
    Child child("Child.DISABLED_RecoversUntilItsExporterKills", dir.path());
    if (const int status = child.wait(); WIFEXITED(status)) break;
  }
  EXPECT_GE(deaths, 2);   // it did die in the middle …
  EXPECT_LT(deaths, 20);  // … and went on from there, or it would never have come to an end
  expect_each_once(lines_by_count(dir.path()), kRecords);
}

// The kernel kills it within the system call that writes lines: some of them are in the file, the last one perhaps in half.
TEST(Child, DISABLED_RecoversUntilTheLogMayNotGrow) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  struct stat status {};
  const off_t size = stat((dir + "/log").c_str(), &status) == 0 ? status.st_size : 0;
  auto o = options(dir);
  if (access((dir + "/stderr").c_str(), F_OK) == 0) {
    o.log_path = "";
    const Fd file(::open((dir + "/log").c_str(), O_RDWR | O_APPEND | O_CREAT, 0600));
    dup2(file.get(), STDERR_FILENO);
  }
  const rlimit limit{static_cast<rlim_t>(std::max<off_t>(size, 0)) + 300'001, RLIM_INFINITY};
  setrlimit(RLIMIT_FSIZE, &limit);  // SIGXFSZ; rings are smaller
  auto backend = *Backend::install(o);
  backend->flush(soon());
  kill(getpid(), SIGKILL);
}

void die_in_the_middle_of_writes(const TempDir& dir) {
  leave_full_rings(dir);
  int deaths = 0;
  for (; deaths < 20; ++deaths) {
    Child child("Child.DISABLED_RecoversUntilTheLogMayNotGrow", dir.path());
    const int status = child.wait();
    ASSERT_TRUE(WIFSIGNALED(status));
    if (WTERMSIG(status) == SIGKILL) break;
    ASSERT_EQ(WTERMSIG(status), SIGXFSZ);
  }
  EXPECT_GE(deaths, 2);
  EXPECT_LT(deaths, 20);
  expect_each_once(lines_by_count(dir.path()), kRecords);
}

TEST(Recovery, ADeathInTheMiddleOfAWriteDoublesNoLine) {
  const TempDir dir;
  die_in_the_middle_of_writes(dir);
}

TEST(Recovery, NorDoesItWhereStandardErrorIsAFile) {
  const TempDir dir;
  ASSERT_TRUE(write_file_durable(dir / "stderr", ""));
  die_in_the_middle_of_writes(dir);
}

TEST(Child, DISABLED_Recovers) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto o = options(dir);
  o.rotation.max_bytes = 150'000;
  auto backend = *Backend::install(o);
  acknowledge(1);
  backend->flush(soon());
  acknowledge(2);
  while (true) pause();
}

// kill -9 whenever it comes, again and again, with a log that is rotated in between.
TEST(Recovery, AKillAtAnyMomentDoublesNoLine) {
  for (int round = 0; round < 4; ++round) {
    const TempDir dir;
    Child left("Child.DISABLED_LeavesFullRings", dir.path());
    left.acknowledged();
    left.wait();
    for (int kills = 0; kills < 6; ++kills) {
      Child child("Child.DISABLED_Recovers", dir.path());
      child.acknowledged(1);
      usleep(static_cast<useconds_t>(200 + 977 * (round + 4 * kills) % 6000));
      kill(child.pid(), SIGKILL);
      child.wait();
    }
    auto backend = *Backend::install(options(dir.path()));
    ASSERT_TRUE(backend->flush(soon()));
    expect_each_once(lines_by_count(dir.path()), kRecords);
    EXPECT_EQ(instances(dir / "rings"), 1u);
  }
}

TEST(Child, DISABLED_WritesUntilItsLogMayNotGrow) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto o = options(dir);
  auto backend = *Backend::install(o);
  backend->outlet().push(log_bytes(Level::kError, 0));
  backend->flush(soon());
  const rlimit limit{400'001, RLIM_INFINITY};
  setrlimit(RLIMIT_FSIZE, &limit);
  for (std::int64_t n = 1; n < 100'000; ++n) {
    backend->outlet().push(log_bytes(Level::kError, n, std::string(300, 'x')));
    acknowledge(n);
    if (n % 16 == 0) usleep(500);
  }
}

// Not a recovery: its own lines, of which the rings do not know yet that they are written.
TEST(Recovery, ADeathInTheMiddleOfItsOwnWriteDoublesNoLine) {
  for (int round = 0; round < 3; ++round) {
    const TempDir dir;
    Child child("Child.DISABLED_WritesUntilItsLogMayNotGrow", dir.path());
    const std::vector<std::int64_t> pushed = child.acknowledged();
    ASSERT_TRUE(WIFSIGNALED(child.wait()));
    ASSERT_GT(pushed.size(), 100u);
    auto backend = *Backend::install(options(dir.path()));
    ASSERT_TRUE(backend->flush(soon()));
    const auto lines = lines_by_count(dir.path());
    for (const std::int64_t n : pushed) EXPECT_TRUE(lines.contains(n)) << n;
    for (const auto& [n, times] : lines) EXPECT_EQ(times, 1) << n;
  }
}

TEST(Recovery, WhatCouldNotBeWrittenIsCountedByWhoeverWritesIt) {
  const TempDir dir;
  leave_full_rings(dir);
  {
    auto o = options(dir.path());
    o.log_path = "/dev/full";
    ::testing::internal::CaptureStderr();
    auto backend = *Backend::install(o);
    EXPECT_TRUE(backend->flush(soon()));
    EXPECT_EQ(backend->totals().lines, 0u);
    backend.reset();
    ::testing::internal::GetCapturedStderr();
  }
  auto backend = *Backend::install(options(dir.path()));
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_EQ(backend->totals().recovered, static_cast<std::uint64_t>(kRecords));
  EXPECT_EQ(backend->totals().lost + backend->totals().torn, 0u);
  expect_each_once(lines_by_count(dir.path()), kRecords);
}

// A directory is renamed before it is removed: without its lock or its resource nobody would take it for anything, for ever.
TEST(Remains, WhatARemovalLeftGoes) {
  const TempDir dir;
  ASSERT_EQ(mkdir((dir / ".gone-12-34-0").c_str(), 0700), 0);
  ASSERT_TRUE(write_file_durable(dir / ".gone-12-34-0/ring-0000", "x"));
  ASSERT_EQ(mkdir((dir / "12-34-0").c_str(), 0700), 0);  // of a build that did not
  ASSERT_TRUE(write_file_durable(dir / "12-34-0/spill", "x"));
  EXPECT_TRUE(find_remains(dir.path(), "stellad").empty());
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"12-34-0"});
  auto orphans = find_orphans(dir.path(), {"stellad", "/data", true, std::chrono::seconds(0)});
  ASSERT_EQ(orphans.size(), 1u);
  EXPECT_EQ(orphans[0].resource.service, Resource().service);  // nobody knows
  remove_remains(orphans[0]);
  EXPECT_TRUE(names_in(dir.path()).empty());
}

BackendOptions renamed(const std::string& dir, std::chrono::seconds grace) {
  auto o = options(dir);
  o.resource.service = "new-name";
  o.installation = "somewhere";
  o.orphan_grace = grace;
  return o;
}

TEST(Orphans, AnotherServiceOfThePlatformTakesThemInTheEnd) {
  const TempDir dir;
  leave_full_rings(dir);
  {
    auto backend = *Backend::install(renamed(dir.path(), std::chrono::hours(1)));  // its own may still come
    ASSERT_TRUE(backend->flush(soon()));
    EXPECT_TRUE(lines_by_count(dir.path()).empty());
    EXPECT_EQ(instances(dir / "rings"), 2u);
  }
  {
    auto of_another = renamed(dir.path(), std::chrono::seconds(0));
    of_another.installation = "elsewhere";
    auto backend = *Backend::install(of_another);
    ASSERT_TRUE(backend->flush(soon()));
    EXPECT_TRUE(lines_by_count(dir.path()).empty());
  }
  auto backend = *Backend::install(renamed(dir.path(), std::chrono::seconds(0)));
  ASSERT_TRUE(backend->flush(soon()));
  ASSERT_TRUE(backend->flush(soon()));
  expect_each_once(lines_by_count(dir.path()), kRecords);
  EXPECT_EQ(instances(dir / "rings"), 1u);
  EXPECT_TRUE(says(dir / "log", "the records of a service that does not come back were taken over", "stellad"));
  EXPECT_TRUE(says(dir / "log", "something happened", "\"service\":\"stellad\""));  // as who they are
}

TEST(Orphans, ALivingOneIsLeftAlone) {
  const TempDir dir;
  auto alive = Instance::create(dir.path(), kTestResource, "somewhere");
  ASSERT_TRUE(alive);
  const OrphanSearch search{"new-name", "somewhere", false, std::chrono::seconds(0)};
  EXPECT_TRUE(find_orphans(dir.path(), search).empty());
  // Its number is another process's now, or one of a place where numbers mean something else: the lock tells.
  const std::string other = dir / "1-1-0";
  ASSERT_EQ(rename(alive->path().c_str(), other.c_str()), 0);
  EXPECT_TRUE(find_orphans(dir.path(), search).empty());
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"1-1-0"});
  // And once it is gone, what is a link to a directory is still nobody's.
  alive->forget_lock();
  ASSERT_EQ(symlink(other.c_str(), (dir / "2-1-0").c_str()), 0);
  EXPECT_EQ(find_orphans(dir.path(), search).size(), 1u);
}

TEST(Orphans, TheirCrashReportsAreTakenInTheEnd) {
  const TempDir dir;
  const std::string report = "crash-old_name-7-1.ndjson", place = dir / "data/crash/stellad";
  ASSERT_TRUE(write_file_durable(dir / report, "{\"signal\":11}\n"));
  ASSERT_TRUE(write_file_durable(dir / ("crash-old_name-" + std::to_string(getpid()) + "-" + std::to_string(process_start(getpid())) + ".ndjson"), "{"));  // is being written
  announce_others_crash_reports(dir.path(), "stellad", {place, "crash/stellad"}, std::chrono::hours(1));
  EXPECT_EQ(access((place + "/" + report).c_str(), F_OK), -1);
  ::testing::internal::CaptureStderr();
  announce_others_crash_reports(dir.path(), "old-name", {place, "crash/old-name"}, std::chrono::seconds(0));  // its own come another way
  announce_others_crash_reports(dir.path(), "stellad", {place, "crash/stellad"}, std::chrono::seconds(0));
  announce_others_crash_reports(dir.path(), "stellad", {place, "crash/stellad"}, std::chrono::seconds(0));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(*read_file(place + "/" + report, 100), "{\"signal\":11}\n");
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(names_in(dir.path()).size(), 2u);  // the living one's, and data
}

// A parent of platforms as /dev/shm/stella-telemetry-<uid> is one.
struct Platforms {
  TempDir dir;
  std::string data = dir / "data";
  std::string own = dir / "of-1", other = dir / "of-2";
  Platforms() {
    for (const std::string& d : {own, other, data}) EXPECT_EQ(mkdir(d.c_str(), 0700), 0);
    note_installation(own, dir / "own-data");
    note_installation(other, data);
  }
  std::string leave() const {  // gone at once, its files are not
    auto instance = Instance::create(other, kTestResource, data);
    EXPECT_TRUE(instance && write_file_durable(instance->path() + "/ring-0000", std::string(5000, 'x')));
    return instance->path();
  }
};

TEST(GoneInstallations, TheirRingsGoOnceTheirDataDirectoryIsGone) {
  Platforms p;
  const std::string path = p.leave();
  // A process of this one that has no such start time: dead.
  const std::string dead = p.other + "/" + std::to_string(getpid()) + "-1-0";
  ASSERT_EQ(rename(path.c_str(), dead.c_str()), 0);
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 0u);  // the data are there
  ASSERT_EQ(rmdir(p.data.c_str()), 0);
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::hours(1)).platforms, 0u);  // perhaps they come back
  ASSERT_EQ(mkdir(p.data.c_str(), 0700), 0);
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 0u);
  EXPECT_EQ(access((p.other + "/missing").c_str(), F_OK), -1);  // they did
  ASSERT_EQ(rmdir(p.data.c_str()), 0);
  const std::string outside = p.dir / "outside";
  ASSERT_EQ(mkdir(outside.c_str(), 0700), 0);
  ASSERT_TRUE(write_file_durable(outside + "/file", "x"));
  ASSERT_EQ(symlink(outside.c_str(), (p.other + "/5-5-5").c_str()), 0);
  const GoneInstallations gone = remove_gone_installations(p.own, std::chrono::seconds(0));
  EXPECT_EQ(gone.platforms, 1u);
  EXPECT_EQ(gone.processes, 1u);
  EXPECT_GE(gone.bytes, 5000u);
  EXPECT_EQ(access(p.other.c_str(), F_OK), -1);
  EXPECT_EQ(access(p.own.c_str(), F_OK), 0);
  EXPECT_EQ(access((outside + "/file").c_str(), F_OK), 0);  // what a link points to is not ours
}

TEST(GoneInstallations, OfOneThatLivesOrSaysNothingNothingIsTouched) {
  Platforms p;
  ASSERT_EQ(rmdir(p.data.c_str()), 0);
  auto alive = Instance::create(p.other, kTestResource, p.data);
  ASSERT_TRUE(alive);
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 0u);
  // Neither where only its lock says so.
  const std::string hidden = p.other + "/1-1-0";
  ASSERT_EQ(rename(alive->path().c_str(), hidden.c_str()), 0);
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 0u);
  EXPECT_EQ(access((hidden + "/keys").c_str(), F_OK), 0);
  alive->forget_lock();
  const std::string whose = *read_file(p.other + "/installation.json", 4096);
  for (const std::string& text : {std::string("{}"), std::string("nonsense"), "{\"data_dir\":\"" + p.data + "\",\"mounts\":\"mnt:[1]\"}",
                                  std::string("{\"data_dir\":\"relative\",\"mounts\":\"mnt:[1]\"}")}) {
    ASSERT_TRUE(write_file_durable(p.other + "/installation.json", text));
    EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 0u) << text;
  }
  ASSERT_TRUE(write_file_durable(p.other + "/installation.json", whose));
  EXPECT_EQ(remove_gone_installations(p.own, std::chrono::seconds(0)).platforms, 1u);
}

}  // namespace
}  // namespace stella::telemetry
