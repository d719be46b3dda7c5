// What reaches the exporter: every record once, in requests of a bounded size, and after a kill what had not reached it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "child.h"
#include "convert.h"
#include "stella/base/encoding.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/otlp_rows.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

// Keeps the requests that it is offered.
class Requests final : public Exporter {
 public:
  bool offer(Batch batch) noexcept override {
    Lock lock(mutex_);
    batches_.push_back(std::move(batch));
    return true;
  }
  bool flush(Deadline) override { return true; }
  ExportStats stats() const override { return told; }
  ExportStats told;
  std::vector<Batch> take() {
    Lock lock(mutex_);
    return std::exchange(batches_, {});
  }

 private:
  Mutex mutex_;
  std::vector<Batch> batches_ STELLA_GUARDED_BY(mutex_);
};

BackendOptions options(const std::string& dir, std::shared_ptr<Exporter> exporter) {
  BackendOptions o;
  o.resource = kTestResource;
  o.log_path = dir + "/log";
  o.dir = dir + "/rings";
  o.crash_handler = false;
  o.export_every = std::chrono::hours(1);  // only by size, need or flush
  o.exporter = std::move(exporter);
  return o;
}

std::string text_of(const OtlpRows& rows, Range attributes, std::string_view key) {
  for (const Attribute& a : slice(rows.attributes, attributes)) {
    if (a.key == key) return a.value.kind() == AnyValue::Kind::kInt ? std::to_string(a.value.integer()) : std::string(a.value.text());
  }
  return "";
}

// "name:sampling.reason" of spans, "severity:count" of logs.
std::vector<std::string> spans_in(const std::vector<Batch>& batches) {
  std::vector<std::string> out;
  for (const Batch& b : batches) {
    if (b.signal != Signal::kTraces) continue;
    const auto rows = decode_traces(b.payload);
    EXPECT_TRUE(rows);
    EXPECT_EQ(rows->spans.size(), b.items);
    for (const SpanRow& span : rows->spans) out.push_back(std::string(span.name) + ":" + text_of(*rows, span.attributes, "sampling.reason"));
  }
  return out;
}
std::vector<std::int64_t> logs_in(const std::vector<Batch>& batches) {
  std::vector<std::int64_t> out;
  for (const Batch& b : batches) {
    if (b.signal != Signal::kLogs) continue;
    const auto rows = decode_logs(b.payload);
    EXPECT_TRUE(rows);
    EXPECT_EQ(rows->records.size(), b.items);
    for (const LogRow& log : rows->records) {
      if (log.body.text() == "something happened") out.push_back(std::stoll(text_of(*rows, log.attributes, "count")));
    }
  }
  return out;
}

TEST(Export, EveryRecordOnceWithItsReasonAndErrorsApart) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  auto o = options(dir.path(), requests);
  o.latency_threshold = [](std::string_view) -> std::int64_t { return 100'000'000; };
  o.resource_attributes = {{"team", "blue"}};
  auto backend = *Backend::install(o);
  for (int i = 0; i < 10; ++i) backend->outlet().push(log_bytes(i == 4 ? Level::kError : Level::kInfo, i));
  backend->outlet().push(span_bytes({.trace = 1, .sampling = SamplingReason::kHead, .name = "chosen"}));
  backend->outlet().push(span_bytes({.trace = 2, .name = "forgotten"}));
  backend->outlet().push(span_bytes({.trace = 2, .root = true, .name = "forgotten root"}));
  backend->outlet().push(span_bytes({.trace = 3, .name = "slow"}));
  backend->outlet().push(span_bytes({.trace = 3, .root = true, .ns = 200'000'000, .name = "slow root"}));
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<Batch> batches = requests->take();
  EXPECT_EQ(spans_in(batches), (std::vector<std::string>{"chosen:head", "slow:latency", "slow root:latency"}));
  std::vector<std::int64_t> logs = logs_in(batches);
  std::sort(logs.begin(), logs.end());
  EXPECT_EQ(logs, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  std::uint32_t errors = 0;
  for (const Batch& b : batches) {
    EXPECT_TRUE(b.errors == 0 || b.errors == b.items);
    errors += b.errors;
    if (b.signal == Signal::kTraces) {
      const auto rows = decode_traces(b.payload);
      ASSERT_EQ(rows->resources.size(), 1u);
      EXPECT_EQ(text_of(*rows, rows->resources[0].attributes, "tenant_id"), "acme");
      EXPECT_EQ(text_of(*rows, rows->resources[0].attributes, "team"), "blue");
      EXPECT_EQ(text_of(*rows, rows->resources[0].attributes, "service.name"), "stellad");
    }
  }
  EXPECT_EQ(errors, 1u);
  ASSERT_TRUE(backend->flush(soon()));
  EXPECT_TRUE(logs_in(requests->take()).empty());
}

TEST(Export, TheEndHandsOverEverythingAndLetsGoOfTheExporter) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  auto backend = *Backend::install(options(dir.path(), requests));
  backend->outlet().push(log_bytes(Level::kInfo, 1));
  EXPECT_GT(requests.use_count(), 1);
  backend.reset();
  EXPECT_EQ(requests.use_count(), 1);
  EXPECT_EQ(logs_in(requests->take()), (std::vector<std::int64_t>{1}));
}

TEST(Export, RequestsStaySmallAndNobodyWaitsForRoomInTheRings) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  auto o = options(dir.path(), requests);
  o.export_bytes = 20'000;
  auto backend = *Backend::install(o);
  constexpr int kRecords = 5000;
  const std::string text(300, 'x');
  for (int i = 0; i < kRecords; ++i) backend->outlet().push(log_bytes(Level::kWarn, i, text));
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<Batch> batches = requests->take();
  for (const Batch& b : batches) EXPECT_LE(b.payload.size(), 25'000u);
  std::vector<std::int64_t> logs = logs_in(batches);
  ASSERT_EQ(logs.size(), static_cast<std::size_t>(kRecords));
  for (std::size_t i = 0; i < logs.size(); ++i) EXPECT_EQ(logs[i], static_cast<std::int64_t>(i));
}

TEST(Export, ARequestHasNoMoreRecordsThanAskedFor) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  BackendOptions o = options(dir.path(), requests);
  o.export_logs = 4;
  o.export_spans = 3;
  auto backend = *Backend::install(o);
  for (int i = 0; i < 10; ++i) backend->outlet().push(log_bytes(Level::kWarn, i));
  for (int i = 0; i < 7; ++i) backend->outlet().push(span_bytes({.span = static_cast<std::uint8_t>(i + 1), .sampling = SamplingReason::kHead}));
  ASSERT_TRUE(backend->flush(soon()));
  std::vector<std::uint32_t> logs, spans;
  for (const Batch& b : requests->take()) {
    if (b.signal == Signal::kLogs) logs.push_back(b.items);
    if (b.signal == Signal::kTraces) spans.push_back(b.items);
  }
  EXPECT_EQ(logs, (std::vector<std::uint32_t>{4, 4, 2}));
  EXPECT_EQ(spans, (std::vector<std::uint32_t>{3, 3, 1}));
}

// The first file of the spool is a FIFO that nobody reads, a write that the kernel does not finish: the backend's thread stands still in it,
// and calls go on, past the end of their ring.
TEST(Export, ADiskThatStallsHoldsNoCall) {
  const TempDir dir;
  ExporterOptions target;
  for (TargetOptions& t : target.targets) t.endpoint = "http://127.0.0.1:1/";
  target.spool.dir = dir.path() + "/spool";
  std::shared_ptr<Exporter> exporter = *make_otlp_exporter(std::move(target));
  const std::string fifo = dir.path() + "/spool/logs/0000000000000001.seg";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  BackendOptions o = options(dir.path(), exporter);
  o.export_bytes = 1;
  o.ring_bytes = 128 * 1024;
  auto backend = *Backend::install(std::move(o));
  backend->outlet().push(log_bytes(Level::kInfo, 0));
  EXPECT_FALSE(backend->flush(Deadline::after(std::chrono::milliseconds(100))));
  for (int i = 1; i < 5000; ++i) backend->outlet().push(log_bytes(Level::kInfo, i));
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).offered, 0u);
  EXPECT_LT(backend->totals().logs, 5000u);
  // The disk goes on, and with it everything.
  std::thread reader([&] {
    const Fd end(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC));
    char bytes[65536];
    while (::read(end.get(), bytes, sizeof bytes) > 0) {
    }
  });
  EXPECT_TRUE(backend->flush(soon()));
  EXPECT_GE(exporter->stats().of(Signal::kLogs).offered, 1u);
  backend.reset();
  exporter.reset();
  reader.join();
}

TEST(Export, MetricsGoOutAtTheLatestAtTheEndAndEachGainOnce) {
  constexpr Counter kDropped{contracts::metrics::kTelemetryDropped};
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  kDropped.add(1, "metrics", "encode");  // before there is an exporter: nobody else will tell
  auto backend = *Backend::install(options(dir.path(), requests));
  kDropped.add(2, "metrics", "encode");
  ASSERT_TRUE(backend->flush(soon()));
  backend.reset();
  double gained = 0;
  int batches = 0;
  for (const Batch& b : requests->take()) {
    if (b.signal != Signal::kMetrics) continue;
    ++batches;
    const auto rows = decode_metrics(b.payload);
    ASSERT_TRUE(rows);
    EXPECT_EQ(b.items, rows->points.size());
    for (const MetricRow& metric : rows->metrics) {
      if (!metric.name.starts_with("stella_telemetry_dropped")) continue;
      EXPECT_EQ(metric.temporality, 1);
      for (const PointRow& point : slice(rows->points, metric.points)) {
        if (text_of(*rows, point.attributes, "signal") != "metrics") continue;
        gained += point.value.kind == NumberValue::Kind::kInt ? static_cast<double>(point.value.integer) : point.value.number;
      }
    }
  }
  EXPECT_EQ(batches, 1);
  EXPECT_EQ(gained, 3);
}

// What the exporter found on disk is counted while the backend is installed, before its first collection.
TEST(Export, WhatWasRecoveredAtTheStartIsTold) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  requests->told.signals[static_cast<std::size_t>(Signal::kTraces)].recovered = 7;
  requests->told.signals[static_cast<std::size_t>(Signal::kTraces)].dropped[static_cast<std::size_t>(DropReason::kCorrupt)] = 2;
  auto backend = *Backend::install(options(dir.path(), requests));
  ASSERT_TRUE(backend->flush(soon()));
  backend.reset();
  std::int64_t recovered = 0, dropped = 0;
  for (const Batch& b : requests->take()) {
    if (b.signal != Signal::kMetrics) continue;
    const auto rows = decode_metrics(b.payload);
    ASSERT_TRUE(rows);
    for (const MetricRow& metric : rows->metrics) {
      for (const PointRow& point : slice(rows->points, metric.points)) {
        if (text_of(*rows, point.attributes, "signal") != "traces") continue;
        if (metric.name.starts_with("stella_telemetry_recovered")) recovered += point.value.integer;
        if (metric.name.starts_with("stella_telemetry_exported") && text_of(*rows, point.attributes, "outcome") == "dropped") dropped += point.value.integer;
      }
    }
  }
  EXPECT_EQ(recovered, 7);
  EXPECT_EQ(dropped, 2);
}

// A job's child: its spans have no root of their own, and follow that of the runner, whether it was slow, failed, or nothing of both.
TEST(Export, UndecidedSpansOfAChildFollowTheLocalRootOfTheirTrace) {
  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  auto o = options(dir.path(), requests);
  o.latency_threshold = [](std::string_view) -> std::int64_t { return 100'000'000; };
  auto backend = *Backend::install(o);
  const auto child = [](int trace, std::string_view attributes) {
    const auto record = RecordView::parse(span_bytes({}));
    SpanRecord span;
    span.trace_id = std::string(30, '0') + (trace < 10 ? "0" : "") + std::to_string(trace);
    span.span_id = std::string(16, 'a');
    span.parent_span_id = std::string(16, 'b');
    span.tenant_id = "acme";
    span.name = "child";
    span.kind = "internal";
    span.status = "ok";
    span.service = "stellad";
    span.start = span.end = Timestamp::from_micros(record->head().ns / 1000);
    span.attributes = attributes;
    span.links = "[]";
    Records records;
    records.spans.push_back(std::move(span));
    return records;
  };
  const auto root = [](int trace, std::int64_t ns, bool error) {
    std::string bytes = span_bytes({.root = true, .error = error, .ns = ns, .name = "runner.execute"});
    std::array<std::uint8_t, 16> id{};
    id[15] = static_cast<std::uint8_t>(trace / 10 * 16 + trace % 10);
    std::memcpy(bytes.data() + offsetof(RecordHead, trace_id), id.data(), id.size());
    return bytes;
  };
  // Each root right behind its child: they meet in one round of the thread or in two.
  constexpr int kTraces = 90;
  for (int i = 1; i <= kTraces; ++i) {
    backend->accept(child(i, "{}"), false);
    backend->outlet().push(root(i, i % 3 == 0 ? 200'000'000 : 1'000'000, i % 3 == 1));
  }
  backend->accept(child(98, R"({"sampling.reason":"head"})"), false);  // decided before
  ASSERT_TRUE(backend->flush(soon()));
  std::map<std::string, int> found;
  for (const std::string& span : spans_in(requests->take())) ++found[span];
  EXPECT_EQ(found, (std::map<std::string, int>{{"child:head", 1}, {"child:error", 30}, {"child:latency", 30}, {"runner.execute:error", 30}, {"runner.execute:latency", 30}}));
}

// Half a character in one record would make a strict receiver refuse the whole batch.
TEST(ToRecord, WhatIsCutIsStillText) {
  LogRecord log = to_log_record(*RecordView::parse(log_bytes(Level::kInfo, 1, "x")), kTestResource);
  for (const std::size_t room : {16u * 1024, 2048u, 256u, 128u, 16u}) {
    const std::string text = std::string(room - 1, 'a') + "\xc3\xa9 and more";
    log.line = R"({"module":")" + text + R"(","message":")" + text + R"(","actor":")" + text + R"(","route":")" + text + R"(","method":")" + text + R"(","detail":")" + text + "\"}";
    const std::string bytes = to_record(log);
    const auto record = RecordView::parse(bytes);
    ASSERT_TRUE(record) << room;
    EXPECT_TRUE(is_utf8(to_log_record(*record, kTestResource).line)) << room;
  }
}

TEST(ToRecord, ManyLinksAndEventsLeaveARecord) {
  SpanRecord span = to_span_record(*RecordView::parse(span_bytes({})), kTestResource);
  span.links = span.attributes = "";
  for (int i = 0; i < 3000; ++i) {
    span.links += (i > 0 ? "," : "[") + std::string(R"({"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"})");
    span.attributes += (i > 0 ? "," : R"({"events":[)") + std::string(R"({"ts":"2026-11-30T00:00:00Z","name":")") + std::string(200, 'n') + "\"}";
  }
  span.links += "]";
  span.attributes += "]}";
  EXPECT_TRUE(RecordView::parse(to_record(span)));
}

TEST(Export, RecordsOfAChildProcessAreExportedAsTheyWereMade) {
  RecordBuilder span;
  span.head.kind = RecordKind::kSpan;
  span.head.ns = 1'795'000'000'000'000'000;
  span.head.end_ns = span.head.ns + 5'000'000;
  span.head.trace_id.fill(7);
  span.head.span_id.fill(8);
  span.head.parent_span_id.fill(9);
  span.head.job_id.fill(3);
  span.head.run_id.fill(4);
  span.head.status = SpanStatus::kError;
  span.head.span_kind = SpanKind::kConsumer;
  span.head.sampling = SamplingReason::kLatency;
  span.tenant = "acme";
  span.message = "policy.evaluate";
  span.add(f::operation("evaluate"));
  span.add(f::finding_count(17));
  span.add(f::cached(true));
  span.link({TraceId::generate(), SpanId::generate(), 1});
  span.event(span.head.ns + 1000, "retry", {});
  const std::string span_record = span.build(), log_record = log_bytes(Level::kError, 42, "because");

  const TempDir dir;
  const auto requests = std::make_shared<Requests>();
  auto backend = *Backend::install(options(dir.path(), requests));
  backend->outlet().push(span_record);
  backend->outlet().push(log_record);
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<Batch> ours = requests->take();
  Records records;
  records.spans.push_back(to_span_record(*RecordView::parse(span_record), kTestResource));
  records.logs.push_back(to_log_record(*RecordView::parse(log_record), kTestResource));
  backend->accept(std::move(records), false);
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<Batch> theirs = requests->take();
  const auto attributes = [](const OtlpRows& rows, Range range) {
    std::map<std::string, std::string> out;
    for (const Attribute& a : slice(rows.attributes, range)) {
      out[std::string(a.key)] = std::string(a.value.text()) + std::to_string(a.value.integer()) + std::to_string(a.value.boolean());
    }
    return out;
  };
  ASSERT_EQ(ours.size(), 2u);
  ASSERT_EQ(theirs.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(ours[i].signal, theirs[i].signal);
    if (ours[i].signal == Signal::kTraces) {
      const auto a = decode_traces(ours[i].payload), b = decode_traces(theirs[i].payload);
      ASSERT_EQ(b->spans.size(), 1u);
      EXPECT_EQ(attributes(*a, a->spans[0].attributes), attributes(*b, b->spans[0].attributes));
      EXPECT_EQ(a->spans[0].name, b->spans[0].name);
      EXPECT_EQ(a->spans[0].kind, b->spans[0].kind);
      EXPECT_EQ(a->spans[0].status, b->spans[0].status);
      EXPECT_EQ(a->spans[0].trace_id, b->spans[0].trace_id);
      EXPECT_EQ(a->spans[0].parent_span_id, b->spans[0].parent_span_id);
      EXPECT_EQ(a->spans[0].start_ns, b->spans[0].start_ns);
      EXPECT_EQ(a->spans[0].end_ns, b->spans[0].end_ns);
      EXPECT_EQ(b->links.size(), 1u);
      ASSERT_EQ(b->events.size(), 1u);
      EXPECT_EQ(b->events[0].name, "retry");
    } else {
      const auto a = decode_logs(ours[i].payload), b = decode_logs(theirs[i].payload);
      ASSERT_EQ(b->records.size(), 1u);
      EXPECT_EQ(attributes(*a, a->records[0].attributes), attributes(*b, b->records[0].attributes));
      EXPECT_EQ(a->records[0].severity_number, b->records[0].severity_number);
      EXPECT_EQ(a->records[0].body.text(), b->records[0].body.text());
      EXPECT_EQ(theirs[i].errors, 1u);
    }
  }
}

TEST(Child, DISABLED_DiesBetweenLineAndExport) {
  const std::string dir = child_dir();
  if (dir.empty()) GTEST_SKIP();
  auto backend = *Backend::install(options(dir, std::make_shared<Requests>()));
  for (int i = 0; i < 20; ++i) backend->outlet().push(log_bytes(i == 7 ? Level::kError : Level::kInfo, i));
  backend->outlet().push(span_bytes({.trace = 1, .sampling = SamplingReason::kHead, .name = "chosen"}));
  while (backend->totals().lines < 20 || backend->totals().spans < 1) std::this_thread::yield();
  kill(getpid(), SIGKILL);
}

TEST(Export, WhatWasWrittenButNotExportedIsExportedByTheNextStartAndWrittenOnce) {
  const TempDir dir;
  Child child("Child.DISABLED_DiesBetweenLineAndExport", dir.path());
  child.wait();
  ASSERT_EQ(lines_of(dir / "log").size(), 20u);
  const auto requests = std::make_shared<Requests>();
  auto backend = *Backend::install(options(dir.path(), requests));
  ASSERT_TRUE(backend->flush(soon()));
  const std::vector<Batch> batches = requests->take();
  EXPECT_EQ(spans_in(batches), (std::vector<std::string>{"chosen:head"}));
  std::vector<std::int64_t> logs = logs_in(batches);
  std::sort(logs.begin(), logs.end());
  ASSERT_EQ(logs.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(logs[i], static_cast<std::int64_t>(i));
  EXPECT_EQ(lines_of(dir / "log").size(), 20u);
  EXPECT_EQ(backend->totals().lost, 0u);
}

}  // namespace
}  // namespace stella::telemetry
