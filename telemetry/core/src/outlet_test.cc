// From a push to the log file: full rings, many threads, late threads, forks, and processes that die; each with exact accounting.
#include "outlet.h"
#include "remains.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "line_schema.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/metrics.h"
#include "test_support.h"

extern char** environ;

namespace stella::telemetry {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

BackendOptions options(const TempDir& dir) {
  BackendOptions o;
  o.resource = kTestResource;
  o.log_path = dir / "log";
  o.dir = dir / "rings";
  o.crash_handler = false;
  return o;
}

RingOutlet* make_outlet(const TempDir& dir, OutletOptions o = {.ring_bytes = 128 * 1024}) {
  auto instance = Instance::create(dir.path(), kTestResource);
  EXPECT_TRUE(instance);
  auto* outlet = new RingOutlet(std::move(*instance), o);
  outlet->set_late([](std::string_view) {}, [] {});
  return outlet;
}

double dropped(std::string_view signal, std::string_view reason) {
  std::istringstream lines(openmetrics());
  const std::string prefix = "stella_telemetry_dropped_total{signal=\"" + std::string(signal) + "\",reason=\"" + std::string(reason) + "\"} ";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(prefix)) return std::stod(line.substr(prefix.size()));
  }
  return 0;
}

// Counts of the lines of a log file whose message is that of log_builder, in their order, by level.
std::map<std::string, std::vector<std::int64_t>> counts_by_level(const std::string& path) {
  std::map<std::string, std::vector<std::int64_t>> counts;
  for (const std::string& line : lines_of(path)) {
    const json::Value value = checked_line(line);
    if (value.str("message") == "something happened") counts[std::string(value.str("level"))].push_back(value.integer("count"));
  }
  return counts;
}

TEST(Outlet, AFullRingDropsInfoAndSpansSpillsWarnAndErrorAndCountsExactly) {
  const TempDir dir;
  RingOutlet* outlet = make_outlet(dir);
  const std::string text(1000, 'x');
  std::uint64_t fit = 0;
  while (fit == 0 || outlet->ring(0).size() >= (fit + 1) * log_bytes(Level::kInfo, 0, text).size()) {
    outlet->push(log_bytes(Level::kInfo, static_cast<std::int64_t>(fit++), text));
  }
  for (int i = 0; i < 10; ++i) outlet->push(log_bytes(Level::kInfo, i, text));
  for (int i = 0; i < 7; ++i) outlet->push(span_bytes({.padding = 1000}));
  for (int i = 0; i < 5; ++i) outlet->push(log_bytes(Level::kWarn, 100 + i, text));
  for (int i = 0; i < 3; ++i) outlet->push(log_bytes(Level::kError, 200 + i, text));
  const RingHeader& h = outlet->ring(0).header();
  EXPECT_EQ(h.dropped_logs, 10u);
  EXPECT_EQ(h.dropped_spans, 7u);
  EXPECT_EQ(h.spilled, 8u);
  EXPECT_EQ(h.next_sequence, fit + 25);
  EXPECT_EQ(outlet->ring(0).unaccounted(), fit);
  std::uint64_t broken = 0;
  const auto frames = outlet->spill().read(outlet->spill().written(), 1 << 20, broken);
  ASSERT_EQ(frames.size(), 8u);
  EXPECT_EQ(count_of(*RecordView::parse(frames[0].record)), 100);
  EXPECT_EQ(count_of(*RecordView::parse(frames[7].record)), 202);
  EXPECT_EQ(RecordView::parse(frames[7].record)->head().sequence, fit + 24);
  outlet->stop();
  outlet->remove_files();
}

TEST(Outlet, AnErrorThatTheDiskRefusesGoesElsewhereAtOnce) {
  const TempDir dir;
  RingOutlet* outlet = make_outlet(dir);
  std::vector<std::int64_t> elsewhere;
  outlet->set_late([&](std::string_view record) { elsewhere.push_back(count_of(*RecordView::parse(record))); }, [] {});
  const std::string text(1000, 'x');
  for (int i = 0; i < 200; ++i) outlet->push(log_bytes(Level::kInfo, i, text));
  ASSERT_GT(outlet->ring(0).header().dropped_logs, 0u);
  ASSERT_EQ(mkdir(outlet->instance().spill_path().c_str(), 0700), 0);  // so that no file can be made there
  const std::uint64_t before = outlet->ring(0).header().dropped_logs;
  outlet->push(log_bytes(Level::kWarn, 1, text));
  outlet->push(log_bytes(Level::kError, 2, text));
  EXPECT_EQ(elsewhere, (std::vector<std::int64_t>{2}));
  EXPECT_EQ(outlet->ring(0).header().dropped_logs, before + 1);
  EXPECT_EQ(outlet->errors_elsewhere(), 1u);
  rmdir(outlet->instance().spill_path().c_str());
  outlet->stop();
  outlet->remove_files();
}

TEST(Outlet, RingsOfThreadsThatEndedAreUsedAgain) {
  const TempDir dir;
  RingOutlet* outlet = make_outlet(dir);
  for (int i = 0; i < 50; ++i) std::thread([&] { outlet->push(log_bytes(Level::kInfo, i)); }).join();
  EXPECT_EQ(outlet->rings(), 1u);
  EXPECT_EQ(outlet->ring(0).unaccounted(), 50u);
  struct stat status {};
  ASSERT_EQ(stat(outlet->instance().ring_path(0).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(outlet->instance().path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  outlet->stop();
  outlet->remove_files();
  EXPECT_NE(stat(outlet->instance().path().c_str(), &status), 0);
}

TEST(Outlet, ADirectoryOfTheSameNameIsNoObstacle) {
  const TempDir dir;
  RingOutlet* first = make_outlet(dir);
  const std::string path = first->instance().path();
  const int number = std::stoi(path.substr(path.rfind('-') + 1));
  const std::string next = path.substr(0, path.rfind('-') + 1) + std::to_string(number + 1);
  ASSERT_EQ(mkdir(next.c_str(), 0700), 0);  // what an earlier boot left
  RingOutlet* second = make_outlet(dir);
  EXPECT_NE(second->instance().path(), next);
  for (RingOutlet* outlet : {first, second}) {
    outlet->stop();
    outlet->remove_files();
  }
}

TEST(Outlet, DirectoriesAreOfTheirUserAlone) {
  const TempDir dir;
  EXPECT_TRUE(telemetry_dir(dir / "a/b"));
  struct stat status {};
  ASSERT_EQ(stat((dir / "a/b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  const auto shared = telemetry_dir("");
  ASSERT_TRUE(shared);
  ASSERT_EQ(stat(shared->c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_EQ(status.st_uid, geteuid());
}

TEST(Outlet, InstallationsOfOneUserStayApart) {
  const std::string name = std::string("test-") + std::to_string(getpid());
  const auto one = telemetry_dir("", name + "-1"), again = telemetry_dir("", name + "-1"), other = telemetry_dir("", name + "-2");
  ASSERT_TRUE(one && again && other);
  EXPECT_EQ(*one, *again);
  EXPECT_NE(*one, *other);
  struct stat status {};
  ASSERT_EQ(stat(one->c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ASSERT_TRUE(Instance::create(*one, resource()));  // gone at once, its files are not
  EXPECT_TRUE(find_remains(*other, resource().service).empty());
  auto left = find_remains(*one, resource().service);
  ASSERT_EQ(left.size(), 1u);
  remove_remains(left[0]);
  for (const auto& dir : {*one, *other}) unlink((dir + "/installation.json").c_str());
  rmdir(one->c_str());
  rmdir(other->c_str());
}

// Pushes from a destructor that runs after those of the outlet's own thread data.
struct PushesLate {
  RingOutlet* outlet = nullptr;
  ~PushesLate() {
    if (outlet != nullptr) outlet->push(log_bytes(Level::kInfo, 77));
  }
};
thread_local PushesLate t_late;

TEST(Outlet, AThreadMayPushWhileItEnds) {
  const TempDir dir;
  auto backend = *Backend::install(options(dir));
  std::thread([&] {
    t_late.outlet = static_cast<RingOutlet*>(&backend->outlet());  // made before the ring, so destroyed after it
    backend->outlet().push(log_bytes(Level::kInfo, 76));
  }).join();
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_EQ(counts_by_level(dir / "log")["info"], (std::vector<std::int64_t>{76, 77}));
}

TEST(Outlet, HundredsOfThreadsInOrderEach) {
  const TempDir dir;
  auto backend = *Backend::install(options(dir));
  // Threads that end at once hand one ring on to the next: it may well run full, and WARN is spilled then.
  constexpr int kThreads = 300, kEach = 40;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) backend->outlet().push(log_bytes(Level::kWarn, t * 1000 + i));
    });
  }
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::int64_t, std::int64_t> next;
  const auto counts = counts_by_level(dir / "log");
  for (const std::int64_t count : counts.at("warn")) EXPECT_EQ(count % 1000, next[count / 1000]++);
  EXPECT_EQ(next.size(), static_cast<std::size_t>(kThreads));
  for (const auto& [thread, n] : next) EXPECT_EQ(n, kEach);
  EXPECT_EQ(backend->totals().logs, static_cast<std::uint64_t>(kThreads * kEach));
}

// Many more bytes than rings hold, from several threads at once, while the file rotates: what was pushed is written or counted, WARN and
// ERROR are all there, and each thread's lines stand in its order.
TEST(Outlet, UnderLoadNothingIsLostUncounted) {
  const TempDir dir;
  auto o = options(dir);
  o.rotation.max_bytes = 1 << 20;
  o.ring_bytes = 128 * 1024;
  const double before = dropped("logs", "queue_full");
  auto backend = *Backend::install(o);
  constexpr int kThreads = 4, kEach = 8000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string text(400, 'x');
      for (int i = 0; i < kEach; ++i) {
        const Level level = i % 10 == 0 ? Level::kError : i % 10 == 1 ? Level::kWarn : Level::kInfo;
        RecordBuilder b = log_builder(level, i, text);
        b.add(f::shard(t));
        backend->outlet().push(b.build());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::int64_t, std::int64_t> last, grave;
  std::int64_t lines = 0;
  std::string command = "ls " + (dir / "log*");
  std::vector<std::string> files;
  FILE* const list = popen(command.c_str(), "r");
  char name[256];
  while (fgets(name, sizeof name, list) != nullptr) files.emplace_back(name, strlen(name) - 1);
  pclose(list);
  std::rotate(files.begin(), files.begin() + 1, files.end());  // "log" is the newest
  EXPECT_GT(files.size(), 1u);
  for (const std::string& file : files) {
    for (const std::string& line : lines_of(file)) {
      const auto value = json::parse(line);
      ASSERT_TRUE(value);
      const std::int64_t shard = value->integer("shard"), count = value->integer("count");
      ++lines;
      EXPECT_TRUE(!last.contains(shard) || count > last[shard]) << shard << " " << count;
      last[shard] = count;
      if (count % 10 <= 1) ++grave[shard];
    }
  }
  for (int t = 0; t < kThreads; ++t) EXPECT_EQ(grave[t], kEach / 5);
  EXPECT_EQ(lines + static_cast<std::int64_t>(dropped("logs", "queue_full") - before), kThreads * kEach);
}

TEST(Outlet, LinesOfOneRoundAreOrderedByTime) {
  const TempDir dir;
  auto backend = *Backend::install(options(dir));
  for (int i = 0; i < 5; ++i) std::thread([&] {}).join();
  {
    // Two threads that push alternately: their records lie in two rings.
    std::atomic<int> turn{0};
    const auto push = [&](int me) {
      for (int i = me; i < 40; i += 2) {
        while (turn.load() != i) std::this_thread::yield();
        backend->outlet().push(log_bytes(Level::kInfo, i));
        turn.store(i + 1);
      }
    };
    std::thread a(push, 0), b(push, 1);
    a.join();
    b.join();
  }
  ASSERT_TRUE(backend->flush(soon()));
  std::vector<std::int64_t> counts = counts_by_level(dir / "log")["info"];
  EXPECT_EQ(counts.size(), 40u);
  // Whatever the rounds were: each thread's own order holds, and within a round all of it.
  for (const std::int64_t parity : {0, 1}) {
    std::int64_t next = parity;
    for (const std::int64_t count : counts) {
      if (count % 2 != parity) continue;
      EXPECT_EQ(count, next);
      next += 2;
    }
  }
}

TEST(Outlet, TheTenantsRateIsKeptErrorsPassAndTheLogSaysSo) {
  const TempDir dir;
  auto o = options(dir);
  o.tenant_lines_per_second = 5;
  const double before = dropped("logs", "tenant_rate");
  auto backend = *Backend::install(o);
  for (int i = 0; i < 50; ++i) backend->outlet().push(log_bytes(Level::kWarn, 0));
  for (int i = 0; i < 20; ++i) backend->outlet().push(log_bytes(Level::kError, 0));
  ASSERT_TRUE(backend->flush(soon()));
  auto counts = counts_by_level(dir / "log");
  EXPECT_EQ(counts["warn"].size(), 5u);
  EXPECT_EQ(counts["error"].size(), 20u);
  EXPECT_EQ(dropped("logs", "tenant_rate") - before, 45);
  backend.reset();  // says what it cost at the latest now
  std::int64_t said = 0;  // in one line, or in several where the machine was slow
  for (const std::string& line : lines_of(dir / "log")) {
    const json::Value value = checked_line(line);
    if (value.str("message") == "log lines over the tenant's rate were dropped" && value.str("tenant_id") == "acme") said += value.integer("count");
  }
  EXPECT_EQ(said, 45);
}

TEST(Outlet, UndecidedSpansGoToRowsOnlyWhenTheirTraceIsKept) {
  class Rows final : public RowSink {
   public:
    Result<void> write(std::span<const SpanRecord> spans, std::span<const LogRecord>) override {
      for (const SpanRecord& span : spans) names.push_back(span.name + ":" + std::string(json::parse(span.attributes)->str("sampling.reason")));
      return {};
    }
    std::vector<std::string> names;
  };
  const TempDir dir;
  auto o = options(dir);
  const auto rows = std::make_shared<Rows>();
  o.row_sink = rows;
  o.latency_threshold = [](std::string_view) -> std::int64_t { return 100'000'000; };
  auto backend = *Backend::install(o);
  backend->outlet().push(span_bytes({.trace = 1, .name = "forgotten"}));
  backend->outlet().push(span_bytes({.trace = 1, .root = true, .name = "forgotten root"}));
  backend->outlet().push(span_bytes({.trace = 2, .name = "slow"}));
  backend->outlet().push(span_bytes({.trace = 2, .root = true, .ns = 200'000'000, .name = "slow root"}));
  backend->outlet().push(span_bytes({.trace = 3, .sampling = SamplingReason::kHead, .name = "chosen"}));
  ASSERT_TRUE(backend->flush(soon()));
  std::sort(rows->names.begin(), rows->names.end());
  EXPECT_EQ(rows->names, (std::vector<std::string>{"chosen:head", "slow root:latency", "slow:latency"}));
  EXPECT_EQ(backend->totals().spans, 5u);
}

TEST(Outlet, AFullDiskCostsLinesThatAreCountedAndErrorsGoToStandardError) {
  const TempDir dir;
  auto backend = *Backend::install(options(dir));
  backend->outlet().push(log_bytes(Level::kInfo, 1));
  ASSERT_TRUE(backend->flush(soon()));
  const double before = dropped("logs", "output");
  struct rlimit limit {};
  getrlimit(RLIMIT_FSIZE, &limit);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 1, limit.rlim_max };
  ::testing::internal::CaptureStderr();
  setrlimit(RLIMIT_FSIZE, &small);
  for (int i = 0; i < 10; ++i) backend->outlet().push(log_bytes(Level::kInfo, 2));
  backend->outlet().push(log_bytes(Level::kError, 3));
  const bool flushed = backend->flush(soon());
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  const std::string captured = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(flushed);
  backend->outlet().push(log_bytes(Level::kInfo, 4));
  ASSERT_TRUE(backend->flush(soon()));
  auto counts = counts_by_level(dir / "log");
  EXPECT_EQ(counts["info"], (std::vector<std::int64_t>{1, 4}));
  // RLIMIT_FSIZE binds captured standard error as well (it is a file here): the error is then counted like the rest.
  const std::int64_t said = captured.find("\"count\":3") != captured.npos ? 1 : 0;
  EXPECT_EQ(dropped("logs", "output") - before, 11 - said);
  // And the file says how many are not in it, once it takes lines again.
  backend.reset();
  int told = 0;
  for (const std::string& line : lines_of(dir / "log")) {
    const json::Value value = checked_line(line);
    if (value.str("message") != "the log file takes lines again; those in between are in no file") continue;
    ++told;
    EXPECT_EQ(value.integer("count"), 11 - said);
  }
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace stella::telemetry
