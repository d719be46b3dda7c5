// The server as clients see it: persistent connections, pipelining, bodies, files, concurrency, overload, drain.
#include "stella/platform/http_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <latch>

#include "stella/base/sync.h"
#include "test_support.h"

namespace stella::http::testing {
namespace {

std::string get(std::string_view path, std::string_view extra = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(extra) + "\r\n";
}

TEST(Server, ServesManyRequestsOnOneConnection) {
  const auto server = serve(echo);
  RawClient client(server->port());
  for (int i = 0; i < 5; ++i) {
    client.send(get("/r" + std::to_string(i)));
    const auto response = client.read_response();
    EXPECT_EQ(status_of(response), 200);
    EXPECT_EQ(body_of(response), "GET /r" + std::to_string(i) + " 0 ");
  }
  EXPECT_EQ(server->stats().requests, 5u);
  EXPECT_EQ(server->stats().open_connections, 1u);
}

TEST(Server, PipelinedRequestsAreAnsweredInOrderWithTheirOwnBodies) {
  const auto server = serve(echo);
  RawClient client(server->port());
  std::string all;
  for (int i = 0; i < 20; ++i) {
    const std::string body(static_cast<std::size_t>(i) * 100, char('a' + i));
    if (i % 2 == 0) all += get("/" + std::to_string(i));
    else all += "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  client.send(all);
  for (int i = 0; i < 20; ++i) {
    const std::string body(i % 2 == 0 ? 0 : static_cast<std::size_t>(i) * 100, char('a' + i));
    const auto expected = (i % 2 == 0 ? "GET /" : "POST /") + std::to_string(i) + " " + std::to_string(body.size()) + " " + body;
    EXPECT_EQ(body_of(client.read_response()), expected);
  }
}

TEST(Server, BytesMayArriveOneByOne) {
  const auto server = serve(echo);
  RawClient client(server->port());
  for (const char c : std::string("POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n")) {
    client.send({&c, 1});
  }
  EXPECT_EQ(body_of(client.read_response()), "POST /slow 5 abcde");
  client.send(get("/next"));
  EXPECT_EQ(body_of(client.read_response()), "GET /next 0 ");
}

TEST(Server, ConnectionCloseAndHttp10AreHonoured) {
  const auto server = serve(echo);
  RawClient closing(server->port());
  closing.send(get("/", "Connection: close\r\n"));
  const auto all = closing.read_all();
  EXPECT_EQ(status_of(all), 200);
  EXPECT_NE(all.find("connection: close"), std::string::npos);
  RawClient old(server->port());
  old.send("GET /old HTTP/1.0\r\n\r\n");
  EXPECT_EQ(body_of(old.read_all()), "GET /old 0 ");
}

TEST(Server, HeadHasTheLengthButNoBody) {
  const auto server = serve([](Request&) { return Response::json(200, "{\"a\":1}"); });
  RawClient client(server->port());
  client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + get("/"));
  const auto head = client.read_response(true);
  EXPECT_NE(head.find("content-length: 7"), std::string::npos);
  EXPECT_EQ(body_of(head), "");
  EXPECT_EQ(body_of(client.read_response()), "{\"a\":1}");
}

TEST(Server, ExpectContinueIsAnsweredBeforeTheBody) {
  const auto server = serve(echo);
  RawClient client(server->port());
  client.send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(status_of(client.read_response()), 100);
  client.send("hello");
  EXPECT_EQ(body_of(client.read_response()), "PUT /x 5 hello");
  client.send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(status_of(client.read_response()), 413) << "an expectation saves the client from sending what is refused";
}

TEST(Server, HeaderNamesAreLowerCaseAndRemoteIsKnown) {
  const auto server = serve([](Request& request) {
    Response response;
    response.body = std::string(request.header("x-my-header")) + "|" + request.remote;
    return response;
  });
  RawClient client(server->port());
  client.send(get("/", "X-My-HEADER: Value\r\n"));
  EXPECT_EQ(body_of(client.read_response()), "Value|127.0.0.1");
}

TEST(Server, LargeBodiesGoToAFileAndComeBackFromOne) {
  Limits limits;
  limits.memory_body_bytes = 1000;
  limits.body_bytes = 32 << 20;
  const auto server = serve(
      [](Request& request) {
        Response response;
        response.header("x-file", request.body_file ? "yes" : "no");
        response.body_file_size = request.body_size;
        response.body_file = std::move(request.body_file);
        response.body = std::move(request.body);
        return response;
      },
      limits);
  std::string body;
  for (int i = 0; body.size() < (20 << 20); ++i) body += std::to_string(i) + ",";
  for (const std::size_t size : {std::size_t{1000}, std::size_t{1001}, body.size()}) {
    ClientRequest request;
    request.method = "POST";
    request.url = url(*server, "/");
    request.body = body.substr(0, size);
    const auto response = fetch(request);
    ASSERT_TRUE(response) << response.error().describe();
    EXPECT_EQ(response->header("x-file"), size > 1000 ? "yes" : "no");
    EXPECT_TRUE(response->body == request.body) << size;
  }
}

TEST(Server, AFileShorterThanPromisedEndsTheConnection) {
  const auto server = serve([](Request& request) {
    Response response;
    response.body_file = std::move(request.body_file);
    response.body_file_size = 5000;
    return response;
  }, [] { Limits limits; limits.memory_body_bytes = 0; return limits; }());
  RawClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  const auto all = client.read_all();
  EXPECT_NE(all.find("content-length: 5000"), std::string::npos);
  EXPECT_EQ(body_of(all), "abc");
}

TEST(Server, AHundredClientsAtOnce) {
  ServerOptions options;
  options.io_threads = 2;
  const auto server = serve(echo, {}, nullptr, options);
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  std::latch together(100);
  for (int t = 0; t < 100; ++t) {
    threads.emplace_back([&, t] {
      RawClient client(server->port());
      together.arrive_and_wait();
      for (int i = 0; i < 20; ++i) {
        const auto text = std::to_string(t) + "-" + std::to_string(i);
        client.send("POST /" + text + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text);
        if (body_of(client.read_response()) == "POST /" + text + " " + std::to_string(text.size()) + " " + text) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 2000);
  EXPECT_EQ(server->stats().requests, 2000u);
}

TEST(Server, HandlerExceptionsAndBadStatusesAre500) {
  const auto server = serve([](Request& request) -> Response {
    if (request.path == "/throw") throw 42;
    Response response;
    response.status = 7;
    return response;
  });
  RawClient client(server->port());
  client.send(get("/throw"));
  const auto response = client.read_response();
  EXPECT_EQ(status_of(response), 500);
  EXPECT_NE(response.find("application/problem+json"), std::string::npos);
  client.send(get("/status"));
  EXPECT_EQ(status_of(client.read_response()), 500);
}

// Handlers that hold until they are released.
struct Gate {
  std::latch entered;
  std::latch leave{1};
  explicit Gate(int n) : entered(n) {}
};

TEST(Server, AFullQueueIs503WithRetryAfterAndTheConnectionLives) {
  Gate gate(1);
  ServerOptions options;
  options.workers = 1;
  Limits limits;
  limits.queue = 1;
  const auto server = serve(
      [&](Request& request) {
        if (request.path == "/block") {
          gate.entered.count_down();
          gate.leave.wait();
        }
        return echo(request);
      },
      limits, nullptr, options);
  RawClient blocking(server->port());
  blocking.send(get("/block"));
  gate.entered.wait();
  RawClient waiting(server->port());
  waiting.send(get("/waits"));
  while (server->stats().queued < 1) std::this_thread::yield();
  RawClient refused(server->port());
  refused.send(get("/refused"));
  const auto response = refused.read_response();
  EXPECT_EQ(status_of(response), 503);
  EXPECT_NE(response.find("retry-after: 1"), std::string::npos);
  gate.leave.count_down();
  EXPECT_EQ(body_of(blocking.read_response()), "GET /block 0 ");
  EXPECT_EQ(body_of(waiting.read_response()), "GET /waits 0 ");
  refused.send(get("/again"));
  EXPECT_EQ(body_of(refused.read_response()), "GET /again 0 ");
}

TEST(Server, AHandlerThatForgetsItsDeadlineIsAnsweredForWith504) {
  Gate gate(1);
  Limits limits;
  limits.request_timeout = std::chrono::milliseconds(500);
  std::mutex mutex;
  std::vector<std::string> refused;  // by the server: method, path, whether it took its time
  std::atomic<int> late{0};
  ServerOptions options;
  options.limits = limits;
  const auto server = *Server::start(
      options,
      [&](Request& request) {
        if (request.path == "/block") {
          gate.entered.count_down();
          gate.leave.wait();
        }
        if (!request.claim.take()) ++late;
        return echo(request);
      },
      nullptr,
      [&](int status, Literal detail, const Request* head) {
        const std::lock_guard lock(mutex);
        refused.push_back(head == nullptr ? "" : head->method + " " + head->path + (std::chrono::steady_clock::now() - head->arrived >= limits.request_timeout ? " in time" : " at once"));
        return problem(status, detail, head);
      });
  RawClient client(server->port());
  client.send(get("/block"));
  const auto response = client.read_response();
  EXPECT_EQ(status_of(response), 504);
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(refused, (std::vector<std::string>{"GET /block in time"}));
  }
  EXPECT_NE(response.find("problem+json"), std::string::npos);
  EXPECT_TRUE(client.closed_by_server());
  gate.leave.count_down();
  RawClient other(server->port());
  other.send(get("/other"));
  EXPECT_EQ(body_of(other.read_response()), "GET /other 0 ");
  const Deadline soon = Deadline::after(std::chrono::seconds(20));
  while (late == 0 && !soon.passed()) std::this_thread::yield();
  EXPECT_EQ(late, 1) << "it learns that its caller was answered";
}

TEST(Server, AHandlerThatAsksForPatienceGetsIt) {
  Limits limits;
  limits.request_timeout = std::chrono::milliseconds(50);
  std::atomic<bool> asks{true};
  const auto server = serve(
      [&](Request& request) {
        if (asks) request.patience.ask(std::chrono::seconds(60));
        // Past the second that every handler has besides.
        const Deadline late = Deadline::after(std::chrono::milliseconds(1200));
        while (!late.passed()) std::this_thread::yield();
        return echo(request);
      },
      limits);
  for (const bool patient : {true, false}) {
    asks = patient;
    RawClient client(server->port());
    client.send(get("/large"));
    EXPECT_EQ(status_of(client.read_response()), patient ? 200 : 504);
  }
}

TEST(Server, TooManyConnectionsAre503) {
  Limits limits;
  limits.connections = 2;
  const auto server = serve(echo, limits);
  RawClient one(server->port());
  RawClient two(server->port());
  one.send(get("/"));
  one.read_response();
  two.send(get("/"));
  two.read_response();
  RawClient three(server->port());
  const auto response = three.read_response();
  EXPECT_EQ(status_of(response), 503);
  EXPECT_NE(response.find("retry-after"), std::string::npos);
  EXPECT_TRUE(three.closed_by_server());
  three.close();
  one.close();
  while (server->stats().open_connections > 1) std::this_thread::yield();
  RawClient four(server->port());
  four.send(get("/four"));
  EXPECT_EQ(body_of(four.read_response()), "GET /four 0 ");
}

TEST(Server, DrainAnswersWhatRunsAndClosesWhatIsIdle) {
  Gate gate(1);
  const auto server = serve([&](Request& request) {
    if (request.path == "/block") {
      gate.entered.count_down();
      gate.leave.wait();
    }
    return echo(request);
  });
  RawClient idle(server->port());
  idle.send(get("/"));
  idle.read_response();
  RawClient running(server->port());
  running.send(get("/block"));
  gate.entered.wait();
  std::thread draining([&] { server->drain(Deadline::after(std::chrono::seconds(30))); });
  EXPECT_TRUE(idle.closed_by_server());
  gate.leave.count_down();
  const auto last = running.read_all();
  EXPECT_EQ(body_of(last), "GET /block 0 ");
  EXPECT_NE(last.find("connection: close"), std::string::npos);
  running.close();
  draining.join();
  EXPECT_EQ(server->stats().open_connections, 0u);
  RawClient late(server->port());
  EXPECT_FALSE(late.connected() && late.send(get("/")) && !late.read_response().empty());
}

TEST(Server, DrainClosesWhatIsLeftAtTheDeadline) {
  const auto server = serve(echo);
  RawClient stuck(server->port());
  stuck.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  while (server->stats().requests < 1) std::this_thread::yield();
  server->drain(Deadline::after(std::chrono::milliseconds(20)));
  EXPECT_TRUE(stuck.closed_by_server());
}

TEST(Server, AClientThatLeavesEarlyHarmsNobody) {
  Gate gate(1);
  const auto server = serve([&](Request& request) {
    if (request.path == "/block") {
      gate.entered.count_down();
      gate.leave.wait();
    }
    Response response;
    response.body.assign(8 << 20, 'x');
    return response;
  });
  {
    RawClient client(server->port());
    client.send(get("/block"));
    gate.entered.wait();
  }
  gate.leave.count_down();
  RawClient other(server->port());
  other.send(get("/"));
  EXPECT_EQ(body_of(other.read_response()).size(), 8u << 20);
}

// Keeps the streams that a server hands out.
struct Streams {
  Mutex mutex;
  std::vector<std::shared_ptr<Stream>> open;
  Response response() {
    Response response;
    response.content_type = "text/event-stream";
    response.on_stream = [this](std::shared_ptr<Stream> stream) {
      Lock lock(mutex);
      open.push_back(std::move(stream));
    };
    return response;
  }
  std::shared_ptr<Stream> wait() {
    for (;;) {
      Lock lock(mutex);
      if (!open.empty()) return open.back();
      std::this_thread::yield();
    }
  }
};

TEST(Stream, EventsArriveWhileTheyAreWritten) {
  Streams streams;
  const auto server = serve([&](Request&) { return streams.response(); });
  RawClient client(server->port());
  client.send(get("/events"));
  const auto head = client.read_response(true);
  EXPECT_EQ(status_of(head), 200);
  EXPECT_NE(head.find("transfer-encoding: chunked"), std::string::npos);
  EXPECT_EQ(head.find("content-length"), std::string::npos);
  const auto stream = streams.wait();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(stream->write("data: " + std::to_string(i) + "\n\n"));
    EXPECT_EQ(client.read_some(14), "9\r\ndata: " + std::to_string(i) + "\n\n\r\n");
  }
  stream->close();
  EXPECT_FALSE(stream->write("late"));
  EXPECT_EQ(client.read_all(), "0\r\n\r\n");
}

TEST(Stream, TheWriterLearnsThatTheClientIsGone) {
  Streams streams;
  const auto server = serve([&](Request&) { return streams.response(); });
  RawClient client(server->port());
  client.send(get("/events"));
  client.read_response(true);
  const auto stream = streams.wait();
  EXPECT_TRUE(stream->write("x"));
  client.close();
  while (stream->write("x")) std::this_thread::yield();
  EXPECT_FALSE(stream->write("x"));
}

TEST(Stream, AClientThatDoesNotReadIsDroppedAtTheBacklog) {
  Streams streams;
  const auto server = serve([&](Request&) { return streams.response(); });
  RawClient client(server->port());
  client.send(get("/events"));
  const auto stream = streams.wait();
  const std::string piece(64 << 10, 'x');
  std::size_t written = 0;
  while (stream->write(piece)) written += piece.size();
  EXPECT_GE(written, std::size_t{15} << 16);
  EXPECT_LT(written, std::size_t{256} << 20) << "sockets hold some, we hold one mebibyte";
}

TEST(Stream, DrainEndsStreamsProperly) {
  Streams streams;
  const auto server = serve([&](Request&) { return streams.response(); });
  RawClient client(server->port());
  client.send(get("/events"));
  client.read_response(true);
  const auto stream = streams.wait();
  std::thread draining([&] { server->drain(Deadline::after(std::chrono::seconds(30))); });
  EXPECT_EQ(client.read_all(), "0\r\n\r\n");
  client.close();
  draining.join();
  EXPECT_FALSE(stream->write("late"));
}

TEST(Server, StartFailuresAreValues) {
  ServerOptions options;
  options.address = "not an address";
  EXPECT_EQ(Server::start(options, echo, nullptr, problem).error().code(), base_errors::kInvalid);
  const auto server = serve(echo);
  options.address = "127.0.0.1";
  options.port = server->port();
  const auto taken = Server::start(options, echo, nullptr, problem);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), base_errors::kIo);
  EXPECT_EQ(taken.error().field("port"), std::to_string(server->port()));
}

// What handlers put aside, to be called when their turn has come.
class Aside {
 public:
  Response operator()(Request& request) {
    if (request.path == "/now") return Response::json(200, "{}");
    if (request.held) return Response::json(200, "\"" + request.path + "\"");
    request.held = std::make_shared<int>(1);
    const Lock lock(mutex_);
    resumes_.push_back(request.parking->park());
    return Response::put_aside();
  }
  std::size_t size() {
    const Lock lock(mutex_);
    return resumes_.size();
  }
  void resume_all() {
    std::vector<std::function<void()>> all;
    {
      const Lock lock(mutex_);
      all.swap(resumes_);
    }
    for (const auto& one : all) {
      one();
      one();  // once too often
    }
  }

 private:
  Mutex mutex_;
  std::vector<std::function<void()>> resumes_ STELLA_GUARDED_BY(mutex_);
};

void wait_for(const std::function<bool()>& done) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(20));
  while (!done() && !deadline.passed()) std::this_thread::yield();
  EXPECT_TRUE(done());
}

TEST(Server, ARequestThatIsPutAsideTakesNoWorker) {
  Aside aside;
  ServerOptions options;
  options.workers = 1;
  const auto server = serve([&](Request& request) { return aside(request); }, {}, nullptr, options);
  RawClient first(server->port()), second(server->port()), third(server->port());
  first.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  second.send(get("/b"));
  wait_for([&] { return aside.size() == 2; });
  third.send(get("/now"));
  EXPECT_EQ(status_of(third.read_response()), 200);
  aside.resume_all();
  EXPECT_EQ(body_of(first.read_response()), "\"/a\"");
  EXPECT_EQ(body_of(second.read_response()), "\"/b\"");
  first.send(get("/now"));
  EXPECT_EQ(status_of(first.read_response()), 200) << "the connection goes on";
}

TEST(Server, WhoWaitsForItsTurnTooLongIsToldAndNoServerWaitsForIt) {
  Aside aside;
  Limits limits;
  limits.request_timeout = std::chrono::milliseconds(100);
  auto server = serve([&](Request& request) { return aside(request); }, limits);
  RawClient client(server->port());
  client.send(get("/late"));
  const auto response = client.read_response();
  EXPECT_EQ(status_of(response), 503);
  EXPECT_NE(response.find("waited too long for its turn"), std::string::npos) << response;
  EXPECT_NE(response.find("retry-after"), std::string::npos) << response;
  aside.resume_all();  // nobody's any more
  RawClient other(server->port());
  other.send(get("/left"));
  wait_for([&] { return aside.size() == 1; });
  server.reset();
  aside.resume_all();
}

TEST(Server, ATurnBeginsWithItsWholeTimeAndIsLetGoOfWhereItNeverCame) {
  Mutex mutex;
  std::function<void()> resume;
  std::weak_ptr<void> place;
  Limits limits;
  limits.request_timeout = std::chrono::milliseconds(2000);
  const auto server = serve([&](Request& request) {
    if (request.held) return Response::json(200, std::to_string(request.deadline.left().count()));
    request.held = std::make_shared<int>(1);
    const Lock lock(mutex);
    place = request.held;
    resume = request.parking->park();
    return Response::put_aside();
  }, limits);
  const auto take = [&] {
    const Lock lock(mutex);
    return std::exchange(resume, nullptr);
  };
  RawClient client(server->port());
  client.send(get("/waits"));
  std::function<void()> go;
  wait_for([&] { return static_cast<bool>(go = go ? go : take()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  go();
  EXPECT_GT(std::stoi(body_of(client.read_response())), 1600);
  client.send(get("/never"));
  EXPECT_EQ(status_of(client.read_response()), 503);
  wait_for([&] { return place.expired(); });
}

TEST(Server, ExpressRequestsAreAnsweredWhileAllWorkersAreTaken) {
  std::latch taken(2), go(1);
  ServerOptions options;
  options.workers = 2;
  options.express = [](const Request& request) { return request.path == "/alive"; };
  const auto server = serve([&](Request& request) {
    if (request.path == "/slow") {
      taken.count_down();
      go.wait();
    }
    return Response::json(200, "{}");
  }, {}, nullptr, options);
  RawClient first(server->port()), second(server->port()), third(server->port());
  first.send(get("/slow"));
  second.send(get("/slow"));
  taken.wait();
  third.send(get("/alive"));
  EXPECT_EQ(status_of(third.read_response()), 200);
  go.count_down();
  EXPECT_EQ(status_of(first.read_response()), 200);
  EXPECT_EQ(status_of(second.read_response()), 200);
}

}  // namespace
}  // namespace stella::http::testing
