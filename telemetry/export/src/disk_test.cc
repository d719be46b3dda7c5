// Disks that stall, are full, or are all that is left after SIGKILL.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "stella/testing/temp_dir.h"
#include "test_targets.h"

namespace stella::telemetry {
namespace {

using testing::TempDir;

// A write that the kernel does not finish: the first file of the spool is a FIFO that nobody reads.
TEST(Disk, OneThatStallsHoldsItsCallerAndNobodyElse) {
  HttpTarget target([](const auto&) { return reply(200); });
  const TempDir dir;
  auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path()));
  const std::string fifo = dir.path() + "/logs/0000000000000001.seg";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::atomic<bool> returned{false};
  std::thread caller([&] {
    exporter->offer(batch("stalled"));
    returned = true;
  });
  // Errors, spans and metrics come and go meanwhile, and everybody can ask.
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(exporter->offer(batch("error", Signal::kLogs, 1)));
    EXPECT_TRUE(exporter->offer(batch("span", Signal::kTraces)));
    EXPECT_TRUE(exporter->offer(batch("point", Signal::kMetrics)));
  }
  const Deadline deadline = soon();
  const auto sent = [&](Signal signal) { return exporter->stats().of(signal).sent; };
  while ((sent(Signal::kLogs) < 100 || sent(Signal::kTraces) < 100 || sent(Signal::kMetrics) < 100) && !deadline.passed()) std::this_thread::yield();
  for (const Signal signal : kAllSignals) EXPECT_EQ(sent(signal), 100u);
  EXPECT_FALSE(returned);
  expect_balanced(exporter->stats());
  // The disk goes on: a reader lets open() return.
  const Fd reader(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC));
  caller.join();
  ASSERT_TRUE(exporter->flush(soon()));
  EXPECT_EQ(sent(Signal::kLogs), 102u);
  expect_balanced(exporter->stats());
}

// A file may not grow beyond 1000 bytes: what more there is lies in memory, bounded and counted. In a child, as the limit is its process's.
TEST(Disk, AFullOneLeavesWhatFitsIntoMemory) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    ExporterOptions options = options_for("http://127.0.0.1:1/v1/logs", dir.path());
    options.queue_bytes = 2'000;
    auto exporter = *make_otlp_exporter(std::move(options));
    const rlimit small{1'000, 1'000};
    ::setrlimit(RLIMIT_FSIZE, &small);
    int taken = 0;
    for (int i = 0; i < 40; ++i) taken += exporter->offer(batch(std::string(100, 'x'))) ? 1 : 0;
    const SignalStats s = exporter->stats().of(Signal::kLogs);
    // 7 records of 132 bytes fit on the disk; 20 of 100 bytes into memory, of which 13 are nowhere else.
    const bool good = taken == 20 && s.queued == 40 && s.spooled == 0 && s.unspooled == 26 && s.spool_failures == 33 &&
                      s.dropped[static_cast<std::size_t>(DropReason::kQueueFull)] == 40 && s.offered == 80;
    if (!good) {
      dprintf(2, "taken %d queued %lu spooled %lu unspooled %lu failures %lu dropped %lu\n", taken, s.queued, s.spooled, s.unspooled, s.spool_failures, s.dropped_total());
    }
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  HttpTarget target([](const auto&) { return reply(200); });
  auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path()));
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).recovered, 14u);
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).damaged_records, 0u);
}

// The kernel kills the process in the middle of an append: after the first bytes of a record, in the system call that would write the rest.
TEST(Disk, WhatADeathInTheMiddleOfAnAppendLeavesIsCutAndCountedOnce) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    // What the tests print may be a file too, and a longer one: a line of the exporter would be what kills.
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    auto exporter = *make_otlp_exporter(options_for("http://127.0.0.1:1/v1/logs", dir.path()));
    const rlimit small{1'000, 1'000};
    ::setrlimit(RLIMIT_FSIZE, &small);  // SIGXFSZ
    for (int i = 0; i < 40; ++i) exporter->offer(batch(std::string(100, 'x')));
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
  for (int start = 0; start < 3; ++start) {
    auto exporter = *make_otlp_exporter(options_for("http://127.0.0.1:1/v1/logs", dir.path()));
    const SignalStats s = exporter->stats().of(Signal::kLogs);
    EXPECT_EQ(s.recovered, start == 0 ? 16u : 14u) << start;  // seven whole records of two items, and the front of the eighth
    EXPECT_EQ(s.torn_records, start == 0 ? 1u : 0u) << start;
    EXPECT_EQ(s.dropped[static_cast<std::size_t>(DropReason::kTorn)], start == 0 ? 2u : 0u) << start;
    EXPECT_EQ(s.damaged_records, 0u) << start;
    EXPECT_EQ(s.spool_bytes, 7u * 132) << start;
    expect_balanced(exporter->stats());
  }
}

// The limit goes: what lay in memory alone is written, oldest first, and a process that is killed then has lost nothing. What came in between
// is on the disk before it, and is sent after it.
TEST(Disk, WhatAFullOneRefusedIsWrittenOnceThereIsRoom) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    auto exporter = *make_otlp_exporter(options_for("http://127.0.0.1:1/v1/logs", dir.path()));
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{1'000, limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 40; ++i) exporter->offer(batch(std::to_string(100 + i) + std::string(97, 'x')));
    exporter->offer(batch("140" + std::string(10, 'x')));  // small enough for what is left
    const SignalStats before = exporter->stats().of(Signal::kLogs);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Deadline deadline = soon();
    while (exporter->stats().of(Signal::kLogs).unspooled > 0 && !deadline.passed()) ::usleep(1'000);
    const SignalStats s = exporter->stats().of(Signal::kLogs);
    // 7 of the first 40 batches, each of two items, were taken at once.
    const bool good = before.unspooled == 66 && before.spooled_late == 0 && s.unspooled == 0 && s.spooled_late == 66 && s.queued == 82 && s.spool_failures == 33 && s.dropped_total() == 0;
    if (!good) dprintf(2, "before %lu unspooled; late %lu unspooled %lu queued %lu failures %lu\n", before.unspooled, s.spooled_late, s.unspooled, s.queued, s.spool_failures);
    ::kill(::getpid(), good ? SIGKILL : SIGTERM);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  HttpTarget target([](const auto&) { return reply(200); });
  {
    auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path()));
    ASSERT_TRUE(exporter->flush(soon()));
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).recovered, 82u);
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).damaged_records, 0u);
    expect_balanced(exporter->stats());
  }
  std::vector<int> order;
  for (const auto& request : target.requests()) order.push_back(std::atoi(request.body.c_str()));
  ASSERT_EQ(order.size(), 41u);
  for (int i = 0; i < 41; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], 100 + i);
}

// Room on the disk alone is not enough: the spool's own bound holds, and nothing goes for what waits in memory.
TEST(Disk, WhatIsWrittenLateStaysWithinTheBound) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    ExporterOptions options = options_for("http://127.0.0.1:1/v1/logs", dir.path());
    options.spool.total_bytes = 2'000;
    auto exporter = *make_otlp_exporter(std::move(options));
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{1'000, limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 20; ++i) exporter->offer(batch(std::string(100, 'x')));
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Deadline deadline = soon();
    while (exporter->stats().of(Signal::kLogs).spooled_late < 16 && !deadline.passed()) ::usleep(1'000);
    const SignalStats s = exporter->stats().of(Signal::kLogs);
    // 15 records of 132 bytes fit; 7 were there before.
    const bool good = s.spooled_late == 16 && s.unspooled == 10 && s.dropped_total() == 0 && s.spool_bytes <= 2'000 && s.queued == 40;
    if (!good) dprintf(2, "late %lu unspooled %lu dropped %lu bytes %lu\n", s.spooled_late, s.unspooled, s.dropped_total(), s.spool_bytes);
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// A real file system of 64 KiB that fills up, and has room again.
TEST(Disk, ASmallFileSystemFillsUpAndHasRoomAgain) {
  const TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "needs the right to mount a file system";
  {
    std::atomic<bool> back{false};
    HttpTarget target([&](const auto&) { return reply(back ? 200 : 429); });
    auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path() + "/spool"));
    const std::string text(1'000, 'x');
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(exporter->offer(batch(text)));
    const SignalStats full = exporter->stats().of(Signal::kLogs);
    EXPECT_GT(full.spool_failures, 30u);
    EXPECT_EQ(full.unspooled + full.spooled_late, 2 * full.spool_failures);
    EXPECT_EQ(full.queued, 200u);
    expect_balanced(exporter->stats());
    back = true;
    const Deadline deadline = soon();
    while (exporter->stats().of(Signal::kLogs).sent < 200 && !deadline.passed()) exporter->flush(Deadline::after(milliseconds(20)));
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).sent, 200u);
    // The file that is settled goes, and what comes now is on the disk again.
    const auto files = [&] {
      const auto listing = std::filesystem::directory_iterator(dir.path() + "/spool/logs");
      return std::count_if(begin(listing), end(listing), [](const auto& entry) { return entry.path().extension() == ".seg"; });
    };
    while (files() > 0 && !deadline.passed()) std::this_thread::yield();
    back = false;
    EXPECT_TRUE(exporter->offer(batch(text)));
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).unspooled, 0u);
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).spool_failures, full.spool_failures);
    expect_balanced(exporter->stats());
    exporter.reset();
  }
  EXPECT_EQ(::umount(dir.path().c_str()), 0);
}

// A process is killed while it sends what its predecessors left; what each one had settled is not sent again, but for the one request that
// was under way, and nothing is lost.
TEST(Disk, SigkillWhileItIsReplayedRepeatsOneRequestAtMost) {
  constexpr int kBatches = 300;
  const TempDir dir;
  {
    ExporterOptions options = options_for("http://127.0.0.1:1/v1/logs", dir.path());
    options.spool.segment_bytes = 2'000;
    auto exporter = *make_otlp_exporter(std::move(options));
    for (int i = 0; i < kBatches; ++i) EXPECT_TRUE(exporter->offer(batch(std::to_string(i) + std::string(100, '.'))));
  }
  // All children are forked while there is one thread; each waits for the port of the target, and its turn.
  constexpr std::size_t kChildren = 20;
  struct Child {
    pid_t pid = 0;
    int go[2] = {-1, -1};
  };
  std::vector<Child> children(kChildren);
  for (Child& child : children) {
    ASSERT_EQ(::pipe2(child.go, O_CLOEXEC), 0);
    child.pid = ::fork();
    if (child.pid != 0) continue;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int port = 0;
    if (::read(child.go[0], &port, sizeof port) != static_cast<ssize_t>(sizeof port)) ::_exit(1);
    ExporterOptions options = options_for("http://127.0.0.1:" + std::to_string(port) + "/v1/logs", dir.path());
    options.spool.segment_bytes = 2'000;
    auto exporter = make_otlp_exporter(std::move(options));
    while (true) ::pause();
  }
  // A child dies wherever it is when 17 requests were taken, or, where it is fast, while the target has its 22nd and has not answered.
  std::atomic<int> requests{0}, kill_at{0};
  std::atomic<pid_t> current{0};
  HttpTarget target([&](const auto&) -> std::string {
    if (++requests == kill_at) {
      ::kill(current, SIGKILL);
      return "";
    }
    return reply(200);
  });
  int kills = 0;
  for (const Child& child : children) {
    const int done = requests;
    if (done < kBatches - 40) {
      kill_at = done + (kills % 4 == 0 ? 17 : 22);
      current = child.pid;
      EXPECT_EQ(::write(child.go[1], &target.port, sizeof target.port), static_cast<ssize_t>(sizeof target.port));
      const Deadline deadline = soon();
      while (requests < done + 17 && !deadline.passed()) std::this_thread::yield();
      EXPECT_FALSE(deadline.passed());
      ++kills;
    }
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    ::close(child.go[0]);
    ::close(child.go[1]);
  }
  kill_at = 0;
  auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path()));
  ASSERT_TRUE(exporter->flush(soon()));
  const SignalStats last = exporter->stats().of(Signal::kLogs);
  EXPECT_EQ(last.sent, last.recovered);
  EXPECT_EQ(last.damaged_records, 0u);
  expect_balanced(exporter->stats());
  // Nothing is lost, the order is kept, and each kill repeats at most one.
  std::map<int, int> times;
  int repeated = 0, newest = -1;
  for (const auto& request : target.requests()) {
    const int n = std::atoi(request.body.c_str());
    if (++times[n] > 1) ++repeated;
    else EXPECT_EQ(n, newest + 1);
    EXPECT_GE(n, newest);
    newest = std::max(newest, n);
  }
  EXPECT_EQ(times.size(), static_cast<std::size_t>(kBatches));
  EXPECT_LE(repeated, kills);
  EXPECT_GE(kills, 4);
  EXPECT_EQ(last.spooled + last.queued, 0u);
}

}  // namespace
}  // namespace stella::telemetry
