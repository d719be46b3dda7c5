// The exporter against a target of the test that answers as it is told to.
#include "stella/telemetry/exporter.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>

#include "stella/telemetry/otlp_response.h"
#include "stella/testing/temp_dir.h"
#include "test_targets.h"

namespace stella::telemetry {
namespace {

using testing::TempDir;

std::string gunzip(const std::string& packed) {
  z_stream z{};
  inflateInit2(&z, 15 + 16);
  std::string out(1 << 20, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  inflate(&z, Z_FINISH);
  out.resize(z.total_out);
  inflateEnd(&z);
  return out;
}

TEST(Exporter, SendsInOrderWithHeadersTokenAndGzip) {
  HttpTarget target([](const auto&) { return reply(200); });
  ExporterOptions options = options_for(target.url());
  options.target(Signal::kLogs).gzip = true;
  options.target(Signal::kLogs).headers.emplace_back("x-scope", Secret<std::string>("acme"));
  options.target(Signal::kLogs).headers.emplace_back("Authorization", Secret<std::string>("Basic replaced"));
  options.bearer_token = [] { return Secret<std::string>("fresh-token"); };
  auto exporter = *make_otlp_exporter(std::move(options));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(exporter->offer(batch("request " + std::to_string(i))));
  ASSERT_TRUE(exporter->flush(soon()));
  const auto requests = target.requests();
  ASSERT_EQ(requests.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(gunzip(requests[i].body), "request " + std::to_string(i));
    EXPECT_EQ(requests[i].path, "/v1/logs");
    EXPECT_EQ(requests[i].headers.at("content-encoding"), "gzip");
    EXPECT_EQ(requests[i].headers.at("authorization"), "Bearer fresh-token");
    EXPECT_EQ(requests[i].headers.at("x-scope"), "acme");
    EXPECT_EQ(requests[i].headers.count("Authorization"), 0u);
  }
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).sent, 40u);
  expect_balanced(exporter->stats());
}

TEST(Exporter, TriesAgainWhatMayBeTriedAndNothingElse) {
  std::atomic<int> n{0};
  HttpTarget target([&](const auto&) -> std::string {
    switch (n++) {
      case 0: return reply(503, "", "retry-after: 0\r\n");
      case 1: return "";                                    // closed
      case 2: return reply(200, "<html>", "", "text/html"); // not an OTLP receiver
      case 3: return "garbage\r\n\r\n";
      case 4: return reply(429);
      case 5: return reply(200);                            // request 1 is taken
      case 6: return reply(400, encode_status({3, "bad", std::nullopt}));
      default: return reply(200, encode_response({1, "one was odd"}));
    }
  });
  auto exporter = *make_otlp_exporter(options_for(target.url()));
  for (const char* text : {"1", "2", "3"}) exporter->offer(batch(text));
  while (!exporter->flush(Deadline::after(milliseconds(200)))) {
  }
  const auto requests = target.requests();
  std::string sent;
  for (const auto& request : requests) sent += request.body;
  EXPECT_EQ(sent, "11111123");
  const SignalStats stats = exporter->stats().of(Signal::kLogs);
  EXPECT_EQ(stats.sent, 3u);
  EXPECT_EQ(stats.rejected, 1u);
  EXPECT_EQ(stats.dropped[static_cast<std::size_t>(DropReason::kRefused)], 2u);
  expect_balanced(exporter->stats());
}

TEST(Exporter, ATargetThatNeverAnswersHoldsUpNobody) {
  HttpTarget target([](const auto&) { return std::string("hang"); });
  const TempDir dir;
  ExporterOptions options = options_for(target.url(), dir.path());
  options.queue_bytes = 1000;
  {
    auto exporter = *make_otlp_exporter(std::move(options));
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(exporter->offer(batch(std::string(100, 'x'))));
    EXPECT_FALSE(exporter->flush(Deadline::after(milliseconds(50))));
    const SignalStats stats = exporter->stats().of(Signal::kLogs);
    EXPECT_EQ(stats.queued, 20u);
    EXPECT_EQ(stats.spooled, 180u);
    expect_balanced(exporter->stats());
  }  // ends at once although a request is under way
  HttpTarget good([](const auto&) { return reply(200); });
  auto exporter = *make_otlp_exporter(options_for(good.url(), dir.path()));
  ASSERT_TRUE(exporter->flush(soon()) || exporter->flush(soon()));
  while (exporter->stats().of(Signal::kLogs).sent < 200) std::this_thread::yield();
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).recovered, 200u);
  EXPECT_EQ(good.requests().size(), 100u);
}

TEST(Exporter, WithoutSpoolTheQueueIsTheLimit) {
  ExporterOptions options = options_for("http://127.0.0.1:1/v1/logs");
  options.queue_bytes = 1000;
  auto exporter = *make_otlp_exporter(std::move(options));
  int taken = 0;
  for (int i = 0; i < 20; ++i) taken += exporter->offer(batch(std::string(100, 'x'))) ? 1 : 0;
  EXPECT_EQ(taken, 10);
  EXPECT_FALSE(exporter->offer(batch(std::string(1001, 'x'))));
  const SignalStats stats = exporter->stats().of(Signal::kLogs);
  EXPECT_EQ(stats.dropped[static_cast<std::size_t>(DropReason::kQueueFull)], 20u);
  EXPECT_EQ(stats.dropped[static_cast<std::size_t>(DropReason::kTooLarge)], 2u);
  expect_balanced(exporter->stats());
}

TEST(Exporter, AFullSpoolLetsTracesGoFirstAndErrorsLast) {
  const TempDir dir;
  ExporterOptions options = options_for("http://127.0.0.1:1/", dir.path());
  options.queue_bytes = 200;
  options.spool.segment_bytes = 1000;
  options.spool.total_bytes = 20'000;
  options.spool.signal_bytes = {20'000, 20'000, 20'000};
  auto exporter = *make_otlp_exporter(std::move(options));
  for (int i = 0; i < 50; ++i) exporter->offer(batch(std::string(100, 't'), Signal::kTraces));
  for (int i = 0; i < 20; ++i) exporter->offer(batch(std::string(100, 'e'), Signal::kLogs, 2));
  for (int i = 0; i < 20; ++i) exporter->offer(batch(std::string(100, 'm'), Signal::kMetrics));
  for (int i = 0; i < 120; ++i) exporter->offer(batch(std::string(100, 'l'), Signal::kLogs));
  const ExportStats stats = exporter->stats();
  constexpr auto kFull = static_cast<std::size_t>(DropReason::kSpoolFull);
  EXPECT_GE(stats.of(Signal::kTraces).dropped[kFull], 84u);   // all but what is under way
  EXPECT_GE(stats.of(Signal::kMetrics).dropped[kFull], 20u);
  EXPECT_GT(stats.of(Signal::kLogs).queued + stats.of(Signal::kLogs).spooled, 200u);
  expect_balanced(stats);
  exporter.reset();
  std::uint64_t error_bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() + "/errors")) error_bytes += entry.path().extension() == ".seg" ? entry.file_size() : 0;
  EXPECT_EQ(error_bytes, 20u * 132);  // every one of them is still there
}

TEST(Exporter, ASignalThatIsOffIsCounted) {
  HttpTarget target([](const auto&) { return reply(200); });
  ExporterOptions options = options_for(target.url());
  options.target(Signal::kTraces).enabled = false;
  auto exporter = *make_otlp_exporter(std::move(options));
  EXPECT_FALSE(exporter->offer(batch("x", Signal::kTraces)));
  EXPECT_EQ(exporter->stats().of(Signal::kTraces).dropped[static_cast<std::size_t>(DropReason::kDisabled)], 2u);
}

TEST(Exporter, AnEndpointThatIsNoneIsAnError) {
  EXPECT_FALSE(make_otlp_exporter(options_for("ftp://example/")));
  ExporterOptions options = options_for("");
  for (TargetOptions& target : options.targets) target.protocol = OtlpProtocol::kGrpc;
  EXPECT_FALSE(make_otlp_exporter(std::move(options)));
}

TEST(Exporter, ATokenThatIsNotThereYetIsAwaited) {
  HttpTarget target([](const HttpTarget::Request& request) { return reply(request.headers.at("authorization") == "Bearer good" ? 200 : 401); });
  std::atomic<int> asked{0};
  ExporterOptions options = options_for(target.url());
  options.bearer_token = [&] {
    const int n = asked++;
    return Secret<std::string>(n < 2 ? "" : n < 4 ? "expired" : "good");
  };
  auto exporter = *make_otlp_exporter(std::move(options));
  exporter->offer(batch("x"));
  while (exporter->stats().of(Signal::kLogs).sent < 2) exporter->flush(Deadline::after(milliseconds(20)));
  expect_balanced(exporter->stats());
}

// The child offers and tells each batch that was taken; it is killed in the middle.
TEST(Exporter, WhatWasTakenSurvivesSigkill) {
  const TempDir dir;
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto exporter = make_otlp_exporter(options_for("http://127.0.0.1:1/v1/logs", dir.path()));
    for (int i = 0; exporter; ++i) {
      const std::string text = std::to_string(i);
      if ((*exporter)->offer(batch(text)) && ::write(pipe_fds[1], "x", 1) != 1) break;
    }
    ::_exit(1);
  }
  std::size_t acknowledged = 0;
  char buffer[256];
  while (acknowledged < 2000) acknowledged += static_cast<std::size_t>(std::max<ssize_t>(0, ::read(pipe_fds[0], buffer, sizeof buffer)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(pipe_fds[1]);
  for (ssize_t n; (n = ::read(pipe_fds[0], buffer, sizeof buffer)) > 0;) acknowledged += static_cast<std::size_t>(n);
  ::close(pipe_fds[0]);

  HttpTarget target([](const auto&) { return reply(200); });
  auto exporter = *make_otlp_exporter(options_for(target.url(), dir.path()));
  SignalStats stats = exporter->stats().of(Signal::kLogs);
  for (; stats.queued + stats.spooled > 0; stats = exporter->stats().of(Signal::kLogs)) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GE(stats.sent, 2 * acknowledged);
  EXPECT_LE(stats.recovered, 2 * (acknowledged + 1));
  EXPECT_EQ(stats.sent + stats.dropped[static_cast<std::size_t>(DropReason::kTorn)], stats.recovered);  // what it was writing when it died
  const auto requests = target.requests();
  for (std::size_t i = 0; i < requests.size(); ++i) ASSERT_EQ(requests[i].body, std::to_string(i));
}

TEST(Exporter, SpeaksGrpc) {
  GrpcTarget target([](int n) -> std::pair<grpc::Status, std::string> {
    if (n == 0) return {grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "later", encode_status({8, "later", milliseconds(1)})), ""};
    return {grpc::Status::OK, encode_response({n == 2 ? 1 : 0, ""})};
  });
  ExporterOptions options = options_for("http://127.0.0.1:" + std::to_string(target.port));
  for (TargetOptions& t : options.targets) {
    t.protocol = OtlpProtocol::kGrpc;
    t.gzip = true;
  }
  options.bearer_token = [] { return Secret<std::string>("platform"); };
  auto exporter = *make_otlp_exporter(std::move(options));
  exporter->offer(batch("one", Signal::kTraces));
  exporter->offer(batch("two", Signal::kTraces));
  while (exporter->stats().of(Signal::kTraces).queued > 0) exporter->flush(Deadline::after(milliseconds(20)));
  const std::lock_guard lock(target.mutex);
  const std::string method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  EXPECT_EQ(target.calls, (std::vector<std::pair<std::string, std::string>>{{method, "one"}, {method, "one"}, {method, "two"}}));
  EXPECT_EQ(target.token, "Bearer platform");
  EXPECT_EQ(exporter->stats().of(Signal::kTraces).sent, 3u);
  EXPECT_EQ(exporter->stats().of(Signal::kTraces).rejected, 1u);
}

TEST(OtlpGrpc, TakesTheNamesThatGrpcKnows) {
  const TempDir dir;
  const auto fine = [](int) -> std::pair<grpc::Status, std::string> { return {grpc::Status::OK, encode_response({})}; };
  GrpcTarget file(fine, grpc::InsecureServerCredentials(), "unix:" + (dir / "s")), host(fine);
  const std::string port = std::to_string(host.port);
  int n = 0;
  for (const std::string& name : {"unix:" + (dir / "s"), "unix://" + (dir / "s"), "dns:///127.0.0.1:" + port, "127.0.0.1:" + port, "http://127.0.0.1:" + port + "/"}) {
    ExporterOptions options = options_for(name);
    for (TargetOptions& t : options.targets) {
      t.protocol = OtlpProtocol::kGrpc;
      t.insecure = true;
    }
    auto exporter = *make_otlp_exporter(std::move(options));
    exporter->offer(batch(std::to_string(n++), Signal::kTraces));
    EXPECT_TRUE(exporter->flush(soon())) << name;
    EXPECT_EQ(exporter->stats().of(Signal::kTraces).sent, 2u) << name;
  }
  EXPECT_EQ(file.calls.size(), 2u);
  EXPECT_EQ(host.calls.size(), 3u);
}

}  // namespace
}  // namespace stella::telemetry
