// The exporter against a target of the test that answers as it is told to.
#include "stella/telemetry/exporter.h"

#include <arpa/inet.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "stella/base/file.h"
#include "stella/telemetry/otlp_response.h"
#include "stella/testing/temp_dir.h"

namespace stella::telemetry {
namespace {

using testing::TempDir;
using std::chrono::milliseconds;

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

// A raw HTTP server: `answer` makes the bytes of each reply ("" closes without one, "hang" never answers).
class HttpTarget {
 public:
  struct Request {
    std::string path, body;
    std::map<std::string, std::string> headers;
  };
  explicit HttpTarget(std::function<std::string(const Request&)> answer) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpTarget() {
    stop_ = true;
    thread_.join();
  }
  std::string url(std::string_view path = "/v1/logs") const { return "http://127.0.0.1:" + std::to_string(port) + std::string(path); }
  std::vector<Request> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int port = 0;

 private:
  void serve() {
    std::map<int, std::string> clients;
    while (!stop_) {
      std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
      for (const auto& [fd, in] : clients) polled.push_back({fd, POLLIN, 0});
      if (::poll(polled.data(), polled.size(), 20) <= 0) continue;
      if (polled[0].revents != 0) clients[::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)];
      for (std::size_t i = 1; i < polled.size(); ++i) {
        if (polled[i].revents == 0) continue;
        char buffer[65536];
        const ssize_t got = ::recv(polled[i].fd, buffer, sizeof buffer, 0);
        std::string& in = clients[polled[i].fd];
        if (got > 0) in.append(buffer, static_cast<std::size_t>(got));
        if (got <= 0 || !whole(polled[i].fd, in)) {
          ::close(polled[i].fd);
          clients.erase(polled[i].fd);
        }
      }
    }
    for (const auto& [fd, in] : clients) ::close(fd);
  }
  // False: close.
  bool whole(int fd, std::string& in) {
    const std::size_t end = in.find("\r\n\r\n");
    if (end == in.npos) return true;
    Request request;
    request.path = in.substr(5, in.find(' ', 5) - 5);
    for (std::size_t at = in.find("\r\n") + 2; at < end; at = in.find("\r\n", at) + 2) {
      const std::size_t colon = in.find(": ", at), stop = in.find("\r\n", at);
      if (colon < stop) request.headers[in.substr(at, colon - at)] = in.substr(colon + 2, stop - colon - 2);
    }
    const std::size_t size = static_cast<std::size_t>(std::atol(request.headers["content-length"].c_str()) + std::atol(request.headers["Content-Length"].c_str()));
    if (in.size() < end + 4 + size) return true;
    request.body = in.substr(end + 4, size);
    in.erase(0, end + 4 + size);
    std::string reply;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    reply = answer_(request);
    if (reply == "hang") return true;
    if (reply.empty()) return false;
    return ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(reply.size());
  }

  const std::function<std::string(const Request&)> answer_;
  Fd listener_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<Request> requests_;
  std::thread thread_;
};

std::string reply(int status, std::string_view body = "", std::string_view extra = "", std::string_view type = "application/x-protobuf") {
  return "HTTP/1.1 " + std::to_string(status) + " -\r\ncontent-type: " + std::string(type) + "\r\n" + std::string(extra) + "content-length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

ExporterOptions options_for(const std::string& url, std::string spool = "") {
  ExporterOptions options;
  for (TargetOptions& target : options.targets) target.endpoint = url;
  options.spool.dir = std::move(spool);
  options.backoff.first = milliseconds(5);
  options.backoff.most = milliseconds(20);
  return options;
}

Batch batch(std::string payload, Signal signal = Signal::kLogs, std::uint32_t errors = 0) { return {signal, std::move(payload), 2, errors}; }
Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }

void expect_balanced(const ExportStats& stats) {
  for (const Signal signal : kAllSignals) {
    const SignalStats& s = stats.of(signal);
    EXPECT_EQ(s.offered + s.recovered, s.sent + s.rejected + s.queued + s.spooled + s.dropped_total()) << to_string(signal);
  }
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
  const std::uint64_t recovered = exporter->stats().of(Signal::kLogs).recovered;
  EXPECT_GE(recovered, 2 * acknowledged);
  EXPECT_LE(recovered, 2 * (acknowledged + 1));
  while (exporter->stats().of(Signal::kLogs).sent < recovered) std::this_thread::yield();
  const auto requests = target.requests();
  for (std::size_t i = 0; i < requests.size(); ++i) ASSERT_EQ(requests[i].body, std::to_string(i));
}

// A gRPC server that takes bytes; the first answer asks to come again.
class GrpcTarget {
 public:
  GrpcTarget() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterAsyncGenericService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    thread_ = std::thread([this] { serve(); });
  }
  ~GrpcTarget() {
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
    thread_.join();
  }
  int port = 0;
  std::mutex mutex;
  std::vector<std::pair<std::string, std::string>> calls;  // method, body
  std::string token;

 private:
  void serve() {
    void* tag = nullptr;
    bool ok = false;
    for (int n = 0;; ++n) {
      grpc::GenericServerContext context;
      grpc::GenericServerAsyncReaderWriter stream(&context);
      service_.RequestCall(&context, &stream, queue_.get(), queue_.get(), this);
      if (!queue_->Next(&tag, &ok) || !ok) break;
      grpc::ByteBuffer request;
      stream.Read(&request, this);
      if (!queue_->Next(&tag, &ok)) break;
      std::vector<grpc::Slice> slices;
      std::string body;
      if (ok && request.Dump(&slices).ok())
        for (const auto& slice : slices) body.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      {
        const std::lock_guard lock(mutex);
        calls.emplace_back(context.method(), body);
        const auto found = context.client_metadata().find("authorization");
        if (found != context.client_metadata().end()) token.assign(found->second.data(), found->second.size());
      }
      if (n == 0) {
        stream.Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "later", encode_status({8, "later", milliseconds(1)})), this);
      } else {
        const grpc::Slice slice(encode_response({n == 2 ? 1 : 0, ""}));
        stream.WriteAndFinish(grpc::ByteBuffer(&slice, 1), {}, grpc::Status::OK, this);
      }
      if (!queue_->Next(&tag, &ok)) break;
    }
    while (queue_->Next(&tag, &ok)) {
    }
  }
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
};

TEST(Exporter, SpeaksGrpc) {
  GrpcTarget target;
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

}  // namespace
}  // namespace stella::telemetry
