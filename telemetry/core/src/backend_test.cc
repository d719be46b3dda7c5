// What the backend promises: order, no loss of errors, exact accounting, rows neither lost nor doubled.
#include "stella/telemetry/backend.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <set>
#include <sstream>
#include <thread>

#include "line_schema.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"unit"};

class TempFile {
 public:
  TempFile() {
    const int fd = mkstemp(name_);
    EXPECT_GE(fd, 0);
    close(fd);
  }
  ~TempFile() {
    unlink(name_);
    rmdir((std::string(name_) + ".rings").c_str());
  }
  std::string path() const { return name_; }
  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    std::istringstream in(*read_file(name_, 1u << 30));
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }

 private:
  char name_[32] = "/tmp/stella-telemetry-XXXXXX";
};

TEST(Backend, LossesAreDeclaredFromTheStart) {
  TempFile file;
  BackendOptions options;
  options.log_path = file.path();
  options.dir = file.path() + ".rings";
  const auto backend = *Backend::install(std::move(options));
  const std::string text = openmetrics();
  for (const char* series : {"stella_telemetry_dropped_total{signal=\"logs\",reason=\"torn\"} ", "stella_telemetry_dropped_total{signal=\"metrics\",reason=\"lost\"} ", "stella_metric_overflow_total "})
    EXPECT_NE(text.find(series), text.npos) << series;
}

// Keeps rows in memory; can be told to fail or to stand still.
class MemoryRows final : public RowSink {
 public:
  Result<void> write(std::span<const SpanRecord> spans, std::span<const LogRecord> logs) override {
    Lock lock(mutex);
    ++calls;
    changed.notify_all();
    while (blocked) changed.wait_until(mutex, Deadline::after(std::chrono::seconds(60)));
    if (failures > 0) {
      --failures;
      return Error(contracts::errors::kUnavailable, "database is away");
    }
    all_spans.insert(all_spans.end(), spans.begin(), spans.end());
    all_logs.insert(all_logs.end(), logs.begin(), logs.end());
    if (chatty) {
      kLog.warn("row sink speaks");
      Span span("row.write");
    }
    return {};
  }
  void wait_for_call() {
    Lock lock(mutex);
    while (calls == 0) changed.wait_until(mutex, Deadline::after(std::chrono::seconds(60)));
  }
  void release() {
    Lock lock(mutex);
    blocked = false;
    changed.notify_all();
  }
  Mutex mutex;
  CondVar changed;
  bool blocked = false, chatty = false;
  int failures = 0, calls = 0;
  std::vector<SpanRecord> all_spans;
  std::vector<LogRecord> all_logs;
};

BackendOptions options(const TempFile& file) {
  BackendOptions o;
  o.resource = {"stellad", "0.1.0", "test", "here", "unit:1"};
  o.log_path = file.path();
  o.dir = file.path() + ".rings";
  o.ring_bytes = 1 << 20;  // threads that end at once hand one ring on to the next
  return o;
}

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

double dropped(std::string_view labels) {
  std::istringstream lines(openmetrics());
  const std::string prefix = "stella_telemetry_dropped_total{" + std::string(labels) + "} ";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(prefix)) return std::stod(line.substr(prefix.size()));
  }
  return 0;
}

TEST(Backend, EveryLineOfManyThreadsIsThereOnceAndInTheOrderOfItsThread) {
  const TempFile file;
  auto backend = *Backend::install(options(file));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 500; ++i) kLog.info("line", {f::shard(t), f::count(i)});
    });
  }
  for (auto& t : threads) t.join();
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::int64_t, std::int64_t> next;
  for (const std::string& line : file.lines()) {
    const json::Value value = checked_line(line);
    EXPECT_EQ(value.integer("count"), next[value.integer("shard")]++);
  }
  EXPECT_EQ(next, (std::map<std::int64_t, std::int64_t>{{0, 500}, {1, 500}, {2, 500}, {3, 500}}));
}

TEST(Backend, WhatIsEmittedBeforeTheEndIsWrittenAtTheEnd) {
  const TempFile file;
  {
    auto backend = *Backend::install(options(file));
    kLog.info("last words");
  }
  ASSERT_EQ(file.lines().size(), 1u);
  EXPECT_EQ(checked_line(file.lines()[0]).str("message"), "last words");
}

TEST(Backend, SaysWhyALogFileCannotBeOpened) {
  BackendOptions o;
  o.log_path = "/nonexistent/dir/log";
  const auto backend = Backend::install(o);
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().code(), contracts::errors::kIo);
}

TEST(Backend, AFailingRowSinkLosesAndDoublesNothing) {
  const TempFile file;
  auto rows = std::make_shared<MemoryRows>();
  rows->failures = 3;
  auto o = options(file);
  o.row_sink = rows;
  auto backend = *Backend::install(o);
  Context context;
  context.tenant_id = *TenantId::parse("acme");
  ContextScope scope(context);
  {
    Span span("unit");
    for (int i = 0; i < 1200; ++i) kLog.info("row", {f::count(i)});
  }
  ASSERT_TRUE(backend->flush(soon()));
  ASSERT_EQ(rows->all_logs.size(), 1200u);
  for (int i = 0; i < 1200; ++i) EXPECT_EQ(json::parse(rows->all_logs[static_cast<std::size_t>(i)].line)->integer("count"), i);
  ASSERT_EQ(rows->all_spans.size(), 1u);
  EXPECT_EQ(rows->all_spans[0].tenant_id, "acme");
  EXPECT_EQ(rows->all_spans[0].trace_id, rows->all_logs[0].trace_id);
  EXPECT_EQ(file.lines().size(), 1200u);
}

TEST(Backend, FlushTellsTheTruthWhileTheRowSinkFails) {
  const TempFile file;
  auto rows = std::make_shared<MemoryRows>();
  rows->failures = 1 << 30;
  auto o = options(file);
  o.row_sink = rows;
  auto backend = *Backend::install(o);
  kLog.info("row");
  EXPECT_FALSE(backend->flush(Deadline::after(std::chrono::milliseconds(50))));
  {
    Lock lock(rows->mutex);
    rows->failures = 0;
  }
  EXPECT_TRUE(backend->flush(soon()));
  EXPECT_EQ(rows->all_logs.size(), 1u);
}

TEST(Backend, ARowSinkThatStandsStillHoldsUpNoLineAndCostsRowsThatAreCounted) {
  const TempFile file;
  auto rows = std::make_shared<MemoryRows>();
  rows->blocked = true;
  auto o = options(file);
  o.row_sink = rows;
  o.queue = 64;
  auto backend = *Backend::install(o);
  kLog.info("first");
  rows->wait_for_call();  // the row thread stands in the sink: from now on its queue only fills
  const double before = dropped("signal=\"logs\",reason=\"row_sink\"");
  for (int i = 0; i < 300; ++i) kLog.info("info", {f::count(i)});
  for (int i = 0; i < 300; ++i) kLog.warn("warn", {f::count(i)});
  for (int i = 0; i < 300; ++i) kLog.error("error", {f::count(i)});
  for (const Deadline deadline = soon(); backend->totals().lines < 901 && !deadline.passed();) std::this_thread::yield();
  EXPECT_EQ(file.lines().size(), 901u);
  EXPECT_EQ(dropped("signal=\"logs\",reason=\"row_sink\"") - before, 600 - 63 + 300 - 192);  // errors have four times the room
  rows->release();
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::string, int, std::less<>> count;
  for (const LogRecord& log : rows->all_logs) ++count[std::string(checked_line(log.line).str("message"))];
  EXPECT_EQ(count["first"], 1);
  EXPECT_EQ(count["info"], 63);
  EXPECT_EQ(count["error"], 192);
}

TEST(Backend, RowsOfOneTraceAreBoundedButErrorsPass) {
  const TempFile file;
  auto rows = std::make_shared<MemoryRows>();
  auto o = options(file);
  o.row_sink = rows;
  o.rows_per_trace = 10;
  auto backend = *Backend::install(o);
  {
    Span span("unit");
    for (int i = 0; i < 25; ++i) kLog.info("info");
    kLog.error("error");
  }
  { Span other("other"); kLog.info("info"); }
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::string, int> per_trace;
  for (const LogRecord& log : rows->all_logs) ++per_trace[log.trace_id];
  for (const SpanRecord& span : rows->all_spans) ++per_trace[span.trace_id];
  std::multiset<int> counts;
  for (const auto& [trace, n] : per_trace) counts.insert(n);
  EXPECT_EQ(counts, (std::multiset<int>{2, 11}));
  EXPECT_EQ(file.lines().size(), 27u);  // lines are not rows
}

TEST(Backend, ARowSinkThatSpeaksDoesNotFeedItself) {
  const TempFile file;
  auto rows = std::make_shared<MemoryRows>();
  rows->chatty = true;
  auto o = options(file);
  o.row_sink = rows;
  auto backend = *Backend::install(o);
  kLog.info("row");
  ASSERT_TRUE(backend->flush(soon()));
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_EQ(rows->all_logs.size(), 1u);
  EXPECT_TRUE(rows->all_spans.empty());
  EXPECT_EQ(file.lines().size(), 2u);
}

TEST(Backend, ProcessMetricsAreThere) {
  const TempFile file;
  auto backend = *Backend::install(options(file));
  const std::string text = openmetrics();
  for (const char* name : {"stella_process_resident_memory_bytes ", "stella_process_cpu_seconds_total ", "stella_process_open_fds ",
                           "stella_process_threads ", "stella_process_start_time_seconds "}) {
    const std::size_t at = text.find("\n" + std::string(name));
    ASSERT_NE(at, text.npos) << name;
    EXPECT_GT(std::stod(text.substr(at + 1 + std::string_view(name).size())), 0) << name;
  }
}

}  // namespace
}  // namespace stella::telemetry
